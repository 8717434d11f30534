"""Moving pictures of gates: over training, epoch by epoch, and over time, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from gatescope.datatypes import Array, Trace
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.plotting import _palette, _trace_view
from gatescope.plotting._style import count_axis, drawing_in, line_keywords, plain_text
from gatescope.plotting.gate_trajectories import spread_units
from gatescope.plotting.gates_before_after import (
    WIDTHS,
    binned,
    check_alike,
    draw_spread,
    frame_shares,
    frame_steps,
    frame_values,
    spread,
    spread_text,
    steps_label,
    value_edges,
    what_is_drawn,
)

_INTERVAL = 100  # milliseconds a frame where an animation is shown, not saved
_FIRST = "0.62"  # grey of what a curve was in the first frame


def animate_gates(
    traces: Sequence[Trace],
    epochs: Sequence[int],
    *,
    gates: Iterable[str] | str | None = None,
    losses: Sequence[float] | None = None,
    units: Sequence[int] | int | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    frames: int = 120,
    fig: Figure | None = None,
    **artist_kwargs: Any,
) -> FuncAnimation:
    """Animate gates over training: a frame an epoch, a row a gate.

    A row shows the course of a few units over the steps (in grey what it was in the first frame) and, as bars on the
    same scale of values, how the values of all units, sequences and steps are spread.  The title gives the epoch and
    the loss.  Axes stand still.  Of more epochs than `frames`, as many are shown, evenly apart, the first and the
    last included, and the title says so.  More than 600 steps are drawn as means over equal runs of steps.

    Parameters
    ----------
    traces : sequence of Trace
        One an epoch: of one layer, over the same inputs; for example of the models of ``TrainingRun.at``.
    epochs : sequence of int
        Ascending, one a trace.
    gates : sequence of str, optional
        Names of gates and states, one row each.  Default: all kept gates that are activations, and for a cell without
        any its states.
    losses : sequence of float, optional
        One a trace, for the title; NaN where there is none.
    units : sequence of int, optional
        Units whose course is drawn.  Default: three, spread over the means of the gate that keeps the memory in the
        last trace.
    sequence : int
        Which sequence of the batch the course is of.
    steps : slice, optional
        Which steps the course is of, within the sequence's own length.  Default: all.
    frames : int
        At most so many frames.
    fig : Figure, optional
        Where to draw, best with constrained layout, as `new_figure` has it.  Default: a new figure.
    **artist_kwargs
        For the lines of the units, for example ``linewidth``.

    Returns
    -------
    FuncAnimation
        Keep it as long as it is to play, or give it to `save_animation`.

    Raises
    ------
    DtypeError
        If an argument is of the wrong type.
    ShapeError
        If the traces do not fit each other, or there is not one epoch and one loss a trace.
    UnknownNameError
        If the cell has no such gate or state.
    ValueRangeError
        If there is no trace, a unit or sequence is out of range, `steps` holds no step, or the epochs do not ascend.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, gatescope as gs
    >>> inputs = np.ones((20, 1), "float32")
    >>> traces = [gs.run(gs.init("gru", input_size=1, hidden_size=4, seed=s), inputs) for s in (0, 1)]
    >>> animation = gs.plotting.animate_gates(traces, epochs=[0, 10], losses=[1.0, 0.5], gates="z")
    >>> file = gs.plotting.save_animation(animation, pathlib.Path(tempfile.mkdtemp()) / "z.gif", dpi=40)
    >>> file.read_bytes()[:6]
    b'GIF89a'
    """
    listed = _check_traces(traces)
    numbers, shown_losses = _check_epochs(epochs, losses, len(listed))
    last = listed[-1]
    sequence = _trace_view.check_sequence(last, sequence)
    span = _trace_view.check_steps(last, steps, sequence)
    names = _names(last, gates)
    chosen = spread_units(last, sequence)[0] if units is None else _trace_view.check_units(last, units)
    picks = _evenly(len(listed), _check_frames(frames))
    listed = [listed[k] for k in picks]
    thinned = "" if len(picks) == numbers.size else f"; {len(picks)} of {numbers.size} epochs shown"
    edges = {name: value_edges(name, listed) for name in names}
    courses = {name: [binned(trace, name, span, sequence, chosen) for trace in listed] for name in names}
    spreads = {name: [spread(trace, name, edges[name]) for trace in listed] for name in names}
    with drawing_in(_check_figure(fig), 8.4, 1.5 + 1.35 * len(names)) as figure:
        panels = figure.subplots(
            len(names), 2, sharex="col", sharey="row", squeeze=False, width_ratios=(4, 1.3)
        )
        moving: list[tuple[str, Any, list[Any]]] = []
        for name, (course, side) in zip(names, panels, strict=True):
            x, first = courses[name][0]
            course.plot(x, first.mean, color=_FIRST, linewidth=0.9, zorder=1)
            lines = _lines(course, x, first.mean, chosen, artist_kwargs)
            moving.append((name, draw_spread(side, spreads[name][0], name), lines))
            frame_values(course, name, edges[name])
            side.set_ylim(course.get_ylim())
        frame_shares(panels[:, 1:], max(float(s.share.max()) for name in names for s in spreads[name]))
        panels[-1, 0].set_xlabel(steps_label(courses[names[0]][0][1].size).replace("; band: range", ""))
        frame_steps(panels[-1, 0], span)
        heading = _heading(figure, panels[0, 0], f"{what_is_drawn(last)}; grey: epoch {numbers[0]:,}")
        figure.align_ylabels(panels[:, 0])

        def draw(frame: int) -> list[Any]:
            at = picks[frame]
            loss = "" if math.isnan(shown_losses[at]) else f", loss {shown_losses[at]:.4g}"
            heading.set_text(f"epoch {numbers[at]:,} of {numbers[-1]:,}{loss}{thinned}")
            for (name, bars, lines), side in zip(moving, panels[:, 1], strict=True):
                values = courses[name][frame][1].mean
                for k, line in enumerate(lines):
                    line.set_ydata(values[:, k])
                bars.set_data(values=spreads[name][frame].share)
                side.set_title(spread_text(spreads[name][frame]), loc="left", fontsize=8.5)
            return [heading]

        return _animation(figure, draw, len(picks), ours=fig is None)


def animate_steps(
    trace: Trace,
    *,
    gates: Iterable[str] | str | None = None,
    kind: Literal["lines", "heatmap"] = "lines",
    window: int = 200,
    units: Sequence[int] | int | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    frames: int = 120,
    fig: Figure | None = None,
    **artist_kwargs: Any,
) -> FuncAnimation:
    """Animate gates over time: a window that moves over the steps, a row a gate.

    Of more places of the window than `frames`, as many are shown, evenly apart, the first and the last included; the
    title says which steps a frame shows and how far the window moves.  A state is drawn at the step that made it.

    Parameters
    ----------
    trace : Trace
    gates : sequence of str, optional
        Names of gates and states, one row each.  Default: all kept gates that are activations, and for a cell without
        any its states.
    kind : {"lines", "heatmap"}
        The course of a few units, or all units as an image: units down, value as lightness; the colours span the
        values of all steps but for 0.5 % at either end.
    window : int
        How many steps a frame shows, at most 1,000.
    units : sequence of int, optional
        Units to draw.  Default: of lines three, spread over the means of the gate that keeps the memory; of the image
        all.
    sequence : int
        Which sequence of the batch.
    steps : slice, optional
        Which steps the window moves over, without a stride.  Default: all of the sequence.
    frames : int
        At most so many frames.
    fig : Figure, optional
        Where to draw, best with constrained layout, as `new_figure` has it.  Default: a new figure.
    **artist_kwargs
        For the lines, or for ``Axes.imshow``.

    Returns
    -------
    FuncAnimation
        Keep it as long as it is to play, or give it to `save_animation`.

    Raises
    ------
    DtypeError, UnknownNameError, ValueRangeError
        As `animate_gates` does; and if `kind` is not known or `window` is out of range.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=4, seed=0), np.ones((90, 1), "float32"))
    >>> animation = gs.plotting.animate_steps(trace, window=30, frames=4)
    >>> html = animation.to_jshtml(fps=5)
    """
    _trace_view.check_trace(trace)
    if kind not in ("lines", "heatmap"):
        raise ValueRangeError(f"kind={kind!r} is not known; choose 'lines' or 'heatmap'")
    if isinstance(window, bool) or not isinstance(window, int | np.integer) or not 1 <= window <= 1000:
        raise ValueRangeError(f"window={window!r} must be a whole number of steps in 1..1000")
    sequence = _trace_view.check_sequence(trace, sequence)
    span = _trace_view.check_steps(trace, steps, sequence)
    if span.stride != 1:
        raise ValueRangeError(f"steps={steps!r} has a stride; a window moves over all steps, so leave it out")
    names = _names(trace, gates)
    if units is not None:
        chosen = _trace_view.check_units(trace, units)
    else:
        every = tuple(range(trace.states.shape[3]))
        chosen = spread_units(trace, sequence)[0] if kind == "lines" else every
    width = min(int(window), span.stop - span.start)
    places = span.stop - span.start - width + 1
    begins = span.start + _evenly(places, _check_frames(frames))
    moves = math.ceil((places - 1) / max(begins.size - 1, 1))
    shown = {name: _trace_view.values(trace, name)[: span.stop, sequence] for name in names}  # views
    with drawing_in(_check_figure(fig), 8.4, 1.5 + 1.35 * len(names)) as figure:
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        moving: list[tuple[str, Any]] = []
        for name, ax in zip(names, panels, strict=True):
            part = shown[name][begins[0] : begins[0] + width][:, list(chosen)]
            if kind == "lines":
                lines = _lines(ax, np.arange(width), part, chosen, artist_kwargs)
                frame_values(ax, name, value_edges(name, [trace]))
                moving.append((name, lines))
            else:
                limits = _shades(shown[name][span.start :])
                moving.append((name, _image(figure, ax, name, part, limits, chosen, artist_kwargs)))
        count_axis(panels[-1].xaxis)
        panels[-1].set_xlabel("step")
        count = "all" if units is None else f"{len(chosen)} of"
        about = f"{plain_text(trace.cell)}: {count} {trace.states.shape[3]} units"
        if kind == "lines":
            about = what_is_drawn(trace).partition(", bars")[0]
        heading = _heading(figure, panels[0], about)
        figure.align_ylabels(panels)
        far = "" if begins.size < 2 else f" (the window moves {moves:,} step{'s' * (moves > 1)} a frame)"

        def draw(frame: int) -> list[Any]:
            begin = int(begins[frame])
            x = np.arange(begin, begin + width)
            heading.set_text(f"steps {begin:,} to {begin + width - 1:,} of {span.stop:,}{far}")
            for name, artists in moving:
                part = shown[name][begin : begin + width][:, list(chosen)]
                if kind == "lines":
                    for k, line in enumerate(artists):
                        line.set_data(x, part[:, k])
                else:
                    artists.set_data(part.T)
                    artists.set_extent((begin - 0.5, begin + width - 0.5, len(chosen) - 0.5, -0.5))
            panels[-1].set_xlim(begin - 0.5, begin + width - 0.5)
            return [heading]

        return _animation(figure, draw, int(begins.size), ours=fig is None)


def _lines(axes: Axes, x: Array, values: Array, units: Sequence[int], keywords: dict[str, Any]) -> list[Any]:
    drawn = []
    for k, (unit, style) in enumerate(zip(units, _palette.unit_styles(len(units)), strict=True)):
        point = {"marker": style.marker} if len(x) == 1 else {}  # a line of one point shows nothing
        ours = {"linewidth": WIDTHS[min(k, 2)], "label": f"unit {unit}", "zorder": 3, **style.line(), **point}
        drawn += axes.plot(x, values[:, k], **line_keywords(keywords, **ours))
    return drawn


def _image(
    figure: FigureBase,
    axes: Axes,
    name: str,
    part: Array,
    limits: tuple[float, float],
    units: Sequence[int],
    keywords: dict[str, Any],
) -> Any:
    look = {"aspect": "auto", "cmap": "cividis", "vmin": limits[0], "vmax": limits[1], **keywords}
    drawn = axes.imshow(part.T, extent=(-0.5, len(part) - 0.5, len(units) - 0.5, -0.5), **look)
    axes.grid(False)
    role = _palette.ROLES.get(name)
    axes.set_ylabel("unit")
    ticks = np.unique(np.linspace(0, len(units) - 1, min(3, len(units))).round().astype(int))
    axes.set_yticks(ticks, [str(units[tick]) for tick in ticks])
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=8, extend="both")
    bar.set_label(f"{plain_text(name)}\n{role}" if role else plain_text(name))
    return drawn


def _shades(values: Array) -> tuple[float, float]:
    """The range of all frames, but for 0.5 % at either end: one shade must not be left for almost all values."""
    thinned = values[:: max(1, values.size >> 20)]
    thinned = thinned[np.isfinite(thinned)]
    low, high = np.quantile(thinned, (0.005, 0.995)) if thinned.size else (0.0, 0.0)
    return (float(low), float(high)) if low < high else (float(low) - 0.5, float(low) + 0.5)


def _heading(figure: FigureBase, first: Axes, about: str) -> Any:
    """The legend of the units above all panels, and in the first panel's title the text that changes."""
    handles, labels = first.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=min(len(labels), 7),
            title=about,
            alignment="left",
        )
    else:
        figure.suptitle(about, x=0.01, ha="left")
    # Left, so that it does not tremble when a number gets another digit.
    return first.set_title(" ", loc="left", fontweight="bold")


