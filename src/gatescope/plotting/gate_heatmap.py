"""Gates of all units over time, as images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import FigureBase

from gatescope.checks.numbers import check_choice, check_flag, check_index
from gatescope.datatypes import Array, StackTrace, Trace
from gatescope.datatypes.stack_trace import traces_of
from gatescope.errors import ValueRangeError
from gatescope.plotting import _palette, _trace_view
from gatescope.plotting._axes import count_axis
from gatescope.plotting._characters import label_characters
from gatescope.plotting._figure import drawing_in, drawing_on
from gatescope.plotting._layers import draw_layers, drawn_of
from gatescope.plotting._marks import Marks, check_marks, draw_marks, label_marks
from gatescope.plotting._reduction import bin_means, pixels
from gatescope.plotting._style import inches
from gatescope.plotting._text import finish, plain_text, wrapped
from gatescope.plotting.inputs import draw_inputs
from gatescope.reporting.text import counted

_PANEL, _GAP = 0.22, 0.05  # of the height of an image are the inputs above it, and the space between
_RUNS = {"mean": "the mean", "min": "the least", "max": "the greatest"}
_FIELD = {"mean": "mean", "min": "low", "max": "high"}  # of `Bins`

_LINE = 0.25  # inches of a line of text

Order = str | Sequence[int] | None


class _Rows(NamedTuple):
    """The units from the top, and what their order is, in words."""

    units: Array
    text: str


def plot_gate_heatmap(
    trace: Trace | StackTrace,
    gate: str,
    *,
    layer: str | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    scale: Literal["data", "full"] = "data",
    order: Order = None,
    reduce: Literal["mean", "min", "max"] = "mean",
    marks: Marks = None,
    inputs: bool = False,
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw one gate or state of every unit over the steps: units down, steps across, value as lightness.

    Where there are more steps than pixels, a column is the mean of a run of steps, or their least or greatest value;
    where there are more units than pixels, a row is that of neighboring units.  The labels of the axes say of how
    many.  Nothing is interpolated.  The colors span the drawn values but for 0.5 % at either end, where the
    color bar ends in an arrow; for values of both signs the span is the same on both sides of 0.
    Values that are not finite have no color; the steps from the first on at which a state is not are hatched.  Of a run
    over a text (``gatescope run --inputs poem.txt``) up to 90 steps have its characters on their axis.

    Parameters
    ----------
    trace : Trace or StackTrace
    gate : str
        Name of a saved gate or of a state.  A state is drawn at the step that made it.
    layer : str, optional
        Which layer of a run of several, ``"layers.1"`` or ``"layers.1.backward"``.
    sequence : int
        Which sequence of the batch.
    steps : slice, optional
        Which steps, within the sequence's own length.  Default: all.
    scale : {"data", "full"}
        ``"full"`` spans all that a gate can be, (0, 1) or (-1, 1), so that figures of several cells compare;
        the gates of untrained cells are nearly of one shade in it.  Values without bounds keep ``"data"``.
    order : str or sequence of int, optional
        The units from the top: by rising mean of a gate or state over the drawn steps, named here, or as they are
        listed.  Default: by number.
    reduce : {"mean", "min", "max"}
        What a column or row shows of several steps or units.
    marks : mapping of int to str, or sequence of int, optional
        Steps of events, with labels: a line each.
    inputs : bool
        Draw the inputs above the image, in ``ax.child_axes[0]``.
    ax : Axes, optional
        Where to draw; the color bar takes its space from it.  Default: new axes in a new figure.
    **artist_kwargs
        For ``Axes.imshow``, for example ``cmap`` or ``vmin``.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("lstm", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> ax = gs.plotting.plot_gate_heatmap(trace, "f", steps=slice(0, 20), order="f", marks={10: "half"})
    >>> ax.images[0].get_array().shape
    (8, 20)
    """
    check_choice("scale", scale, ("data", "full"))
    check_choice("reduce", reduce, _RUNS)
    check_flag("inputs", inputs)
    view = _trace_view.view(
        trace, gates=(gate,), sequence=sequence, steps=steps, units=0, argument="gate", layer=layer
    )
    rows = _rows(view, order)
    events = check_marks(marks, int(view.trace.lengths[view.sequence]))
    with drawing_on(ax, 7.2, 4.2 if inputs else 3.4) as axes:
        most = pixels(axes, texts=_LINE * bool(events), part=1 / (1 + _GAP + _PANEL) if inputs else 1.0)
        _draw(axes, view, view.names[0], rows, scale, reduce, artist_kwargs, most)
        draw_marks([axes], events, above=True)
        axes.set_ylabel(f"{rows.text}{axes.get_ylabel()}")
        top = _inputs_above(axes, view, events) if inputs else axes
        pad = matplotlib.rcParams["axes.titlepad"] + 72 * label_marks(top, events)
        title = f"{view.cell}: {_palette.describe(view.names[0])} of {counted(rows.units.size, 'unit')}"
        top.set_title(title, loc="left", pad=pad)
        if inputs:
            finish([top])
    return axes


