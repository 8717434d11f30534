"""Lags of ``gatescope measure gradient-flow`` over a long series: as many as can be told apart in a figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.cli.measure.command import Job
from gatescope.datatypes import Array

_MOST_LAGS = 100_000
_LOGARITHMIC = 2000  # of them, evenly spaced in the logarithm


def arguments(job: Job, arguments: dict[str, Any]) -> None:
    """Thin out the lags of a long series, unless they were given."""
    if arguments["lags"] is None and arguments["norm"] != "spectral" and job.series is not None:
        longest = arguments["max_lag"]
        if longest is None:
            longest = reach(arguments["source_step"], len(job.series.values))
        arguments["lags"] = thinned(longest)


def thinned(longest: int) -> Array | None:
    """Return lags from 0 to the longest, or None for all where they are few enough."""
    if longest <= _MOST_LAGS:
        return None
    even = np.linspace(0, longest, _MOST_LAGS).round().astype(np.int64)
    return np.unique(np.concatenate([even, spaced(longest, _LOGARITHMIC)]))


def reach(source_step: int, steps: int) -> int:
    """Return the longest lag there is: how many steps lie before the state."""
    return max(1, source_step if source_step >= 0 else steps + 1 + source_step)


def spaced(longest: int, count: int) -> Array:
    """Return lags from 1 to the longest, evenly spaced in the logarithm."""
    return np.unique(np.geomspace(1, longest, count).round().astype(np.int64))
