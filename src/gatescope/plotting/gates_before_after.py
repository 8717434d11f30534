"""Gates before and after training, side by side: how their values are distributed, and what a few units do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from gatescope.checks.numbers import check_flag
from gatescope.datatypes import StackTrace, Trace
from gatescope.datatypes.stack_trace import check_alike
from gatescope.plotting import _trace_view
from gatescope.plotting._checks import BEFORE_AFTER, check_labels
from gatescope.plotting._distribution import distribution, draw_bars, frame_percent, value_edges
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._marks import Marks, check_marks, draw_marks, label_marks
from gatescope.plotting._style import is_narrow
from gatescope.plotting._text import legend_outside
from gatescope.plotting.inputs import draw_inputs

POINTS = 600  # a panel is half as wide as a figure: more steps than this are drawn as means
BINS = 150  # of a longer series: the means of few long runs can be followed by eye


def plot_gates_before_after(
    before: Trace | StackTrace,
    after: Trace | StackTrace,
    *,
    layer: str | None = None,
    gates: Iterable[str] | str | None = None,
    units: Sequence[int] | int | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    labels: tuple[str, str] = BEFORE_AFTER,
    marks: Marks = None,
    inputs: bool = False,
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
    before, after : Trace or StackTrace
        Of the same cell and the same number of units, over the same steps and sequences.
    layer : str, optional
        Which layer of a run of several, ``"layers.1"`` or ``"layers.1.backward"``.
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
    marks : mapping of int to str, or sequence of int, optional
        Steps of events, with labels: a line each.
    inputs : bool
        Draw the inputs in a row on top.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For the lines of the units, for example ``linewidth``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to (curves before, bars before, curves after, bars after)
        By name of gate or state, from the top; with `inputs` the first is ``"inputs"``, without bars.

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
    pair = check_alike([before, after], ("before", "after"), layer)
    headings = check_labels(labels, BEFORE_AFTER)
    view = _trace_view.view(after, gates=gates, sequence=sequence, steps=steps, units=units, layer=layer)
    events = check_marks(marks, int(view.trace.lengths[view.sequence]))
    names = ("inputs", *view.names) if check_flag("inputs", inputs) else view.names
    count = len(names)
    with drawing_in(fig, 10.5, 1.3 + 1.35 * count, 0.9 + 1.9 * count) as figure:
        narrow = is_narrow(figure)
        panels = _below_each_other(figure, count) if narrow else _side_by_side(figure, count)
        axes = {name: tuple(row) for name, row in zip(names, panels, strict=True)}
        largest = 1.0
        for name in view.names:
            row = axes[name]
            edges = value_edges(name, pair)
            for trace, curve, side in ((pair[0], row[0], row[1]), (pair[1], row[2], row[3])):
                x, bins = dataclasses.replace(view, trace=trace).curves(name, POINTS, BINS)
                _trace_view.draw_units(curve, x, bins.mean, view.units, artist_kwargs, ranges=bins, zorder=3)
                shown = distribution(trace, name, edges)
                draw_bars(side, shown, name)
                largest = max(largest, float(shown.percent.max()))
            for ax in (row[0], row[2]) if narrow else (row[0],):
                _trace_view.frame_values(ax, name, (edges[0], edges[-1]))
        for trace, at in ((pair[0], 0), (pair[1], 2)) if inputs else ():
            draw_inputs(axes["inputs"][at], dataclasses.replace(view, trace=trace), POINTS, BINS)
            axes["inputs"][at + 1].set_axis_off()
        for trace, at in ((pair[0], 0), (pair[1], 2)):
            for index, ax in enumerate(panels[:, at]):
                _trace_view.mark_overflow(ax, dataclasses.replace(view, trace=trace), label=index == 0)
        frame_percent(panels[-len(view.names) :, [1, 3]], largest)
        for column, heading in ((0, headings[0]), (2, headings[1])):
            how = "line: means of {}; band: range"
            _trace_view.frame_steps(panels[-1, column], view.steps, bins.size, how)
            draw_marks(panels[:, column], events)
            for index, ax in enumerate(panels[:, column]):
                if index == 0 or narrow:
                    lift = label_marks(ax, events) if index == 0 else 0.0
                    pad = matplotlib.rcParams["axes.titlepad"] + 72 * lift
                    ax.set_title(heading, loc="left", fontweight="bold", pad=pad)
        if narrow:
            for ax in panels[-1, :2]:
                ax.set_xlabel("")
        legend_outside(figure, axes[view.names[0]][0], curves_and_bars(view), columns=8)
        figure.align_ylabels(panels[:, 0])
    return figure, axes


def _side_by_side(figure: FigureBase, count: int) -> Any:
    """Return axes (count, 4): curves and bars before, curves and bars after."""
    ratios = (3, 1.5, 3, 1.5)
    return figure.subplots(count, 4, sharex="col", sharey="row", squeeze=False, width_ratios=ratios)


def _below_each_other(figure: FigureBase, count: int) -> Any:
    """Return the same for a narrow figure, where what is after stands below what is before."""
    panels = figure.subplots(2 * count, 2, sharex="col", squeeze=False, width_ratios=(1.6, 1)).reshape(
        count, 4
    )
    for first, *others in panels:
        for ax in others:
            ax.sharey(first)
        others[0].tick_params(labelleft=False)
        others[2].tick_params(labelleft=False)
    return panels


def curves_and_bars(view: _trace_view.TraceView) -> str:
    """Return a heading for curves of some units with bars of all."""
    count = view.trace.states.shape[3]
    what = f": curves of single units, bars of all {count}" if count > 1 else ", its only unit"
    return view.cell + what
