"""Checks of a task's arrays against the heads that they are judged by, for training and for data from files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.checks.arrays import check_array, check_shape
from gatescope.checks.network import check_lengths
from gatescope.datatypes import Array, Batch, Head
from gatescope.datatypes.batch import if_batch_first
from gatescope.errors import ShapeError, ValueRangeError


def check_task(
    batch: Batch, dtype: np.dtype[Any], heads: Sequence[Head], at: str | None = None
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """Return inputs (T, B, I), targets (T, B, C), where targets count (T, B), and lengths (B,) of a task.

    Parameters
    ----------
    batch : Batch
    dtype : dtype
        float32 or float64, which inputs and targets are brought into.
    heads : sequence of Head
        What the targets are judged by.
    at : {"last", "every"}, optional
        As for `gatescope.training.as_data`.

    Raises
    ------
    ShapeError
        If arrays do not fit each other or the heads.
    DtypeError
        If an array does not hold numbers.
    ValueRangeError
        If an input, or a target that counts, is NaN, infinite or nothing that its loss knows, or no target counts.
    """
    inputs = check_array("inputs", batch.inputs, dtype)
    if 0 in inputs.shape[:2]:
        raise ShapeError(
            "should have at least one step and one sequence", argument="inputs", seen=inputs.shape
        )
    steps, count = inputs.shape[:2]
    lengths = check_lengths(batch.lengths, steps, count)
    targets = _targets(check_array("targets", batch.targets, dtype, finite=False), heads, lengths, steps)
    mask = _mask(batch, lengths, steps, at)
    begin = 0
    for head in heads:
        wrong = _first_unknown(head, targets[:, :, begin : begin + head.columns][mask])
        if wrong is not None:
            row, column, value, needed = wrong
            step, sequence = (int(k) for k in np.argwhere(mask)[row])
            index = (
                [sequence, begin + column]
                if np.ndim(batch.targets) == 2
                else [step, sequence, begin + column]
            )
            counted = targets[:, :, begin : begin + head.columns][mask]
            from_one = "; these begin at 1: give targets - 1" if _classes_from_one(head, counted) else ""
            raise ValueRangeError(
                f"is {value:.12g}",
                argument=f"targets{index}",
                advice=f"the head {head.name!r} with the loss {head.loss} needs {needed}{from_one}",
            )
        begin += head.columns
    return inputs, targets, mask, lengths


def _targets(targets: Array, heads: Sequence[Head], lengths: Array, steps: int) -> Array:
    """Return targets at every step, from those at every step or from one a sequence."""
    count, columns = len(lengths), sum(head.columns for head in heads)
    if targets.shape == (count, columns):  # one a sequence, at its last step
        spread = np.zeros((steps, count, columns), targets.dtype)
        some = lengths > 0
        spread[lengths[some] - 1, np.flatnonzero(some)] = targets[some]
        return spread
    hint = if_batch_first(len(targets), steps, count) if targets.shape == (steps, columns) else ""
    listed = ", ".join(f"{head.name} ({head.loss}: {head.columns})" for head in heads)
    axes = f"(T, B, C) with the columns {listed}; give {(count, columns)} for one target a sequence{hint}"
    check_shape("targets", targets, (steps, count, columns), axes)
    return targets


def _mask(batch: Batch, lengths: Array, steps: int, at: str | None) -> NDArray[np.bool_]:
    """Return where targets count."""
    stated, running = np.asarray(batch.mask), np.arange(steps)[:, None] < lengths
    check_shape("mask", stated, running.shape, "(T, B) of the inputs")
    one_each = np.ndim(batch.targets) == 2
    if at == "every" and one_each:
        raise ValueRangeError(
            "needs a target at every step, (T, B, C), but targets (B, C) are one a sequence",
            argument="at",
            seen=at,
            advice="leave it out",
        )
    last = np.arange(steps)[:, None] == lengths - 1
    if at is not None:
        mask = running if at == "every" else last
    else:
        mask = stated.astype(bool) & (last if one_each else running)
    if not mask.any():
        raise ValueRangeError(
            "is False at every step that could count (steps past a sequence's length do not, and of targets (B, C) "
            "only those at the last step do), so there is nothing to learn",
            argument="mask",
            advice="let some targets count",
        )
    return mask


def _classes_from_one(head: Head, targets: Array) -> bool:
    """Return whether targets are the classes of a head counted from 1, as MATLAB and R count."""
    whole = bool(np.isfinite(targets).all() and (targets == np.floor(targets)).all())
    return head.loss == "cross_entropy" and whole and targets.min() == 1 and targets.max() == head.size


def _first_unknown(head: Head, targets: Array) -> tuple[int, int, float, str] | None:
    """Return row, column and value of the first target (counted, columns) unknown to the loss, and what it needs."""
    wrong, needed = ~np.isfinite(targets), "finite numbers"
    if head.loss == "cross_entropy":
        wrong |= (targets < 0) | (targets >= head.size) | (targets != np.floor(targets))
        needed = f"whole numbers from 0 to {head.size - 1}, the classes"
    elif head.loss == "bernoulli":
        wrong, needed = (targets != 0) & (targets != 1), "0 or 1"
    if not wrong.any():
        return None
    row, column = (int(k) for k in np.argwhere(wrong)[0])
    return row, column, float(targets[row, column]), needed
