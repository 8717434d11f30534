"""A model's outputs, and what it reaches on a task."""

from __future__ import annotations

from typing import Any

from gatescope.datatypes import Array, Batch
from gatescope.errors import ShapeError
from gatescope.kernels import cpu
from gatescope.models import Stack
from gatescope.training.engine import Engine, Score, as_data
from gatescope.validation import check_inputs, check_lengths, check_threads


def predict(stack: Stack, inputs: Any, lengths: Any = None, *, threads: int | None = None) -> Array:
    """Outputs of a model's read-out: ``y_t = readout_weight h_t + readout_bias``, without dropout.

    Parameters
    ----------
    stack : Stack
    inputs : (T, B, I) or (T, I) array_like
    lengths : (B,) array_like of int, optional
        Steps of each sequence; default: T.  Past its end a sequence's outputs are those of its last state.
    threads : int, optional
        Default: the cores this process may use.  Results do not depend on it.

    Returns
    -------
    array (T, B, O)
        Not yet through a sigmoid or a softmax: a cross-entropy head gives ln p up to a constant, a Bernoulli head
        ln p / (1 - p).

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> stack = gs.init_stack("gru", input_size=2, hidden_size=8, heads=[gs.Head("y", 3)])
    >>> gs.predict(stack, np.zeros((100, 5, 2))).shape
    (100, 5, 3)
    """
    _check_stack(stack)
    x = check_inputs(inputs, stack.layers[0])
    sizes = check_lengths(lengths, *x.shape[:2])
    engine = _engine(stack, x.shape, threads)
    try:
        return engine.predict(x, sizes)
    finally:
        engine.close()


def evaluate(stack: Stack, batch: Batch, *, at: str | None = None, threads: int | None = None) -> Score:
    """Loss and accuracy of a model on a task, without dropout.

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
        With `loss`, `head_loss`, `accuracy` and `count`.

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If the batch does not fit the model; the message says what.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.laser(horizon=500)
    >>> stack = gs.init_stack("lstm", hidden_size=8, heads=batch)
    >>> gs.evaluate(stack, batch).count
    500
    """
    _check_stack(stack)
    data = as_data(batch, stack, at)
    engine = _engine(stack, data.inputs.shape, threads)
    try:
        return engine.evaluate(data)
    finally:
        engine.close()


def _check_stack(stack: Any) -> None:
    if not isinstance(stack, Stack):
        raise ShapeError(
            f"stack is a {type(stack).__name__}; give a Stack, such as init_stack or train(...).params"
        )


def _engine(stack: Stack, shape: tuple[int, ...], threads: int | None) -> Engine:
    workers = check_threads(threads, cpu.default_threads())
    return Engine(stack, steps=shape[0], sequences=shape[1], threads=workers, learns=False)
