"""Fair timing on a machine that is not quiet: everybody in turn, many rounds."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

# A measurement of less than this is repeated within a round: a switch of tasks costs a few milliseconds.
_SHORTEST = 0.03
# Idle threads of OpenMP and of others wait in a busy loop for some milliseconds before they sleep.
PAUSE = 0.02


def once(call: Callable[[], Any], repeat: int = 1) -> float:
    """Return the seconds of a call, over `repeat` calls."""
    start = time.perf_counter()
    for _ in range(repeat):
        result = call()
    elapsed = time.perf_counter() - start
    del result  # giving the memory of the last result back is not timed
    return elapsed / repeat


def repeats(call: Callable[[], Any]) -> int:
    """Return how many calls make a measurement that is long enough."""
    return max(1, math.ceil(_SHORTEST / once(call)))


def interleaved(
    calls: Mapping[str, Callable[[], Any]], rounds: int, budget: float, *, warm: bool = False
) -> dict[str, list[float]]:
    """Return the seconds of a call of each function: one measurement each in every round, in an order that rotates.

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
