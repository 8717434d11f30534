"""Gates and states of a few units over time, one panel each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from gatescope.datatypes import Trace
from gatescope.plotting import _trace_view
from gatescope.plotting._characters import label_characters
from gatescope.plotting._style import drawing_in, legend_above, plain_text

_POINTS = 1500  # more would be finer than the pixels of a figure seven inches wide
_BINS = 300  # of a longer series: the means of few long runs can be followed by eye, many short ones cannot


def plot_gate_trajectories(
    trace: Trace,
    *,
    units: Sequence[int] | int | None = None,
    gates: Iterable[str] | str | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    fig: FigureBase | None = None,
    **artist_kwargs: Any,
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw the gates and states of some units over the steps, one panel a gate or state.

    Up to 1,500 steps are drawn as they are.  More are drawn as means over equal runs of steps, with a
    band from the least to the greatest value of the run (300 runs at most); the axis label says how long a
    run is.  A state is drawn at the step that made it: ``states[t + 1]`` at step t.
    Steps from the first on at which a state is not finite are shaded.  Of a run over a text (``gatescope run --inputs
    poem.txt``) up to 90 steps have its characters on their axis.

    Parameters
    ----------
    trace : Trace
    units : sequence of int, optional
        Units to draw.  Default: three, those with the smallest, the middle and the greatest mean of the memory gate
        over the sequence (else of the first gate, or of the state of a cell without gates).
    gates : sequence of str, optional
        Names of gates and states, one panel each.  Default: all gates, then all states; an RNN has no
        gates, so it shows h alone.
    sequence : int
        Which sequence of the batch.
    steps : slice, optional
        Which steps, within the sequence's own length.  Default: all.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For every line, for example ``linewidth``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        By name of gate or state, from the top.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> fig, axes = gs.plotting.plot_gate_trajectories(trace, units=[0, 3])
    >>> list(axes)
    ['r', 'z', 'n', 'h']
    """
    view = _trace_view.view(trace, gates=gates, sequence=sequence, steps=steps, units=units, states=True)
    reference = _trace_view.reference_name(trace)
    means = _trace_view.time_mean(view.values(reference))
    with drawing_in(fig, 7.2, 1.1 + 1.15 * len(view.names)) as figure:
        panels = figure.subplots(len(view.names), 1, sharex=True, squeeze=False)[:, 0]
        axes: dict[str, Axes] = dict(zip(view.names, panels, strict=True))
        for name, ax in axes.items():
            x, bins = view.curves(name, _POINTS, _BINS)
            _trace_view.draw_units(ax, x, bins.mean, view.units, artist_kwargs, ranges=bins, means=means)
            _trace_view.frame_values(ax, name, trace.bounds(name))
            _trace_view.mark_overflow(ax, view, label=ax is panels[0])
        title = f"{plain_text(trace.cell)}: units, with their mean {reference}"
        columns = min(len(view.units), 4)
        legend_above(panels[0], title, ncols=columns, columnspacing=1.2, handlelength=2.4)
        how = "line: means of {} steps; band: least to greatest"
        _trace_view.frame_steps(panels[-1], view.steps, bins.size, how)
        label_characters(panels[-1], trace, view.steps)
        figure.align_ylabels(panels)
    return figure, axes
