"""Gates before and after training, side by side: how their values are distributed, and what a few units do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from gatescope.datatypes import Trace
from gatescope.plotting import _trace_view
from gatescope.plotting._checks import BEFORE_AFTER, check_labels
from gatescope.plotting._distribution import distribution, draw_bars, frame_percent, value_edges
from gatescope.plotting._style import drawing_in, legend_outside, plain_text

POINTS = 600  # a panel is half as wide as a figure: more steps than this are drawn as means
BINS = 150  # of a longer series: the means of few long runs can be followed by eye


def plot_gates_before_after(
    before: Trace,
    after: Trace,
    *,
    gates: Iterable[str] | str | None = None,
    units: Sequence[int] | int | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    labels: tuple[str, str] = BEFORE_AFTER,
    fig: FigureBase | None = None,
    **artist_kwargs: Any,
) -> tuple[FigureBase, dict[str, tuple[Axes, Axes, Axes, Axes]]]:
    """Draw gates of one layer before and after training: curves of a few units and the distribution of all values.

    A row a gate or state.  The curves are of the same units, sequence and steps in both halves; more than 600 steps
    are drawn as means over equal runs of steps, with a band from a run's least to its greatest value.  The bars
    beside them, on the same scale of values, are of all units, sequences and steps; for gates with values in (0, 1)
    their heading says how many percent of the values are below 0.1 and above 0.9.

    Parameters
    ----------
    before, after : Trace
        Of the same cell and the same number of units, over the same steps and sequences.
    gates : sequence of str, optional
        Names of gates and states, one row each.  Default: all gates, and for a cell without any its states.
    units : sequence of int, optional
        Units whose curves are drawn.  Default: three, spread over the means of the memory gate after training.
    sequence : int
        Which sequence of the batch the curves are of.
    steps : slice, optional
        Which steps the curves are of, within the sequence's own length.  Default: all.
    labels : (str, str)
        Headings of the two halves.
    fig : Figure or SubFigure, optional
        Where to draw, best with constrained layout, as `new_figure` has it.  Default: a new figure.
    **artist_kwargs
        For the lines of the units, for example ``linewidth``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to (curves before, bars before, curves after, bars after)
        By name of gate or state, from the top.

    Raises
    ------
    ShapeError
        If the two traces do not fit each other.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> inputs = np.ones((50, 1), "float32")
    >>> before, after = (gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=s), inputs) for s in (0, 1))
    >>> fig, axes = gs.plotting.plot_gates_before_after(before, after, gates=["r", "z"])
    >>> len(axes["z"])
    4
    """
    pair = _trace_view.check_alike([before, after], ("before", "after"))
    headings = check_labels(labels, BEFORE_AFTER)
    view = _trace_view.view(after, gates=gates, sequence=sequence, steps=steps, units=units)
    with drawing_in(fig, 10.5, 1.3 + 1.35 * len(view.names)) as figure:
        panels = figure.subplots(
            len(view.names), 4, sharex="col", sharey="row", squeeze=False, width_ratios=(3, 1.5, 3, 1.5)
        )
        axes = {name: tuple(row) for name, row in zip(view.names, panels, strict=True)}
        largest = 1.0
        for name, row in axes.items():
            edges = value_edges(name, pair)
            for trace, curve, side in ((before, row[0], row[1]), (after, row[2], row[3])):
                x, bins = dataclasses.replace(view, trace=trace).curves(name, POINTS, BINS)
                _trace_view.draw_units(curve, x, bins.mean, view.units, artist_kwargs, ranges=bins, zorder=3)
                shown = distribution(trace, name, edges)
                draw_bars(side, shown, name)
                largest = max(largest, float(shown.percent.max()))
            _trace_view.frame_values(row[0], name, (edges[0], edges[-1]))
        frame_percent(panels[:, [1, 3]], largest)
        for column, heading in ((0, headings[0]), (2, headings[1])):
            panels[0, column].set_title(heading, loc="left", fontweight="bold")
            how = "line: means of {}; band: range"
            _trace_view.frame_steps(panels[-1, column], view.steps, bins.size, how)
        legend_outside(figure, panels[0, 0], curves_and_bars(after), columns=8)
        figure.align_ylabels(panels[:, 0])
    return figure, axes


def curves_and_bars(trace: Trace) -> str:
    """Return a heading for curves of some units with bars of all."""
    count = trace.states.shape[3]
    what = f": curves of single units, bars of all {count}" if count > 1 else ", its only unit"
    return plain_text(trace.cell) + what
