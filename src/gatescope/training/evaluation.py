"""A model's outputs, and what it reaches on a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from gatescope.checks.network import check_batch, check_inputs, check_lengths, check_trainable
from gatescope.checks.numbers import check_threads
from gatescope.datatypes import Array, Batch, Head, Stack
from gatescope.datatypes.batch import best_constant
from gatescope.recurrence.initialization import init_stack
from gatescope.training.arrays import as_data
from gatescope.training.engine import Engine
from gatescope.training.memory import check_engine
from gatescope.training.score import Score


def predict(stack: Stack, inputs: Any, *, lengths: Any = None, threads: int | None = None) -> Array:
    """Return the outputs of a model's read-out: ``y_t = readout_weight h_t + readout_bias``, without dropout.

    Parameters
    ----------
    stack : Stack
    inputs : (T, B, I) or (T, I) array_like
    lengths : (B,) array_like of int, optional
        Steps of each sequence; default: T.  Past its end a sequence's outputs are those of its last state; where
        directions go backward, of the last one that each comes to, which for these is that of the first step.
    threads : int, optional
        Default: the cores this process may use.  Results do not depend on it.

    Returns
    -------
    array (T, B, O)
        Not yet through a sigmoid or a softmax: a cross-entropy head gives ln p up to a constant, a Bernoulli head
        ln(p / (1 - p)).

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> stack = gs.init_stack("gru", input_size=2, hidden_size=8, heads=[gs.Head("y", 3)])
    >>> gs.predict(stack, np.zeros((100, 5, 2))).shape
    (100, 5, 3)
    """
    check_trainable(stack)
    x = check_inputs(inputs, next(iter(stack.directions().values())))
    sizes = check_lengths(lengths, *x.shape[:2])
    with closing(_engine("inputs", stack, x.shape, threads)) as engine:
        return engine.predict(x, sizes)


def evaluate(stack: Stack, batch: Batch, *, at: str | None = None, threads: int | None = None) -> Score:
    """Return the loss and accuracy of a model on a task, without dropout.

    Parameters
    ----------
    stack : Stack
    batch : Batch
    at : {"last", "every"}, optional
        Which targets count; default: those the batch's mask names.
    threads : int, optional
        Default: the cores this process may use.  Results do not depend on it.

    Returns
    -------
    Score
        With `loss`, `head_loss`, `accuracy` and `count`.  An accuracy says little by itself: compare it with
        `majority_accuracy`, as the loss with ``batch.baseline``.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.laser(steps=500)
    >>> stack = gs.init_stack("lstm", hidden_size=8, heads=batch)
    >>> gs.evaluate(stack, batch).count
    500
    """
    check_trainable(stack)
    data = as_data(batch, stack, at=at)
    with closing(_engine("batch", stack, data.inputs.shape, threads)) as engine:
        return engine.evaluate(data)


def majority_accuracy(batch: Batch, *, heads: Sequence[Head] | None = None, at: str | None = None) -> float:
    """Return the accuracy of always giving the commonest answer, above which a model must be to have learned anything.

    A cross-entropy head always gives the class that is most frequent among its targets; each output of a Bernoulli head
    the one of 0 and 1 that is.  Right answers are counted as for the `accuracy` of `evaluate` and of `History`: over
    the same steps and heads, and every output of a Bernoulli head by itself.  Where ones are rare that is close to 1:
    of the keys of a piano roll, silence has about 95 % right.

    The commonest answers are those of this very batch, so no answer that is always the same reaches more.

    Parameters
    ----------
    batch : Batch
    heads : sequence of Head, optional
        Those of the model, for a batch that does not state its own.  Default: the batch's.
    at : {"last", "every"}, optional
        Which targets count; default: those the batch's mask names.

    Returns
    -------
    float
        In 0..1; NaN if no head classifies.

    Examples
    --------
    >>> import gatescope as gs
    >>> gs.majority_accuracy(gs.tasks.temporal_order(steps=20, sequences=100, seed=0))
    0.31
    """
    right, answers = 0, 0
    for head, mine in _answers(batch, heads, at):
        if head.loss == "cross_entropy":
            right += int(np.bincount(mine[:, 0].astype(np.int64)).max())
            answers += len(mine)
        elif head.loss == "bernoulli":
            ones = np.count_nonzero(mine, axis=0)
            right += int(np.maximum(ones, len(mine) - ones).sum())
            answers += mine.size
    return right / answers if answers else float("nan")


def constant_loss(batch: Batch, *, heads: Sequence[Head] | None = None, at: str | None = None) -> float:
    """Return the loss of the best answer that is always the same, for this very batch; heads count alike.

    Parameters
    ----------
    batch, heads, at
        As for `majority_accuracy`.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.training.evaluation import constant_loss
    >>> batch = gs.tasks.adding(steps=20, sequences=200, seed=1)  # whose baseline is 1/6, an expectation
    >>> round(constant_loss(batch), 3)
    0.164
    """
    return sum(best_constant(mine, head.loss) for head, mine in _answers(batch, heads, at))


def _answers(batch: Batch, heads: Sequence[Head] | None, at: str | None) -> Iterator[tuple[Head, Array]]:
    """Yield the heads of a read-out, each with those of its targets (N, C) that count."""
    check_batch(batch)
    width = int(np.shape(batch.inputs)[-1]) if np.ndim(batch.inputs) == 3 else 1
    # What counts depends on the read-out alone, so any model stands for all.
    stack = init_stack(
        "rnn", input_size=width, hidden_size=1, heads=batch.heads if heads is None else heads, dtype="float64"
    )
    data = as_data(batch, stack, at=at)
    targets, column = data.targets[data.mask > 0], 0
    for head in stack.heads:
        yield head, targets[:, column : column + head.columns]
        column += head.columns


def _engine(name: str, stack: Stack, shape: tuple[int, ...], threads: int | None) -> Engine:
    workers = check_threads(threads)
    check_engine(name, stack, *shape[:2], advice="give fewer sequences or steps at a time", learns=False)
    return Engine(stack, steps=shape[0], sequences=shape[1], threads=workers, learns=False)
