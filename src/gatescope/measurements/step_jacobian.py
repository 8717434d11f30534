"""One step of a cell as a linear map: its Jacobians written out, for any registered cell.

They come from the cell's own `step_vjp`, which is linear in the adjoint and acts unit by unit: adjoints of ones on one
state and zeros on the others give every coefficient at once, and the weights do the rest.

Axes: N independent steps (any leading axes in `linearize`), S states, K kept values, G gates, P of them computed by a
first phase, H units, I inputs, n = S*H.  Everything is float64, whatever the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell, get
from gatescope.datatypes import Array, Params


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Derivatives of one step, unit by unit: what multiplies the weights in the Jacobian.

    With one phase, ``d new_s = sum_q direct[s, q] d state_q + sum_g rh[s, g] R_g d h + sum_g wx[s, g] W_g d x``.
    With two, the gates g < P see h, and those after see the operand instead, whose differential is
    ``operand_state d h + sum_p operand_rh[p] R_p d h + sum_p operand_wx[p] W_p d x``.

    Attributes
    ----------
    direct : (..., S, S, H)
        ``direct[..., s, q, :]`` is what new state s keeps of old state q without passing any weight: f for an LSTM's
        c, z for a GRU's h.
    rh, wx : (..., S, G, H)
        With respect to the recurrent and the input part of each gate; first-phase gates not by way of the operand.
    operand_state : (..., H)
        The operand's derivative with respect to the first state; 0 with one phase.
    operand_rh, operand_wx : (..., P, H)
        The operand's derivatives with respect to the parts of the first-phase gates.
    """

    direct: Array
    rh: Array
    wx: Array
    operand_state: Array
    operand_rh: Array
    operand_wx: Array


def linearize(cell: Cell, kept: Array, states: Array, new_states: Array) -> Linear:
    """The coefficients of steps from `states` to `new_states` that kept the values `kept`.

    Parameters
    ----------
    cell : Cell
    kept : (..., K, H)
    states, new_states : (..., S, H)

    Returns
    -------
    Linear

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.step_jacobian import linearize
    >>> trace = gs.run(gs.init("lstm", input_size=1, hidden_size=4, seed=0), np.ones((20, 1)))
    >>> linear = linearize(gs.cells.get("lstm"), trace.gates, trace.states[:-1], trace.states[1:])
    >>> bool(np.allclose(linear.direct[..., 1, 1, :], trace.gate("f")))   # d c_t / d c_{t-1}
    True
    """
    k, old, new = (_rows(a) for a in (kept, states, new_states))
    shape = old[0].shape
    S, G, P = len(cell.states), len(cell.gates), cell.prepared
    one, none = np.ones(shape), np.zeros(shape)
    direct = np.zeros((*shape[:-1], S, S, shape[-1]))
    rh = np.zeros((*shape[:-1], S, G, shape[-1]))
    wx = np.zeros_like(rh)
    operand_state = np.zeros(shape)
    operand_rh = np.zeros((*shape[:-1], P, shape[-1]))
    operand_wx = np.zeros_like(operand_rh)
    for s in range(S):
        d_wx, d_rh, back, *rest = cell.step_vjp(k, old, new, tuple(one if q == s else none for q in range(S)))
        if cell.prepare_vjp is not None:
            # Linear in (d_operand, d_prepared): the second is of this unit, the first comes through weights, below.
            first_wx, first_rh, first_back = cell.prepare_vjp(k, old, none, rest[0])
            d_wx, d_rh = (*first_wx, *d_wx), (*first_rh, *d_rh)
            back = (back[0] + first_back[0], *back[1:])
        _fill(direct[..., s, :, :], back)
        _fill(rh[..., s, :, :], d_rh)
        _fill(wx[..., s, :, :], d_wx)
    if cell.prepare_vjp is not None:
        d_wx, d_rh, back = cell.prepare_vjp(k, old, one, (none,) * P)
        operand_state[...] = back[0]
        _fill(operand_rh, d_rh)
        _fill(operand_wx, d_wx)
    return Linear(
        direct=direct,
        rh=rh,
        wx=wx,
        operand_state=operand_state,
        operand_rh=operand_rh,
        operand_wx=operand_wx,
    )


