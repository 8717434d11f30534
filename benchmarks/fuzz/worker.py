"""The child process of the fuzzer: runs cases one after another, and says before each which one it is.

python -m benchmarks.fuzz.worker HALF SEED BEGIN END FOLDER
"""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import typer.main

from benchmarks.fuzz.calls import Calls
from benchmarks.fuzz.case import Half
from benchmarks.fuzz.files import Files
from benchmarks.fuzz.judge import Finding, judge
from gatescope.checks import memory

HALVES: dict[str, type[Half]] = {"files": Files, "calls": Calls}  # type: ignore[type-abstract]
MORE_ADDRESSES = {"files": 1 << 30, "calls": 4 << 30}  # bytes, of which threads' stacks are the most
MORE_MEMORY = {"files": 256 << 20, "calls": 1 << 30}  # bytes by which one case may let the process grow


def limit(half: str) -> None:
    """Bound the memory of this process, above what it has taken by now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MORE_ADDRESSES[half]
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    memory.free_memory = lambda: MORE_ADDRESSES[half] // 8  # what is refused depends on the machine otherwise


def largest() -> int:
    """Return the most memory that this process has had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(half: str, seed: int, begin: int, end: int, folder: Path) -> None:
    """Run the cases from `begin` to `end` - 1; every line on stdout is JSON."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a case prints is its own affair
    os.dup2(os.open(folder.parent / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    warnings.simplefilter("ignore")
    os.environ["MPLBACKEND"] = "agg"
    typer.main.get_command = functools.cache(typer.main.get_command)  # half of the time that a command takes
    cases = HALVES[half](seed, folder)
    limit(half)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print(json.dumps({"ready": time.monotonic()}), file=out)
    for number in range(begin, end):
        case = cases.case(number)
        print(json.dumps({"case": number, "text": case.text}), file=out)
        before = largest()
        finding = judge(case.run, folder / "again.npz")
        grown = largest() - before
        if grown > MORE_MEMORY[half] and finding is None:
            finding = Finding(f"takes {grown >> 20} MiB", case.text)
        if finding is not None:
            print(json.dumps({"finding": number, "kind": finding.kind, "detail": finding.text}), file=out)
    print(json.dumps({"end": end}), file=out)


if __name__ == "__main__":
    half, seed, begin, end, folder = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        main(half, int(seed), int(begin), int(end), Path(own))
