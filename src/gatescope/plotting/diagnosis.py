"""A diagnosis on one page: what is wrong, in sentences, and the measurements that say so."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from gatescope.checks.numbers import check_result
from gatescope.datatypes import Diagnosis
from gatescope.datatypes.diagnosis_sentences import cleaned
from gatescope.errors import ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._style import COLUMN_WIDTH, in_column, inches, is_narrow
from gatescope.plotting._text import legend_above, margin_note, plain_text, width_of, wrapped
from gatescope.plotting.gradient_flow import RATE_LINE, plot_gradient_flow
from gatescope.plotting.gradient_paths import plot_gradient_paths
from gatescope.reporting.text import number, steps

_WIDTH = 11.5
_ROW = 3.3  # inches, of a row of panels
_FEW = 5  # bars, for which there is space at least
_BAR = 0.3  # inches, of a bar or a gate
_LINE = 0.17  # inches, of a line of text
_TITLE = 0.1  # inches, below the title and the sentences
_FONT = 9.0
_NEAR_FAR = "0.93"  # the band of near-critical exponents

PANELS = ("sentences", "flow", "paths", "gates", "exponents", "clamped")


def plot_diagnosis(result: Diagnosis, *, fig: FigureBase | None = None) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw a diagnosis: its sentences, the gradient's decay, its paths, the gates, the exponents, and counterfactuals.

    The grey band in the panels of exponents is where a cell is near-critical.  Of the gates, the thin line goes from
    5 to 95 % of the values, the thick one from 25 to 75 %; the mark is the mean and the dash the median.

    Parameters
    ----------
    result : Diagnosis
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure, as high as the sentences need.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        ``"sentences"``, ``"flow"``, ``"paths"``, ``"gates"``, ``"exponents"`` and ``"clamped"``.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=8, seed=0)
    >>> result = gs.diagnose(params, np.random.default_rng(0).standard_normal((200, 1)))
    >>> fig, axes = gs.plotting.plot_diagnosis(result)
    >>> sorted(axes)
    ['clamped', 'exponents', 'flow', 'gates', 'paths', 'sentences']
    """
    check_result("result", result, Diagnosis, "diagnose")
    bars = len(result.clamped_gate) + 1 + bool(result.suggestion)
    narrow = in_column() if fig is None else isinstance(fig, FigureBase) and is_narrow(fig)
    width = inches(fig)[0] if isinstance(fig, FigureBase) else COLUMN_WIDTH if narrow else _WIDTH
    size = _FONT - (1.5 if narrow else 0)
    lines = _bulleted(result, 0.95 * (width - 0.2), size)  # letters of few pixels come out up to 5 % wider
    last = max(_ROW, _BAR * bars + 1)
    rows = (2.6, 3.0, _BAR * len(result.gates) + 0.9, 1.8, 0.7 * last) if narrow else (_ROW, last)
    heights = (_LINE * size / _FONT * len(lines) + _TITLE + (0.25 if narrow else 0), *rows)
    with drawing_in(fig, _WIDTH, sum(heights), sum(heights)) as figure:
        if narrow:  # in parts, each with margins of its own
            parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
            panels = [part.add_subplot() for part in parts]
        else:
            grid = figure.add_gridspec(3, 1, height_ratios=heights)
            middle = grid[1].subgridspec(1, 2, width_ratios=(1, 0.9), wspace=0.04)
            lower = grid[2].subgridspec(1, 3, width_ratios=(1, 0.6, 1), wspace=0.09)
            cells = (grid[0], middle[0], middle[1], lower[0], lower[1], lower[2])
            panels = [figure.add_subplot(cell) for cell in cells]
        axes = dict(zip(PANELS, panels, strict=True))
        _sentences(axes["sentences"], result, lines, size)
        _flow(axes["flow"], result)
        _paths(axes["paths"], result)
        _gates(axes["gates"], result)
        _exponents(axes["exponents"], result)
        _clamped(axes["clamped"], result)
    return figure, axes


def _bulleted(result: Diagnosis, width: float, size: float) -> list[str]:
    """Return the sentences in lines of so many inches."""
    space = width - width_of("•  ", size)
    return [
        f"{'    ' if k else '•  '}{line}"
        for text in result.sentences
        for k, line in enumerate(wrapped(plain_text(text), space, size).split("\n"))
    ]


def _sentences(axes: Axes, result: Diagnosis, lines: list[str], size: float) -> None:
    axes.set_axis_off()
    axes.set_title(f"{plain_text(result.cell)}: {result.verdict}", fontweight="bold", fontsize=size + 3.5)
    axes.text(0, 1, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=size, linespacing=1.35)


def _flow(axes: Axes, result: Diagnosis) -> None:
    plot_gradient_flow(result.flow, ax=axes)
    last, dtype = float(result.flow.lag[-1]), result.provenance.get("dtype", "floating point")
    marks = {
        "half_life_exponent": ("half-life by the exponent", _palette.VERMILLION, _palette.DASH),
        "reach": (f"below what {dtype} can tell", _palette.BLACK, _palette.DOT),
    }
    for name, (label, color, kind) in marks.items():
        at = result.numbers.get(name, np.inf)
        if 0 < at <= last:
            look: dict[str, Any] = {"color": color, "linestyle": kind, "linewidth": 1.6, "zorder": 3}
            axes.axvline(at, label=f"{label}: {steps(at)}", **look)
    legend_above(axes, RATE_LINE)  # again: the marks are new


