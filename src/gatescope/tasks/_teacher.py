"""What a random recurrent network answers to noise: a student of the same kind can give the very same answers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import get
from gatescope.checks.numbers import check_choice, check_count, check_number
from gatescope.datatypes import Array, Batch, Head, Params
from gatescope.errors import ValueRangeError
from gatescope.tasks._synthetic import check_size
from gatescope.tasks._task import task

CELLS = ("lstm", "gru", "rnn")
GAIN, MEMORY_BIAS = 1.5, 2.0


@task(
    cell=partial(check_choice, choices=CELLS),
    teacher=partial(check_count, least=0),
    gain=partial(check_number, least=0),
)
def teacher(
    *,
    cell: str = "lstm",
    hidden_size: int = 6,
    input_size: int = 2,
    gain: float = GAIN,
    memory_bias: float = MEMORY_BIAS,
    steps: int = 60,
    sequences: int = 50,
    teacher: int = 0,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make the task of a student: all states h that a random network, the teacher, goes through, step by step.

    The inputs are standard normal.  The teacher's recurrent weights are `gain` times an orthogonal matrix gate by gate,
    its input weights normal with variance 1 / `input_size`, its biases 0 but for the gate that holds the memory.  A
    student of the same cell with as many units, or more, can answer without any error: with the teacher's weights.

    The baseline is the loss of answering every output's mean over these data.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        Of the teacher.
    hidden_size : int
        Its units, and so the outputs.
    input_size : int
    gain : float
        With more than 1, states do not come to rest.
    memory_bias : float
        Of the gate that holds the memory, towards holding it; an ``"rnn"`` has none.
    steps : int
        T.
    sequences : int
        B.
    teacher : int
        Seed of the teacher's weights.
    seed : int
        Of the inputs: another seed is other sequences with the same teacher.
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, I) and `targets` (T, B, H), of which all count; one head of H outputs, ``states``, mean squared
        error.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.teacher(cell="gru", steps=20, sequences=3)
    >>> batch.inputs.shape, batch.targets.shape, bool(abs(batch.targets).max() < 1)
    ((20, 3, 2), (20, 3, 6), True)
    """
    check_size(steps * sequences * (input_size + hidden_size), dtype)
    weights = len(get(cell).gates) * hidden_size * (input_size + hidden_size)
    check_size(weights, "float64", "give fewer units or inputs", "a teacher's weights")
    params = teacher_weights(
        cell, hidden_size, input_size=input_size, gain=gain, memory_bias=memory_bias, seed=teacher
    )
    inputs = np.random.default_rng(seed).standard_normal((steps, sequences, input_size))
    outputs = _states(params, inputs)
    baseline = float(outputs.var(axis=(0, 1)).mean())
    if not baseline > 0:
        raise ValueRangeError(
            "has one answer alone, of which there is nothing to learn",
            argument="sequences",
            seen=sequences,
            advice="give more steps or sequences",
        )
    return Batch(
        inputs=np.asarray(inputs, dtype),
        targets=np.asarray(outputs, dtype),
        mask=np.ones((steps, sequences), np.bool_),
        heads=(Head("states", hidden_size, "mse"),),
        baseline=baseline,
        baseline_of="always answering every output's mean",
    )


def teacher_weights(
    cell: str, hidden_size: int, *, input_size: int, gain: float, memory_bias: float, seed: int
) -> Params:
    """Draw the weights of a teacher, in float64."""
    equations, rng = get(cell), np.random.default_rng([seed, 1])
    gates, units = len(equations.gates), hidden_size
    bias = np.zeros((gates, units))
    memory = memory_gate(equations)
    if memory.name:
        bias[equations.gates.index(memory.name)] = memory.sign * memory_bias
    q, r = np.linalg.qr(rng.standard_normal((gates, units, units)))
    signs = np.sign(np.diagonal(r, axis1=1, axis2=2))  # which make the distribution uniform (Mezzadri 2007)
    return Params(
        cell=cell,
        weight_ih=rng.normal(0, 1 / np.sqrt(input_size), (gates * units, input_size)),
        weight_hh=(gain * q * signs[:, None]).reshape(gates * units, units),
        bias_ih=bias.ravel(),
        bias_hh=np.zeros(gates * units),
    )


def _states(params: Params, inputs: Array) -> Array:
    """Return h (T, B, H) of a cell of one phase whose equations NumPy runs: kernels lie above this module."""
    cell = get(params.cell)
    gates, units = len(cell.gates), params.hidden_size

    def rows(values: Array, weight: Array, bias: Array) -> tuple[Any, ...]:
        return tuple(np.moveaxis((values @ weight.T + bias).reshape(-1, gates, units), 1, 0))

    states = (np.zeros((inputs.shape[1], units)),) * len(cell.states)
    outputs = np.empty((*inputs.shape[:2], units))
    for step, x in enumerate(inputs):
        wx = rows(x, params.weight_ih, params.bias_ih)
        states, _ = cell.step(wx, rows(states[0], params.weight_hh, params.bias_hh), states)
        outputs[step] = states[0]
    return outputs
