"""Animations of gates: over training, epoch by epoch, and over time, step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from gatescope.checks.arrays import check_array, check_shape, rectangular
from gatescope.checks.numbers import check_choice, check_count, check_type
from gatescope.datatypes import Array, StackTrace, Trace
from gatescope.datatypes.stack_trace import check_alike, trace_of
from gatescope.errors import DtypeError, ValueRangeError
from gatescope.plotting import _trace_view
from gatescope.plotting._axes import count_axis, evenly
from gatescope.plotting._distribution import distribution, draw_bars, frame_percent, value_edges
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._reduction import bin_means, pixels
from gatescope.plotting._save_animation import notebook_player
from gatescope.plotting._style import is_narrow, small
from gatescope.plotting._text import legend_outside
from gatescope.plotting.gates_before_after import BINS, POINTS, curves_and_bars
from gatescope.reporting.text import counted

_INTERVAL = 100  # milliseconds a frame where an animation is shown, not saved
_FIRST = "0.62"  # grey of what a curve was in the first frame


class _Played(FuncAnimation):
    """An animation that notebooks play: matplotlib's own shows them nothing unless a setting asks for it."""

    def __init__(self, figure: Any, draw: Callable[[int], list[Any]], count: int) -> None:
        draw(0)
        timing: dict[str, Any] = {"interval": _INTERVAL, "cache_frame_data": False}
        super().__init__(figure, draw, frames=count, init_func=lambda: draw(0), **timing)
        self._player = partial(notebook_player, figure, draw, count)

    def _repr_html_(self) -> str:
        self._draw_was_started = True  # else matplotlib warns that it was never drawn
        return self._player()


