"""What the plots take out of a trace: checked gates, units, a sequence and its steps, drawn on axes of one kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import Cell, get
from gatescope.cells.registry import names as registered_cells
from gatescope.cells.roles import ROLES
from gatescope.checks.numbers import check_choices, check_index, check_type, is_several
from gatescope.datatypes import Array, Trace
from gatescope.datatypes.stack_trace import trace_of
from gatescope.errors import ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._axes import count_axis, evenly, line_keywords
from gatescope.plotting._reduction import Bins, thinned
from gatescope.plotting._style import small
from gatescope.plotting._text import plain_text

_UNITS = 3  # that are drawn by default
POINTS, BINS = 1500, 300  # of a page's width: more steps are drawn as means, few enough to be followed by eye
RUNS = "line: means of {} steps; band: least to greatest"  # what is drawn of them
VAST = 1e6  # from which on states are drawn on a logarithmic scale: they grow without bound
LARGEST = 1e300  # of an axis: matplotlib's margins would overflow
_BOX = {
    "boxstyle": "square,pad=0.15",
    "facecolor": "white",
    "linewidth": 0,
}  # behind a text on curves or an image
_WIDTHS = (2.0, 1.4, 1.0)  # of lines, from the first drawn to the last, so that one under others still shows


@dataclasses.dataclass(frozen=True)
class TraceView:
    """A checked part of a trace: gates and states, one sequence, some of its steps, some units; its layer's name."""

    layer: str
    trace: Trace
    names: tuple[str, ...]
    sequence: int
    steps: range
    units: tuple[int, ...]

    @property
    def cell(self) -> str:
        """The layer, if there are several, and its cell."""
        return cell_text(self.layer, self.trace)

    def values(self, name: str) -> Array:
        """Return a view (N, H) of a gate or state of all units at the steps."""
        steps = slice(self.steps.start, self.steps.stop, self.steps.step)
        return values(self.trace, name)[steps, self.sequence]

    def curves(self, name: str, points: int, bins: int) -> tuple[Array, Bins]:
        """Return steps (N,) and the units' values (N, U); of more than `points` steps the means over `bins` runs."""
        return thinned(self.values(name)[:, list(self.units)], self.steps, points, bins)

    def inputs(self) -> Array:
        """Return the inputs (N, I) of the steps."""
        return self.trace.inputs[self.steps.start : self.steps.stop : self.steps.step, self.sequence]


def view(
    trace: Any,
    *,
    gates: str | Iterable[str] | None = None,
    sequence: Any = 0,
    steps: Any = None,
    units: Any = None,
    states: bool = False,
    argument: str = "gates",
    layer: Any = None,
) -> TraceView:
    """Check what is to be drawn of a trace.

    Without `gates` these are all gates, and with `states`, or if there is no gate, all states too.  Without `units`
    they are those of `spread_units`.  Of a run of several layers the trace of `layer`.
    """
    name, trace = trace_of(trace, layer)
    sequence = check_index("sequence", sequence, trace.inputs.shape[1], "sequences")
    chosen_steps = check_steps(trace, steps, sequence)
    if gates is None:
        gates = gate_names(trace) + (trace.state_names if states else ()) or trace.state_names
    names = check_choices(argument, gates, trace.gate_names + trace.state_names)
    chosen_units = spread_units(trace, sequence)[0] if units is None else check_units(trace, units)
    return TraceView(name, trace, names, sequence, chosen_steps, chosen_units)


def cell_text(layer: str, trace: Trace) -> str:
    """Return the cell of a trace, with the name of its layer before it if it is one of several."""
    return plain_text(f"{layer}, {trace.cell}" if layer else trace.cell)


def check_units(trace: Trace, units: Any) -> tuple[int, ...]:
    """Return the numbers of some units."""
    hidden_size = trace.states.shape[3]
    if isinstance(units, np.ndarray) and units.ndim == 0:
        units = units[()]
    listed = units if is_several(units) else [units]
    chosen = tuple(check_index("units", unit, hidden_size, "units") for unit in listed)
    if not chosen:
        raise ValueRangeError("is empty", argument="units", advice="name at least one unit")
    return chosen


def check_steps(trace: Trace, steps: Any, sequence: int) -> range:
    """Return the steps that a slice means for one sequence; never past the sequence's own end."""
    length = int(trace.lengths[sequence])
    if steps is None:
        steps = slice(None)
    check_type("steps", steps, slice, advice="give a slice, for example slice(0, 500)")
    try:
        chosen = range(length)[steps]
    except (TypeError, ValueError) as error:
        problem = f"is no slice of whole numbers with a step other than 0 ({error})"
        raise ValueRangeError(problem, argument="steps", seen=steps) from None
    if chosen.step < 1 or not chosen:
        problem = "holds no step, or runs backwards"
        advice = f"choose from the {length} steps of sequence {sequence}"
        raise ValueRangeError(problem, argument="steps", seen=steps, advice=advice)
    return range(chosen.start, chosen.stop, chosen.step)


def gate_names(trace: Trace) -> tuple[str, ...]:
    """Return the saved values worth drawing: all but those that are neither gates nor of a known range."""
    cell = _cell(trace)
    gates = cell.gates if cell else trace.gate_names
    return tuple(name for name in trace.gate_names if name in gates or trace.bounds(name) is not None)


