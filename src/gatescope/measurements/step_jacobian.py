"""One step of a cell as a linear map: its Jacobians written out, for any registered cell.

They come from the cell's own `step_vjp`, which is linear in the adjoint and acts unit by unit: adjoints of ones on one
state and zeros on the others give every coefficient at once, and the weights do the rest.

Axes: N independent steps (any leading axes in `linearize`), S states, K saved values, G gates, P of them computed by a
first phase, H units, I inputs, n = S*H.  Everything is float64, whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gatescope.cells.linear_cell import Coefficients, linear_cell
from gatescope.cells.linearization import Linear, fill_rows, linearize, split_rows
from gatescope.cells.registry import Cell, get
from gatescope.datatypes import Array, Params
from gatescope.recurrence.exact_steps import step_rows


def step_jacobians(params: Params, states: Array, new_states: Array, saved: Array) -> Array:
    """Return the Jacobian d new_state / d state of each step, of the whole state with the cell's first state first.

    Parameters
    ----------
    params : Params
    states, new_states : (N, S, H)
    saved : (N, K, H), or Coefficients (N, C, H)
        What the steps saved, or their derivatives, of units that are saturated.

    Returns
    -------
    (N, S*H, S*H) float64

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.step_jacobian import advance, step_jacobians
    >>> params = gs.init("lstm", input_size=1, hidden_size=4, seed=0)
    >>> states = np.zeros((3, 2, 4))
    >>> new_states, saved = advance(params, np.ones((3, 1)), states)
    >>> step_jacobians(params, states, new_states, saved).shape
    (3, 8, 8)
    """
    return jacobians_of(params, linear_of(get(params.cell), states, new_states, saved))


def jacobians_of(params: Params, linear: Linear) -> Array:
    """Return the Jacobians (N, S*H, S*H) of steps that are linearized."""
    cell = get(params.cell)
    count, S, _, H = linear.direct.shape
    P = cell.prepared
    R = _blocks(params.weight_hh, len(cell.gates))
    result = np.zeros((count, S, H, S, H))
    unit = np.arange(H)
    inner = _weighted(linear.operand_rh, R[:P])  # d operand / d h; of no rows without a first phase
    inner[:, unit, unit] += linear.operand_state[:, 0]
    for s in range(S):
        block = _weighted(linear.rh[:, s, : P or None], R[: P or None])
        if P:
            late = _weighted(linear.rh[:, s, P:], R[P:])
            block = block + late @ inner
            for q in range(1, S):
                result[:, s, :, q] = late * linear.operand_state[:, q, None]
        result[:, s, :, 0] = block
        for q in range(S):
            # Advanced indices of one row and one column a unit: the diagonal of block (s, q).
            result[:, s, unit, q, unit] += linear.direct[:, s, q]
    return result.reshape(count, S * H, S * H)


def input_jacobians_of(params: Params, linear: Linear) -> Array:
    """Return d new_state / d input (N, S*H, I) of steps that are linearized."""
    cell = get(params.cell)
    count, S, _, H = linear.direct.shape
    P = cell.prepared
    W, R = (_blocks(weight, len(cell.gates)) for weight in (params.weight_ih, params.weight_hh))
    inner = _weighted(linear.operand_wx, W[:P])  # d operand / d x; of no rows without a first phase
    result = np.empty((count, S, H, params.input_size))
    for s in range(S):
        result[:, s] = _weighted(linear.wx[:, s], W)
        if P:
            result[:, s] += _weighted(linear.rh[:, s, P:], R[P:]) @ inner
    return result.reshape(count, S * H, params.input_size)


def stack_jacobians(
    layers: Sequence[Params],
    states: Sequence[Array],
    new_states: Sequence[Array],
    saved: Sequence[Array],
    feedback: Array | None = None,
) -> Array:
    """Return the Jacobians (N, n, n) of steps of the joint state of several layers, each fed by the one below.

    The other arguments are, for each layer from the lowest, those of `step_jacobians`.  In a closed loop the lowest is
    fed by what `feedback` (I, H) makes of the uppermost layer's outputs before the step.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.step_jacobian import advance, stack_jacobians
    >>> layers = gs.init_stack(["gru", "lstm"], input_size=1, hidden_size=4, heads=[gs.Head("y", 1)]).layers
    >>> old, x, steps = [np.zeros((3, 1, 4)), np.zeros((3, 2, 4))], np.ones((3, 1)), []
    >>> for params, states in zip(layers, old):
    ...     steps.append(advance(params, x, states))
    ...     x = steps[-1][0][:, 0]
    >>> stack_jacobians(layers, old, *zip(*steps)).shape
    (3, 12, 12)
    """
    sizes = [state[0].size for state in states]
    joint = np.zeros((len(states[0]), sum(sizes), sum(sizes)))
    end, below = 0, None
    for params, size, old, new, values in zip(layers, sizes, states, new_states, saved, strict=True):
        linear = linear_of(get(params.cell), old, new, values)
        begin, end = end, end + size
        joint[:, begin:end, begin:end] = jacobians_of(params, linear)
        if below is not None:  # by way of the outputs of the layer below at this step
            reached = slice(begin if feedback is None else None)
            joint[:, begin:end, reached] += input_jacobians_of(params, linear) @ joint[:, below, reached]
        elif feedback is not None:
            top = slice(sum(sizes[:-1]), sum(sizes[:-1]) + feedback.shape[1])
            joint[:, begin:end, top] += input_jacobians_of(params, linear) @ feedback
        below = slice(begin, begin + params.hidden_size)
    return joint


def linear_of(cell: Cell, states: Array, new_states: Array, saved: Array) -> Linear:
    """Return the linearization of steps, from what they saved or from their coefficients."""
    linear = linear_cell(cell)
    if isinstance(saved, Coefficients) and linear is not None:
        return linear.linear(np.asarray(saved, np.float64))
    return linearize(cell, saved, states, new_states)


def advance(params: Params, inputs: Array, states: Array) -> tuple[Array, Array]:
    """Take one step from each of N states, in NumPy and float64, by the cell's own equations.

    Parameters
    ----------
    params : Params
    inputs : (N, I)
    states : (N, S, H)

    Returns
    -------
    new_states : (N, S, H) float64
    saved : (N, K, H) float64
    """
    old = split_rows(states)
    count, hidden = old[0].shape
    new, saved = step_rows(get(params.cell), params, np.asarray(inputs, np.float64), old)
    new_states, values = np.empty((count, len(new), hidden)), np.empty((count, len(saved), hidden))
    fill_rows(new_states, new)
    fill_rows(values, saved)
    return new_states, values


def _blocks(weight: Array, gates: int) -> Array:
    """Return a weight (G*H, X) as (G, H, X) float64."""
    return weight.astype(np.float64).reshape(gates, -1, weight.shape[1])


def _weighted(coefficients: Array, weights: Array) -> Array:
    """Return sum_g diag(coefficients[n, g]) weights[g]: of (N, G, H) and (G, H, X), (N, H, X)."""
    # A small product for each unit: five times faster than einsum's loop.
    value: Array = np.matmul(coefficients.transpose(2, 0, 1), weights.transpose(1, 0, 2))
    return value.transpose(1, 0, 2)
