"""Half-lives of the units and of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatescope.checks.numbers import check_index, check_result
from gatescope.datatypes import HalfLife
from gatescope.datatypes.half_life import half_life_of
from gatescope.plotting import _palette
from gatescope.plotting._axes import count_axis, line_keywords, log_ticks
from gatescope.plotting._checks import check_drawable
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._text import legend_above, margin_note, plain_text
from gatescope.reporting.text import counted, steps

_GAP = 1.6  # the factor between the longest finite half-life and where infinite ones are put
_MARGIN = 10.0  # the greatest factor between the extremes and the ends of the axis


def plot_half_life(
    life: HalfLife, *, sequence: int = 0, ax: Axes | None = None, **artist_kwargs: Any
) -> Axes:
    """Draw the half-life of every unit by its gate, sorted, and the network's three estimates as lines.

    Steps are on a logarithmic axis.  What is infinite is drawn at the upper edge, where the axis says so, and a
    half-life of 0 at the lower one.  The band round the exponent's line is one standard error.

    Parameters
    ----------
    life : HalfLife
    sequence : int
        Which sequence of the batch.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the units' markers, for example ``markersize``.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    >>> ax = gs.plotting.plot_half_life(gs.half_life(params, np.ones((200, 1))))
    >>> len(ax.lines[0].get_xdata())
    8
    """
    check_result("life", life, HalfLife, "half_life")
    batch = life.by_adjoint.size
    b = check_index("sequence", sequence, batch, "sequences")
    units = np.sort(life.by_gate[b])
    # In this order, each above the one before where they coincide.
    network = {
        "slope of the adjoint": (life.by_adjoint[b], _palette.ORANGE, "-", 4.0),
        "leading exponent": (life.by_exponent[b], _palette.BLUE, _palette.DASH, 2.2),
        "gate, slowest unit": (life.slowest[b], _palette.BLACK, _palette.DOT, 1.6),
    }
    shown = [*units, *(value for value, *_ in network.values())]
    check_drawable("life", shown, logarithmic=True)
    low, high = _span(shown)
    with drawing_on(ax, 6.6, 4.2) as axes:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        rank = np.arange(1, units.size + 1)
        if not np.isnan(units).all():
            name = life.gate_text if life.gate else "what it keeps of itself"
            look: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": _palette.GREEN, "zorder": 3}
            look |= {"label": f"each unit, by {name} (median {steps(life.median[b])})", "clip_on": False}
            axes.plot(rank, np.clip(units, low, high), **line_keywords(artist_kwargs, markersize=4.5, **look))
        for name, (value, color, kind, width) in network.items():
            if np.isnan(value):
                continue
            look = {"color": color, "linestyle": kind, "linewidth": width, "zorder": 2, "clip_on": False}
            look["label"] = f"network, by {name}: {steps(value)}"
            axes.axhline(float(np.clip(value, low, high)), **look)
        _band(axes, float(life.exponent_rate[b]), float(life.exponent_error[b]), low, high)
        log_ticks(axes.yaxis)
        for outside, height, text in ((np.isposinf(shown).any(), 1, "infinite"), (0 in shown, 0, "0")):
            if outside:
                margin_note(axes, height, text)
        axes.set_xlim(0.5, units.size + 0.5)
        if np.isnan(units).all():
            axes.set_xticks([])
            axes.set_xlabel("no state of this cell is carried over by a gate, so units have no half-lives")
        else:
            count_axis(axes.xaxis)
            axes.set_xlabel("unit, by rising half-life")
        axes.set_ylabel("asymptotic half-life (steps)")
        where = f", sequence {b}" if batch > 1 else ""
        length = life.steps if life.lengths is None else int(life.lengths[b])
        transient = life.transient if life.transients is None else int(life.transients[b])
        verdict = ": the estimates disagree" if life.disagree[b] else ""
        legend_above(axes, f"{plain_text(life.cell)}{where}, {counted(length - transient, 'step')}{verdict}")
    return axes


def _span(values: list[Any]) -> tuple[float, float]:
    """Return limits of the axis: with space above the finite values if there are infinite ones."""
    array = np.array(values, np.float64)
    finite = array[np.isfinite(array) & (array > 0)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (1.0, 10.0)
    if high < 2 * low:  # at least a factor of two, so that equal values look equal
        low, high = low / 1.5, high * 1.5
    margin = min(high**0.05 / low**0.05, _MARGIN)
    below, above = (array == 0).any(), np.isposinf(array).any()
    return low / (_GAP if below else margin), high * (_GAP if above else margin)


def _band(axes: Axes, rate: float, error: float, low: float, high: float) -> None:
    if not (np.isfinite(rate) and np.isfinite(error)):
        return
    edges = np.clip(half_life_of([rate + error, rate - error]), low, high)
    axes.axhspan(edges[0], edges[1], color=_palette.BLUE, alpha=0.15, linewidth=0, zorder=1)
