"""Gates and states of a few units over time, one panel each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from gatescope.checks.numbers import check_flag
from gatescope.datatypes import StackTrace, Trace
from gatescope.datatypes.stack_trace import traces_of
from gatescope.plotting import _trace_view
from gatescope.plotting._characters import label_characters
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._layers import draw_layers, drawn_of
from gatescope.plotting._marks import Marks, check_marks, draw_marks, label_marks
from gatescope.plotting._style import is_narrow
from gatescope.plotting._text import legend_above
from gatescope.plotting.inputs import draw_inputs


def plot_gate_trajectories(
    trace: Trace | StackTrace,
    *,
    layer: str | None = None,
    units: Sequence[int] | int | None = None,
    gates: Iterable[str] | str | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    marks: Marks = None,
    inputs: bool = False,
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
    trace : Trace or StackTrace
    layer : str, optional
        Which layer of a run of several, ``"layers.1"`` or ``"layers.1.backward"``; of one that goes both ways both.
        Default: all, each layer in a part of the figure: without `gates` its memory gate alone.
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
    marks : mapping of int to str, or sequence of int, optional
        Steps of events, with labels: a line each, through all panels.
    inputs : bool
        Draw the inputs in a panel on top.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For every line, for example ``linewidth``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        By name of gate or state, from the top; with `inputs` the first is ``"inputs"``.  Of several layers by
        ``"layers.0.f"`` and so on.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> fig, axes = gs.plotting.plot_gate_trajectories(trace, units=[0, 3])
    >>> list(axes)
    ['r', 'z', 'n', 'h']
    """
    traces = traces_of(trace, layer)
    if len(traces) > 1:
        options: dict[str, Any] = {"units": units, "sequence": sequence, "steps": steps, "marks": marks}
        options |= {"inputs": inputs, **artist_kwargs}
        drawn = drawn_of(traces, gates)

        def one(name: str, part: FigureBase) -> dict[str, Axes]:
            return plot_gate_trajectories(trace, layer=name, gates=drawn[name], fig=part, **options)[1]

        count = max(map(len, drawn.values())) + bool(inputs)
        return draw_layers(one, tuple(drawn), fig, 1.1 + 1.15 * count, 0.9 + 0.8 * count)
    view = _trace_view.view(
        trace, gates=gates, sequence=sequence, steps=steps, units=units, states=True, layer=layer
    )
    trace = view.trace
    reference = _trace_view.reference_name(trace)
    means = _trace_view.time_mean(view.values(reference))
    events = check_marks(marks, int(trace.lengths[view.sequence]))
    names = ("inputs", *view.names) if check_flag("inputs", inputs) else view.names
    count = len(names)
    with drawing_in(fig, 7.2, 1.1 + 1.15 * count, 0.9 + 0.8 * count) as figure:
        panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        axes: dict[str, Axes] = dict(zip(names, panels, strict=True))
        part = 2 if is_narrow(figure) else 1
        points, runs = _trace_view.POINTS // part, _trace_view.BINS // part
        for name in view.names:
            x, bins = view.curves(name, points, runs)
            _trace_view.draw_units(
                axes[name], x, bins.mean, view.units, artist_kwargs, ranges=bins, means=means
            )
            _trace_view.frame_values(axes[name], name, trace.bounds(name))
        if inputs:
            draw_inputs(axes["inputs"], view, points, runs)
        for ax in panels:
            _trace_view.mark_overflow(ax, view, label=ax is panels[0])
        _trace_view.frame_steps(panels[-1], view.steps, bins.size, _trace_view.RUNS)
        draw_marks(panels, events)
        title = f"{view.cell}: units, with their mean {reference}"
        columns = min(len(view.units), 4)
        entries = axes[view.names[0]].get_legend_handles_labels()
        label_characters(panels[-1], trace, view.steps)
        lift = label_marks(panels[0], events)
        legend_above(panels[0], title, entries=entries, ncols=columns, lift=lift, handlelength=2.4)
        figure.align_ylabels(panels)
    return figure, axes
