"""The map of where gradients vanish and where they explode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, FuncNorm, LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from gatescope.checks.numbers import check_choice, check_choices, check_result
from gatescope.datatypes import Array, PhaseDiagram
from gatescope.plotting import _palette
from gatescope.plotting._axes import cell_edges, finite_or_nan
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._style import inches, is_narrow
from gatescope.plotting._text import plain_text, wrapped

QUANTITIES = {
    "exponent": "leading exponent (nats per step)",
    "decay_rate": "decay rate of the gradient (nats per step)",
    "half_life": "asymptotic half-life (steps)",
}
# Blue where gradients vanish, orange where they explode.  Lightness rises all the way, so that a grey print tells the
# two apart as well; what is near 0 from either side differs in hue, and the line of the edge lies between.
_VANISHING = ((0.0, "#061d3d"), (0.5, "#1f5a94"), (1.0, "#6a9fcb"))
_EXPLODING = ((0.0, "#f2bd6b"), (0.5, "#f9dba6"), (1.0, "#fffaf0"))
_EDGE = "edge: neither vanishing nor exploding"
_GAIN = "gain of the recurrent weights"


def plot_phase_diagram(
    diagram: PhaseDiagram,
    *,
    quantity: Literal["exponent", "decay_rate", "half_life"] = "exponent",
    scheme: str | Sequence[str] | None = None,
    fig: FigureBase | None = None,
    **artist_kwargs: Any,
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw a phase diagram, a panel for each scheme: gain across, bias of the memory gate up, rate as color.

    Blue is where gradients vanish, orange where they explode, and the line between is the edge, where the rate is 0;
    blue is darker than orange at any value.  For half-lives the line is that of exponent 0, and beyond it they are
    infinite.  Crosses mark points whose states left the range of floating point.
    A diagram of one bias, or of one gain, is drawn as lines, with the standard error of the exponent as a band.

    Parameters
    ----------
    diagram : PhaseDiagram
    quantity : {"exponent", "decay_rate", "half_life"}
    scheme : str or sequence of str, optional
        Which schemes.  Default: all.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For ``Axes.pcolormesh``, or for the lines.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        By scheme.

    Examples
    --------
    >>> import gatescope as gs
    >>> diagram = gs.phase_diagram("gru", gain=[0.5, 1.0, 2.0], bias=[0.0, 2.0], hidden_size=8, steps=100)
    >>> fig, axes = gs.plotting.plot_phase_diagram(diagram)
    >>> list(axes)
    ['gaussian']
    """
    check_result("diagram", diagram, PhaseDiagram, "phase_diagram")
    check_choice("quantity", quantity, QUANTITIES)
    names = diagram.scheme if scheme is None else check_choices("scheme", scheme, diagram.scheme)
    names = tuple(dict.fromkeys(names))
    with drawing_in(fig, 1.6 + 3.4 * len(names), 4.0, 0.9 + 2.2 * len(names)) as figure:
        narrow = is_narrow(figure)
        shape = (len(names), 1) if narrow else (1, len(names))
        grid = np.atleast_1d(figure.subplots(*shape, sharex=narrow, sharey=True))
        axes = dict(zip(names, grid, strict=True))
        if min(diagram.gain.size, diagram.bias.size) == 1:
            _draw_lines(diagram, quantity, axes, artist_kwargs)
        else:
            _draw_maps(figure, diagram, quantity, axes, artist_kwargs)
        for name, ax in axes.items():
            ax.set_title(plain_text(name), loc="left")
        units = f"{diagram.hidden_size:,} units, {diagram.steps - diagram.transient:,} steps"
        if diagram.seeds > 1:
            units += f", mean of {diagram.seeds:,} networks a point"
        title = f"{plain_text(diagram.cell)}: {units}"
        size = matplotlib.rcParams["figure.titlesize"]
        figure.suptitle(wrapped(title, inches(figure)[0] - 0.1, size), x=0.01, ha="left")
    return figure, axes


def _draw_maps(
    figure: FigureBase, diagram: PhaseDiagram, quantity: str, axes: dict[str, Axes], keywords: dict[str, Any]
) -> None:
    rows = [diagram.scheme.index(name) for name in axes]
    values = getattr(diagram, quantity)
    cmap, norm, extend = _colors(values[rows], quantity)
    across, up = cell_edges(diagram.gain), cell_edges(diagram.bias)
    signed = diagram.exponent if quantity == "half_life" else values
    marks: dict[str, Any] = {}
    for row, ax in zip(rows, axes.values(), strict=True):
        # (N, G); -inf and 0 are shown as the least.
        shown = np.ma.masked_invalid(np.clip(values[row].T, norm.vmin, norm.vmax))
        shown[np.isposinf(values[row].T) & (quantity == "half_life")] = np.ma.masked
        ax.pcolormesh(across, up, shown, **{"cmap": cmap, "norm": norm, "rasterized": True, **keywords})
        ax.grid(False)
        ax.set_facecolor("white")
        if quantity == "half_life" and np.isposinf(values[row]).any():
            marks["infinite: no decay"] = Patch(facecolor="white", edgecolor=_palette.GREY)
        if _draw_edge(ax, diagram.gain, diagram.bias, signed[row].T):
            marks[_EDGE] = Line2D([], [], color="black", linewidth=1.6)
        gap = np.argwhere(diagram.diverged[row])
        if gap.size:
            cross: dict[str, Any] = {"linestyle": "none", "marker": "x", "color": _palette.GREY}
            ax.plot(diagram.gain[gap[:, 0]], diagram.bias[gap[:, 1]], **cross)
            marks["states left the range of floats"] = Line2D([], [], **cross)
        ax.label_outer()
    panels = list(axes.values())
    _label(axes, _GAIN, _bias_label(diagram))
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=panels, pad=0.02, aspect=28, extend=extend)
    bar.set_label(QUANTITIES[quantity])
    if isinstance(norm, FuncNorm):
        ticks = _ticks(float(norm.vmin or 0), float(norm.vmax or 0))
        bar.set_ticks(ticks, labels=[f"{value:.2g}".replace("-", "\N{MINUS SIGN}") for value in ticks])
        bar.minorticks_off()
    if marks:
        columns = 1 if is_narrow(figure) else 3
        figure.legend(list(marks.values()), list(marks), loc="outside lower left", ncols=columns)


