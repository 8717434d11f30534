"""Gates before and after training, side by side: how their values are spread, and what a few units do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import StepPatch

from gatescope.checks.arrays import check_shape
from gatescope.checks.numbers import check_type
from gatescope.datatypes import Array, Trace
from gatescope.datatypes.saturation import Saturation
from gatescope.errors import DtypeError, ShapeError
from gatescope.plotting import _palette, _trace_view
from gatescope.plotting._style import count_axis, drawing_in, line_keywords, plain_text
from gatescope.plotting.gate_trajectories import spread_units
from gatescope.plotting.saturation import plot_saturation

POINTS = 600  # a panel is half as wide as a figure: more steps than this are drawn as means

WIDTHS = (1.9, 1.3, 1.0)  # of lines, from the first drawn to the last, so that one under others still shows

_BINS = 150  # of a longer series: the means of few long runs can be followed by eye
_BARS = 40  # of a distribution
_CHUNK = 1 << 22  # values counted together: bounds the memory on long runs
_LABELS = ("before training", "after training")


class Spread(NamedTuple):
    """How the values of a gate are spread, over steps, sequences and units."""

    edges: Array  # (N+1,)
    share: Array  # (N,) of all values, in percent
    outside: float  # of all values, in percent: not finite
    opening: bool  # whether it goes from 0 to 1, and the bars too


def plot_gates_before_after(
    before: Trace,
    after: Trace,
    *,
    gates: Iterable[str] | str | None = None,
    units: Sequence[int] | int | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    labels: tuple[str, str] = _LABELS,
    fig: FigureBase | None = None,
    **artist_kwargs: Any,
) -> tuple[FigureBase, dict[str, tuple[Axes, Axes, Axes, Axes]]]:
    """Draw gates of one layer before and after training, on shared axes: a few units' course, and all values' spread.

    A row a gate or state.  The curves are of the same units, sequence and steps in both halves; more than 600 steps
    are drawn as means over equal runs of steps, with a band from a run's least to its greatest value.  The bars
    beside them, on the same scale of values, are of all units, sequences and steps; for gates with values in (0, 1)
    their heading says how many percent of the values are below 0.1 and above 0.9.

    Parameters
    ----------
    before, after : Trace
        Of the same cell and the same number of units, over the same steps and sequences.
    gates : sequence of str, optional
        Names of gates and states, one row each.  Default: all kept gates that are activations, and for a cell without
        any its states.
    units : sequence of int, optional
        Units whose course is drawn.  Default: three, spread over the means of the gate that keeps the memory after
        training.
    sequence : int
        Which sequence of the batch the course is of.
    steps : slice, optional
        Which steps the course is of, within the sequence's own length.  Default: all.
    labels : (str, str)
        Headings of the two halves.
    fig : Figure or SubFigure, optional
        Where to draw, best with constrained layout, as `new_figure` has it.  Default: a new figure.
    **artist_kwargs
        For the lines of the units, for example ``linewidth``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to (course before, spread before, course after, spread after)
        By name of gate or state, from the top.

    Raises
    ------
    DtypeError
        If an argument is of the wrong type.
    ShapeError
        If the two traces do not fit each other.
    UnknownNameError
        If the cell has no such gate or state.
    ValueRangeError
        If a unit or sequence is out of range, or `steps` holds no step.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> inputs = np.ones((50, 1), "float32")
    >>> before, after = (gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=s), inputs) for s in (0, 1))
    >>> fig, axes = gs.plotting.plot_gates_before_after(before, after, gates=["r", "z"])
    >>> len(axes["z"])
    4
    """
    pair = check_alike([before, after], ("before", "after"))
    headings = _check_labels(labels)
    sequence = _trace_view.check_sequence(after, sequence)
    span = _trace_view.check_steps(after, steps, sequence)
    names = _trace_view.check_names(
        after,
        gates if gates is not None else _trace_view.gate_names(after) or after.state_names,
        argument="gates",
    )
    chosen = spread_units(after, sequence)[0] if units is None else _trace_view.check_units(after, units)
    styles = _palette.unit_styles(len(chosen))
    with drawing_in(fig, 10.5, 1.3 + 1.35 * len(names)) as figure:
        panels = figure.subplots(
            len(names), 4, sharex="col", sharey="row", squeeze=False, width_ratios=(3, 1.5, 3, 1.5)
        )
        axes = {name: tuple(row) for name, row in zip(names, panels, strict=True)}
        largest = 1.0
        for name, row in axes.items():
            edges = value_edges(name, pair)
            for trace, course, bars in ((before, row[0], row[1]), (after, row[2], row[3])):
                x, bins = binned(trace, name, span, sequence, chosen)
                for k, (unit, style) in enumerate(zip(chosen, styles, strict=True)):
                    if bins.size > 1:
                        reach = bins.low[:, k], bins.high[:, k]
                        course.fill_between(x, *reach, color=style.color, alpha=0.18, linewidth=0)
                    point = {"marker": style.marker} if x.size == 1 else {}
                    keywords = {
                        "linewidth": WIDTHS[min(k, 2)],
                        "label": f"unit {unit}",
                        "zorder": 3,
                        **style.line(),
                        **point,
                    }
                    course.plot(x, bins.mean[:, k], **line_keywords(artist_kwargs, **keywords))
                found = spread(trace, name, edges)
                draw_spread(bars, found, name)
                largest = max(largest, float(found.share.max()))
            frame_values(row[0], name, edges)
        frame_shares(panels[:, [1, 3]], largest)
        for column, heading in ((0, headings[0]), (2, headings[1])):
            ax = panels[0, column]
            ax.set_title(plain_text(heading), loc="left", fontweight="bold")
            panels[-1, column].set_xlabel(steps_label(bins.size))
            frame_steps(panels[-1, column], span)
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(),
            loc="outside upper left",
            ncols=min(len(chosen), 8),
            title=what_is_drawn(after),
            alignment="left",
        )
        figure.align_ylabels(panels[:, 0])
    return figure, axes


def plot_saturation_before_after(
    before: Saturation,
    after: Saturation,
    *,
    labels: tuple[str, str] = _LABELS,
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
        Where to draw, best with constrained layout, as `new_figure` has it.  Default: a new figure.
    **artist_kwargs
        As for `plot_saturation`.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        ``"before"`` and ``"after"``.

    Raises
    ------
    DtypeError, ShapeError
        If the two are no Saturations, or do not fit each other.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> inputs = np.ones((50, 1), "float32")
    >>> traces = (gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=s), inputs) for s in (0, 1))
    >>> fig, axes = gs.plotting.plot_saturation_before_after(*map(gs.saturation, traces))
    >>> list(axes)
    ['before', 'after']
    """
    for name, result in (("before", before), ("after", after)):
        check_type(name, result, Saturation, advice="give what gatescope.saturation(trace) returns")
    for field in ("cell", "gates", "left", "right", "steps"):
        one, other = getattr(before, field), getattr(after, field)
        if one != other:
            raise ShapeError(f"is of {field} {other!r}, but `before` of {one!r}", argument="after")
    check_shape("after.shut", after.shut, before.shut.shape, "that of `before`")
    headings = _check_labels(labels)
    with drawing_in(fig, 10.2, 5.4) as figure:
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        axes = dict(zip(("before", "after"), panels, strict=True))
        for result, ax, heading in zip((before, after), panels, headings, strict=True):
            plot_saturation(result, ax=ax, **artist_kwargs)
            ax.set_title(plain_text(heading), loc="left", fontweight="bold")
        panels[1].set_ylabel("")
    return figure, axes


