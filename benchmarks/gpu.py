"""The CUDA tests and the GPU's benchmark rows against cuDNN, on a machine with a GPU, within a time limit.

    python -m benchmarks.gpu [--out FOLDER] [--minutes 8] [--quick] [--rows PATTERN ...]

A ratio is cuDNN's time divided by ours.  Whatever happens, FOLDER/gpu.json holds what was found by then; results that
are committed are replaced at the end, by rows that others did not disturb.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import gpu_table
from benchmarks.gpu_clock import Budget
from benchmarks.gpu_measure import add_ratios, flatness
from benchmarks.gpu_process import ROOT, Process, end, environment
from benchmarks.gpu_rows import AGREES, PEER, PEER_AGREES, select
from benchmarks.gpu_tests import complaints, run_tests, summary
from benchmarks.provenance import provenance
from benchmarks.results_file import ResultsFile
from benchmarks.rows import Row
from gatescope.errors import OutputError
from gatescope.experiments.machine import others_share
from gatescope.storage.npz import decode_json, encode_json

RESULTS = Path(__file__).parent / "results"
NAME = "gpu.json"
_BEGUN = time.monotonic()
_RESERVE = 10.0  # seconds to end everything and write the last file
_TESTS, _BARRIERS, _ROW, _FLOW, _HARDWARE = 120.0, 45.0, 30.0, 60.0, 60.0  # seconds at most
_LEAST = 8.0  # a part is not begun with less


def why_no_gpu() -> str | None:
    """None if there is a real GPU, else one sentence."""
    from gatescope.kernels.cuda import driver

    if driver.simulated:
        return "Numba's simulator is on; unset NUMBA_ENABLE_CUDASIM to measure a GPU"
    return driver.why_unavailable()


def nvidia_smi() -> dict[str, Any]:
    """Driver and clocks as the driver's own tool tells them; nothing where it is not there."""
    fields = ("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "power.limit", "temperature.gpu")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "-i", "0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in done.stdout.strip().split("\n")[0].split(",")]
    return dict(zip(fields, values, strict=False))


