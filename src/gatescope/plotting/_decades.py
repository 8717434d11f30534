"""Axes that count powers of ten: norms far beyond what floating point can hold."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gatescope.plotting import _palette
from gatescope.plotting._axes import count_axis
from gatescope.plotting._style import small
from gatescope.plotting._text import room

LN10 = math.log(10)  # nats in a decade

# log10 of the smallest number above zero, 2^-149 and 2^-1074: what is smaller, autograd gives as 0.
UNDERFLOW = {"float32": -149 * math.log10(2), "float64": -1074 * math.log10(2)}


def scale_axes(axes: Axes, scale: str, lowest: float, highest: float, last: int) -> None:
    """Set up axes of decades against lags up to `last`; on a logarithmic scale both grow by factors of ten."""
    margin = 0.04 * max(highest - lowest, 1.0)
    if scale == "log":
        axes.set_xscale("symlog", linthresh=1, linscale=0.3)
        axes.set_yscale("symlog", linthresh=1, linscale=0.5)
        axes.set_ylim(lowest * 1.5 - 0.5, highest * 1.5 + 0.5)
        axes.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        axes.set_xlim(0, last * 1.1)
        return
    axes.set_ylim(lowest - margin, highest + margin)
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
    # Both levels are a few lines of text or less apart when the norms fall very far; a legend takes of the room.
    line = 1.25 * small() / 72 / (0.75 * room(axes, height=True))
    to_axes = axes.transScale + axes.transLimits
    heights = [float(to_axes.transform((1, level))[1]) for _, level in marks]
    texts = [f"{kind}\nunderflows" for kind, _ in marks]
    if len(marks) == 2 and heights[0] - heights[1] < 2 * line:
        texts = [marks[0][0], f"{marks[1][0]}\nunderflow"]
        if heights[0] - heights[1] < line:
            texts, heights = ["float32 and\nfloat64\nunderflow"], heights[1:]
    for text, height in zip(texts, heights, strict=True):
        axes.text(1.01, height, text, transform=axes.transAxes, va="top", fontsize=small())


def power_of_ten(value: float, _position: int | None = None) -> str:
    """Return 10 to that power as matplotlib shows it."""
    if value == 0:
        return "1"
    if value != round(value):
        return f"{10**value:.2g}"
    exponent = f"{int(value)}" if abs(value) < 10_000 else f"{int(value):,}".replace(",", "{,}")
    return f"$10^{{{exponent}}}$"
