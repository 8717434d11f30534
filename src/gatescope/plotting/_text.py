"""Texts of plots: those that matplotlib shows as they are, and that fit in the space they have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import matplotlib
from matplotlib import cbook
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation

from gatescope.plotting._style import FONT, inches, is_narrow, keep_ticks, small

_WORDS = re.compile(r"(?:\\\$|\$(?:\\\$|[^$])*\$|[^\s$]|\$)+")  # mathematics is not broken


def plain_text(text: str) -> str:
    r"""Return a text that matplotlib shows as it is, in a legend too.

    Matplotlib reads what stands between two ``$`` as mathematics, and leaves labels that begin with ``_`` out
    of legends; half a character it does not take at all, which becomes a question mark.
    """
    text = text.encode(errors="replace").decode()
    shown = text.replace("$", r"\$")  # a backslash means something before a $ only, and those are escaped
    return "\N{WORD JOINER}" + shown if shown.startswith("_") else shown  # a space of no width


def derivative(of: str, wrt: str, later: str = r"t-\mathrm{lag}") -> str:
    """Return the mathematics of d of(t) / d wrt(`later`), without the ``$``; a joint state is s, a loss L."""
    return rf"\partial {_symbol(of, 't')}\,/\,\partial {_symbol(wrt, later)}"


def _symbol(name: str, step: str) -> str:
    """Return the mathematics of a state or an output at a step, as results name it; its layer is a superscript."""
    if name.endswith("loss"):
        return "L"
    name = name.removeprefix("a direction of ")
    at = step if len(step) == 1 else f"{{{step}}}"
    if name.endswith(("joint", "joint state")):
        return f"s_{at}"
    first, *layer = name.split(".")
    if not layer:
        return f"{name}_{at}"
    letter = "y" if first == "readout" else layer.pop()
    above = ",\\,".join([layer[0], *(rf"\mathrm{{{way}}}" for way in layer[1:])])
    return f"{letter}^{{({above})}}_{at}"


def width_of(text: str, size: float) -> float:
    """Return the width of one line of text in the style's font, in inches."""
    return _width(text, float(size))


@lru_cache(maxsize=4096)
def _width(text: str, size: float) -> float:
    font = FontProperties(family=FONT, size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, cbook.is_math_text(text))[0]) / 72


def wrapped(text: str, room: float, size: float) -> str:
    """Return a text in lines no wider than so many inches, at a size of its letters; a longer word stays whole."""
    lines: list[str] = []
    for line in text.split("\n"):
        if width_of(line, size) <= room:
            lines.append(line)
            continue
        first = True
        for word in _WORDS.findall(line):
            longer = word if first else f"{lines[-1]} {word}"
            if first or width_of(longer, size) > room:
                lines.append(word)
            else:
                lines[-1] = longer
            first = False
    return "\n".join(lines)


def room(axes: Axes, *, height: bool = False) -> float:
    """Return about how many inches wide, or high, axes will be when the figure is laid out."""
    box = axes.get_position(original=True)
    across, up = inches(axes.figure)
    return up * box.height if height else across * box.width


def finish(panels: Iterable[Axes]) -> None:
    """Break titles and labels that are longer than their axes, and let the ticks keep the look in force."""
    look = matplotlib.rcParams
    for axes in panels:
        across, up, size = room(axes), room(axes, height=True), look["axes.labelsize"]
        # A label may be a little longer than its axis.
        axes.set_xlabel(wrapped(axes.get_xlabel(), 1.15 * across, size))
        axes.set_ylabel(wrapped(axes.get_ylabel(), 1.15 * up, size))
        across *= (
            1.2 if across < 2 and not is_narrow(axes.figure) else 1
        )  # on a page there is space beside small axes
        for text in axes.get_children():
            if isinstance(text, Text) and text.get_text() and text.get_text() == axes.get_title("left"):
                text.set_text(wrapped(text.get_text(), across, float(text.get_fontsize())))
        keep_ticks(axes)


def legend_above(
    axes: Axes,
    title: str | None = None,
    *,
    entries: tuple[Any, Any] | None = None,
    ncols: int = 1,
    lift: float = 0.0,
    **keywords: Any,
) -> None:
    """Put the legend above the axes, `lift` inches higher, in at most so many columns as there is room for."""
    handles, labels = axes.get_legend_handles_labels() if entries is None else entries
    shown, columns = _fitting(labels, room(axes), ncols)
    raised = axes.transAxes + ScaledTranslation(0, lift, axes.figure.dpi_scale_trans)
    look: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.02), "bbox_transform": raised}
    heading = None if title is None else wrapped(title, room(axes), small())
    axes.legend(handles, shown, title=heading, ncols=columns, alignment="left", **look, **keywords)


def legend_outside(figure: FigureBase, axes: Axes, title: str, *, columns: int) -> None:
    """Put the legend of some axes above all panels; the title alone if there is nothing to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    space = inches(figure)[0] - 0.1
    if not handles:
        figure.suptitle(wrapped(title, space, matplotlib.rcParams["figure.titlesize"]), x=0.01, ha="left")
        return
    shown, columns = _fitting(labels, space, min(len(labels), columns))
    look: dict[str, Any] = {"loc": "outside upper left", "alignment": "left"}
    figure.legend(handles, shown, ncols=columns, title=wrapped(title, space, small()), **look)


def _fitting(labels: Any, space: float, most: int) -> tuple[list[str], int]:
    """Return labels of a legend, broken where they have to be, and in how many columns they fit in so many inches."""
    size, look = small(), matplotlib.rcParams
    handle = (look["legend.handlelength"] + look["legend.handletextpad"]) * size / 72
    gap = look["legend.columnspacing"] * size / 72
    shown = [wrapped(label, max(space - handle, 0.5), size) for label in labels]
    widest = max((width_of(line, size) for label in shown for line in label.split("\n")), default=0.0)
    fitting = int((space + gap) / (widest + handle + gap))
    return shown, max(1, min(most, fitting))


def margin_note(axes: Axes, height: float, text: str, *, data: bool = False) -> None:
    """Write beside the right edge, at a fraction of the axes' height or, with `data`, at a value of the axis."""
    transform = axes.get_yaxis_transform() if data else axes.transAxes
    axes.text(1.01, height, text, transform=transform, va="center", fontsize=small())