def plot_gate_heatmaps(
    trace: Trace | StackTrace,
    *,
    layer: str | None = None,
    gates: Iterable[str] | str | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    scale: Literal["data", "full"] = "data",
    order: Order = "memory",
    reduce: Literal["mean", "min", "max"] = "mean",
    marks: Marks = None,
    inputs: bool = False,
    fig: FigureBase | None = None,
    **artist_kwargs: Any,
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw several gates and states of every unit over the steps, one image below the other, rows in one order.

    A row is the same unit in every panel.  Each image is as `plot_gate_heatmap` draws it.

    Parameters
    ----------
    trace : Trace or StackTrace
    layer : str, optional
        Which layer of a run of several, ``"layers.1"`` or ``"layers.1.backward"``; of one that goes both ways both.
        Default: all, each layer in a part of the figure: without `gates` its memory gate alone.
    gates : sequence of str, optional
        Names of gates and states, one panel each.  Default: all gates, then all states.
    sequence : int
        Which sequence of the batch.
    steps : slice, optional
        Which steps, within the sequence's own length.  Default: all.
    scale : {"data", "full"}
        As for `plot_gate_heatmap`.
    order : str or sequence of int, optional
        The units from the top, as for `plot_gate_heatmap`; ``"memory"`` is by rising mean of the memory gate (else of
        the first gate, or of the state of a cell without gates), and None by number.
    reduce : {"mean", "min", "max"}
        What a column or row shows of several steps or units.
    marks : mapping of int to str, or sequence of int, optional
        Steps of events, with labels: a line each, through all panels.
    inputs : bool
        Draw the inputs in a panel on top.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For ``Axes.imshow``, for example ``cmap``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        By name of gate or state, from the top; with `inputs` the first is ``"inputs"``.  Of several layers by
        ``"layers.0.f"`` and so on.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("lstm", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> fig, axes = gs.plotting.plot_gate_heatmaps(trace, gates=["f", "c"], inputs=True)
    >>> list(axes)
    ['inputs', 'f', 'c']
    """
    check_choice("scale", scale, ("data", "full"))
    check_choice("reduce", reduce, _RUNS)
    traces = traces_of(trace, layer)
    if len(traces) > 1:
        options: dict[str, Any] = {"sequence": sequence, "steps": steps, "scale": scale, "order": order}
        options |= {"reduce": reduce, "marks": marks, "inputs": inputs, **artist_kwargs}
        drawn = drawn_of(traces, gates)

        def one(name: str, part: FigureBase) -> dict[str, Axes]:
            return plot_gate_heatmaps(trace, layer=name, gates=drawn[name], fig=part, **options)[1]

        count = max(map(len, drawn.values())) + 0.5 * bool(inputs)
        return draw_layers(one, tuple(drawn), fig, 0.8 + 1.8 * count, 0.8 + 1.3 * count)
    view = _trace_view.view(
        trace, gates=gates, sequence=sequence, steps=steps, units=0, states=True, layer=layer
    )
    trace = view.trace
    rows = _rows(
        view, _trace_view.reference_name(trace) if isinstance(order, str) and order == "memory" else order
    )
    events = check_marks(marks, int(trace.lengths[view.sequence]))
    names = ("inputs", *view.names) if check_flag("inputs", inputs) else view.names
    heights = [0.5 if name == "inputs" else 1.0 for name in names]
    with drawing_in(fig, 7.2, 0.8 + 1.8 * sum(heights), 0.8 + 1.3 * sum(heights)) as figure:
        grid: Any = figure.subplots(len(names), 1, sharex=True, squeeze=False, height_ratios=heights)
        axes: dict[str, Axes] = dict(zip(names, grid[:, 0], strict=True))
        for name in view.names:
            most = pixels(axes[name], texts=_LINE * (2 + bool(events)))
            _draw(axes[name], view, name, rows, scale, reduce, artist_kwargs, most)
            axes[name].set_ylabel(f"unit{axes[name].get_ylabel()}")
            axes[name].set_title(_palette.describe(name), loc="left")
        if inputs:
            _draw_inputs(axes["inputs"], view)
        for ax in grid[:-1, 0]:
            ax.set_xlabel("")
        draw_marks((axes[name] for name in view.names), events, above=True)
        draw_marks((axes[name] for name in names if name == "inputs"), events)
        lift = label_marks(grid[0, 0], events)
        pad = matplotlib.rcParams["axes.titlepad"] + 72 * lift
        grid[0, 0].set_title(grid[0, 0].get_title("left"), loc="left", pad=pad)
        title = f"{view.cell}: {rows.text}{' in every panel' if len(view.names) > 1 else ''}"
        size = matplotlib.rcParams["figure.titlesize"]
        figure.suptitle(wrapped(title, inches(figure)[0] - 0.1, size), x=0.01, ha="left", fontsize=size)
    return figure, axes


def _rows(view: _trace_view.TraceView, order: Any) -> _Rows:
    """Return the units in the order that was asked for."""
    count = view.trace.states.shape[3]
    if order is None:
        return _Rows(np.arange(count), "units by number")
    if isinstance(order, str):
        check_choice("order", order, view.trace.gate_names + view.trace.state_names)
        means = _trace_view.time_mean(view.values(order))
        return _Rows(np.argsort(means, kind="stable"), f"units by rising mean of {plain_text(order)}")
    units = [
        check_index("order", unit, count, "units") for unit in _trace_view.check_units(view.trace, order)
    ]
    if len(set(units)) < len(units):
        raise ValueRangeError("names a unit twice", argument="order", advice="name each unit once")
    return _Rows(np.array(units), "units as listed")


def _draw(
    axes: Axes,
    view: _trace_view.TraceView,
    name: str,
    rows: _Rows,
    scale: str,
    reduce: str,
    keywords: dict[str, Any],
    most: tuple[int, int],
) -> None:
    """Draw one image of at most so many columns and rows; label its steps, and its units if rows are several."""
    span = view.steps
    columns = bin_means(view.values(name)[:, rows.units], most[0])
    lines = bin_means(getattr(columns, _FIELD[reduce]).T, most[1])
    image = getattr(lines, _FIELD[reduce])

    bounds = view.trace.bounds(name)
    low, high = bounds if scale == "full" and bounds is not None else _limits(image)
    width = columns.size * span.step
    left = span.start - 0.5
    right = left + image.shape[1] * width
    look = {
        "extent": (left, right, image.shape[0] * lines.size - 0.5, -0.5),
        "aspect": "auto",
        "interpolation": "nearest",
        "cmap": "cividis",
        **keywords,
    }
    if max(-low, high) > _trace_view.VAST and not {"norm", "vmin", "vmax"} & {*keywords}:
        ends = [float(v) for v in np.clip((low, high), -_trace_view.LARGEST, _trace_view.LARGEST)]
        look["norm"] = SymLogNorm(1.0, vmin=ends[0], vmax=ends[1])
    elif "norm" not in keywords:
        look = {"vmin": low, "vmax": high, **look}
    drawn = axes.imshow(image, **look)
    axes.set_xlim(left, min(right, span.stop - 0.5))  # the last run may be short
    axes.set_ylim(rows.units.size - 0.5, -0.5)
    axes.grid(False)
    _trace_view.mark_overflow(axes, view)
    count_axis(axes.xaxis)
    count_axis(axes.yaxis)
    axes.set_xlabel(
        "step" if columns.size == 1 else f"step (each column is {_RUNS[reduce]} of {columns.size} steps)"
    )
    label_characters(axes, view.trace, span)
    axes.set_ylabel("" if lines.size == 1 else f" (each row is {_RUNS[reduce]} of {lines.size})")
    extend = _extend(image, *drawn.get_clim())
    with np.errstate(over="ignore"):  # matplotlib looks beyond the ends of the bar
        bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02, aspect=25, extend=extend)
    if isinstance(drawn.norm, SymLogNorm):
        bar.set_ticks(_trace_view.vast_ticks(*drawn.get_clim()))
        bar.minorticks_off()
    bar.set_label(name if bounds is None else f"{name}, in ({bounds[0]:g}, {bounds[1]:g})")


def _inputs_above(axes: Axes, view: _trace_view.TraceView, marks: dict[int, str]) -> Axes:
    """Draw the inputs in axes of their own on top of an image, as wide as it is."""
    panel = axes.inset_axes((0, 1 + _GAP, 1, _PANEL), sharex=axes)
    panel.tick_params(labelbottom=False)
    _draw_inputs(panel, view)
    draw_marks([panel], marks)
    return panel


def _draw_inputs(axes: Axes, view: _trace_view.TraceView) -> None:
    count = pixels(axes)[0]
    limits = axes.get_xlim()
    draw_inputs(axes, view, count, count)
    axes.set_xlim(limits)


def _limits(image: Array) -> tuple[float, float]:
    # A few units of great amplitude must not leave all others in one shade.
    finite = image[np.isfinite(image)]
    if not finite.size:
        return -0.5, 0.5
    low, high = (float(q) for q in np.quantile(finite, (0.005, 0.995)))
    if low < 0 < high:
        high = max(-low, high)
        low = -high
    if low == high:  # a constant: any scale but an empty one is right
        return low - 0.5, high + 0.5
    return low, high


def _extend(image: Array, low: float, high: float) -> str:
    below, above = bool((image < low).any()), bool((image > high).any())
    return "both" if below and above else "min" if below else "max" if above else "neither"