def check_alike(traces: Sequence[Any], names: Sequence[str]) -> list[Trace]:
    """Traces of the same cell, number of units, steps and sequences."""
    for trace, name in zip(traces, names, strict=True):
        if not isinstance(trace, Trace):
            raise DtypeError(
                f"{name} must be a gatescope Trace, as gatescope.run returns it, not a {type(trace).__name__}"
            )
    first = traces[0]
    for trace, name in zip(traces, names, strict=True):
        if (trace.cell, trace.gate_names) != (first.cell, first.gate_names):
            raise ShapeError(
                f"{name} is of a {trace.cell!r}, but {names[0]} of a {first.cell!r}; give traces of one cell"
            )
        if trace.states.shape != first.states.shape or not np.array_equal(trace.lengths, first.lengths):
            raise ShapeError(
                f"{name} has states (T+1, B, S, H) of shape {trace.states.shape} and {names[0]} of "
                f"{first.states.shape}, or other lengths; run both over the same inputs"
            )
    return list(traces)


def value_edges(name: str, traces: Sequence[Trace]) -> Array:
    """Edges of the bars of a distribution: over all that a gate can be, or all that is there."""
    bounds = traces[0].bounds(name)
    if bounds is not None:
        return np.linspace(*bounds, _BARS + 1)
    low, high = np.inf, -np.inf
    for trace in traces:
        for part in _parts(trace, name):
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    if not low < high:
        low, high = (low - 0.5, low + 0.5) if np.isfinite(low) else (-1.0, 1.0)
    return np.linspace(low, high, _BARS + 1)


