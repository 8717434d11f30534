"""How long a user waits: the import, the first `gatescope compare` with nothing compiled yet, and the second.

    python -m benchmarks.cold_start [--out benchmarks/results/cold_start.json] [--check]

Each is a process of its own, timed from outside, interpreter start included.  The first one compiles all
kernels into an empty cache of its own; the second finds them there.
"""

from __future__ import annotations

import argparse
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
LIMITS = {"import": 1.0, "first compare": 60.0, "second compare": 15.0}
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
    if options.out:
        data = {"provenance": provenance(), "seconds": times, "limits": LIMITS, "compare_options": rest}
        write_results(options.out, {**data, "others_share": shares}, RESULTS)
    if options.check and any(times[name] > limit for name, limit in LIMITS.items()):
        sys.exit(1)


if __name__ == "__main__":
    main()
