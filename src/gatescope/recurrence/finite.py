"""States that have to stay finite, and what is said where they do not."""

from __future__ import annotations

import numpy as np

from gatescope.datatypes import Array
from gatescope.errors import ValueRangeError


def check_states(states: Array, begin: int, sequence: int | None = None) -> None:
    """Nothing but finite states (T+1, B, S, H) of the run from step `begin` on; says since which step, if not.

    `sequence` names the one there is; default: they are numbered.

    Raises
    ------
    ValueRangeError
    """
    if np.isfinite(states[-1]).all():  # what is not finite once stays so, in a cell that feeds its state back
        return
    step, which = (int(index) for index in np.argwhere(~np.isfinite(states).all(axis=(2, 3)))[0])
    raise not_finite(which if sequence is None else sequence, begin + step)


def not_finite(sequence: int, step: int) -> ValueRangeError:
    """The error of a sequence whose states are not finite from a step on, the initial state being step 0."""
    return ValueRangeError(
        f"the states of sequence {sequence} are not finite from step {step} on; "
        "use smaller weights or inputs (or float64, if these are float32), or leave that sequence out"
    )
