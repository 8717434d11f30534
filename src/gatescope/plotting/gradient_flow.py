"""The norm of the gradient against how far back it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from gatescope.checks.numbers import check_choice, check_flag
from gatescope.datatypes import Array, GradientFlow
from gatescope.errors import ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._axes import finite_or_nan, line_keywords
from gatescope.plotting._checks import check_labels, check_results
from gatescope.plotting._decades import LN10, mark_underflow, scale_axes
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._text import derivative, legend_above

RATE_LINE = "decay rate in nats per step, from the broad pale line"
_POINTS = 4000  # more lags than this are thinned out: finer than the pixels of a figure


def plot_gradient_flow(
    flows: GradientFlow | Sequence[GradientFlow],
    *,
    labels: Sequence[str] | None = None,
    fit: bool = True,
    scale: Literal["linear", "log"] = "linear",
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw gradient norms against the lag, in powers of ten, far past where floating point gives 0.

    The axis says which norm it is: that of v J, with J the Jacobian, for one combination v of the outputs (a
    flow with ``norm="random"`` or ``"unit"``), or the greatest singular value of J (``"spectral"``).
    A flow over several sequences is drawn as their median, with a band from the least to the greatest.
    Where a gradient is exactly zero its line ends in a cross.  Shading marks norms that float32 and
    float64 cannot hold.

    Parameters
    ----------
    flows : GradientFlow or sequence of GradientFlow
    labels : sequence of str, optional
        One a flow, shown as it is: no ``$`` begins mathematics.  Default: the names of the cells, with what
        is differentiated where that differs.
    fit : bool
        Draw the line that each flow's ``decay_rate()`` fits, broad and pale, and give the rate in the
        legend.
    scale : {"linear", "log"}
        ``"linear"``: an exponential decay is a straight line and its slope is the rate.  ``"log"``: both the
        lag and the exponent of the norm grow by factors of ten, which shows rates that differ a lot.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the lines of the flows, for example ``linewidth``.

    Returns
    -------
    Axes
        Its lines hold log10 of the norms.

    Raises
    ------
    ValueRangeError
        If there is no flow, or one without a lag or a sequence.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> inputs = np.ones((50, 1), "float32")
    >>> cells = [gs.init(cell, input_size=1, hidden_size=8, seed=0) for cell in ("rnn", "gru")]
    >>> flows = [gs.gradient_flow(params, inputs) for params in cells]
    >>> ax = gs.plotting.plot_gradient_flow(flows, fit=False)
    >>> [line.get_label() for line in ax.lines[:2]]
    ['rnn', 'gru']
    """
    chosen: list[GradientFlow] = check_results("flows", flows, GradientFlow, "gradient_flow")
    for flow in chosen:
        if flow.log_norm.size == 0:
            problem = f"holds one of the {flow.cell} with no lag or no sequence"
            raise ValueRangeError(problem, argument="flows")
    same = len({(flow.of, flow.wrt, flow.side) for flow in chosen}) == 1
    names = check_labels(labels, [flow.cell if same else f"{flow.cell} {_ends(flow)}" for flow in chosen])
    check_flag("fit", fit)
    check_choice("scale", scale, ("linear", "log"))
    styles = _palette.cell_styles(flow.cell for flow in chosen)
    with drawing_on(ax, 7.2, 4.6) as axes:
        lowest, highest = 0.0, 0.0
        for flow, name, style in zip(chosen, names, styles, strict=True):
            low, high = _draw_flow(axes, flow, name, style, scale, fit, artist_kwargs)
            lowest, highest = min(lowest, low), max(highest, high)
        scale_axes(axes, scale, lowest, highest, max(1, *(int(flow.lag[-1]) for flow in chosen)))
        mark_underflow(axes)
        axes.set_ylabel(f"gradient norm  {_quantity(chosen)}")
        ways = {flow.side for flow in chosen}
        way = "ahead" if ways == {"future"} else "back or ahead" if len(ways) > 1 else "back"
        axes.set_xlabel(f"lag (steps {way})")
        legend_above(axes, RATE_LINE if fit and not all(flow.of_loss for flow in chosen) else None)
    return axes


