"""How time falls with threads: measured up to the cores that this machine has, and by a model beyond them.

    python -m benchmarks.scaling [--rows PATTERN ...] [--rounds 7] [--smoke] [--out benchmarks/results/scaling.json]

Sequences are dealt out in blocks, and a thread takes a block at a time, so there is no use for more threads than
blocks.  With b blocks, of which one alone takes as long as `each`, a call on n threads should take

    fixed + ceil(b / n) * each + start(n),   n at most b

More threads may get more and smaller blocks, of which `each` is measured for each n. `each` and `fixed` (what is
done once: checks, memory, the addition of the blocks' gradients) follow from a call of all blocks and one of a
single block, both on one thread; `start` is what it takes to start and end n threads that wait for each other and
do nothing else, measured for each n, on fewer cores as well. What the model leaves out is what cores share: memory,
the last cache, and the clock that they slow down to together. Up to the cores that are here it stands beside the
measured time.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.ours import Competitor
from benchmarks.problem import make_problem
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from benchmarks.rows import FORWARD, TRAIN, Row
from benchmarks.timing import call_of
from gatescope.checks.numbers import default_threads
from gatescope.experiments import machine, turns
from gatescope.kernels.cpu import threads as thread_pools
from gatescope.kernels.cpu.blocks import blocks_for, groups_for, longest

RESULTS = Path(__file__).parent / "results" / "scaling.json"
THREADS = (2, 4, 8, 16, 64)
ROWS = tuple(
    Row(cell=cell, dtype="float32", batch=batch, input_size=inputs, hidden_size=hidden, steps=steps)
    for cell in ("lstm", "gru")
    for batch, inputs, hidden, steps in (
        # At least as many steps as sequences: of fewer `run` asks at every call whether they are meant so.
        (128, 64, 128, 200),
        (512, 16, 64, 520),
        (64, 256, 512, 64),
        (40, 1, 16, 5_000),
    )
)
_STARTS = 200
_BUDGET = 60.0  # seconds of a row


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all rows, print them, and write them down if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--rows", nargs="+", metavar="PATTERN", help="only rows whose key contains one of these"
    )
    parser.add_argument("--rounds", type=int, default=7, help="of turns (default 7)")
    parser.add_argument("--smoke", action="store_true", help="a few steps and one round: does it run?")
    parser.add_argument("--out", type=Path, help="write the times here, as JSON")
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if not options.rows or any(pattern in row.key for pattern in options.rows)]
    if not rows:
        parser.error(f"--rows {options.rows} fits none of {', '.join(row.key for row in ROWS)}")
    source, cores = provenance(), default_threads()
    counts = {
        min(n, len(_blocks(row, which, n))) for row in rows for which in (FORWARD, TRAIN) for n in THREADS
    }
    starts = {n: start_seconds(n) for n in sorted(counts)}
    print("start and end threads: " + ", ".join(f"{n}: {1e6 * s:.0f} us" for n, s in starts.items()))
    measured = []
    for row in rows:
        short = row.shortened(20) if options.smoke else row
        for which in (FORWARD, TRAIN):
            one = measure(short, which, cores, starts, 1 if options.smoke else options.rounds)
            measured.append(one)
            print(_line(one), flush=True)
    if options.out:
        data = {"format": 1, "provenance": source, "cores": cores, "start_seconds": starts, "rows": measured}
        write_results(options.out, data, RESULTS)


def start_seconds(threads: int) -> float:
    """Return the seconds that it takes to start and end so many threads that only wait for each other: the median."""
    times = []
    for _ in range(_STARTS):
        all_there = threading.Barrier(threads)  # else the first is free again for what the second should do
        begun = time.perf_counter()
        thread_pools.each(lambda index, there=all_there: there.wait(), threads, threads)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def measure(row: Row, which: str, cores: int, starts: dict[int, float], rounds: int) -> dict[str, Any]:
    """Return the seconds of a row on one thread and on more, as measured and as the model has them."""
    blocks = _blocks(row, which, 1)
    dealt = {n: _blocks(row, which, n) for n in THREADS}
    here = [n for n in THREADS if n <= cores]
    sizes = {longest(blocks), *map(longest, dealt.values())}
    calls = {_alone(size): _call(row, which, 1, batch=size) for size in sorted(sizes)}
    calls |= {str(n): _call(row, which, n) for n in (1, *here)}
    for call in calls.values():
        call()  # compiles
    with machine.others_share() as others:
        times = turns.interleaved(calls, rounds, _BUDGET)
    seconds = {name: float(np.median(values)) for name, values in times.items()}
    one_block = seconds[_alone(longest(blocks))]
    fixed, each = shares(seconds["1"], one_block, len(blocks))
    each_of = {n: each * seconds[_alone(longest(dealt[n]))] / one_block for n in THREADS}
    return {
        "key": row.key,
        "title": row.title,
        "pass": which,
        "blocks": len(blocks),
        "one_thread_seconds": seconds["1"],
        "fixed_seconds": fixed,
        "block_seconds": each,
        "measured": {str(n): seconds[str(n)] for n in here},
        "predicted": {str(n): predicted(n, len(dealt[n]), fixed, each_of[n], starts) for n in THREADS},
        "others_share": others[0],
    }


def _blocks(row: Row, which: str, threads: int) -> list[tuple[int, int]]:
    if which == FORWARD:
        return blocks_for(row.batch, row.hidden_size, threads)
    return groups_for(row.batch, row.hidden_size, threads).sequences


def _alone(sequences: int) -> str:
    return f"a block of {sequences}"


def shares(whole: float, one_block: float, blocks: int) -> tuple[float, float]:
    """Return the seconds that are not shared out, and those of a block, of calls on one thread.

    Examples
    --------
    >>> from benchmarks.scaling import shares
    >>> shares(whole=9.0, one_block=3.0, blocks=4)
    (1.0, 2.0)
    """
    if blocks == 1:
        return 0.0, whole
    # A block alone may take less than its part of the whole, in memory that fits the caches: then nothing is fixed.
    fixed = max(0.0, (blocks * one_block - whole) / (blocks - 1))
    return fixed, (whole - fixed) / blocks


def predicted(threads: int, blocks: int, fixed: float, each: float, starts: dict[int, float]) -> float:
    """Return the seconds of a call on so many threads; no more of them begin than there are blocks.

    Examples
    --------
    >>> from benchmarks.scaling import predicted
    >>> [predicted(n, blocks=8, fixed=1.0, each=2.0, starts={4: 0.5, 8: 1.0}) for n in (4, 64)]
    [5.5, 4.0]
    """
    used = min(threads, blocks)
    return fixed + math.ceil(blocks / used) * each + starts[used]


def _call(row: Row, which: str, threads: int, batch: int | None = None) -> Callable[[], Any]:
    problem = make_problem(replace(row, batch=batch or row.batch))
    return call_of(Competitor(problem, threads), which)


def _line(one: dict[str, Any]) -> str:
    base = one["one_thread_seconds"]
    parts = []
    for n, seconds in one["predicted"].items():
        here = one["measured"].get(n)
        parts.append(f"{n}: {base / seconds:.2f}" + (f" (measured {base / here:.2f})" if here else ""))
    disturbed = "  DISTURBED" if one["others_share"] > machine.DISTURBED else ""
    return (
        f"{one['key']:32s} {one['pass']:17s} {1e3 * base:8.2f} ms on one thread, {one['blocks']:2d} blocks; "
        f"times as fast on {', '.join(parts)}{disturbed}"
    )


if __name__ == "__main__":
    main()
