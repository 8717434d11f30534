"""What is timed of a competitor, whether it computes the same, and the middle of many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Competitor
from benchmarks.rows import FORWARD

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


def quartiles(values: list[float]) -> dict[str, float]:
    """Median and the quartiles on both sides."""
    low, median, high = np.quantile(np.array(values), [0.25, 0.5, 0.75])
    return {"median": float(median), "low": float(low), "high": float(high)}