def _label(axes: dict[str, Axes], x: str, y: str) -> None:
    """Label the panels at the left and at the bottom."""
    for ax in axes.values():
        place = ax.get_subplotspec()
        if place is not None and place.is_last_row():
            ax.set_xlabel(x)
        if place is not None and place.is_first_col():
            ax.set_ylabel(y)


def _bias_label(diagram: PhaseDiagram) -> str:
    return f"added to the bias of {_palette.describe(diagram.gate)}"


def _colors(values: Array, quantity: str) -> tuple[Colormap, Normalize, str]:
    """Return color map, norm, and at which ends of the bar values lie beyond it."""
    finite = values[np.isfinite(values)]
    if quantity == "half_life":
        positive = finite[finite > 0]
        low, high = (float(positive.min()), float(positive.max())) if positive.size else (1.0, 10.0)
        # Close to the edge half-lives grow without bound, and a few would take all shades.
        top = min(high, 1000 * float(np.median(positive))) if positive.size else high
        top = max(top, 1.1 * low)
        return colormaps["cividis"], LogNorm(low, top), "max" if high > top else "neither"
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (-1.0, 1.0)
    # An axis through 0 with something on either side, so that the hue always means the sign.
    span = max(-low, high, 1e-12)
    low, high = min(low, -0.02 * span), max(high, 0.02 * span)
    extend = "min" if np.isneginf(values).any() else "max" if np.isposinf(values).any() else "neither"
    return _diverging(reverse=quantity == "decay_rate"), _signed_roots(low, high), extend


def _diverging(reverse: bool) -> Colormap:
    stops = [(at / 2, color) for at, color in _VANISHING]
    stops += [(0.5 + at / 2, color) for at, color in _EXPLODING]
    cmap = LinearSegmentedColormap.from_list("vanishing_exploding", stops, N=512)
    return cmap.reversed() if reverse else cmap


def _signed_roots(low: float, high: float) -> Normalize:
    """Return a norm: either side of 0 has half of the colors, by the root of a value, as most happens near 0."""

    def forward(value: Any) -> Any:
        value = np.asarray(value, np.float64)
        return np.sign(value) * np.sqrt(np.abs(value) / np.where(value < 0, -low, high))

    def inverse(value: Any) -> Any:
        value = np.asarray(value, np.float64)
        return np.sign(value) * value**2 * np.where(value < 0, -low, high)

    return FuncNorm((forward, inverse), low, high)


def _ticks(low: float, high: float) -> list[float]:
    """Return 0, and on either side a round number near the end, near a quarter, and near a sixteenth of it."""
    ticks = {0.0}
    for end in (low, high):
        for fraction in (1, 1 / 4, 1 / 16):
            value = abs(end) * fraction
            power = 10 ** np.floor(np.log10(value))
            digit = max(d for d in (1, 2, 5) if d * power <= value * (1 + 1e-9))
            ticks.add(float(np.copysign(digit * power, end)))
    return sorted(ticks)


def _draw_edge(ax: Axes, gain: Array, bias: Array, values: Array) -> bool:
    """Draw the line where the values (N, G) are 0; return whether there is one."""
    known = np.ma.masked_invalid(values)
    if not (known.count() and known.min() < 0 < known.max()):
        return False
    line = ax.contour(gain, bias, known, levels=[0.0], colors="black", linewidths=1.6)
    line.set_path_effects([withStroke(linewidth=3.2, foreground="white")])
    return True


def _draw_lines(
    diagram: PhaseDiagram, quantity: str, axes: dict[str, Axes], keywords: dict[str, Any]
) -> None:
    at, label = diagram.gain, _GAIN
    if diagram.bias.size > 1:
        at, label = diagram.bias, _bias_label(diagram)
    style = _palette.cell_styles([diagram.cell])[0]
    for name, ax in axes.items():
        row = diagram.scheme.index(name)
        values = getattr(diagram, quantity)[row].reshape(-1)
        shown = finite_or_nan(values)
        ax.plot(at, shown, **{"color": style.color, "marker": style.marker, **keywords})
        if quantity == "exponent":
            error = diagram.exponent_error[row].reshape(-1)
            ax.fill_between(at, shown - error, shown + error, color=style.color, alpha=0.2, linewidth=0)
        if quantity == "half_life":
            ax.set_yscale("log")
            endless = np.isposinf(values)
            if endless.any():
                top = np.nanmax(shown) * 2 if np.isfinite(shown).any() else 1.0
                mark: dict[str, Any] = {"linestyle": "none", "marker": "^", "fillstyle": "none"}
                label = "infinite: no decay"
                ax.plot(at[endless], np.full(endless.sum(), top), color=style.color, label=label, **mark)
                ax.legend(loc="best")
        else:
            ax.axhline(0, color=_palette.GREY, linewidth=0.8, zorder=1)
    _label(axes, label, QUANTITIES[quantity])
