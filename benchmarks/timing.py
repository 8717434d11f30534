"""Fair timing on a machine that is not quiet: everybody in turn, many rounds, medians."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Competitor
from benchmarks.rows import FORWARD

# A measurement of less than this is repeated within a round: a switch of tasks costs a few milliseconds.
_SHORTEST = 0.03
# Idle threads of OpenMP and of others wait in a busy loop for some milliseconds before they sleep.
PAUSE = 0.02
# Other processes may take this share of the machine; a measurement beside more is marked as disturbed.
DISTURBED = 0.05

# Largest |difference| from the peer / largest |value|, for outputs and for gradients.  The gradients of the
# weights are sums over all T * B steps (800,000 in the longest row), which each library adds in its order.
TOLERANCE = {"float32": (1e-5, 1e-4), "float64": (1e-12, 1e-10)}


def call_of(competitor: Competitor, which: str) -> Callable[[], Any]:
    """Return the function that does one pass."""
    return competitor.forward if which == FORWARD else competitor.train


def disagreement(
    ours: Mapping[str, NDArray[Any]], peer: Mapping[str, NDArray[Any]], dtype: str
) -> dict[str, float]:
    """Largest differences between two results, relative to the largest value of each array.

    Raises
    ------
    AssertionError
        If they do not compute the same function: a ratio of their times would mean nothing.
    """
    if ours.keys() != peer.keys():
        raise AssertionError(f"one returns {sorted(ours)}, the other {sorted(peer)}")
    differences = {}
    for name, value in ours.items():
        if value.shape != peer[name].shape or value.dtype != peer[name].dtype:
            raise AssertionError(
                f"{name} is {value.dtype}{list(value.shape)} here"
                f" and {peer[name].dtype}{list(peer[name].shape)} there"
            )
        differences[name] = float(np.abs(value - peer[name]).max() / np.abs(peer[name]).max())
        tolerance = TOLERANCE[dtype][name != "outputs"]
        if not differences[name] <= tolerance:  # so that a NaN fails too
            raise AssertionError(
                f"{name} differs by {differences[name]:.1e} of its largest value, {tolerance:.0e} allowed"
            )
    return differences


def once(call: Callable[[], Any], repeat: int = 1) -> float:
    """Seconds a call, over `repeat` calls."""
    start = time.perf_counter()
    for _ in range(repeat):
        result = call()
    elapsed = time.perf_counter() - start
    del result  # giving the memory of the last result back is not timed
    return elapsed / repeat


def repeats(call: Callable[[], Any]) -> int:
    """How many calls make a measurement that is long enough."""
    return max(1, math.ceil(_SHORTEST / once(call)))


def interleaved(
    calls: Mapping[str, Callable[[], Any]], rounds: int, budget: float, *, warm: bool = False
) -> dict[str, list[float]]:
    """Seconds a call of each function: one measurement each in every round, in an order that rotates.

    Parameters
    ----------
    calls : mapping of str to callable
        Warmed up already.
    rounds : int
    budget : float
        Seconds after which no further round is begun; at least three (or `rounds`) are done in any case.
    warm : bool
        Begin each turn with a call that is not timed: for what is done many times on end, such as an epoch, so that
        nobody pays for the memory that the one before has displaced.
    """
    repeat = {name: repeats(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    begun = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begun > budget:
            break
        names.append(names.pop(0))  # nobody is always the one after the same other
        for name in names:
            gc.collect()
            time.sleep(PAUSE)
            gc.disable()
            try:
                if warm:
                    calls[name]()
                times[name].append(once(calls[name], repeat[name]))
            finally:
                gc.enable()
    return times


@contextmanager
def others_share(children: Callable[[], Iterable[int]] = tuple) -> Iterator[list[float]]:
    """Yield a list that has, when the block ends, the fraction of the machine that other processes took.

    Processes that this one has started and waited for are none of these, nor are `children` that it has not waited for.

    Threads that wait for each other in busy loops, as OpenMP's do, take ten times longer when one of them is
    not running, so a disturbed measurement is not merely slow: it favours whoever waits least.
    """
    share = [0.0]
    busy, own, begun = _busy_seconds(), _own_seconds(children()), time.perf_counter()
    yield share
    used_by_others = (_busy_seconds() - busy) - (_own_seconds(children()) - own)
    share[0] = max(0.0, used_by_others / ((time.perf_counter() - begun) * (os.cpu_count() or 1)))


def _own_seconds(children: Iterable[int]) -> float:
    """Seconds that this process has computed, and its children: those that ended, and those with these numbers."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system + sum(map(_seconds_of, children))


def _seconds_of(process: int) -> float:
    """Seconds that a process has computed, and its own children that ended; 0 if it has ended, or nothing says so."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float:
    """Seconds all cores together were busy since the start; our own where the system does not tell."""
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return time.process_time()
    # user nice system idle iowait irq softirq steal
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def quartiles(values: list[float]) -> dict[str, float]:
    """Median and the quartiles on both sides."""
    low, median, high = np.quantile(np.array(values), [0.25, 0.5, 0.75])
    return {"median": float(median), "low": float(low), "high": float(high)}