def _paths(axes: Axes, result: Diagnosis) -> None:
    try:
        plot_gradient_paths(result.paths, ax=axes)
    except ValueRangeError:  # nothing is left of the gradient at any lag
        _nothing(axes, "no gradient is left after a step:\nthere are no paths to tell apart")
        return
    axes.set_ylabel("fraction of the parts' norms")
    if result.paths.total_log_norm.shape[1] > 1:
        axes.set_title(f"{axes.get_title(loc='left')}, sequence 0", loc="left")


def _gates(axes: Axes, result: Diagnosis) -> None:
    if not result.gates:
        _nothing(axes, "no values of gates are saved for this cell")
        return
    signed = bool((result.quantiles < 0).any())
    for row, style in enumerate(_palette.gate_styles(result.gates)):
        low, quarter, median, upper, high = result.quantiles[row]
        bar: dict[str, Any] = {"color": style.color, "clip_on": False, "zorder": 2}
        axes.plot([low, high], [row, row], linewidth=1.4, **bar)
        axes.plot([quarter, upper], [row, row], linewidth=7, alpha=0.45, solid_capstyle="butt", **bar)
        mark: dict[str, Any] = {"linestyle": "none", "clip_on": False}
        axes.plot(median, row, marker="|", color="black", markersize=13, zorder=3, **mark)
        mark |= {"marker": style.marker, "color": style.color, "markeredgecolor": "white"}
        axes.plot(result.mean[row], row, markersize=7, zorder=4, **mark)
        if np.isfinite(result.shut[row]):
            margin_note(axes, row, f"shut {result.shut[row]:.0%}\nopen {result.open[row]:.0%}", data=True)
    axes.set_xlim((-1 if signed else 0), 1)
    axes.set_ylim(len(result.gates) - 0.4, -0.6)
    axes.set_yticks(range(len(result.gates)), [_palette.describe(plain_text(gate)) for gate in result.gates])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("value")
    axes.set_title("the gates' values")


def _exponents(axes: Axes, result: Diagnosis) -> None:
    values, errors = result.spectrum.exponents.mean(axis=0), result.spectrum.error.mean(axis=0)
    rank = np.arange(1, values.size + 1)
    finite = np.isfinite(values)
    _band(axes.axhspan, axes.axhline, result)
    if finite.any():
        look: dict[str, Any] = {"color": _palette.BLUE, "marker": "o", "linestyle": "none", "capsize": 3}
        spread = np.nan_to_num(3 * errors[finite])
        axes.errorbar(rank[finite], values[finite], spread, zorder=3, clip_on=False, **look)
    else:
        axes.text(0.5, 0.5, "all are\nminus infinity", transform=axes.transAxes, ha="center", va="center")
    axes.set_xticks(rank)
    axes.set_xlim(0.5, values.size + 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel("number")
    axes.set_ylabel("exponent (nats per step)")
    axes.set_title("the leading\nexponents, ±3 errors")


def _clamped(axes: Axes, result: Diagnosis) -> None:
    rows: list[tuple[str, float, dict[str, Any]]] = [
        ("as it is", result.number("exponent"), {"color": _palette.GREY})
    ]
    styles = dict(zip(result.gates, _palette.gate_styles(result.gates), strict=True))
    for gate, at, value in zip(result.clamped_gate, result.clamped_at, result.clamped_exponent, strict=True):
        name = f"{plain_text(gate)} clamped {'open' if at == 'open' else 'at its mean'}"
        hatch = None if at == "open" else "////"
        rows.append((name, float(value), {"color": styles[gate].color, "hatch": hatch, "edgecolor": "white"}))
    if result.suggestion:
        change = (
            f"{result.suggested_value:+g} on the bias of {plain_text(result.suggested_gate)}"
            if result.suggestion == "bias"
            else f"weight_hh × {result.suggested_value:g}"
        )
        outline = {"color": "white", "edgecolor": "black", "linewidth": 1.3}
        rows.append((change, result.numbers.get("suggested_exponent", np.nan), outline))
    _band(axes.axvspan, axes.axvline, result)
    shown = [value if np.isfinite(value) else 0.0 for _, value, _ in rows]
    for row, ((_, value, style), length) in enumerate(zip(rows, shown, strict=True)):
        axes.barh(row, length, height=0.62, zorder=2, **{"linewidth": 0, **style})
        text = "states not finite" if np.isnan(value) else number(cleaned(value))
        margin_note(axes, row, text, data=True)
    margin = 0.05 * max(max(shown) - min(shown), 1e-12)
    axes.set_xlim(min(0.0, *shown) - margin, max(0.0, *shown) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.set_ylim(max(len(rows), _FEW) - 0.4, -0.6)  # few bars are no fatter than many
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("leading exponent (nats per step)")
    axes.set_title("what was tried")


def _band(span: Any, line: Any, result: Diagnosis) -> None:
    bound = result.number("bound")
    span(-bound, bound, color=_NEAR_FAR, linewidth=0, zorder=0)
    line(0, color="black", linewidth=0.9, zorder=1)


def _nothing(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