def _animation(figure: Any, draw: Callable[[int], list[Any]], count: int, *, ours: bool) -> FuncAnimation:
    draw(0)
    if ours:
        # The layout is made once: made again for every frame, the panels would tremble.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return FuncAnimation(
        figure,
        draw,
        frames=count,
        init_func=lambda: draw(0),
        interval=_INTERVAL,
        blit=False,
        cache_frame_data=False,
    )


def _names(trace: Trace, gates: Any) -> tuple[str, ...]:
    return _trace_view.check_names(
        trace,
        gates if gates is not None else _trace_view.gate_names(trace) or trace.state_names,
        argument="gates",
    )


def _evenly(count: int, limit: int) -> Array:
    """At most so many of 0, 1, ..., count - 1, the first and the last included; of one, the last."""
    if limit == 1:
        return np.array([count - 1])
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int))


def _check_frames(frames: Any) -> int:
    if isinstance(frames, bool) or not isinstance(frames, int | np.integer) or frames < 1:
        raise ValueRangeError(f"frames={frames!r} must be a whole number of at least 1")
    return int(frames)


def _check_figure(fig: Any) -> Figure | None:
    if fig is not None and not isinstance(fig, Figure):
        raise DtypeError(
            f"fig={fig!r:.80} is not a matplotlib Figure, and only a whole one can be animated; leave it out to get a "
            "new one"
        )
    return fig


def _check_traces(traces: Any) -> list[Trace]:
    if isinstance(traces, Trace) or not isinstance(traces, Sequence):
        raise DtypeError(
            f"traces must be a sequence of gatescope Trace objects, one an epoch, not a {type(traces).__name__}; "
            "animate one trace with animate_steps"
        )
    if not traces:
        raise ValueRangeError(
            "traces is empty; give at least one Trace, such as those of the snapshots of train(..., snapshot_every=10)"
        )
    return check_alike(traces, [f"traces[{k}]" for k in range(len(traces))])


def _check_epochs(epochs: Any, losses: Any, count: int) -> tuple[Array, Array]:
    numbers = np.asarray(epochs)
    if numbers.dtype.kind not in "iu":
        raise DtypeError(f"epochs={epochs!r:.80} must hold whole numbers")
    known = np.full(count, np.nan) if losses is None else np.asarray(losses, np.float64)
    for name, array in (("epochs", numbers), ("losses", known)):
        if array.shape != (count,):
            raise ShapeError(f"{name} has shape {array.shape}; give one a trace, ({count},)")
    if not (np.diff(numbers) > 0).all():
        raise ValueRangeError(f"epochs={epochs!r:.80} must ascend, each once; sort the traces by them")
    return numbers, known
