"""What axes of several plots have in common: ticks, borders of cells, what is drawn of many values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import cbook
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    StrMethodFormatter,
)

from gatescope.datatypes import Array
from gatescope.plotting._style import is_narrow


def count_axis(axis: Any) -> None:
    """Label an axis that counts steps, lags or units: whole numbers, thousands set apart."""
    axis.set_major_locator(MaxNLocator(nbins=5 if is_narrow(axis.axes.figure) else 7, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def log_ticks(axis: Axis) -> None:
    """Put several plain numbers on a logarithmic axis however short or long it is; on a very long one powers of ten."""
    low, high = axis.get_view_interval()
    if high / low < 12:
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    if low < 1e-4 or high > 1e6:
        axis.set_major_formatter(LogFormatterMathtext())
    else:
        axis.set_major_formatter(FuncFormatter(lambda v, _at: f"{v:,.0f}" if v >= 1000 else f"{v:.4g}"))
    axis.set_minor_formatter(NullFormatter())


def finite_or_nan(values: Array) -> Array:
    """Return the values with NaN in the place of infinite ones: where there is nothing to draw the pen is lifted."""
    return np.where(np.isfinite(values), values, np.nan)


def cell_edges(centers: Array) -> Array:
    """Return the borders of a map's cells, halfway between their centers."""
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])


def evenly(count: int, limit: int) -> Array:
    """Return at most `limit` of 0, 1, ..., count - 1, evenly apart, the first and the last included."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int))


def line_keywords(keywords: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
    """Return the keywords of a line: the caller's, in long or short spelling, before ours."""
    return {**ours, **cbook.normalize_kwargs(dict(keywords), Line2D)}
