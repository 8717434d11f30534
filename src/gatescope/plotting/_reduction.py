"""What is drawn of more values than there are pixels: of a run of neighbors their mean, least, greatest or largest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from gatescope.datatypes import Array
from gatescope.plotting._style import inches
from gatescope.plotting._text import room

_SHARE = 0.85  # of their width axes leave to a map, and the rest to its color bar
_BESIDE, _ABOVE = 1.0, 0.8  # inches of texts: labels and ticks of axes and color bar; title, ticks and label


class Bins(NamedTuple):
    """Values averaged over runs of `size` of them (the last run may be shorter)."""

    size: int
    mean: Array
    low: Array
    high: Array


class Cells(NamedTuple):
    """A map with at most a cell a pixel."""

    values: Array
    across: Array  # borders of its columns
    up: Array  # borders of its rows
    note: str  # what a cell is of several, in words; empty where nothing was put together


def pixels(axes: Axes, *, texts: float = 0.0, part: float = 1.0) -> tuple[int, int]:
    """Return about how many columns and rows of pixels a map beside a color bar will have: as many cells can be seen.

    A figure has so many inches of `texts` besides a title, ticks and a label, and the map that `part` of its height.
    """
    figure = axes.figure
    across, up = _SHARE * room(axes), room(axes, height=True)
    if figure.get_layout_engine() is not None:
        # Once it is laid out axes have all that the texts leave, which are as large in every figure.
        sides, (wide, high) = figure.subplotpars, inches(figure)
        across *= max(1 - _BESIDE / wide, 0.1) / (sides.right - sides.left)
        up *= max(1 - (_ABOVE + texts) / high, 0.1) / (sides.top - sides.bottom)
    return max(1, int(across * figure.dpi)), max(1, int(part * up * figure.dpi))


def bin_means(series: Array, limit: int) -> Bins:
    """Return mean, minimum and maximum along axis 0 over equal runs, as short as leaves at most `limit` of them."""
    size = -(-len(series) // limit)
    if size == 1:
        return Bins(1, series, series, series)
    starts = np.arange(0, len(series), size)
    counts = np.diff(np.append(starts, len(series))).reshape(-1, *(1,) * (series.ndim - 1))
    # float64 sums: a run may be thousands of float32 values long, and hold infinities of both signs
    with np.errstate(invalid="ignore"):
        mean = np.add.reduceat(series, starts, axis=0, dtype=np.float64) / counts
    return Bins(
        size, mean, np.minimum.reduceat(series, starts, axis=0), np.maximum.reduceat(series, starts, axis=0)
    )


def thinned(series: Array, steps: range, points: int, bins: int) -> tuple[Array, Bins]:
    """Return steps (N,) and values (N, K) at them; of more than `points` steps the means over `bins` runs."""
    binned = bin_means(series, points if len(series) <= points else bins)
    at = np.arange(steps.start, steps.stop, steps.step)
    if binned.size == 1:
        return at, binned
    return bin_means(at.astype(np.float64), bins).mean, binned


def largest(values: Array, across: Array, up: Array, limits: tuple[int, int]) -> Cells:
    """Return a map of logarithms, narrow cells put together as the largest of them; NaN counts where all are NaN.

    Borders `across` and `up` need not be even; `limits` are the most columns and rows that can be seen.
    """
    columns, rows = (_starts(edges, limit) for edges, limit in zip((across, up), limits, strict=True))
    shown = np.fmax.reduceat(np.fmax.reduceat(values, rows, axis=0), columns, axis=1)
    note = ""
    if shown.size < values.size:
        # The last run has what is left, a few cells more or less.
        counts = [
            np.diff(starts) if len(starts) > 1 else np.array([size])
            for starts, size in zip((rows, columns), values.shape, strict=True)
        ]
        even = all((count == count[0]).all() for count in counts)
        sizes = " × ".join(f"{count.max()}" for count in counts)
        note = f"each cell drawn is the largest of {'' if even else 'up to '}{sizes}"
    return Cells(shown, np.append(across[columns], across[-1]), np.append(up[rows], up[-1]), note)


def _starts(edges: Array, limit: int) -> Array:
    """Return the first cells of runs that are as short as leaves none narrower than one of `limit` even parts."""
    least = (edges[-1] - edges[0]) / limit * (1 - 1e-9)
    starts = [0]
    while (at := int(np.searchsorted(edges, edges[starts[-1]] + least))) < len(edges) - 1:
        starts.append(at)
    if len(starts) > 1 and edges[-1] - edges[starts[-1]] < least:
        starts.pop()  # what is left at the end is no pixel
    return np.array(starts)
