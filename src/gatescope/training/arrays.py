"""What the engine computes with: a task's arrays in the model's precision, checked against its heads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.arrays import check_array
from gatescope.checks.network import check_batch, check_lengths, check_stack
from gatescope.datatypes import Array, Batch, Head
from gatescope.datatypes.batch import if_batch_first
from gatescope.datatypes.stack import Stack
from gatescope.errors import ShapeError, UnknownNameError, ValueRangeError
from gatescope.recurrence.initialization import check_heads

PLACES = ("last", "every")


class Data(NamedTuple):
    """Arrays of a task, C-contiguous, in the model's precision, as `as_data` makes them.

    The engine looks at their shapes and dtypes only: what targets hold is checked by `as_data`.

    Attributes
    ----------
    inputs : (T, B, I)
    targets : (T, B, C)
    mask : (T, B) uint8
        0 where a target does not count; always 0 past the end of a sequence.
    lengths : (B,) int64

    Examples
    --------
    Two of the sequences, for a minibatch:

    >>> import numpy as np, gatescope as gs
    >>> batch = gs.tasks.adding(steps=20, sequences=4, seed=0)
    >>> stack = gs.init_stack("gru", hidden_size=8, heads=batch, seed=0)
    >>> data = gs.training.as_data(batch, stack)
    >>> part = gs.training.Data(*(np.ascontiguousarray(a[:, 1:3]) for a in data[:3]), data.lengths[1:3])
    >>> gs.training.Engine(stack, steps=20, sequences=2).back(part, update=0).count
    2
    """

    inputs: Array
    targets: Array
    mask: Array
    lengths: Array


def as_data(batch: Batch, stack: Stack, at: str | None = None) -> Data:
    """Check a task against a model and bring its arrays into the model's precision.

    Parameters
    ----------
    batch : Batch
    stack : Stack
    at : {"last", "every"}, optional
        Which targets count: those of every sequence's last step, or of all its steps, whatever the batch's mask says;
        by default those that its mask names.  One target a sequence, (B, C), counts at its last step, if the mask is
        True there.

    Returns
    -------
    Data

    Raises
    ------
    ShapeError
        If arrays do not fit each other or the model.
    DtypeError
        If one of the two is something else, or an array does not hold numbers.
    ValueRangeError
        If a target is not one its loss knows, no target counts, or a number is NaN or infinite.
    UnknownNameError
        If `at` is none of these.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.adding(steps=20, sequences=4, seed=0)
    >>> stack = gs.init_stack("gru", hidden_size=8, heads=batch, seed=0)
    >>> data = gs.training.as_data(batch, stack)
    >>> data.inputs.shape, data.inputs.dtype.name, data.mask.sum(axis=0).tolist()
    ((20, 4, 2), 'float32', [1, 1, 1, 1])
    """
    check_batch(batch)
    if at is not None and at not in PLACES:
        raise UnknownNameError(
            f"at={at!r} is not known; choose 'last', 'every', or None for the batch's own mask"
        )
    check_heads(check_stack(stack).heads)
    inputs = _own(check_array("inputs", batch.inputs, stack.dtype))
    if 0 in inputs.shape[:2]:
        raise ShapeError(
            f"inputs has the shape {inputs.shape}; a Batch needs (T, B, I) with T and B at least 1"
        )
    steps, count, width = inputs.shape
    if width != stack.input_size:
        raise ShapeError(
            f"inputs has {width} numbers a step, but the model takes {stack.input_size}; give a model with "
            f"input_size={width}"
        )
    lengths = check_lengths(batch.lengths, steps, count)
    columns = sum(head.columns for head in stack.heads)
    _check_judges(batch, stack)
    targets = _targets(batch, stack, steps, count, columns, lengths)
    mask = _mask(batch, steps, count, lengths, at)
    begin = 0
    for head in stack.heads:
        _check_head(head, targets[:, :, begin : begin + head.columns][mask])
        begin += head.columns
    return Data(inputs, targets, mask.astype(np.uint8), lengths)


def _targets(batch: Batch, stack: Stack, steps: int, count: int, columns: int, lengths: Array) -> Array:
    found = _own(check_array("targets", batch.targets, stack.dtype, finite=False))
    if found.shape == (count, columns):  # one a sequence, at its last step
        whole = np.zeros((steps, count, columns), stack.dtype)
        there = lengths > 0
        whole[lengths[there] - 1, np.flatnonzero(there)] = found[there]
        return whole
    if found.shape != (steps, count, columns):
        hint = if_batch_first(len(found), steps, count) if found.shape == (steps, columns) else ""
        heads = ", ".join(f"{head.name} ({head.loss}: {head.columns})" for head in stack.heads)
        raise ShapeError(
            f"targets has the shape {found.shape}; with these inputs and heads, whose columns are {heads}, give (T, B, "
            f"C) = {(steps, count, columns)}, or (B, C) = {(count, columns)} for one target a sequence{hint}"
        )
    return found


def _mask(batch: Batch, steps: int, count: int, lengths: Array, at: str | None) -> Any:
    given, running = np.asarray(batch.mask), np.arange(steps)[:, None] < lengths
    if given.shape != (steps, count):
        raise ShapeError(
            f"mask has the shape {given.shape}; inputs of this shape need (T, B) = {(steps, count)}"
        )
    if given.dtype != np.bool_ and not ((given == 0) | (given == 1)).all():
        raise ValueRangeError(
            "mask holds other values than True and False, 0 and 1; it says where targets count, not how much"
        )
    one_each = np.ndim(batch.targets) == 2
    if at == "every" and one_each:
        raise ValueRangeError(
            "at='every' needs a target at every step, (T, B, C), but targets (B, C) are one a sequence; leave `at` out"
        )
    last = np.arange(steps)[:, None] == lengths - 1
    if at is not None:
        mask = running if at == "every" else last
    else:
        mask = given.astype(bool) & (last if one_each else running)
    if not mask.any():
        raise ValueRangeError(
            "mask is False at every step that could count (steps past a sequence's length do not, and of targets "
            "(B, C) only those at the last step do), so there is nothing to learn; let some targets count"
        )
    return mask


def _check_judges(batch: Batch, stack: Stack) -> None:
    """That the model is not judged by losses that were not made for these targets."""
    mine, its = ([(head.loss, head.size) for head in heads] for heads in (stack.heads, batch.heads))
    unstated = batch.heads == (Head("y", batch.targets.shape[-1]),)  # what a Batch has that was not given any
    if mine != its and not unstated:
        told = [", ".join(f"{loss} of {size}" for loss, size in heads) for heads in (its, mine)]
        raise ValueRangeError(
            f"the task {batch.name!r} is to be judged by {told[0]}, but the model's heads have {told[1]}; make the "
            "model with heads=batch, or the batch with the model's heads"
        )


def _check_head(head: Head, targets: Array) -> None:
    """That the targets which count, (counted, columns), are such as the head's loss knows."""
    if not np.isfinite(targets).all():
        raise ValueRangeError(
            f"targets of the head {head.name!r} hold NaN or infinite values where the mask is True"
        )
    if head.loss == "cross_entropy":
        wrong = (targets < 0) | (targets >= head.size) | (targets != np.floor(targets))
        if wrong.any():
            raise ValueRangeError(
                f"targets of the head {head.name!r} hold {float(targets[wrong][0]):g}, but its loss, cross_entropy, "
                f"needs classes 0..{head.size - 1}"
            )
    elif head.loss == "bernoulli":
        wrong = (targets != 0) & (targets != 1)
        if wrong.any():
            raise ValueRangeError(
                f"targets of the head {head.name!r} hold {float(targets[wrong][0]):g}, but its loss, bernoulli, needs "
                "0 or 1"
            )


def _own(array: Array) -> Array:
    """The array, or a copy if it is read-only, for which every kernel would have to be compiled again."""
    return array if array.flags.writeable else array.copy()
