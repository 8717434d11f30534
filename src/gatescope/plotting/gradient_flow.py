"""The norm of the gradient against how far back it reaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gatescope.datatypes import Array, GradientFlow
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._style import count_axis, drawing_on, line_keywords, plain_text

_LN10 = math.log(10)
_POINTS = 4000  # more lags than this are thinned out: finer than the pixels of a figure

# log10 of the smallest number above zero, 2^-149 and 2^-1074: what is smaller, autograd gives as 0.
UNDERFLOW = {"float32": -149 * math.log10(2), "float64": -1074 * math.log10(2)}


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
    DtypeError
        If `flows` holds something else than GradientFlow objects.
    ShapeError
        If there is not one label a flow.
    ValueRangeError
        If `flows` is empty or `scale` is not known.

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
    chosen = _check_flows(flows)
    names = _check_labels(chosen, labels)
    if scale not in ("linear", "log"):
        raise ValueRangeError(f"scale={scale!r} is not known; choose 'linear' or 'log'")
    with drawing_on(ax, 7.2, 4.6) as axes:
        lowest, highest = 0.0, 0.0
        for flow, name, style in zip(
            chosen, names, _palette.cell_styles(f.cell for f in chosen), strict=True
        ):
            low, high = _draw_flow(axes, flow, name, style, scale, fit, artist_kwargs)
            lowest, highest = min(lowest, low), max(highest, high)
        scale_axes(axes, scale, lowest, highest, max(1, *(int(flow.lag[-1]) for flow in chosen)))
        mark_underflow(axes)
        axes.set_ylabel(f"gradient norm  {_quantity(chosen)}")
        axes.set_xlabel("lag (steps back)")
        title = "decay rate in nats per step, from the broad pale line" if fit else None
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), title=title, alignment="left")
    return axes


def _check_flows(flows: object) -> list[GradientFlow]:
    listed = [flows] if isinstance(flows, GradientFlow) else flows
    if not isinstance(listed, Sequence) or not all(isinstance(flow, GradientFlow) for flow in listed):
        raise DtypeError(
            "flows must hold gatescope GradientFlow objects, as gatescope.gradient_flow returns them,"
            f" not {flows!r:.80}"
        )
    if not listed:
        raise ValueRangeError("flows is empty; give at least one GradientFlow")
    for flow in listed:
        if flow.lag.size == 0 or flow.log_norm.size == 0:
            raise ValueRangeError(
                f"flows holds one of the {flow.cell} with no lag or no sequence; measure at least one"
            )
    return list(listed)


def _check_labels(flows: list[GradientFlow], labels: Sequence[str] | None) -> list[str]:
    if labels is None:
        same = len({(flow.of, flow.wrt) for flow in flows}) == 1
        listed = [flow.cell if same else f"{flow.cell} d{flow.of}/d{flow.wrt}" for flow in flows]
        return [plain_text(label) for label in listed]
    if isinstance(labels, str) or len(labels) != len(flows):
        raise ShapeError(f"labels={labels!r} must hold one text a flow; there are {len(flows)} flows")
    return [plain_text(str(label)) for label in labels]


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
    lag, decades = flow.lag, flow.log_norm / _LN10
    finite = np.where(np.isfinite(decades), decades, np.nan)  # NaN lifts the pen
    middle = np.median(decades, axis=1)  # -inf where half the sequences are exactly zero
    middle = np.where(np.isfinite(middle), middle, np.nan)
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
    point = {"marker": style.marker} if lag.size == 1 else {}  # a line of one point shows nothing
    axes.plot(
        lag[shown],
        middle[shown],
        **line_keywords(keywords, linewidth=width, label=label, zorder=order, **style.line(), **point),
    )
    if decades.shape[1] > 1:
        low, high = _range(finite[shown])
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
    """Index of the first lag from which on at least half the sequences have a gradient of exactly 0."""
    alive = np.flatnonzero(np.count_nonzero(np.isneginf(decades), axis=1) * 2 < decades.shape[1])
    return int(alive[-1]) + 1 if alive.size else 0


def _range(finite: Array) -> tuple[Array, Array]:
    """Least and greatest finite value of each row, NaN where a row has none."""
    empty = np.isnan(finite).all(axis=1)
    low = np.where(np.isnan(finite), np.inf, finite).min(axis=1)
    high = np.where(np.isnan(finite), -np.inf, finite).max(axis=1)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _fit_line(flow: GradientFlow, name: str, middle: Array) -> tuple[str, tuple[Array, Array] | None]:
    if flow.lag.size < 2:
        return name, None
    rate = flow.decay_rate()
    inside = (flow.lag >= rate.fit_range[0]) & (flow.lag <= rate.fit_range[1])
    # Through two points any line fits, so that neither its slope nor its R^2 tells anything.
    known = np.isfinite(rate.value) & (np.isfinite(flow.log_norm[inside]).sum(axis=0) > 2)
    if not known.any():
        return f"{name}: no rate (fewer than three norms above 0)", None
    value, fits = float(np.median(rate.value[known])), float(np.median(rate.r_squared[known]))
    label = f"{name}: {value:.3g} (lags {rate.fit_range[0]:,} to {rate.fit_range[1]:,}, $R^2$ {fits:.3f})"
    inside &= np.isfinite(middle)
    if not inside.any():
        return label, None
    at, height = float(flow.lag[inside].mean()), float(middle[inside].mean())
    x = np.linspace(flow.lag[inside][0], flow.lag[inside][-1], 200)  # a curve on logarithmic axes
    return label, (x, height - value / _LN10 * (x - at))


def _thin(lag: Array, middle: Array, scale: str) -> Array:
    """Indices of the lags to draw: all, or so many evenly over the axis, the ends of the line included."""
    if lag.size <= _POINTS:
        return np.arange(lag.size)
    if scale == "log":
        wanted = np.geomspace(max(int(lag[0]), 1), int(lag[-1]), _POINTS)
        picks = np.searchsorted(lag, wanted).clip(0, lag.size - 1)
    else:
        picks = np.linspace(0, lag.size - 1, _POINTS).round().astype(int)
    edge = np.flatnonzero(np.diff(np.isfinite(middle).astype(np.int8)))
    return np.unique(np.concatenate([[0], picks, edge, edge + 1, [lag.size - 1]]))


def scale_axes(axes: Axes, scale: str, lowest: float, highest: float, last: int) -> None:
    room = 0.04 * max(highest - lowest, 1.0)
    if scale == "log":
        axes.set_xscale("symlog", linthresh=1, linscale=0.3)
        axes.set_yscale("symlog", linthresh=1, linscale=0.5)
        axes.set_ylim(lowest * 1.5 - 0.5, highest * 1.5 + 0.5)
        axes.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        axes.set_xlim(0, last * 1.1)
        return
    axes.set_ylim(lowest - room, highest + room)
    axes.set_xlim(0, last)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=highest - lowest > 3))
    axes.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
    count_axis(axes.xaxis)


def mark_underflow(axes: Axes) -> None:
    """Shade what floating point cannot hold, and say so in the right margin, where no line can be."""
    bottom = axes.get_ylim()[0]
    reached = [(kind, level) for kind, level in UNDERFLOW.items() if level > bottom]
    marks: list[tuple[str, float]] = []
    for (kind, level), shade in zip(reached, ("0.955", "0.90"), strict=False):
        below = next((other for _, other in reached if other < level), bottom)
        axes.axhspan(below, level, color=shade, linewidth=0, zorder=0)
        axes.axhline(level, color=_palette.GREY, linewidth=0.8, zorder=1)
        marks.append((kind, level))
    # Both levels are one line of text high or less apart when the norms fall very far.
    to_axes = axes.transScale + axes.transLimits
    heights = [float(to_axes.transform((1, level))[1]) for _, level in marks]
    if len(marks) == 2 and heights[0] - heights[1] < 0.09:
        marks, heights = [("float32 and\nfloat64", marks[1][1])], heights[1:]
    for (kind, _), height in zip(marks, heights, strict=True):
        axes.text(
            1.01,
            height,
            f"{kind}\nunderflow" + ("s" if "and" not in kind else ""),
            transform=axes.transAxes,
            va="top",
            fontsize=8.5,
        )


def power_of_ten(value: float, _position: int | None = None) -> str:
    if value == 0:
        return "1"
    if value != round(value):
        return f"{10**value:.2g}"
    exponent = f"{int(value)}" if abs(value) < 10_000 else f"{int(value):,}".replace(",", "{,}")
    return f"$10^{{{exponent}}}$"


def _quantity(flows: list[GradientFlow]) -> str:
    kinds = {(flow.of, flow.wrt, flow.norm == "spectral") for flow in flows}
    if len(kinds) != 1:
        return ""
    ((target, state, spectral),) = kinds
    over, under = ("s" if name == "joint" else name for name in (target, state))
    jacobian = rf"\partial {over}_t\,/\,\partial {under}_{{t-\mathrm{{lag}}}}"
    return rf"$\sigma_{{\max}}({jacobian})$" if spectral else rf"$\|v\cdot {jacobian}\|$"
