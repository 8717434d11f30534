"""Data of the engine: arrays of a task in the model's precision, checked against its heads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatescope.checks.batch import check_task
from gatescope.checks.network import check_batch, check_trainable
from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Array, Batch, Head, Stack
from gatescope.datatypes.batch import check_heads
from gatescope.datatypes.stack import first_backward
from gatescope.errors import ShapeError, ValueRangeError, warn_input

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


def as_data(batch: Batch, stack: Stack, *, at: str | None = None) -> Data:
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
    check_heads(check_trainable(stack).heads)
    return data_of(batch, stack, at)


def data_of(batch: Batch, stack: Stack, at: str | None) -> Data:
    """Return what `as_data` does, of a model that has been checked, as training does before its first update."""
    if batch.input_size != stack.input_size:
        problem = f"should have {stack.input_size} numbers a step, as the model takes"
        advice = f"give a model with input_size={batch.input_size}"
        raise ShapeError(problem, argument="inputs", seen=batch.inputs.shape, advice=advice)
    _check_losses(batch, stack)
    inputs, targets, mask, lengths = check_task(batch, stack.dtype, stack.heads, at)
    return Data(_own(inputs), _own(targets), mask.astype(np.uint8), lengths)


def _check_losses(batch: Batch, stack: Stack) -> None:
    """Refuse a model whose losses were not made for these targets."""
    models, batches = ([(head.loss, head.size) for head in heads] for heads in (stack.heads, batch.heads))
    unstated = batch.heads == (Head("y", batch.targets.shape[-1]),)  # what a Batch has that was not given any
    if models != batches and not unstated:
        model, data = (", ".join(f"{loss} of {size}" for loss, size in heads) for heads in (models, batches))
        problem = f"are {model}, but the losses of the data {batch.name!r} are {data}"
        advice = "make the model with heads=batch, or the batch with the model's heads"
        raise ValueRangeError(problem, argument="heads", advice=advice)


def warn_of_answers_ahead(data: Data, stack: Stack) -> None:
    """Warn of targets that are the inputs of the next step, as a series is predicted, if a direction reads these.

    A column of each head is looked at: the first whose numbers differ, of classes that of the most frequent one.
    """
    name = first_backward(stack)
    counted = (data.mask[:-1] > 0) & (np.arange(1, len(data.mask))[:, None] < data.lengths)
    if not name or not counted.any():
        return
    ahead, targets, column = np.moveaxis(data.inputs[1:], 2, 0), data.targets[:-1][counted], 0
    for head in stack.heads:
        answers = targets[:, column : column + head.columns]
        column += head.columns
        if head.loss == "cross_entropy":
            answers = answers == np.bincount(answers[:, 0].astype(np.int64)).argmax()
        differing = answers[:, (answers != answers[0]).any(axis=0)][:, :1]
        if differing.size and any((one[counted] == differing[:, 0]).all() for one in ahead):
            warn_input(
                f"the targets of head {head.name!r} are inputs of the next step, and {name} takes that step first: the "
                "model can read what it is to predict; train a forward model to predict"
            )
            return


def _own(array: Array) -> Array:
    """Return the array, or a copy if it is read-only, for which every kernel would have to be compiled again."""
    return array if array.flags.writeable else array.copy()
