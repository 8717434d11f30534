"""What the plots take out of a trace: checked names, units, sequences and steps, and means over steps."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatescope.datatypes import Array, Trace
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError

PRE_ACTIVATIONS = ("q",)  # kept for the backward pass; no gate, so not drawn unless asked for


class Steps(NamedTuple):
    """The steps to draw of one sequence."""

    start: int
    stop: int
    stride: int

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop, self.stride)

    def numbers(self) -> Array:
        """The step numbers, one a value."""
        return np.arange(self.start, self.stop, self.stride)


class Bins(NamedTuple):
    """Values averaged over runs of `size` of them (the last run may be shorter)."""

    size: int
    mean: Array
    low: Array
    high: Array


def check_trace(trace: object) -> Trace:
    """The trace itself, if it is one."""
    if not isinstance(trace, Trace):
        raise DtypeError(
            f"trace must be a gatescope Trace, as gatescope.run returns it, not a {type(trace).__name__}"
        )
    return trace


def gate_names(trace: Trace) -> tuple[str, ...]:
    """The gates worth drawing: all that are kept, except pre-activations."""
    return tuple(name for name in trace.gate_names if name not in PRE_ACTIVATIONS)


def check_names(
    trace: Trace, names: str | Iterable[str], *, argument: str, states: bool = True
) -> tuple[str, ...]:
    """Names of gates (and of states), each known to the trace's cell."""
    if isinstance(names, str):
        names = (names,)
    elif not isinstance(names, Iterable):
        raise DtypeError(f"{argument}={names!r} must be a name or a sequence of names")
    known = trace.gate_names + (trace.state_names if states else ())
    chosen = tuple(names)
    for name in chosen:
        if name not in known:
            listed = ", ".join(map(repr, known)) or "none"
            kind = "gates and states" if states else "kept gates"
            raise UnknownNameError(
                f"{argument}={name!r} is not known to the {trace.cell}; its {kind} are {listed}"
            )
    if not chosen:
        raise ValueRangeError(
            f"{argument} is empty; name at least one of {', '.join(map(repr, known)) or 'no gates'}"
        )
    return chosen


def check_sequence(trace: Trace, sequence: object) -> int:
    """The number of one sequence of the batch."""
    batch = trace.inputs.shape[1]
    index = _integer(sequence, "sequence")
    if not 0 <= index < batch:
        raise ValueRangeError(
            f"sequence={index} is out of range; the trace holds {batch}, numbered 0 to {batch - 1}"
        )
    return index


def check_units(trace: Trace, units: object) -> tuple[int, ...]:
    """The numbers of some units."""
    hidden_size = trace.states.shape[3]
    listed = units if isinstance(units, (Sequence, np.ndarray)) and not isinstance(units, str) else [units]
    chosen = tuple(_integer(unit, "units") for unit in listed)
    if not chosen:
        raise ValueRangeError(f"units is empty; name at least one of the units 0 to {hidden_size - 1}")
    for unit in chosen:
        if not 0 <= unit < hidden_size:
            raise ValueRangeError(
                f"units holds {unit}; the {trace.cell} has {hidden_size} units, 0 to {hidden_size - 1}"
            )
    return chosen


def check_steps(trace: Trace, steps: object, sequence: int) -> Steps:
    """The steps a slice means for one sequence; never past the sequence's own end."""
    length = int(trace.lengths[sequence])
    if steps is None:
        steps = slice(None)
    if not isinstance(steps, slice):
        raise DtypeError(f"steps={steps!r} must be a slice, for example slice(0, 500)")
    try:
        chosen = Steps(*steps.indices(length))
    except (TypeError, ValueError) as error:
        raise ValueRangeError(
            f"steps={steps!r} is no slice of whole numbers with a step other than 0 ({error})"
        ) from None
    if chosen.stride < 1 or chosen.start >= chosen.stop:
        raise ValueRangeError(
            f"steps={steps!r} holds no step, or runs backwards;"
            f" sequence {sequence} has the steps 0 to {length - 1}"
        )
    return chosen


def values(trace: Trace, name: str) -> Array:
    """(T, B, H): a gate, or a state after each step."""
    return trace.gate(name) if name in trace.gate_names else trace.state(name)[1:]


def bin_means(series: Array, limit: int) -> Bins:
    """Mean, minimum and maximum along axis 0 over equal runs, as short as leaves at most `limit` of them."""
    size = -(-len(series) // limit)
    if size == 1:
        return Bins(1, series, series, series)
    starts = np.arange(0, len(series), size)
    counts = np.diff(np.append(starts, len(series))).reshape(-1, *(1,) * (series.ndim - 1))
    # float64 sums: a run may be thousands of float32 values long
    mean = np.add.reduceat(series, starts, axis=0, dtype=np.float64) / counts
    return Bins(
        size, mean, np.minimum.reduceat(series, starts, axis=0), np.maximum.reduceat(series, starts, axis=0)
    )


def time_mean(series: Array) -> Array:
    """(H,) mean over the steps of (N, H), in float64."""
    return np.asarray(np.mean(series, axis=0, dtype=np.float64))


def _integer(value: Any, argument: str) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise DtypeError(f"{argument}={value!r} must hold whole numbers") from None
