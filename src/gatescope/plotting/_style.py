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
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from gatescope.datatypes import Array
from gatescope.errors import DtypeError

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


def new_figure(width: float = 7.2, height: float = 4.4) -> Figure:
    """A figure of that size in inches, outside pyplot: nothing keeps it alive, and no display is needed."""
    with style():
        return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def drawing_on(ax: Axes | None, width: float = 7.2, height: float = 4.4) -> Iterator[Axes]:
    """Give the axes to draw on: the caller's, under the caller's settings, or new ones in our style."""
    if ax is None:
        with style():
            yield new_figure(width, height).add_subplot()
    elif isinstance(ax, Axes):
        yield ax
    else:
        raise DtypeError(f"ax={ax!r} is not a matplotlib Axes; leave it out to get new axes")


@contextmanager
def drawing_in(fig: FigureBase | None, width: float, height: float) -> Iterator[FigureBase]:
    """Give the figure to draw in, the caller's or a new one, as `drawing_on` does for axes."""
    if fig is None:
        with style():
            yield new_figure(width, height)
    elif isinstance(fig, FigureBase):
        yield fig
    else:
        raise DtypeError(
            f"fig={fig!r} is not a matplotlib Figure or SubFigure; leave it out to get a new one"
        )


def plain_text(text: str) -> str:
    r"""A text that matplotlib shows as it is, in a legend too.

    Matplotlib reads what stands between two ``$`` as mathematics, and leaves labels that begin with ``_`` out
    of legends.

    Examples
    --------
    >>> from gatescope.plotting._style import plain_text
    >>> print(plain_text("a$b"))
    a\$b
    """
    shown = text.replace("$", r"\$")  # a backslash means something before a $ only, and those are escaped
    return "\N{WORD JOINER}" + shown if shown.startswith("_") else shown  # a space of no width


def count_axis(axis: Any) -> None:
    """Label an axis that counts steps, lags or units: whole numbers, thousands set apart."""
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def finite_or_nan(values: Array) -> Array:
    """The values, NaN in the place of infinite ones: where there is nothing to draw the pen is lifted."""
    return np.where(np.isfinite(values), values, np.nan)


def line_keywords(given: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
    """The keywords of a line: the caller's, in long or short spelling, before ours."""
    return {**ours, **cbook.normalize_kwargs(dict(given), Line2D)}