def step_jacobians(params: Params, states: Array, new_states: Array, kept: Array) -> Array:
    """Jacobian d new_state / d state of each step, of the whole state with the cell's first state first.

    Parameters
    ----------
    params : Params
    states, new_states : (N, S, H)
    kept : (N, K, H)

    Returns
    -------
    (N, S*H, S*H) float64

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.step_jacobian import advance, step_jacobians
    >>> params = gs.init("lstm", input_size=1, hidden_size=4, seed=0)
    >>> states = np.zeros((3, 2, 4))
    >>> new_states, kept = advance(params, np.ones((3, 1)), states)
    >>> step_jacobians(params, states, new_states, kept).shape
    (3, 8, 8)
    """
    cell = get(params.cell)
    linear = linearize(cell, kept, states, new_states)
    count, S, H = np.shape(states)
    P = cell.prepared
    R = _blocks(params.weight_hh, len(cell.gates))
    result = np.zeros((count, S, H, S, H))
    unit = np.arange(H)
    inner = _weighted(linear.operand_rh, R[:P])  # d operand / d h; of no rows without a first phase
    inner[:, unit, unit] += linear.operand_state
    for s in range(S):
        block = _weighted(linear.rh[:, s, : P or None], R[: P or None])
        if P:
            block = block + _weighted(linear.rh[:, s, P:], R[P:]) @ inner
        result[:, s, :, 0] = block
        for q in range(S):
            # Advanced indices of one row and one column a unit: the diagonal of block (s, q).
            result[:, s, unit, q, unit] += linear.direct[:, s, q]
    return result.reshape(count, S * H, S * H)


def input_jacobians(params: Params, states: Array, new_states: Array, kept: Array) -> Array:
    """Jacobian d new_state / d input of each step; arguments as for `step_jacobians`.

    Returns
    -------
    (N, S*H, I) float64
    """
    cell = get(params.cell)
    linear = linearize(cell, kept, states, new_states)
    count, S, H = np.shape(states)
    P = cell.prepared
    W, R = _blocks(params.weight_ih, len(cell.gates)), _blocks(params.weight_hh, len(cell.gates))
    result = np.zeros((count, S, H, params.input_size))
    for s in range(S):
        result[:, s] = _weighted(linear.wx[:, s], W)
        if P:
            result[:, s] += _weighted(linear.rh[:, s, P:], R[P:]) @ _weighted(linear.operand_wx, W[:P])
    return result.reshape(count, S * H, params.input_size)


def highway(cell: Cell, kept: Array, states: Array, new_states: Array) -> Array:
    """What each state keeps of itself without passing any weight: f for an LSTM's c, z for a GRU's h, 0 for an RNN.

    Parameters
    ----------
    cell : Cell
    kept : (..., K, H)
    states, new_states : (..., S, H)

    Returns
    -------
    (..., S, H) float64
        ``d new_s[j] / d state_s[j]`` with the gates held.
    """
    direct = linearize(cell, kept, states, new_states).direct
    return np.moveaxis(np.diagonal(direct, axis1=-3, axis2=-2), -1, -2).copy()


def advance(params: Params, inputs: Array, states: Array) -> tuple[Array, Array]:
    """One step from each of N states, in NumPy and float64: the cell's own equations.

    Parameters
    ----------
    params : Params
    inputs : (N, I)
    states : (N, S, H)

    Returns
    -------
    new_states : (N, S, H) float64
    kept : (N, K, H) float64
    """
    cell = get(params.cell)
    P, G = cell.prepared, len(cell.gates)
    old = _rows(states)
    count, hidden = old[0].shape
    wx = _affine(params.weight_ih, params.bias_ih, np.asarray(inputs, np.float64), G)
    first = slice(0, (P or G) * hidden)
    rh = _affine(params.weight_hh[first], params.bias_hh[first], old[0], P or G)
    if cell.prepare is None or cell.operand is None:
        new, kept = cell.step(wx, rh, old)
    else:
        prepared = cell.prepare(wx[:P], rh, old)
        second = slice(P * hidden, None)
        operand = cell.operand(prepared, old)
        rh = _affine(params.weight_hh[second], params.bias_hh[second], operand, G - P)
        new, kept = cell.step(wx[P:], rh, old, prepared)
    new_states, values = np.empty((count, len(new), hidden)), np.empty((count, len(kept), hidden))
    _fill(new_states, new)
    _fill(values, kept)
    return new_states, values


def _rows(array: Array) -> tuple[Array, ...]:
    """(..., M, H) -> M arrays (..., H) in float64, as equations take them."""
    return tuple(np.moveaxis(np.asarray(array, np.float64), -2, 0))


def _fill(target: Array, values: Any) -> None:
    """(..., M, H) from M arrays (..., H)."""
    for m, value in enumerate(values):
        target[..., m, :] = value


def _blocks(weight: Array, gates: int) -> Array:
    """(G*H, X) -> (G, H, X) float64."""
    return weight.astype(np.float64).reshape(gates, -1, weight.shape[1])


def _weighted(coefficients: Array, weights: Array) -> Array:
    """sum_g diag(coefficients[n, g]) weights[g]: (N, G, H), (G, H, X) -> (N, H, X)."""
    # A small product for each unit: five times faster than einsum's loop.
    value: Array = np.matmul(coefficients.transpose(2, 0, 1), weights.transpose(1, 0, 2))
    return value.transpose(1, 0, 2)


def _affine(weight: Array, bias: Array, x: Array, gates: int) -> tuple[Array, ...]:
    """W x + b by gate: (N, X) -> so many (N, H)."""
    value = x @ weight.astype(np.float64).T + bias.astype(np.float64)
    return tuple(np.moveaxis(value.reshape(len(x), gates, len(bias) // gates), 1, 0))
