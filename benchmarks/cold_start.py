"""How long a user waits: the import, the first `gatescope compare` with nothing compiled yet, the second, each kernel.

    python -m benchmarks.cold_start [--out benchmarks/results/cold_start.json] [--check]

Each is a process of its own, timed from outside, interpreter start included.  The first one compiles all
kernels into an empty cache of its own; the second finds them there.  Then each cell's kernels are compiled into an
empty cache one after another, and timed by `benchmarks.compile_times`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from gatescope.experiments import machine

RESULTS = Path(__file__).parent / "results" / "cold_start.json"
# Seconds, on two cores.
LIMITS = {"import": 1.0, "first compare": 6.0, "second compare": 2.5}
COMPILING = 5.0  # seconds of a cell's forward and backward kernel together
CELLS = ("rnn", "gru", "lstm")
_IMPORTS = 5
_COMPARE = "import sys; from gatescope.cli.main import main; sys.argv = ['gatescope', 'compare', *sys.argv[1:]]; main()"


def _seconds(arguments: Sequence[str], folder: str, cache: str) -> float:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    elapsed = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return elapsed


def measure(options: Sequence[str] = ()) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each, and what others took of the machine; `options` are given to ``gatescope compare``."""
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache")
        # The median: the first import also writes byte code, and reads everything from the disk.
        with machine.others_share() as others:
            imports = sorted(_seconds(["-c", "import gatescope"], folder, cache) for _ in range(_IMPORTS))
        seconds, shares = {"import": imports[_IMPORTS // 2]}, {"import": others[0]}
        for which in ("first", "second"):
            with machine.others_share() as others:
                taken = _seconds(["-c", _COMPARE, "--out", which, *options], folder, cache)
            seconds[f"{which} compare"], shares[f"{which} compare"] = taken, others[0]
    return seconds, shares


def compiling(cell: str) -> tuple[dict[str, float], float]:
    """Seconds that each kernel of a cell takes to compile, and what others took of the machine."""
    with tempfile.TemporaryDirectory() as cache, machine.others_share() as others:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.compile_times", cell],
            env={**os.environ, "NUMBA_CACHE_DIR": cache},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"the kernels of {cell} were not compiled:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout), others[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cold_start", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--out", type=Path, help="write the times here, as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is passed")
    options, rest = parser.parse_known_args(arguments)
    times, shares = measure(rest)
    for name, seconds in times.items():
        print(f"{name:15s} {seconds:7.2f} s (limit {LIMITS[name]:g} s)")
    kernels: dict[str, dict[str, float]] = {}
    for cell in CELLS:
        kernels[cell], shares[f"kernels of {cell}"] = compiling(cell)
        each = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in kernels[cell].items())
        print(f"{cell}: {each} (forward and backward: limit {COMPILING:g} s)")
    if options.out:
        data = {"provenance": provenance(), "seconds": times, "limits": LIMITS, "compare_options": rest}
        data |= {"compiling": kernels, "compiling_limit": COMPILING}
        write_results(options.out, {**data, "others_share": shares}, RESULTS)
    late = any(times[name] > limit for name, limit in LIMITS.items())
    if options.check and (late or any(both_sweeps(own) > COMPILING for own in kernels.values())):
        sys.exit(1)


def both_sweeps(kernels: dict[str, float]) -> float:
    """Seconds of the kernels that training needs."""
    return kernels["forward"] + kernels["backward"]


if __name__ == "__main__":
    main()
