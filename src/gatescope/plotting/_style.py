"""The style of the figures, applied for the length of a block, and new figures without global state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import cbook
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    StrMethodFormatter,
)

from gatescope.checks.numbers import check_type
from gatescope.datatypes import Array

SMALL = 8.5  # size of texts beside the axes
_STYLE_FILE = Path(__file__).with_name("gatescope.mplstyle")


@contextmanager
def style() -> Iterator[None]:
    """Apply gatescope's look inside a ``with`` block; matplotlib's own settings come back after it.

    The block starts from matplotlib's defaults, not from a user's settings file, so that a figure
    looks the same on every machine.

    Examples
    --------
    >>> from gatescope import plotting
    >>> with plotting.style():
    ...     fig = plotting.new_figure()
    """
    with matplotlib.rc_context(fname=str(_STYLE_FILE)):
        yield


class NotebookFigure(Figure):
    """A figure that a notebook shows as the last value of a cell, without pyplot and whatever its backend."""

    def _repr_png_(self) -> bytes:
        from gatescope.plotting._save import render

        return render(self, dpi=100)


def new_figure(width: float = 7.2, height: float = 4.4) -> Figure:
    """Return a figure of that size in inches, outside pyplot: nothing keeps it alive, and no display is needed."""
    with style():
        return NotebookFigure(figsize=(width, height), layout="constrained")


@contextmanager
def drawing_on(ax: Axes | None, width: float = 7.2, height: float = 4.4) -> Iterator[Axes]:
    """Give the axes to draw on: the caller's, under the caller's settings, or new ones in our style."""
    if ax is None:
        with style():
            yield new_figure(width, height).add_subplot()
    else:
        check_type("ax", ax, Axes, advice="give a matplotlib Axes, or leave it out to get new ones")
        yield ax


@contextmanager
def drawing_in(fig: FigureBase | None, width: float, height: float) -> Iterator[FigureBase]:
    """Give the figure to draw in, the caller's or a new one, as `drawing_on` does for axes."""
    if fig is None:
        with style():
            yield new_figure(width, height)
    else:
        advice = "give a matplotlib Figure or SubFigure, or leave it out to get a new one"
        check_type("fig", fig, FigureBase, advice=advice)
        yield fig


def plain_text(text: str) -> str:
    r"""Return a text that matplotlib shows as it is, in a legend too.

    Matplotlib reads what stands between two ``$`` as mathematics, and leaves labels that begin with ``_`` out
    of legends.
    """
    shown = text.replace("$", r"\$")  # a backslash means something before a $ only, and those are escaped
    return "\N{WORD JOINER}" + shown if shown.startswith("_") else shown  # a space of no width


def derivative(of: str, wrt: str, later: str = r"t-\mathrm{lag}") -> str:
    """Return the mathematics of d of(t) / d wrt(`later`), without the ``$``; a joint state is s."""
    over, under = ("s" if name == "joint" else name for name in (of, wrt))
    return rf"\partial {over}_t\,/\,\partial {under}_{{{later}}}"


def legend_above(axes: Axes, title: str | None = None, **keywords: Any) -> None:
    """Put the legend above the axes, at their left edge."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), title=title, alignment="left", **keywords)


def legend_outside(figure: FigureBase, axes: Axes, title: str, *, columns: int) -> None:
    """Put the legend of some axes above all panels; the title alone if there is nothing to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        figure.suptitle(title, x=0.01, ha="left")
        return
    look: dict[str, Any] = {"loc": "outside upper left", "alignment": "left"}
    figure.legend(handles, labels, ncols=min(len(labels), columns), title=title, **look)


def margin_note(axes: Axes, height: float, text: str, *, data: bool = False) -> None:
    """Write beside the right edge, at a fraction of the axes' height or, with `data`, at a value of the axis."""
    transform = axes.get_yaxis_transform() if data else axes.transAxes
    axes.text(1.01, height, text, transform=transform, va="center", fontsize=SMALL)


def count_axis(axis: Any) -> None:
    """Label an axis that counts steps, lags or units: whole numbers, thousands set apart."""
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))
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
