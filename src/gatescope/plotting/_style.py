"""The style of the figures: in force for the length of a block, and carried by the axes that were drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import FigureBase

from gatescope.checks.numbers import check_choice

COLUMN_WIDTH = 3.4  # inches, of one column of a journal
_NARROW = 5.0  # inches: a figure below has the sizes of the column
_STYLE_FILE = Path(__file__).with_name("gatescope.mplstyle")
_COLUMN: dict[str, Any] = {  # what differs in a column
    "figure.figsize": (COLUMN_WIDTH, 2.6),
    "font.size": 8.0,
    "figure.titlesize": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "axes.labelpad": 2.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.pad": 2.5,
    "ytick.major.pad": 2.5,
    "legend.fontsize": 7.0,
    "legend.title_fontsize": 7.0,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
}
FONT = matplotlib.rc_params_from_file(str(_STYLE_FILE), use_default_template=False)["font.family"]
_layout: ContextVar[str] = ContextVar("layout", default="page")


@contextmanager
def style(layout: Literal["page", "column"] = "page") -> Iterator[None]:
    """Apply gatescope's look inside a ``with`` block; matplotlib's own settings come back after it.

    The block starts from matplotlib's defaults, not from a user's settings file, so that a figure
    looks the same on every machine.  Plots need no block to have this look: they give it to the axes they draw on.

    Parameters
    ----------
    layout : {"page", "column"}
        With ``"column"``, figures that plots make inside the block are 3.4 inches wide, one column of a journal, with
        smaller texts and panels below each other.  A figure that is given to a plot has that look below 5 inches.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> flow = gs.gradient_flow(gs.init("gru", input_size=1, hidden_size=8, seed=0), np.ones((50, 1)))
    >>> with gs.plotting.style("column"):
    ...     ax = gs.plotting.plot_gradient_flow(flow)
    >>> float(ax.figure.get_figwidth())
    3.4
    """
    check_choice("layout", layout, ("page", "column"))
    token = _layout.set(layout)
    try:
        with matplotlib.rc_context(_COLUMN if layout == "column" else None, fname=str(_STYLE_FILE)):
            yield
    finally:
        _layout.reset(token)


def in_column() -> bool:
    """Return whether new figures are one column wide."""
    return _layout.get() == "column"


def figure_size(width: float, height: float, column_height: float | None = None) -> tuple[float, float]:
    """Return the inches of a new figure: those of a page, or in a column its width and height."""
    if not in_column():
        return width, height
    return min(width, COLUMN_WIDTH), max(2.4, 0.66 * height) if column_height is None else column_height


def inches(figure: FigureBase) -> tuple[float, float]:
    """Return width and height of a figure or a part of one."""
    part: Any = figure
    dpi = part.get_figure(root=True).dpi if hasattr(part, "get_figure") and part.get_figure() else part.dpi
    return part.bbox.width / dpi, part.bbox.height / dpi


def is_narrow(figure: FigureBase) -> bool:
    """Return whether what is drawn in a figure has to fit one column."""
    return inches(figure)[0] < _NARROW


@contextmanager
def style_of(figure: FigureBase) -> Iterator[None]:
    """Apply the look that fits the width of a figure."""
    with style("column" if is_narrow(figure) else "page"):
        yield


def small() -> float:
    """Return the size of texts beside the axes."""
    return float(matplotlib.rcParams["legend.fontsize"])


def dress(axes: Axes) -> None:
    """Give axes that were made under other settings the look in force: background, spines, grid, ticks, texts."""
    look = matplotlib.rcParams
    axes.set_facecolor(look["axes.facecolor"])
    for side, spine in axes.spines.items():
        spine.set(edgecolor=look["axes.edgecolor"], linewidth=look["axes.linewidth"])
        spine.set_visible(look.get(f"axes.spines.{side}", True))
    axes.set_axisbelow(look["axes.axisbelow"])
    axes.grid(
        look["axes.grid"],
        **{name: look[f"grid.{name}"] for name in ("color", "linewidth", "linestyle", "alpha")},
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(
            fontfamily=look["font.family"],
            fontsize=look["axes.labelsize"],
            fontweight=look["axes.labelweight"],
            color=look["axes.labelcolor"],
        )
        axis.labelpad = look["axes.labelpad"]
    sides: tuple[Literal["left", "center", "right"], ...] = ("left", "center", "right")
    for side in sides:
        axes.set_title(
            axes.get_title(side), loc=side, fontfamily=look["font.family"], color=look["text.color"]
        )
    with suppress(AttributeError):  # another formatter than matplotlib's own
        axes.ticklabel_format(useOffset=look["axes.formatter.useoffset"])
    keep_ticks(axes, over=True)
    # Our texts outside the axes are dark.
    figure: Any = axes.get_figure(root=True)
    if sum(to_rgb(figure.get_facecolor())) < 1.5:
        figure.set_facecolor(look["figure.facecolor"])


def keep_ticks(axes: Axes, *, over: bool = False) -> None:
    """Give the ticks of axes the look in force for good: matplotlib makes most of them when a figure is drawn.

    What was set of them before stays as it is, unless `over`.
    """
    settings = matplotlib.rcParams
    for name, axis in (("xtick", axes.xaxis), ("ytick", axes.yaxis)):
        for which in ("major", "minor"):
            look = {
                "length": settings[f"{name}.{which}.size"],
                "width": settings[f"{name}.{which}.width"],
                "pad": settings[f"{name}.{which}.pad"],
                "direction": settings[f"{name}.direction"],
                "color": settings[f"{name}.color"],
                "labelcolor": settings[f"{name}.labelcolor"],
                "labelsize": settings[f"{name}.labelsize"],
                "labelfontfamily": settings["font.family"],
            }
            known = {} if over else axis.get_tick_params(which)
            axis.set_tick_params(which, **{key: value for key, value in look.items() if key not in known})
