"""Gates and states of a few units over time, one panel each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import get
from gatescope.datatypes import Array, Trace
from gatescope.plotting import _palette, _trace_view
from gatescope.plotting._style import count_axis, drawing_in, line_keywords, plain_text

_POINTS = 1500  # more would be finer than the pixels of a figure seven inches wide
_BINS = 300  # of a longer series: the means of few long runs can be followed by eye, many short ones cannot
_UNITS = 3
_LINES = (1.9, 1.3, 1.0)  # widths, from the first drawn to the last, so that a line under others still shows


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

    Parameters
    ----------
    trace : Trace
    units : sequence of int, optional
        Units to draw.  Default: three, those with the smallest, the middle and the greatest mean of the gate
        that keeps the memory, f or z (else of the first panel).
    gates : sequence of str, optional
        Names of gates and states, one panel each.  Default: all kept gates that are activations, then
        all states; an RNN keeps no gates, so it shows h alone.
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

    Raises
    ------
    DtypeError
        If an argument is of the wrong type.
    UnknownNameError
        If the cell has no such gate or state.
    ValueRangeError
        If a unit or sequence is out of range, or `steps` holds no step.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> fig, axes = gs.plotting.plot_gate_trajectories(trace, units=[0, 3])
    >>> list(axes)
    ['r', 'z', 'n', 'h']
    """
    _trace_view.check_trace(trace)
    sequence = _trace_view.check_sequence(trace, sequence)
    span = _trace_view.check_steps(trace, steps, sequence)
    if gates is None:
        gates = _trace_view.gate_names(trace) + trace.state_names
    names = _trace_view.check_names(trace, gates, argument="gates")
    reference = _reference(trace, names)
    shown = {name: _trace_view.values(trace, name)[span.slice, sequence] for name in names}  # (N, H) views
    means = _trace_view.time_mean(shown[reference])
    chosen = _spread(means) if units is None else _trace_view.check_units(trace, units)

    styles = _palette.unit_styles(len(chosen))
    x = span.numbers()
    with drawing_in(fig, 7.2, 1.1 + 1.15 * len(names)) as figure:
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        axes: dict[str, Axes] = dict(zip(names, panels, strict=True))
        for name, ax in axes.items():
            picked = shown[name][:, list(chosen)]
            bins = _trace_view.bin_means(picked, _POINTS if len(picked) <= _POINTS else _BINS)
            middle = x if bins.size == 1 else _middles(x, bins.size)
            for k, (unit, style) in enumerate(zip(chosen, styles, strict=True)):
                if bins.size > 1:
                    ax.fill_between(
                        middle, bins.low[:, k], bins.high[:, k], color=style.color, alpha=0.18, linewidth=0
                    )
                label = f"unit {unit} ({means[unit]:.2f})"
                point = {"marker": style.marker} if len(x) == 1 else {}  # a line of one point shows nothing
                keywords = {"linewidth": _LINES[min(k, 2)], "label": label, **style.line(), **point}
                ax.plot(middle, bins.mean[:, k], **line_keywords(artist_kwargs, **keywords))
            _frame(ax, name, trace.bounds(name))
        axes[names[0]].legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.02),
            ncols=min(len(chosen), 4),
            columnspacing=1.2,
            handlelength=2.4,
            title=f"{plain_text(trace.cell)}: units, with their mean {reference}",
            alignment="left",
        )
        count_axis(panels[-1].xaxis)
        room = 0.5 if len(x) == 1 else 0
        panels[-1].set_xlim(x[0] - room, x[-1] + room)
        panels[-1].set_xlabel(
            "step" if bins.size == 1 else f"step (line: means of {bins.size} steps; band: least to greatest)"
        )
        figure.align_ylabels(panels)
    return figure, axes


def spread_units(trace: Trace, sequence: int = 0) -> tuple[tuple[int, ...], str]:
    """The units that `plot_gate_trajectories` draws by default, and the gate or state whose mean ranks them.

    Parameters
    ----------
    trace : Trace
    sequence : int
        Which sequence of the batch.

    Returns
    -------
    units : tuple of int
        Three (fewer of a smaller cell), from the smallest to the greatest mean over the sequence's steps.
    reference : str
        The memory gate; else the first gate; h for a cell without gates.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.plotting.gate_trajectories import spread_units
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=2, seed=0), np.ones((50, 1), "float32"))
    >>> units, reference = spread_units(trace)
    >>> sorted(units), reference
    ([0, 1], 'z')
    """
    reference = _reference(trace, _trace_view.gate_names(trace) + trace.state_names)
    values = _trace_view.values(trace, reference)[: int(trace.lengths[sequence]), sequence]
    return _spread(_trace_view.time_mean(values)), reference


def _reference(trace: Trace, names: tuple[str, ...]) -> str:
    """Return the memory gate if it is among the names, else the first of them."""
    memory = memory_gate(get(trace.cell)).name
    return memory if memory in names else names[0]


def _spread(means: Array) -> tuple[int, ...]:
    """Units at equal ranks of their means, the smallest and the greatest included."""
    order = np.argsort(means, kind="stable")
    ranks = np.unique(np.linspace(0, len(order) - 1, min(_UNITS, len(order))).round().astype(int))
    return tuple(int(unit) for unit in order[ranks])


def _middles(x: Array, size: int) -> Array:
    """The middle step of each run."""
    starts = np.arange(0, len(x), size)
    middles: Array = (x[starts] + x[np.minimum(starts + size, len(x)) - 1]) / 2
    return middles


def _frame(ax: Axes, name: str, bounds: tuple[float, float] | None) -> None:
    role = _palette.ROLES.get(name)
    ax.set_ylabel(f"{name}\n{role}" if role else name)
    if bounds == (0.0, 1.0):
        ax.set_ylim(-0.04, 1.04)
        ax.set_yticks([0, 0.5, 1])
    elif bounds == (-1.0, 1.0):
        ax.set_ylim(-1.08, 1.08)
        ax.set_yticks([-1, 0, 1])
