"""A cell's step in mpmath's precision: its own `step`, on numbers of 150 digits, differentiated by a difference."""

from types import FunctionType

import mpmath
import numpy as np

import gatescope as gs
from gatescope.cells import activations

CONTEXT = mpmath.mp.clone() if hasattr(mpmath.mp, "clone") else mpmath.MPContext()
CONTEXT.dps = 150
_STEP = CONTEXT.mpf(10) ** -60  # of a difference: what it leaves out is below 1e-50 of the largest derivative


def _each(function):
    return np.vectorize(function, otypes=[object])


_INSTEAD = {
    activations.sigmoid: _each(lambda x: 1 / (1 + CONTEXT.exp(-x))),
    activations.tanh: _each(CONTEXT.tanh),
    activations.relu: _each(lambda x: max(x, CONTEXT.mpf(0))),
    activations.complement: _each(lambda x: 1 - x),
}


def exact(array):
    """Return an array of numbers of high precision, the same numbers; what is of it stays."""
    array = np.asarray(array)
    return (
        array
        if array.dtype == object
        else np.vectorize(CONTEXT.mpf, otypes=[object])(array.astype(np.float64))
    )


def step(params, x, state):
    """Return the state (S, H) after one step from a state (S, H) over an input (I,)."""
    cell, P, H = gs.cells.get(params.cell), gs.cells.get(params.cell).prepared, params.hidden_size
    W, R, b, d = (exact(getattr(params, name)) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    wx = (W.dot(exact(x)) + b).reshape(-1, H)

    def recurrent(rows, vector):
        return (R[rows].dot(vector) + d[rows]).reshape(-1, H)

    first = slice(0, (P or len(cell.gates)) * H)
    rh, old = recurrent(first, state[0]), tuple(state)
    if not P:
        return np.array(_copy(cell.step)(tuple(wx), tuple(rh), old)[0])
    prepared = _copy(cell.prepare)(tuple(wx[:P]), tuple(rh), old)
    second = recurrent(slice(P * H, None), _copy(cell.operand)(prepared, old))
    return np.array(_copy(cell.step)(tuple(wx[P:]), tuple(second), old, prepared)[0])


def run(params, inputs):
    """Return the states (T+1, S, H) of a run over inputs (T, I) from zeros."""
    states = [exact(np.zeros((len(gs.cells.get(params.cell).states), params.hidden_size)))]
    for x in inputs:
        states.append(step(params, x, states[-1]))
    return states


def jacobian(params, x, state):
    """Return d new state / d state, (S*H, S*H)."""
    new, columns = step(params, x, state), []
    for j in range(state.size):
        moved = state.copy()
        moved.reshape(-1)[j] += _STEP
        columns.append((step(params, x, moved) - new).reshape(-1) / _STEP)
    return np.array(columns).T


def log_norm(vector):
    """Return the natural logarithm of a vector's length."""
    return float(CONTEXT.log(CONTEXT.sqrt(sum(x * x for x in vector.reshape(-1)))))


def _copy(function):
    scope = {
        name: _INSTEAD.get(value, value) if isinstance(value, FunctionType) else value
        for name, value in function.__globals__.items()
    }
    return FunctionType(function.__code__, scope)
