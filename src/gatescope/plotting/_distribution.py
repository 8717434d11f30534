"""How the values of a gate are distributed, as bars beside curves on the same scale of values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch

from gatescope.datatypes import Array, Trace
from gatescope.plotting import _palette
from gatescope.plotting._style import is_narrow, small
from gatescope.plotting._trace_view import LARGEST, values

_BARS = 40
_CHUNK = 1 << 22  # values counted together: bounds the memory on long runs


class Distribution(NamedTuple):
    """How the values of a gate are distributed, over steps, sequences and units."""

    edges: Array  # (N+1,)
    percent: Array  # (N,) of all values
    outside: float  # of all values, in percent: not finite
    opening: bool  # whether it goes from 0 to 1, and the bars too

    def text(self, *, narrow: bool) -> str:
        """Return how much of a gate is shut and open, in two lines where the axes are narrow."""
        if self.outside > 1e-9:
            return f"{self.outside:.0f} % not finite"
        if not self.opening:
            return ""
        tenth = _BARS // 10
        shut, opened = (f"{part.sum():.0f} %" for part in (self.percent[:tenth], self.percent[-tenth:]))
        return f"{shut} <0.1,{chr(10) if narrow else ' '}{opened} >0.9"


def value_edges(name: str, traces: Sequence[Trace]) -> Array:
    """Return edges of bars: over all that a gate can be, or all that is there."""
    bounds = traces[0].bounds(name)
    if bounds is not None:
        return np.linspace(*bounds, _BARS + 1)
    low, high = np.inf, -np.inf
    for trace in traces:
        for part in _parts(trace, name):
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    low, high = max(low, -LARGEST), min(high, LARGEST)
    if not low < high:
        low, high = (low - 0.5, low + 0.5) if np.isfinite(low) else (-1.0, 1.0)
    return np.linspace(low, high, _BARS + 1)


def distribution(trace: Trace, name: str, edges: Array) -> Distribution:
    """Return how the values of a gate or state are distributed over the bars, each sequence to its own end."""
    counts = np.zeros(edges.size - 1, np.int64)
    for part in _parts(trace, name):
        # A gate that rounds to a little more than 1 belongs to the last bar.
        counts += np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0]
    total = max(int(trace.lengths.sum()) * trace.states.shape[3], 1)
    opening = (edges[0], edges[-1]) == trace.bounds(name) == (0, 1)
    return Distribution(edges, 100 * counts / total, 100 * (1 - counts.sum() / total), opening)


def draw_bars(axes: Axes, shown: Distribution, name: str) -> StepPatch:
    """Draw a distribution sideways, beside curves on the same scale of values; return its bars."""
    color = _palette.gate_styles((name,))[0].color
    axes.set_title(shown.text(narrow=is_narrow(axes.figure)), loc="left", fontsize=small())
    return axes.stairs(
        shown.percent, shown.edges, orientation="horizontal", fill=True, color=color, alpha=0.75
    )


def frame_percent(panels: Any, largest: float) -> None:
    """Set up the axes of percents, (rows, columns): by roots, since one gate that is always shut would flatten all."""
    for ax in panels.flat:
        ax.set_xscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0)), np.square))
        ax.set_xlim(0, min(1.1 * largest, 100))
        ax.set_xticks([tick for tick in (0, 1, 4, 10, 25, 50, 100) if tick <= 1.1 * largest])
    for ax in panels[-1]:
        ax.set_xlabel("% of values (root scale)")


def _parts(trace: Trace, name: str) -> Iterable[Array]:
    """Yield the finite values of a gate or state that belong to sequences, a piece at a time."""
    array, mask = values(trace, name), trace.mask
    chunk = max(1, _CHUNK // max(array[0].size, 1))
    for start in range(0, len(array), chunk):
        part = array[start : start + chunk][mask[start : start + chunk]]
        part = part[np.isfinite(part)]
        if part.size:
            yield part
