"""The CUDA tests on the real GPU, within a time limit.

A kernel that waits for ever hangs its test for ever.  Such a test is ended from outside and named, and the others go
on without it.  What happened is read from the notes of the plugin `benchmarks.gpu_notes`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_clock import Budget
from benchmarks.gpu_process import ROOT, end, environment

FOLDER = ROOT / "tests" / "kernels" / "cuda"
STARTED, UNREAD = "started", "not collected"
LOST = 70  # exit code: go on in another process
_PATIENCE = 40.0  # seconds for one test, its kernels' compilation included
_LOOK = 0.2


def read_notes(path: Path) -> list[dict[str, Any]]:
    """Return the lines that are whole."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def counted(notes: list[dict[str, Any]]) -> dict[str, Any]:
    """Outcomes of the tests; a test that was begun and never ended hung, or was cut off by the limit."""
    last: dict[str, dict[str, Any]] = {}
    for note in notes:
        # A failure in setup or teardown outweighs a call that passed.
        if last.get(note["id"], {}).get("outcome") != "failed":
            last[note["id"]] = note

    def names(outcome: str) -> list[str]:
        return [name for name, note in last.items() if note["outcome"] == outcome]

    return {
        "passed": len(names("passed")),
        "skipped": len(names("skipped")),
        "failed": {name: last[name]["text"] for name in names("failed")},
        "not_collected": {name: last[name]["text"] for name in names(UNREAD)},
        "not_ended": names(STARTED),
    }


def run_tests(
    seconds: float, *, folder: Path = FOLDER, patience: float = _PATIENCE, options: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the tests of a folder that have a GPU parameter, at most so many seconds.

    Returns
    -------
    dict
        ``passed`` and ``skipped`` (how many), ``failed`` and ``not_collected`` (why, by name), ``not_ended``,
        ``finished`` (whether all were begun), ``seconds``.
    """
    budget = Budget(seconds)
    with tempfile.TemporaryDirectory() as scratch:
        notes = Path(scratch) / "notes"
        (Path(scratch) / "words").touch()
        finished, code, run = False, None, 0
        while not finished and budget.left() > 1:
            code = _run_once(run, notes, budget, folder, patience, options)
            run += 1
            finished = code is not None
        with (Path(scratch) / "words").open("rb") as stream:
            words = " ".join(stream.read().decode(errors="replace").split())[-300:]
        outcome = counted(read_notes(notes))
    return {**outcome, "finished": finished, "exit": code, "words": words, "seconds": budget.used()}


def _run_once(
    run: int, notes: Path, budget: Budget, folder: Path, patience: float, options: Sequence[str]
) -> int | None:
    """Exit code, or None if it was ended because a test or all of them took too long."""
    command = [
        sys.executable, "-m", "pytest", "-p", "benchmarks.gpu_notes", "-p", "no:cacheprovider", "-o", "addopts=",
        "--import-mode=importlib", "-q", "--continue-on-collection-errors",
        "--notes", str(notes), "--run", str(run), *options, str(folder),
    ]  # fmt: skip
    with (notes.parent / "words").open("wb") as words:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=words, stderr=words, start_new_session=True
        )
        count, changed = -1, time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(_LOOK)
                now = read_notes(notes)
                if len(now) != count:
                    count, changed = len(now), time.monotonic()
                # Only a test that is under way can hang: to collect, and to end, takes what it takes.
                under_way = bool(now) and now[-1]["outcome"] == STARTED and now[-1]["run"] == run
                if budget.left() <= 0 or (under_way and time.monotonic() - changed > patience):
                    return None
            # Not the end, but that of a test: the process fell over it, or gave itself up after it.
            last = (read_notes(notes) or [{"outcome": ""}])[-1]
            fell = process.returncode == LOST or (process.returncode < 0 and last["outcome"] == STARTED)
            return None if fell else process.returncode
        finally:
            end(process)


def complaints(outcome: dict[str, Any]) -> list[str]:
    """Return what to report first: everything but tests that passed."""
    lines = [f"FAILED {name}: {text}" for name, text in outcome.get("failed", {}).items()]
    lines += [f"DID NOT END {name}" for name in outcome.get("not_ended", [])]
    lines += [f"could not be read: {name}: {text}" for name, text in outcome.get("not_collected", {}).items()]
    if not outcome.get("finished", True):
        lines.append(f"the tests did not finish within {outcome['seconds']:.0f} s")
    if not outcome.get("passed"):
        lines.append(f"no CUDA test passed: {outcome.get('words', '')}")
    return lines


def summary(outcome: dict[str, Any]) -> str:
    """One line."""
    return (
        f"CUDA tests: {outcome['passed']} passed, {len(outcome['failed'])} failed, {outcome['skipped']} skipped, "
        f"{len(outcome['not_ended'])} not ended, {outcome['seconds']:.0f} s"
        + ("" if outcome["finished"] else "; cut off by the time limit")
    )
