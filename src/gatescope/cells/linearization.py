"""One step of a cell as a linear map, unit by unit: what multiplies the weights in its Jacobian.

The coefficients come from the cell's own `step_vjp`, which is linear in the adjoint and acts unit by unit: adjoints of
ones on one state and zeros on the others give all of them at once.

Axes: any leading axes, S states, K saved values, G gates, P of them computed by a first phase, H units.  Everything is
float64, whatever the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.arrays import Array

Rows = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Derivatives of one step, unit by unit: what multiplies the weights in the Jacobian.

    With one phase, ``d new_s = sum_q direct[s, q] d state_q + sum_g rh[s, g] R_g d h + sum_g wx[s, g] W_g d x``.
    With two, the gates g < P see h, and those after see the operand instead, whose differential is
    ``sum_q operand_state[q] d state_q + sum_p operand_rh[p] R_p d h + sum_p operand_wx[p] W_p d x``.

    Attributes
    ----------
    direct : (..., S, S, H)
        ``direct[..., s, q, :]`` is what new state s keeps of old state q without passing any weight: f for an LSTM's
        c, z for a GRU's h.
    rh, wx : (..., S, G, H)
        With respect to the recurrent and the input part of each gate; first-phase gates not by way of the operand.
    operand_state : (..., S, H)
        The operand's derivatives with respect to the states, without passing any weight; 0 with one phase.
    operand_rh, operand_wx : (..., P, H)
        The operand's derivatives with respect to the parts of the first-phase gates.
    """

    direct: Array
    rh: Array
    wx: Array
    operand_state: Array
    operand_rh: Array
    operand_wx: Array


def linearize(cell: Cell, saved: Array, states: Array, new_states: Array) -> Linear:
    """Return the coefficients of steps from `states` to `new_states`, (..., S, H), that saved `saved`, (..., K, H).

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.cells.linearization import linearize
    >>> trace = gs.run(gs.init("lstm", input_size=1, hidden_size=4, seed=0), np.ones((20, 1)))
    >>> linear = linearize(gs.cells.get("lstm"), trace.gates, trace.states[:-1], trace.states[1:])
    >>> bool(np.allclose(linear.direct[..., 1, 1, :], trace.gate("f")))   # d c_t / d c_{t-1}
    True
    """
    return linearize_rows(cell, *(split_rows(a) for a in (saved, states, new_states)))


def linearize_rows(cell: Cell, k: Rows, old: Rows, new: Rows) -> Linear:
    """Return the coefficients of steps as `linearize` does, of saved values and states that are split into rows.

    They are what the cell's equations compute with: arrays (..., H), or numbers that know their complement.
    """
    shape = old[0].shape
    S, G, P = len(cell.states), len(cell.gates), cell.prepared
    one, none = np.ones(shape), np.zeros(shape)
    direct = np.zeros((*shape[:-1], S, S, shape[-1]))
    rh = np.zeros((*shape[:-1], S, G, shape[-1]))
    wx = np.zeros_like(rh)
    operand_state = np.zeros((*shape[:-1], S, shape[-1]))
    operand_rh = np.zeros((*shape[:-1], P, shape[-1]))
    operand_wx = np.zeros_like(operand_rh)
    for s in range(S):
        d_wx, d_rh, back, *rest = cell.step_vjp(k, old, new, tuple(one if q == s else none for q in range(S)))
        if cell.prepare_vjp is not None:
            # Linear in (d_operand, d_prepared): the second is of this unit, the first comes through weights, below.
            first_wx, first_rh, first_back = cell.prepare_vjp(k, old, none, rest[0])
            d_wx, d_rh = (*first_wx, *d_wx), (*first_rh, *d_rh)
            back = tuple(a + b for a, b in zip(back, first_back, strict=True))
        fill_rows(direct[..., s, :, :], back)
        fill_rows(rh[..., s, :, :], d_rh)
        fill_rows(wx[..., s, :, :], d_wx)
    if cell.prepare_vjp is not None:
        d_wx, d_rh, back = cell.prepare_vjp(k, old, one, (none,) * P)
        fill_rows(operand_state, back)
        fill_rows(operand_rh, d_rh)
        fill_rows(operand_wx, d_wx)
    return Linear(
        direct=direct,
        rh=rh,
        wx=wx,
        operand_state=operand_state,
        operand_rh=operand_rh,
        operand_wx=operand_wx,
    )


def direct_factors(cell: Cell, saved: Array, states: Array, new_states: Array) -> Array:
    """Return what each state keeps of itself without passing any weight: f for an LSTM's c, z for a GRU's h.

    That is ``d new_s[j] / d state_s[j]`` with the gates fixed, (..., S, H); the arguments are those of `linearize`.
    """
    direct = linearize(cell, saved, states, new_states).direct
    return np.moveaxis(np.diagonal(direct, axis1=-3, axis2=-2), -1, -2).copy()


def split_rows(array: Array) -> tuple[Array, ...]:
    """Split (..., M, H) into M arrays (..., H) of float64, as equations take them."""
    return tuple(np.moveaxis(np.asarray(array, np.float64), -2, 0))


def fill_rows(target: Array, values: Any) -> None:
    """Fill (..., M, H) with M arrays (..., H)."""
    for m, value in enumerate(values):
        target[..., m, :] = value
