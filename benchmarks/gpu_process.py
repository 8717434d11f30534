"""The process that touches the GPU, seen from the one that holds the clock."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_worker import FRESH, MARK

ROOT = Path(__file__).resolve().parents[1]
_TAIL = 400  # characters of a dead process's last words


def environment() -> dict[str, str]:
    """Return the caller's environment, with this checkout in front of the path."""
    environment = os.environ.copy()
    paths = [str(ROOT / "src"), str(ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process that was started in a session of its own, and what it has started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)  # one that the driver does not let go is left behind


class Process:
    """Asks a worker, and starts another one when it has died, hangs, or says that it is of no use any more.

    Parameters
    ----------
    command : sequence of str, optional
        The worker; the tests have others.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = list(command or (sys.executable, "-m", "benchmarks.gpu_worker"))
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._words: Any = None
        self.started = 0

    def start(self) -> None:
        """Start the worker, if there is none: it may import its libraries while others are busy."""
        if self._process is not None:
            return
        self.started += 1
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  closed by `stop`
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=environment(), text=True, encoding="utf-8", start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words,
        )  # fmt: skip
        lines: queue.Queue[str | None] = queue.Queue()
        self._lines = lines
        out = self._process.stdout

        def read() -> None:
            assert out is not None
            with contextlib.suppress(OSError, ValueError):  # closed under its hands by `stop`
                for line in out:
                    lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()

    def numbers(self) -> tuple[int, ...]:
        """Return the number that the system has given to the worker, if there is one."""
        return () if self._process is None else (self._process.pid,)

    def ask(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return the worker's results; with ``failed`` among them, those until then, and what went wrong."""
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        results: dict[str, Any] = {}
        deadline = time.monotonic() + seconds
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            while True:
                line = self._lines.get(timeout=max(0.001, deadline - time.monotonic()))
                if line is None:
                    raise BrokenPipeError
                if not line.startswith(MARK):
                    continue
                answer = json.loads(line[len(MARK) :])
                results = answer["results"]
                if answer["done"]:
                    if answer[FRESH]:
                        self.stop()
                    return results
        except queue.Empty:
            self.stop()
            return {**results, "failed": f"no answer within {seconds:.0f} s; the process was ended"}
        except OSError:
            stderr = self._last_words()
            code = self._process.poll()
            self.stop()
            return {**results, "failed": f"the process died (exit {code}): {stderr}"}

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process is not None:
                self._process.wait(timeout=2)
        self._words.seek(0)
        return " ".join(self._words.read().decode(errors="replace").split())[-_TAIL:]

    def stop(self) -> None:
        """End the worker; the next job gets a new one."""
        if self._process is None:
            return
        end(self._process)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._words.close()
        self._process = None