def animate_gates(
    traces: Sequence[Trace | StackTrace],
    epochs: Sequence[int],
    *,
    layer: str | None = None,
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

    A row shows the curves of a few units over the steps (in grey those of the first frame) and, as bars on the same
    scale of values, how the values of all units, sequences and steps are distributed.  The title gives the epoch and
    the loss.  Axes stand still.  Of more epochs than `frames`, as many are shown, evenly apart, the first and the
    last included, and the line on top says so.  More than 600 steps are drawn as means over equal runs of steps.

    Parameters
    ----------
    traces : sequence of Trace or StackTrace
        One an epoch: of one layer, over the same inputs; for example of the models of ``TrainingRun.at``.
    epochs : sequence of int
        Ascending, one a trace.
    layer : str, optional
        Which layer of a run of several, ``"layers.1"`` or ``"layers.1.backward"``.
    gates : sequence of str, optional
        Names of gates and states, one row each.  Default: all gates, and for a cell without any its states.
    losses : sequence of float, optional
        One a trace, for the title; NaN where there is none.
    units : sequence of int, optional
        Units whose curves are drawn.  Default: three, spread over the means of the memory gate in the last trace.
    sequence : int
        Which sequence of the batch the curves are of.
    steps : slice, optional
        Which steps the curves are of, within the sequence's own length.  Default: all.
    frames : int
        Most frames that are made.
    fig : Figure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For the lines of the units, for example ``linewidth``.

    Returns
    -------
    FuncAnimation
        A notebook plays it where it is the last value of a cell.  Keep it as long as it is to play, or give it to
        `save_animation`.

    Raises
    ------
    ShapeError
        If the traces do not fit each other, or there is not one epoch and one loss a trace.
    ValueRangeError
        If there is no trace, or the epochs do not ascend.

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
    listed = _check_traces(traces, layer)
    numbers, known_losses = _check_epochs(epochs, losses, len(listed))
    view = _trace_view.view(traces[-1], gates=gates, sequence=sequence, steps=steps, units=units, layer=layer)
    picks = _evenly(len(listed), check_count("frames", frames))
    listed = [listed[k] for k in picks]
    thinned = "" if len(picks) == numbers.size else f"; {len(picks)} of {numbers.size} epochs shown"
    edges = {name: value_edges(name, listed) for name in view.names}
    views = [dataclasses.replace(view, trace=trace) for trace in listed]
    curves = {name: [part.curves(name, POINTS, BINS) for part in views] for name in view.names}
    bars = {name: [distribution(trace, name, edges[name]) for trace in listed] for name in view.names}
    with drawing_in(_check_figure(fig), *_size(len(view.names), 1.2), moving=True) as figure:
        narrow = is_narrow(figure)
        panels = figure.subplots(
            len(view.names), 2, sharex="col", sharey="row", squeeze=False, width_ratios=(4, 1.3)
        )
        moving: list[tuple[str, Any, list[Any], Any]] = []
        for name, (left, right) in zip(view.names, panels, strict=True):
            x, first = curves[name][0]
            left.plot(x, first.mean, color=_FIRST, linewidth=0.9, zorder=1)
            lines = _trace_view.draw_units(left, x, first.mean, view.units, artist_kwargs, zorder=3)
            patch = draw_bars(right, bars[name][0], name)
            text = right.set_title(right.get_title("left"), loc="left", fontsize=small())
            moving.append((name, patch, lines, text))
            _trace_view.frame_values(left, name, (edges[name][0], edges[name][-1]))
            right.set_ylim(left.get_ylim())
        frame_percent(panels[:, 1:], max(float(b.percent.max()) for name in view.names for b in bars[name]))
        _trace_view.frame_steps(panels[-1, 0], view.steps, first.size, "line: means of {}")
        about = f"{curves_and_bars(view)}; grey: epoch {numbers[0]:,}{thinned}"
        # In a column there is no room beside it: above the texts of the bars.
        heading = _heading(figure, panels[0, 0], about, 2 * 1.3 * small() if narrow else 0.0)
        figure.align_ylabels(panels[:, 0])

    def draw(frame: int) -> list[Any]:
        at = picks[frame]
        loss = "" if math.isnan(known_losses[at]) else f", loss {known_losses[at]:.4g}"
        heading.set_text(f"epoch {numbers[at]:,} of {numbers[-1]:,}{loss}")
        for name, patch, lines, text in moving:
            values = curves[name][frame][1].mean
            for k, line in enumerate(lines):
                line.set_ydata(values[:, k])
            patch.set_data(values=bars[name][frame].percent)
            text.set_text(bars[name][frame].text(narrow=narrow))
        return [heading]

    return _Played(figure, draw, len(picks))


def animate_steps(
    trace: Trace | StackTrace,
    *,
    layer: str | None = None,
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

    Of more positions of the window than `frames`, as many are shown, evenly apart, the first and the last included.
    The title says which steps a frame shows, and the line on top how far the window moves.  A state is drawn at the
    step that made it.

    Parameters
    ----------
    trace : Trace or StackTrace
    layer : str, optional
        Which layer of a run of several, ``"layers.1"`` or ``"layers.1.backward"``.
    gates : sequence of str, optional
        Names of gates and states, one row each.  Default: all gates, and for a cell without any its states.
    kind : {"lines", "heatmap"}
        The curves of a few units, or all units as an image: units down, value as lightness; the colours span the
        values of all steps but for 0.5 % at either end.
    window : int
        How many steps a frame shows, at most 1,000.
    units : sequence of int, optional
        Units to draw.  Default: of lines three, spread over the means of the memory gate; of the image all.
    sequence : int
        Which sequence of the batch.
    steps : slice, optional
        Which steps the window moves over, without a stride.  Default: all of the sequence.
    frames : int
        Most frames that are made.
    fig : Figure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For the lines, or for ``Axes.imshow``.

    Returns
    -------
    FuncAnimation
        A notebook plays it where it is the last value of a cell.  Keep it as long as it is to play, or give it to
        `save_animation`.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=4, seed=0), np.ones((90, 1), "float32"))
    >>> animation = gs.plotting.animate_steps(trace, window=30, frames=4)
    >>> html = animation.to_jshtml(fps=5)
    """
    check_choice("kind", kind, ("lines", "heatmap"))
    window = check_count("window", window, most=1000)
    if units is None and kind == "heatmap":
        units = range(trace_of(trace, layer)[1].states.shape[3])
    view = _trace_view.view(trace, gates=gates, sequence=sequence, steps=steps, units=units, layer=layer)
    trace = view.trace
    if view.steps.step != 1:
        problem = "has a stride, but the window moves over all steps"
        raise ValueRangeError(problem, argument="steps", seen=steps, advice="leave it out")
    width = min(window, len(view.steps))
    begins = _evenly(len(view.steps) - width + 1, check_count("frames", frames))
    moves = math.ceil((len(view.steps) - width) / max(begins.size - 1, 1))
    shown = {name: view.values(name) for name in view.names}
    columns = list(view.units)
    with drawing_in(_check_figure(fig), *_size(len(view.names), 1.0), moving=True) as figure:
        panels = figure.subplots(len(view.names), 1, sharex=True, squeeze=False)[:, 0]
        most, lines = pixels(panels[-1], texts=0.5) if kind == "heatmap" else (width, len(columns))
        many, high = math.ceil(width / most), math.ceil(len(columns) / lines)
        moving: list[tuple[str, Any]] = []
        for name, ax in zip(view.names, panels, strict=True):
            part = shown[name][begins[0] : begins[0] + width][:, columns]
            if kind == "lines":
                x = np.arange(width)
                moving.append((name, _trace_view.draw_units(ax, x, part, columns, artist_kwargs, zorder=3)))
                edges = value_edges(name, [trace])
                _trace_view.frame_values(ax, name, (edges[0], edges[-1]))
            else:
                moving.append(
                    (name, _image(figure, ax, name, part, _shades(shown[name]), columns, artist_kwargs))
                )
        count_axis(panels[-1].xaxis)
        panels[-1].set_xlabel("step" if many == 1 else f"step (each column is the mean of {many} steps)")
        hidden_size = trace.states.shape[3]
        units_drawn = "all" if len(columns) == hidden_size else f"{len(columns)} of"
        about = f"{view.cell}: {units_drawn} {counted(hidden_size, 'unit')}"
        if kind == "lines":
            about = curves_and_bars(view).partition(", bars")[0]
        elif high > 1:
            about += f"; each row is the mean of {high}"
        far = "" if begins.size < 2 else f"; the window moves {counted(moves, 'step')} a frame"
        heading = _heading(figure, panels[0], f"{about}{far}")
        figure.align_ylabels(panels)

    def draw(frame: int) -> list[Any]:
        begin = int(begins[frame])
        first = view.steps.start + begin
        x = np.arange(first, first + width)
        heading.set_text(f"steps {x[0]:,} to {x[-1]:,} of {view.steps.stop:,}")
        for name, artists in moving:
            part = shown[name][begin : begin + width][:, columns]
            if kind == "lines":
                for k, line in enumerate(artists):
                    line.set_data(x, part[:, k])
            else:
                image = bin_means(bin_means(part, most).mean.T, lines).mean
                left, bottom = x[0] - 0.5, high * len(image) - 0.5  # the last row may be of fewer units
                artists.set_data(image)
                artists.set_extent((left, left + many * image.shape[1], bottom, -0.5))
        panels[-1].set_xlim(x[0] - 0.5, x[-1] + 0.5)
        return [heading]

    return _Played(figure, draw, int(begins.size))


def _image(
    figure: FigureBase,
    axes: Axes,
    name: str,
    part: Array,
    limits: tuple[float, float],
    units: Sequence[int],
    keywords: dict[str, Any],
) -> Any:
    look = {"aspect": "auto", "interpolation": "nearest", "cmap": "cividis", **keywords}
    look = {"vmin": limits[0], "vmax": limits[1], **look}
    drawn = axes.imshow(part.T, extent=(-0.5, len(part) - 0.5, len(units) - 0.5, -0.5), **look)
    axes.set_ylim(len(units) - 0.5, -0.5)
    axes.grid(False)
    axes.set_ylabel("unit")
    ticks = evenly(len(units), 3)
    axes.set_yticks(ticks, [str(units[tick]) for tick in ticks])
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=8, extend="both")
    bar.set_label(_trace_view.two_lines(name))
    return drawn


def _shades(values: Array) -> tuple[float, float]:
    """Return the range of all frames, but for 0.5 % at either end: one shade must not be left for almost all values."""
    thinned = values[:: max(1, values.size >> 20)]
    thinned = thinned[np.isfinite(thinned)]
    low, high = np.quantile(thinned, (0.005, 0.995)) if thinned.size else (0.0, 0.0)
    return (float(low), float(high)) if low < high else (float(low) - 0.5, float(low) + 0.5)


def _heading(figure: FigureBase, first: Axes, about: str, lift: float = 0.0) -> Any:
    """Put the legend of the units above all panels; return the title of the first, raised by points, which changes."""
    legend_outside(figure, first, about, columns=7)
    # Left, so that it does not tremble when a number gets another digit.
    pad = matplotlib.rcParams["axes.titlepad"] + lift
    return first.set_title(" ", loc="left", fontweight="bold", pad=pad)


def _size(rows: int, column: float) -> tuple[float, float, float]:
    """Return the width of a figure, its height, and that in a column, with so many inches a row."""
    return 8.4, 1.5 + 1.35 * rows, 1.2 + column * rows


def _evenly(count: int, limit: int) -> Array:
    """Return which frames are made of so many: as `evenly` does, but of one the last."""
    return evenly(count, limit) if limit > 1 else np.array([count - 1])


def _check_figure(fig: Any) -> Figure | None:
    if fig is not None:
        advice = "give a whole matplotlib Figure, or leave it out to get a new one"
        check_type("fig", fig, Figure, advice=advice)
    return fig  # type: ignore[no-any-return]  # checked


def _check_traces(traces: Any, layer: Any) -> list[Trace]:
    advice = "give a list of Traces, one an epoch; animate one trace with animate_steps"
    check_type("traces", traces, Sequence, advice=advice)
    if not traces:
        advice = "give at least one, such as those of the snapshots of train(..., snapshot_every=10)"
        raise ValueRangeError("is empty", argument="traces", advice=advice)
    return check_alike(traces, [f"traces[{k}]" for k in range(len(traces))], layer)


def _check_epochs(epochs: Any, losses: Any, count: int) -> tuple[Array, Array]:
    numbers = rectangular("epochs", epochs)
    if numbers.dtype.kind not in "iu":
        raise DtypeError(argument="epochs", seen=numbers.dtype, advice="give whole numbers")
    known = (
        np.full(count, np.nan)
        if losses is None
        else check_array("losses", losses, np.dtype(np.float64), finite=False)
    )
    for name, array in (("epochs", numbers), ("losses", known)):
        check_shape(name, array, (count,), "one a trace")
    if not (np.diff(numbers) > 0).all():
        advice = "sort the traces by epoch, each once"
        raise ValueRangeError("does not ascend", argument="epochs", advice=advice)
    return numbers, known
