"""How often each unit's gates are shut or open (Karpathy, Johnson and Fei-Fei 2015, section 4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from gatescope.checks.arrays import check_shape
from gatescope.checks.numbers import check_result
from gatescope.datatypes import Saturation, TraceComparison
from gatescope.datatypes.by_layer import ByLayer
from gatescope.errors import DtypeError, ShapeError
from gatescope.plotting import _palette
from gatescope.plotting._checks import BEFORE_AFTER, check_labels
from gatescope.plotting._figure import drawing_in, drawing_on
from gatescope.plotting._style import is_narrow, small
from gatescope.plotting._text import legend_above, plain_text, room

_CORNER = 3.3  # inches of width, in which the corner beside the diagonal has room for the legend


def plot_saturation(result: Saturation, *, ax: Axes | None = None, **artist_kwargs: Any) -> Axes:
    """Draw a dot a unit: how often its gate is shut (across) and how often it is open (up).

    A dot on the line x + y = 1 is a unit whose gate is always saturated, one way or the other; a dot at
    (0, 0) is a gate that never is.  The legend gives each gate's mean over the units.

    Parameters
    ----------
    result : Saturation
        What `gatescope.saturation` has counted.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For ``Axes.scatter``, for example ``s`` or ``alpha``.

    Returns
    -------
    Axes

    References
    ----------
    Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks", 2015, figure 3.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> ax = gs.plotting.plot_saturation(gs.saturation(trace))
    >>> len(ax.collections)
    2
    """
    several: Any = result
    if isinstance(several, ByLayer):
        advice = f"draw one, as of result[{several.names[0]!r}], or all with plot_by_layer"
        raise DtypeError(argument="result", seen=ByLayer, advice=advice)
    check_result("result", result, Saturation, "saturation")
    hidden_size = result.shut.shape[1]
    marked = "the only unit" if hidden_size == 1 else f"each of {hidden_size} units"
    with drawing_on(ax, 5.2, 5.2, 3.6) as axes:
        axes.plot([0, 1], [1, 0], color=_palette.GREY, linewidth=1, zorder=1)
        along: dict[str, Any] = {"rotation": -45, "rotation_mode": "anchor", "va": "bottom", "ha": "center"}
        axes.text(0.62, 0.39, "always saturated", fontsize=small(), **along)
        means, styles = result.means(), _palette.gate_styles(result.gates)
        for k, (name, style) in enumerate(zip(result.gates, styles, strict=True)):
            keywords = {
                "marker": style.marker,
                # Hollow and each gate larger than the last, so that dots at one place stay countable.
                "s": 18 + 20 * k,
                "facecolors": "none",
                "edgecolors": style.color,
                "linewidths": 1.2,
                "zorder": 3,
                "label": f"{_palette.describe(name)}: shut {means[name][0]:.0%}, open {means[name][1]:.0%}",
                **artist_kwargs,
            }
            axes.scatter(result.shut[k], result.open[k], **keywords)
        if not (result.shut.any() or result.open.any()):
            # Otherwise it looks as if most of the marks were missing.
            axes.text(0.05, 0, "all units of all gates: never saturated", va="center", fontsize=small())
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")  # marks at 0 and 1 stay whole
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.set_xlabel(f"fraction of steps shut (below {result.left:g})")
        axes.set_ylabel(f"fraction of steps open (above {result.right:g})")
        # No fraction lies above the line, so its corner is free for the legend.
        title = f"{plain_text(result.cell)}, a mark for {marked}"
        if room(axes) < _CORNER:
            legend_above(axes, title, handlelength=1.2)
        else:
            axes.legend(loc="upper right", title=title, alignment="left", handlelength=1.2)
    return axes


def plot_saturation_before_after(
    before: Saturation,
    after: Saturation,
    *,
    labels: tuple[str, str] = BEFORE_AFTER,
    fig: FigureBase | None = None,
    **artist_kwargs: Any,
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw how often each unit's gates are shut and open, before and after training: two `plot_saturation` plots.

    Parameters
    ----------
    before, after : Saturation
        Of the same cell, gates and number of units, over as many steps.
    labels : (str, str)
        Headings of the two halves.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        As for `plot_saturation`.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        ``"before"`` and ``"after"``.

    Raises
    ------
    ShapeError
        If the two do not fit each other.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> inputs = np.ones((50, 1), "float32")
    >>> traces = (gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=s), inputs) for s in (0, 1))
    >>> fig, axes = gs.plotting.plot_saturation_before_after(*map(gs.saturation, traces))
    >>> list(axes)
    ['before', 'after']
    """
    pair = {"before": before, "after": after}
    for name, result in pair.items():
        check_result(name, result, Saturation, "saturation")
    for field in ("cell", "gates", "left", "right", "steps"):
        one, other = getattr(before, field), getattr(after, field)
        if one != other:
            raise ShapeError(f"is of {field} {other!r}, but `before` of {one!r}", argument="after")
    check_shape("after.shut", after.shut, before.shut.shape, "that of `before`")
    headings = check_labels(labels, BEFORE_AFTER)
    with drawing_in(fig, 10.2, 5.4, 7.2) as figure:
        narrow = is_narrow(figure)
        panels = figure.subplots(*((2, 1) if narrow else (1, 2)), sharex=True, sharey=True)
        axes = dict(zip(pair, panels, strict=True))
        for result, ax, heading in zip(pair.values(), panels, headings, strict=True):
            plot_saturation(result, ax=ax, **artist_kwargs)
            if room(ax) < _CORNER:  # the title's place has the legend
                legend = ax.get_legend()
                legend.set_title(f"{heading}: {legend.get_title().get_text()}")
            else:
                ax.set_title(heading, loc="left", fontweight="bold")
        (panels[0].set_xlabel if narrow else panels[1].set_ylabel)("")
    return figure, axes


def draw_both(
    result: TraceComparison, *, fig: FigureBase | None = None, **artist_kwargs: Any
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw `plot_saturation_before_after` of the two runs that a comparison is of."""
    first, second = result.saturation(0), result.saturation(1)
    return plot_saturation_before_after(first, second, labels=result.labels, fig=fig, **artist_kwargs)
