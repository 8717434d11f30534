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
        longest, source_step = arguments["max_lag"], arguments["source_step"]
        if longest is None:  # as many as there are steps before the state
            longest = source_step if source_step >= 0 else len(job.series.values) + 1 + source_step
        arguments["lags"] = thinned(longest)


def thinned(longest: int) -> Array | None:
    """Return lags from 0 to the longest, or None for all where they are few enough."""
    if longest <= _MOST_LAGS:
        return None
    even = np.linspace(0, longest, _MOST_LAGS).round().astype(np.int64)
    logarithmic = np.geomspace(1, longest, _LOGARITHMIC).round().astype(np.int64)
    return np.unique(np.concatenate([even, logarithmic]))