def _draw_flow(
    axes: Axes,
    flow: GradientFlow,
    name: str,
    style: _palette.Style,
    scale: str,
    fit: bool,
    keywords: dict[str, Any],
) -> tuple[float, float]:
    """Draw one flow; return the least and the greatest of what is drawn."""
    lag, decades = flow.lag, flow.log_norm / LN10
    finite = finite_or_nan(decades)
    middle = finite_or_nan(np.median(decades, axis=1))  # -inf where half the sequences are exactly zero
    shown = _thin(lag, middle, scale)
    label = name
    line = None
    if fit:
        label, line = _fit_line(flow, name, middle)
    end = _zero_from(decades) - 1
    if end < 0:
        label += "; exactly 0 at every lag"
    elif end < lag.size - 1:
        label += f"; exactly 0 after lag {lag[end]:,}"
    # Flows often coincide: a thinner broken line on top of a broad whole one leaves both to be seen.
    width, order = (2.6, 3.0) if style.linestyle == "-" else (1.7, 3.5)
    look = {"linewidth": width, "label": label, "zorder": order, **style.line(lag.size)}
    axes.plot(lag[shown], middle[shown], **line_keywords(keywords, **look))
    if decades.shape[1] > 1:
        # fmin and fmax pass over NaN, and give it where a row has nothing else.
        low, high = np.fmin.reduce(finite[shown], axis=1), np.fmax.reduce(finite[shown], axis=1)
        axes.fill_between(lag[shown], low, high, color=style.color, alpha=0.18, linewidth=0)
    if 0 <= end < lag.size - 1:
        cross: dict[str, Any] = {"marker": "x", "markersize": 8, "markeredgewidth": 2}
        axes.plot(lag[[end]], middle[[end]], linestyle="none", color=style.color, zorder=4, **cross)
    if line is not None:
        # Broad and pale under the data: a thin line that fits well would be hidden by what it fits.
        axes.plot(*line, color=style.color, linewidth=6, alpha=0.28, linestyle=(0, (1.2, 0.6)), zorder=2)
    if not np.isfinite(finite).any():
        return 0.0, 0.0
    return float(np.nanmin(finite)), float(np.nanmax(finite))


def _zero_from(decades: Array) -> int:
    """Return the index of the first lag from which on at least half the sequences have a gradient of exactly 0."""
    alive = np.flatnonzero(np.count_nonzero(np.isneginf(decades), axis=1) * 2 < decades.shape[1])
    return int(alive[-1]) + 1 if alive.size else 0


def _fit_line(flow: GradientFlow, name: str, middle: Array) -> tuple[str, tuple[Array, Array] | None]:
    if flow.lag.size < 2 or flow.of_loss:
        return name, None
    rate = flow.decay_rate()
    inside = (flow.lag >= rate.fit_range[0]) & (flow.lag <= rate.fit_range[1])
    known = rate.is_rate
    if not known.any():
        few = (np.isfinite(flow.log_norm[inside]).sum(axis=0) < 3).all()
        return f"{name}: no {'rate (fewer than three norms above 0)' if few else 'single rate'}", None
    value, fits = float(np.median(rate.value[known])), float(np.median(rate.r_squared[known]))
    label = f"{name}: {value:.3g} (lags {rate.fit_range[0]:,} to {rate.fit_range[1]:,}, $R^2$ {fits:.3f})"
    inside &= np.isfinite(middle)
    if not inside.any():
        return label, None
    at, height = float(flow.lag[inside].mean()), float(middle[inside].mean())
    x = np.linspace(flow.lag[inside][0], flow.lag[inside][-1], 200)  # a curve on logarithmic axes
    return label, (x, height - value / LN10 * (x - at))


def _thin(lag: Array, middle: Array, scale: str) -> Array:
    """Return indices of the lags to draw: all, or `_POINTS` evenly over the axis, the ends of the line included."""
    if lag.size <= _POINTS:
        return np.arange(lag.size)
    if scale == "log":
        targets = np.geomspace(max(int(lag[0]), 1), int(lag[-1]), _POINTS)
        picks = np.searchsorted(lag, targets).clip(0, lag.size - 1)
    else:
        picks = np.linspace(0, lag.size - 1, _POINTS).round().astype(int)
    edge = np.flatnonzero(np.diff(np.isfinite(middle).astype(np.int8)))
    return np.unique(np.concatenate([[0], picks, edge, edge + 1, [lag.size - 1]]))


def _ends(flow: GradientFlow) -> str:
    """Return what is differentiated and with respect to what, as short as their names allow."""
    long = len(flow.of + flow.wrt) > len("jointjoint")
    ends = f"{flow.of} by {flow.wrt}" if long else f"d{flow.of}/d{flow.wrt}"
    return f"{ends} ahead" if flow.side == "future" else ends


def _quantity(flows: list[GradientFlow]) -> str:
    kinds = {(flow.of, flow.wrt, flow.norm == "spectral", flow.side) for flow in flows}
    if len(kinds) != 1:
        return ""
    ((of, wrt, spectral, side),) = kinds
    jacobian = derivative(of, wrt, rf"t{'+' if side == 'future' else '-'}\mathrm{{lag}}")
    if spectral:
        return rf"$\sigma_{{\max}}({jacobian})$"
    gradient = of.startswith("readout.") or of.endswith("loss")  # of one number, whose direction it is
    return rf"$\|{jacobian}\|$" if gradient else rf"$\|v\cdot {jacobian}\|$"
