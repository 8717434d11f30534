"""Losses by the outputs of a model: those of a task's heads, as training takes them, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gatescope.checks.batch import check_task
from gatescope.checks.network import check_trainable
from gatescope.checks.numbers import check_unused
from gatescope.datatypes import Array, Batch, Head, Params
from gatescope.datatypes.stack import Bidirectional, Stack
from gatescope.errors import DtypeError

Loss = Callable[[Array], Any]


def task_of(
    model: Params | Stack | Bidirectional, inputs: Any, lengths: Any, loss: Loss | None
) -> tuple[Any, Any, Loss | None]:
    """Return inputs, lengths and the derivative of the loss of what a measurement is called with.

    A `Batch` has all three; its loss is that of the model's heads over the targets that count.
    """
    if loss is not None and not callable(loss):
        raise DtypeError(
            argument="loss",
            seen=type(loss),
            advice="give a function that takes outputs (T, B, O) and returns the derivatives of the loss by them",
        )
    if not isinstance(inputs, Batch):
        return inputs, lengths, loss
    check_unused("with a Batch, which has its own", lengths=lengths, loss=loss)
    stack = check_trainable(model, "params")
    x, targets, mask, sizes = check_task(inputs, stack.dtype, stack.heads)
    return x, sizes, partial(d_loss, heads=stack.heads, targets=targets, mask=mask)


def d_loss(outputs: Array, *, heads: Sequence[Head], targets: Array, mask: Array) -> Array:
    """Return the derivatives (T, B, O) of a task's loss by the outputs (T, B, O) of a read-out.

    The loss is that of `evaluate`: of each head, as `Head` defines it, the mean over the steps that count by `mask`
    (T, B), times the head's weight.
    """
    result = np.zeros_like(outputs)
    counted = mask.astype(bool)
    y, t, output, column = outputs[counted], targets[counted], 0, 0
    slopes = np.empty_like(y)
    for head in heads:
        at, of_head = slice(output, output + head.size), t[:, column : column + head.columns]
        output, column = output + head.size, column + head.columns
        if head.loss == "mse":
            slopes[:, at] = 2 / head.size * (y[:, at] - of_head)
        elif head.loss == "cross_entropy":
            exponentials = np.exp(y[:, at] - y[:, at].max(axis=1, keepdims=True))
            slopes[:, at] = exponentials / exponentials.sum(axis=1, keepdims=True)
            slopes[np.arange(len(y)), at.start + of_head[:, 0].astype(np.int64)] -= 1
        else:
            small = np.exp(-np.abs(y[:, at]))
            slopes[:, at] = np.where(y[:, at] >= 0, 1, small) / (1 + small) - of_head
        slopes[:, at] *= head.weight / len(y)
    result[counted] = slopes
    return result
