"""Where plots draw: the axes or the figure that they were given, or new ones, which pyplot shows if it is in use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from gatescope.checks.numbers import check_number, check_type
from gatescope.plotting._style import dress, figure_size, style_of
from gatescope.plotting._text import finish

# matplotlib's backends that write files and show nothing.
_FILES_ONLY = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


class NotebookFigure(Figure):
    """A figure that a notebook shows as the last value of a cell, without pyplot and whatever its backend."""

    def _repr_png_(self) -> bytes:
        from gatescope.plotting._save import render

        return render(self, dpi=100)


def new_figure(width: float = 7.2, height: float = 4.4) -> Figure:
    """Return a figure of that size in inches, outside pyplot: nothing keeps it alive, and no display is needed.

    A notebook shows it where it is the last value of a cell.  Figures that plots make by themselves are pyplot's too,
    where the caller uses pyplot with a backend that shows figures; then ``plt.show()`` shows them.

    Examples
    --------
    >>> from gatescope import plotting
    >>> float(plotting.new_figure(3.4, 2.6).get_figwidth())
    3.4
    """
    sizes = ("width", width), ("height", height)
    size = [check_number(name, value, least=0.1, most=1000) for name, value in sizes]
    return NotebookFigure(figsize=(size[0], size[1]), layout="constrained")


@contextmanager
def drawing_on(
    ax: Axes | None, width: float = 7.2, height: float = 4.4, column_height: float | None = None
) -> Iterator[Axes]:
    """Give the axes to draw on, the caller's or new ones, in our style; it stays with what is drawn."""
    if ax is not None:
        check_type("ax", ax, Axes, advice="give a matplotlib Axes, or leave it out to get new ones")
    figure: Any = _shown_figure(*figure_size(width, height, column_height)) if ax is None else ax.figure
    _lay_out(figure)
    with style_of(figure), _lasting(figure):
        if ax is None:
            ax = figure.add_subplot()
        else:
            dress(ax)
        yield ax
        finish([ax])


@contextmanager
def drawing_in(
    fig: FigureBase | None,
    width: float,
    height: float,
    column_height: float | None = None,
    *,
    moving: bool = False,
) -> Iterator[FigureBase]:
    """Give the figure to draw in, the caller's or a new one, as `drawing_on` does for axes; `moving` if animated."""
    if fig is None:
        figure: FigureBase = _shown_figure(*figure_size(width, height, column_height), moving=moving)
    else:
        advice = "give a matplotlib Figure or SubFigure, or leave it out to get a new one"
        check_type("fig", fig, FigureBase, advice=advice)
        figure = fig
        _lay_out(figure)
    with style_of(figure):
        with _lasting(figure):
            yield figure
        if moving and isinstance(figure, Figure) and fig is None:
            # The layout is made once: made again for every frame, the panels would tremble.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")


def _lay_out(figure: Any) -> None:
    """Give a figure constrained layout where nobody has laid it out: what lies outside of its axes would be cut."""
    if not isinstance(figure, Figure) or figure.get_layout_engine() is not None:
        return
    sides = ("left", "right", "bottom", "top", "wspace", "hspace")
    defaults = [matplotlib.rcParams[f"figure.subplot.{side}"] for side in sides]
    if [getattr(figure.subplotpars, side) for side in sides] == defaults:
        figure.set_layout_engine("constrained")


@contextmanager
def _lasting(figure: Any) -> Iterator[None]:
    """Let the ticks of axes that are made in the block, color bars among them, keep their look."""
    before = set(figure.axes)
    yield
    finish(ax for ax in figure.axes if ax not in before)


def _shown_figure(width: float, height: float, *, moving: bool = False) -> Figure:
    """Return a new figure, which is pyplot's current one where pyplot can show it."""
    pyplot = _pyplot()
    # A notebook's backend of pictures would show an animation's first frame, beside the player.
    if pyplot is None or (moving and matplotlib.get_backend().lower().endswith("inline")):
        return new_figure(width, height)
    figure: Figure = pyplot.figure(FigureClass=NotebookFigure, figsize=(width, height), layout="constrained")
    return figure


def _pyplot() -> Any:
    """Return pyplot where the caller shows figures with it, or a notebook does; else None, and it is not imported."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        # A notebook's kernel names its backend before anything of matplotlib is imported.
        if "ipykernel" not in sys.modules or not os.environ.get("MPLBACKEND"):
            return None
        from matplotlib import pyplot  # type: ignore[no-redef]
    # Found out by pyplot itself at its first figure, if it was not yet: what it would do at the caller's plt.show().
    return None if matplotlib.get_backend().lower() in _FILES_ONLY else pyplot
