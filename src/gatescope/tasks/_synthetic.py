"""Helpers of the synthetic tasks: a limit of size, one-hot symbols, and answers at the last step."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatescope.datatypes import Array
from gatescope.errors import ValueRangeError

_LARGEST_BYTES = 4 * 2**30  # of a batch's inputs and targets; more than that is taken for a mistake
_COUNTABLE = 2**70  # bytes; beyond these no number of GiB says more


def check_size(
    numbers: int,
    dtype: DTypeLike,
    advice: str = "give fewer steps or sequences",
    what: str = "inputs and targets",
) -> None:
    """Refuse, before anything is allocated, a batch that would hold an absurd number of numbers."""
    kind = np.dtype(dtype)
    size = numbers * kind.itemsize
    if size > _LARGEST_BYTES:
        amount = f"{size / 2**30:.1f}" if size < _COUNTABLE else f"more than {_COUNTABLE / 2**30:.0e}"
        raise ValueRangeError(
            f"{what} would take {amount} GiB in {kind.name}, more than the {_LARGEST_BYTES / 2**30:.0f} GiB that are "
            "allowed",
            advice=advice,
        )


def one_hot(symbols: Array, count: int, dtype: DTypeLike) -> Array:
    """Return (T, B) symbols 0..count-1 as (T, B, count), 1 at the symbol and 0 elsewhere."""
    coded = np.zeros((*symbols.shape, count), dtype)
    np.put_along_axis(coded, symbols[..., None], 1, axis=2)
    return coded


def at_the_last_step(answers: Array, steps: int, dtype: DTypeLike) -> tuple[Array, NDArray[np.bool_]]:
    """Return targets (T, B, 1) that are `answers` (B,) at the last step and 0 before it, and the mask of that step."""
    sequences = len(answers)
    targets = np.zeros((steps, sequences, 1), dtype)
    targets[-1, :, 0] = answers
    mask = np.zeros((steps, sequences), np.bool_)
    mask[-1] = True
    return targets, mask
