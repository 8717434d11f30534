"""Where a run or its gradient leaves the range of floating point: at which step, in which sequence and unit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatescope.cells.ranges import output_is_bounded
from gatescope.cells.registry import Cell
from gatescope.checks.arrays import Array
from gatescope.errors import warn_accuracy
from gatescope.reporting.text import counted

_STEPS = 1024  # looked at together
_ADVICE = "use smaller weights or inputs (or float64, if these are float32)"


class Overflow(NamedTuple):
    """The first number that is not finite, in the order of the steps that were asked for."""

    step: int
    sequence: int
    state: int
    unit: int
    sequences: int  # that have one at that step


def first_overflow(states: Array, *, backwards: bool = False) -> Overflow | None:
    """Return where states or their adjoints (T+1, B, S, H) are not finite first, `backwards` last; None if nowhere."""
    count = len(states)
    starts = range(0, count, _STEPS)
    for begin in reversed(starts) if backwards else starts:
        bad = ~np.isfinite(states[begin : begin + _STEPS])
        steps = np.flatnonzero(bad.any(axis=(1, 2, 3)))
        if steps.size:
            step = int(steps[-1 if backwards else 0])
            sequence, state, unit = (int(index) for index in np.argwhere(bad[step])[0])
            return Overflow(begin + step, sequence, state, unit, int(bad[step].any(axis=(1, 2)).sum()))
    return None


def warn_states(cell: Cell, states: Array, where: str = "") -> None:
    """Warn where states (T+1, B, S, H) of a run are not finite, with the step and the unit; `where` begins the text."""
    # What is not finite once stays so, but where a unit may forget it: only a cell without bounds is read as a whole.
    if np.isfinite(states[-1]).all() and (output_is_bounded(cell) or _all_finite(states)):
        return
    first = first_overflow(states)
    if first is not None:
        warn_accuracy(f"{where}{_described(cell, first, states.shape, 'states')}; {_ADVICE}")


def warn_outputs(outputs: Array) -> None:
    """Warn where outputs (T, B, O) of a read-out are not finite, though the states may be."""
    if _all_finite(outputs):
        return
    first = first_overflow(outputs[:, :, None])
    assert first is not None
    warn_accuracy(
        f"the outputs of sequence {first.sequence} are not finite from step {first.step} on, output {first.unit} "
        "first; use a smaller read-out (or float64, if this is float32)"
    )


def warn_adjoint(
    cell: Cell, states: Array, adjoint: Array, gradients: tuple[Array, ...], where: str = ""
) -> None:
    """Warn where a gradient of a run is not finite: at the last step that its adjoint (T+1, B, S, H) is not."""
    if np.isfinite(adjoint[0]).all() and all(np.isfinite(gradient).all() for gradient in gradients):
        return
    first = first_overflow(states)
    if first is not None:
        warn_accuracy(
            f"{where}{_described(cell, first, states.shape, 'states')}, nor is the gradient; {_ADVICE}"
        )
        return
    last = first_overflow(adjoint, backwards=True)
    if last is None:
        warn_accuracy(
            f"{where}the sums that are the gradients of the weights are not finite; scale the adjoint down"
        )
        return
    warn_accuracy(
        f"{where}{_described(cell, last, adjoint.shape, 'adjoints')}; the gradient explodes: scale the adjoint down, "
        "use float64, or measure it with gradient_flow, which works with logarithms"
    )


def _described(cell: Cell, at: Overflow, shape: tuple[int, ...], what: str) -> str:
    direction = "from" if what == "states" else "back from"
    several = f" ({at.sequences} of {counted(shape[1], 'sequence')} there)" if shape[1] > 1 else ""
    return (
        f"the {what} of sequence {at.sequence} are not finite {direction} step {at.step} on, unit {at.unit} of "
        f"{cell.states[at.state]} first{several}"
    )


def _all_finite(states: Array) -> bool:
    # NaN is neither the least nor the greatest, and is returned as both.
    return bool(np.isfinite(states.min()) and np.isfinite(states.max()))