def spread_units(trace: Trace, sequence: int = 0) -> tuple[tuple[int, ...], str]:
    """Return the units drawn by default, from the smallest to the greatest mean of a gate or state, and its name."""
    reference = reference_name(trace)
    means = time_mean(values(trace, reference)[: int(trace.lengths[sequence]), sequence])
    order = np.argsort(means, kind="stable")
    return tuple(int(unit) for unit in order[evenly(len(order), _UNITS)]), reference


def reference_name(trace: Trace) -> str:
    """Return the memory gate; else the first gate; the first state for a cell without gates."""
    names = gate_names(trace) + trace.state_names
    cell = _cell(trace)
    memory = memory_gate(cell).name if cell else ""
    return memory if memory in names else names[0]


def values(trace: Trace, name: str) -> Array:
    """Return (T, B, H): a gate, or a state after each step."""
    return trace.gate(name) if name in trace.gate_names else trace.state(name)[1:]


def time_mean(series: Array) -> Array:
    """Return the mean (H,) over the steps of (N, H), in float64."""
    with np.errstate(invalid="ignore"):  # infinities of both signs
        return np.asarray(np.mean(series, axis=0, dtype=np.float64))


def draw_units(
    axes: Axes,
    steps: Array,
    curves: Array,
    units: Sequence[int],
    keywords: dict[str, Any],
    *,
    ranges: Bins | None = None,
    means: Array | None = None,
    **ours: Any,
) -> list[Line2D]:
    """Draw a line for each column of `curves`; with bands if `ranges` are those of runs, and means in the labels."""
    lines = []
    broad = matplotlib.rcParams["lines.linewidth"] / _WIDTHS[1]
    for k, (unit, style) in enumerate(zip(units, _palette.unit_styles(len(units)), strict=True)):
        if ranges is not None and ranges.size > 1:
            band = ranges.low[:, k], ranges.high[:, k]
            axes.fill_between(steps, *band, color=style.color, alpha=0.18, linewidth=0)
        mean = np.nan if means is None else float(means[unit])
        label = f"unit {unit}" + (f" ({mean:.2f})" if np.isfinite(mean) else "")
        look = {"linewidth": broad * _WIDTHS[min(k, 2)], "label": label, **style.line(steps.size), **ours}
        lines += axes.plot(steps, curves[:, k], **line_keywords(keywords, **look))
    return lines


def frame_steps(axes: Axes, steps: range, size: int, how: str) -> None:
    """Set limits and label of the axis of steps; `how` says what is drawn of runs of `size` steps."""
    axes.set_xlabel("step" if size == 1 else f"step ({how.format(size)})")
    if len(steps) == 1:
        axes.set_xlim(steps[0] - 0.5, steps[0] + 0.5)
        axes.set_xticks([steps[0]])
        return
    count_axis(axes.xaxis)
    axes.set_xlim(steps[0], steps[-1])


def mark_overflow(axes: Axes, view: TraceView, *, label: bool = True) -> None:
    """Shade the steps from the first on at which a state of the sequence is not finite, and say so."""
    states = view.trace.states[1:, view.sequence][view.steps.start : view.steps.stop]
    bad = np.flatnonzero(~np.isfinite(states).all(axis=(1, 2)))
    if not bad.size:
        return
    first = view.steps.start + int(bad[0])
    axes.axvspan(
        first, view.steps.stop, facecolor="0.85", edgecolor="0.6", hatch="//", linewidth=0, zorder=0.5
    )
    if label:
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        # On the side that has room for it.
        left = first - view.steps.start > (view.steps.stop - view.steps.start) / 2
        text = f"not finite from step {first:,}"
        offset, side = (-4, "right") if left else (4, "left")
        axes.annotate(
            text, (first, 0.5), xytext=(offset, 0), ha=side, va="center", fontsize=small(), bbox=_BOX, **place
        )


def frame_values(axes: Axes, name: str, bounds: tuple[float, float] | None) -> None:
    """Set label and, where they are known, limits of the axis of a gate's values."""
    axes.set_ylabel(two_lines(name))
    if bounds is None:
        _limit_values(axes)
        return
    low, high = bounds
    margin = 0.04 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    if (low, high) in ((0, 1), (-1, 1)):
        axes.set_yticks([low, (low + high) / 2, high])


def _limit_values(axes: Axes) -> None:
    """Give states that overflow a logarithmic axis, within what matplotlib can compute with."""
    drawn = [line.get_ydata() for line in axes.lines]
    finite = [np.asarray(values)[np.isfinite(values)] for values in drawn]
    values = np.concatenate([*finite, np.zeros(1)])
    if np.abs(values).max() > VAST:
        shown = np.clip(values, -LARGEST / 10, LARGEST / 10)
        low, high = 10 * min(float(shown.min()), -0.1), 10 * max(float(shown.max()), 0.1)
        axes.set_ylim(low, high)  # before the scale: the margins of what is drawn would overflow in it
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_yticks(vast_ticks(low, high))
        axes.minorticks_off()


def vast_ticks(low: float, high: float) -> list[float]:
    """Return 0 and a few powers of ten on either side for such a scale."""
    step = max(1, math.ceil(math.log10(max(-low, high)) / 3))
    powers = [10.0**power for power in range(step, 309, step)]
    return sorted([0.0, *(p for p in powers if p <= high), *(-p for p in powers if -p >= low)])


def two_lines(name: str) -> str:
    """Return a gate's or state's name and below it what it is."""
    role = ROLES.get(name)
    return f"{plain_text(name)}\n{role}" if role else plain_text(name)


def _cell(trace: Trace) -> Cell | None:
    """Return the cell of a trace; None if it is not registered here."""
    return get(trace.cell) if trace.cell in registered_cells() else None