def spread(trace: Trace, name: str, edges: Array) -> Spread:
    """How the values of a gate or state are spread over the bars, each sequence to its own end."""
    counts = np.zeros(edges.size - 1, np.int64)
    for part in _parts(trace, name):
        # A gate that rounds to a little more than 1 belongs to the last bar.
        counts += np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0]
    total = max(int(trace.lengths.sum()) * trace.states.shape[3], 1)
    opening = (edges[0], edges[-1]) == trace.bounds(name) == (0, 1)
    return Spread(edges, 100 * counts / total, 100 * (1 - counts.sum() / total), opening)


def draw_spread(axes: Axes, found: Spread, name: str) -> StepPatch:
    """Draw a distribution sideways, beside curves on the same scale of values; return its bars."""
    color = _palette.gate_styles((name,))[0].color
    axes.set_title(spread_text(found), loc="left", fontsize=8.5)
    return axes.stairs(found.share, found.edges, orientation="horizontal", fill=True, color=color, alpha=0.75)


def frame_shares(panels: Any, largest: float) -> None:
    """The axes of percents, (rows, columns): by their roots, since one gate that is always shut would flatten all."""
    for ax in panels.flat:
        ax.set_xscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0)), np.square))
        ax.set_xlim(0, min(1.1 * largest, 100))
        ax.set_xticks([tick for tick in (0, 1, 4, 10, 25, 50, 100) if tick <= 1.1 * largest])
    for ax in panels[-1]:
        ax.set_xlabel("% of values (root scale)")


def frame_steps(axes: Axes, span: _trace_view.Steps) -> None:
    """The axis of steps."""
    last = int(span.numbers()[-1])
    if last == span.start:
        axes.set_xlim(last - 0.5, last + 0.5)
        axes.set_xticks([last])
        return
    count_axis(axes.xaxis)
    axes.set_xlim(span.start, last)


def what_is_drawn(trace: Trace) -> str:
    """A heading for curves of some units with bars of all."""
    count = trace.states.shape[3]
    return plain_text(trace.cell) + (
        f": curves of single units, bars of all {count}" if count > 1 else ", its only unit"
    )


def spread_text(found: Spread) -> str:
    """How much of a gate is shut and open."""
    if found.outside > 1e-9:
        return f"{found.outside:.0f} % not finite"
    if not found.opening:
        return ""
    tenth = _BARS // 10
    return f"{found.share[:tenth].sum():.0f} % <0.1, {found.share[-tenth:].sum():.0f} % >0.9"


def frame_values(axes: Axes, name: str, edges: Array) -> None:
    """The axis of a gate's values."""
    role = _palette.ROLES.get(name)
    axes.set_ylabel(f"{plain_text(name)}\n{role}" if role else plain_text(name))
    room = 0.04 * float(edges[-1] - edges[0])
    axes.set_ylim(edges[0] - room, edges[-1] + room)
    if (edges[0], edges[-1]) in ((0, 1), (-1, 1)):
        axes.set_yticks([edges[0], (edges[0] + edges[-1]) / 2, edges[-1]])


def binned(
    trace: Trace, name: str, span: _trace_view.Steps, sequence: int, units: Sequence[int]
) -> tuple[Array, _trace_view.Bins]:
    """The steps and values of some units, as means over runs of steps if there are many."""
    picked = _trace_view.values(trace, name)[span.slice, sequence][:, list(units)]
    bins = _trace_view.bin_means(picked, POINTS if len(picked) <= POINTS else _BINS)
    x = span.numbers().astype(np.float64)
    return (x if bins.size == 1 else _trace_view.bin_means(x, _BINS).mean), bins


def steps_label(size: int) -> str:
    return "step" if size == 1 else f"step (line: means of {size}; band: range)"


def _parts(trace: Trace, name: str) -> Iterable[Array]:
    """The finite values of a gate or state that belong to sequences, a piece at a time."""
    values, mask = _trace_view.values(trace, name), trace.mask
    chunk = max(1, _CHUNK // max(values[0].size, 1))
    for start in range(0, len(values), chunk):
        part = values[start : start + chunk][mask[start : start + chunk]]
        part = part[np.isfinite(part)]
        if part.size:
            yield part


def _check_labels(labels: Any) -> tuple[str, str]:
    if isinstance(labels, str) or not isinstance(labels, Sequence) or len(labels) != 2:
        raise ShapeError(f"labels={labels!r} must hold two texts, for before and after")
    return str(labels[0]), str(labels[1])