class Run:
    """One run: what was found so far, and where it goes.

    Parameters
    ----------
    folder : Path or None
        None: nothing is written.
    budget : Budget
    rows : list of Row
    process : Process
    protocol : dict
    tests : callable
        Runs the CUDA tests within so many seconds.
    """

    def __init__(
        self, folder: Path | None, budget: Budget, rows: list[Row], process: Process, protocol: dict[str, Any],
        tests: Callable[[float], dict[str, Any]] = run_tests,
    ) -> None:  # fmt: skip
        self._budget, self._rows, self._process = budget, rows, process
        self._file = None if folder is None else ResultsFile(folder / NAME, RESULTS / NAME)
        self._tests = tests
        self._quick = {"quick": protocol["quick"]}
        self.written: Path | None = None
        self.data: dict[str, Any] = {
            "format": 1,
            "provenance": provenance(),
            "protocol": protocol,
            "tests": {},
            "barriers": {},
            "rows": [],
            "flatness": [],
            "flow": {},
            "finished": False,
        }

    def save(self) -> None:
        """Write what there is."""
        self.data["seconds"] = self._budget.used()
        if self._file is not None:
            self.written = self._file.write(decode_json(encode_json(self.data, NAME)))

    def report_file(self) -> None:
        """Print where it was written to."""
        if self._file is not None and self.written is not None:
            self._file.report(self.data, self.written)

    def _ask(self, seconds: float, *, part: float = 1.0, **job: Any) -> dict[str, Any]:
        """Return a job's results; `seconds` are what it plans with, and somewhat more is what it gets.

        If it hangs it takes at most `part` of what is left from the others.
        """
        hard = min(2 * seconds + 10, part * self._budget.left())
        return self._process.ask({**job, "seconds": seconds, **self._quick}, hard)

    def all(self) -> None:
        """Everything, in turn."""
        self.save()  # before anything is measured: a folder that cannot be written is reported now
        with tempfile.TemporaryDirectory() as scratch:
            reference = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu_reference", scratch, *(row.key for row in self._rows)],
                cwd=ROOT, env=environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                self.hardware()
                self.tests()
                self.barriers()
                self.rows(scratch, reference)
                self.flow()
                self.data["finished"] = True
            finally:
                end(reference)
                self._process.stop()
                self.data["flatness"] = flatness(self.data["rows"])
                self.save()

    def hardware(self) -> None:
        """Return the GPU and the libraries."""
        results = self._ask(min(_HARDWARE, self._budget.left() / 4), part=1 / 3, job="hardware")
        smi = nvidia_smi()
        if "driver_version" in smi:
            results["driver"] = smi["driver_version"]
        self.data["provenance"]["gpu"] = {"gpu": "unknown", **results, "before": smi}
        text = json.dumps(self.data["provenance"], indent=1)
        print(text, flush=True)
        self.save()

    def tests(self) -> None:
        """The CUDA tests."""
        most = 30.0 if self.data["protocol"]["quick"] else _TESTS
        self.data["tests"] = self._tests(min(most, self._budget.left() / 3))
        for line in (*complaints(self.data["tests"]), summary(self.data["tests"])):
            print(line, flush=True)
        self.save()

    def barriers(self) -> None:
        """Return what waiting costs."""
        if self._budget.left() < _LEAST:
            self.data["barriers"] = {"failed": "no time left"}
            return
        self.data["barriers"] = self._ask(min(_BARRIERS, self._budget.left() / 4), part=1 / 3, job="barriers")
        self.data["provenance"]["gpu"]["after_barriers"] = nvidia_smi()
        print(gpu_table.text_barriers(self.data["barriers"]), flush=True)
        if "failed" in self.data["barriers"]:
            print(f"barriers: {self.data['barriers']['failed']}", flush=True)
        self.save()

    def rows(self, scratch: str, reference: subprocess.Popen[bytes]) -> None:
        """Return the rows of the table, while there is time; `reference` puts the CPU's results into the folder."""
        for done, row in enumerate(self._rows):
            description = {
                "cell": row.cell, "dtype": row.dtype, "batch": row.batch, "hidden_size": row.hidden_size,
                "input_size": row.input_size, "steps": row.steps, "key": row.key, "title": row.title,
                "target": row.targets[PEER], "met": None,
            }  # fmt: skip
            if self._budget.left() < _LEAST:
                self.data["rows"].append({**description, "skipped": "not measured: no time left"})
                continue
            seconds = self._budget.share(len(self._rows) - done, _ROW)
            wait = seconds / 2 if reference.poll() is None else 0.0
            with others_share(lambda: [*self._process.numbers(), reference.pid]) as others:
                answer = self._ask(seconds, job="row", key=row.key, folder=scratch, wait=wait)
            results = {**description, **answer, "others_share": others[0]}
            add_ratios(results)  # of a row that was cut short, too
            self.data["rows"].append(results)
            print(gpu_table.text_table([results]).split("\n")[1], flush=True)
            self.save()

    def flow(self) -> None:
        """gradient_flow, if there is time."""
        if self.data["protocol"]["patterns"] or self._budget.left() < 2 * _LEAST:
            self.data["flow"] = {"skipped": "not measured: no time left, or only some rows asked for"}
            return
        results = self._ask(min(_FLOW, self._budget.left() / 2), job="flow")
        self.data["flow"] = results

    def wrong(self) -> bool:
        """Whether a test failed, or a row is not what the CPU computes, or could not be measured."""
        tests = self.data["tests"]
        rows = [
            row
            for row in self.data["rows"]
            if not row.get("check", {"agrees": True})["agrees"] or ("failed" in row and "ours" not in row)
        ]
        return bool(tests.get("failed") or tests.get("not_ended") or rows or not tests.get("passed"))

    def report(self) -> str:
        """Failures first, the table last."""
        gpu = self.data["provenance"].get("gpu", {})
        parts = [
            "",
            *complaints(self.data["tests"]),
            summary(self.data["tests"]) if self.data["tests"] else "CUDA tests: not run",
            f"{gpu.get('gpu')}, driver {gpu.get('driver', 'unknown')}, {self._budget.used():.0f} s in all",
            gpu_table.text_barriers(self.data["barriers"]),
            gpu_table.text_flow(self.data["flow"]),
            *(
                f"{f['cell']} H=64: a step of 256 sequences takes {f['ratio_256_to_1']:.2f} times that of one"
                for f in self.data["flatness"]
            ),
            gpu_table.text_table(self.data["rows"]),
        ]
        return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        help=f"folder for {NAME}; default benchmarks/results, or none for --rows and --quick",
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="at most this long in all (default 8)")
    parser.add_argument("--quick", action="store_true", help="a few rows, a few calls: does everything run?")
    parser.add_argument("--rows", nargs="*", metavar="PATTERN", help="rows whose key contains one of these")
    options = parser.parse_args(arguments)
    if not 0.5 <= options.minutes <= 600:
        parser.error(f"--minutes {options.minutes:g} must be between 0.5 and 600")
    try:
        rows = select(options.rows, options.quick)
    except ValueError as error:
        parser.error(str(error))
    reason = why_no_gpu()
    if reason is not None:
        print(f"no GPU to measure: {reason}", file=sys.stderr)
        sys.exit(2)
    if importlib.util.find_spec("pytest") is None:
        print('no pytest to run the CUDA tests; pip install -e ".[cuda,test]"', file=sys.stderr)
        sys.exit(2)
    folder = options.out or (None if options.rows or options.quick else RESULTS)
    protocol = {
        "quick": options.quick,
        "patterns": options.rows or [],
        "minutes": options.minutes,
        "tolerance": AGREES,
        "peer_tolerance": PEER_AGREES,
        "command": "python -m benchmarks.gpu",
    }
    # What it took to get here counts too.
    budget = Budget(60 * options.minutes - _RESERVE - (time.monotonic() - _BEGUN))
    run = Run(folder, budget, rows, Process(), protocol)
    try:
        run.all()
    except (OSError, OutputError) as error:
        sys.exit(f"{error}")
    run.report_file()
    print(run.report(), flush=True)
    sys.exit(1 if run.wrong() else 0)


if __name__ == "__main__":
    main()
