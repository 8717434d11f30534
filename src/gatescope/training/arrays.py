"""Data of the engine: arrays of a task in the model's precision, checked against its heads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.arrays import check_array, check_shape
from gatescope.checks.network import check_batch, check_lengths, check_stack
from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Array, Batch, Head
from gatescope.datatypes.batch import if_batch_first
from gatescope.datatypes.stack import Stack
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.recurrence.initialization import check_heads

AT = ("last", "every")


class Data(NamedTuple):
    """Arrays of a task, C-contiguous, in the model's precision, as `as_data` makes them.

    The engine checks their shapes and dtypes only: the values of targets are checked by `as_data`.

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
    """Check data against a model and bring their arrays into the model's precision.

    Parameters
    ----------
    batch : Batch
    stack : Stack
    at : {"last", "every"}, optional
        Which targets count: those of every sequence's last step, or of all its steps, whatever the batch's mask says;
        by default those that its mask names.  One target a sequence, (B, C), counts at its last step, if the mask is
        True there.

    Raises
    ------
    ShapeError
        If arrays do not fit each other or the model.
    ValueRangeError
        If a target is not one its loss knows, no target counts, or a number is NaN or infinite.

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
    if at is not None:
        check_choice("at", at, AT)
    check_heads(check_stack(stack).heads)
    inputs = _own(check_array("inputs", batch.inputs, stack.dtype))
    if 0 in inputs.shape[:2]:
        raise ShapeError(
            "should have at least one step and one sequence", argument="inputs", seen=inputs.shape
        )
    steps, count, width = inputs.shape
    if width != stack.input_size:
        raise ShapeError(
            f"should have {stack.input_size} numbers a step, as the model takes",
            argument="inputs",
            seen=inputs.shape,
            advice=f"give a model with input_size={width}",
        )
    lengths = check_lengths(batch.lengths, steps, count)
    columns = sum(head.columns for head in stack.heads)
    _check_losses(batch, stack)
    targets = _targets(batch, stack, steps, count, columns, lengths)
    mask = _mask(batch, steps, count, lengths, at)
    begin = 0
    for head in stack.heads:
        _check_head(head, targets[:, :, begin : begin + head.columns][mask])
        begin += head.columns
    return Data(inputs, targets, mask.astype(np.uint8), lengths)


def _targets(batch: Batch, stack: Stack, steps: int, count: int, columns: int, lengths: Array) -> Array:
    targets = _own(check_array("targets", batch.targets, stack.dtype, finite=False))
    if targets.shape == (count, columns):  # one a sequence, at its last step
        spread = np.zeros((steps, count, columns), stack.dtype)
        some = lengths > 0
        spread[lengths[some] - 1, np.flatnonzero(some)] = targets[some]
        return spread
    hint = if_batch_first(len(targets), steps, count) if targets.shape == (steps, columns) else ""
    heads = ", ".join(f"{head.name} ({head.loss}: {head.columns})" for head in stack.heads)
    axes = f"(T, B, C) with the columns {heads}; give {(count, columns)} for one target a sequence{hint}"
    check_shape("targets", targets, (steps, count, columns), axes)
    return targets


def _mask(batch: Batch, steps: int, count: int, lengths: Array, at: str | None) -> Any:
    stated, running = np.asarray(batch.mask), np.arange(steps)[:, None] < lengths
    check_shape("mask", stated, (steps, count), "(T, B) of the inputs")
    if stated.dtype != np.bool_ and not ((stated == 0) | (stated == 1)).all():
        raise ValueRangeError(
            "has other values than True and False, 0 and 1; it says where targets count, not how much",
            argument="mask",
        )
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


def _check_losses(batch: Batch, stack: Stack) -> None:
    """Refuse a model whose losses were not made for these targets."""
    models, batches = ([(head.loss, head.size) for head in heads] for heads in (stack.heads, batch.heads))
    unstated = batch.heads == (Head("y", batch.targets.shape[-1]),)  # what a Batch has that was not given any
    if models != batches and not unstated:
        model, data = (", ".join(f"{loss} of {size}" for loss, size in heads) for heads in (models, batches))
        raise ValueRangeError(
            f"are {model}, but the losses of the data {batch.name!r} are {data}",
            argument="heads",
            advice="make the model with heads=batch, or the batch with the model's heads",
        )


def _check_head(head: Head, targets: Array) -> None:
    """Refuse targets which count, (counted, columns), that the head's loss does not know."""
    name = f"targets of the head {head.name!r}"
    if not np.isfinite(targets).all():
        raise ValueRangeError("are NaN or infinite at a step that counts", argument=name)
    if head.loss == "cross_entropy":
        wrong = (targets < 0) | (targets >= head.size) | (targets != np.floor(targets))
        needs = f"classes 0..{head.size - 1}"
    elif head.loss == "bernoulli":
        wrong, needs = (targets != 0) & (targets != 1), "0 or 1"
    else:
        return
    if wrong.any():
        value = f"{float(targets[wrong][0]):g}"
        raise ValueRangeError(f"have {value}, but its loss, {head.loss}, needs {needs}", argument=name)


def _own(array: Array) -> Array:
    """Return the array, or a copy if it is read-only, for which every kernel would have to be compiled again."""
    return array if array.flags.writeable else array.copy()
