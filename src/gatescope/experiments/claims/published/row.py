"""A published number beside the mean of ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatescope.datatypes import PublishedNumber


def row(what: str, published: float, source: str, ours: Any, why: str) -> PublishedNumber:
    """Return a published number beside the mean of ours, one a seed, with its standard error."""
    numbers = np.asarray(ours, np.float64)
    several = numbers.size > 1
    return PublishedNumber(
        what=what,
        published=published,
        source=source,
        measured=float(numbers.mean()),
        error=float(numbers.std(ddof=1) / math.sqrt(numbers.size)) if several else math.nan,
        seeds=int(numbers.size),
        why=why,
    )


def missing(what: str, published: float, source: str, why: str) -> PublishedNumber:
    """Return a published number of which nothing was measured, and why."""
    return PublishedNumber(what=what, published=published, source=source, why=f"not run: {why}")
