"""Lyapunov exponents as they are usually written in NumPy: the Jacobian of a step, a product, ``numpy.linalg.qr``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.datatypes import Params

Array = NDArray[Any]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _lstm(params: Params, wx: Array, state: Array) -> tuple[Array, Array]:
    """Return the next state (h, c) and its Jacobian with respect to the last, (2H, 2H)."""
    hidden_size = params.hidden_size
    h, c = state[:hidden_size], state[hidden_size:]
    pre_i, pre_f, pre_g, pre_o = np.split(wx + params.weight_hh @ h, 4)
    i, f, g, o = _sigmoid(pre_i), _sigmoid(pre_f), np.tanh(pre_g), _sigmoid(pre_o)
    new_c = f * c + i * g
    y = np.tanh(new_c)
    rows_i, rows_f, rows_g, rows_o = np.split(params.weight_hh, 4)
    c_h = (g * i * (1 - i))[:, None] * rows_i + (c * f * (1 - f))[:, None] * rows_f
    c_h += (i * (1 - g * g))[:, None] * rows_g
    through_c = o * (1 - y * y)
    jacobian = np.empty((2 * hidden_size, 2 * hidden_size))
    jacobian[hidden_size:, :hidden_size] = c_h
    jacobian[hidden_size:, hidden_size:] = np.diag(f)
    jacobian[:hidden_size, :hidden_size] = through_c[:, None] * c_h + (y * o * (1 - o))[:, None] * rows_o
    jacobian[:hidden_size, hidden_size:] = np.diag(through_c * f)
    return np.concatenate([o * y, new_c]), jacobian


def _gru(params: Params, wx: Array, h: Array) -> tuple[Array, Array]:
    """Return the next h and its Jacobian with respect to the last, (H, H); the reset gate after the product."""
    hidden_size = params.hidden_size
    x_r, x_z, x_n = np.split(wx, 3)
    recurrent = params.weight_hh @ h
    recurrent[-hidden_size:] += params.bias_hh[-hidden_size:]
    h_r, h_z, h_n = np.split(recurrent, 3)
    r, z = _sigmoid(x_r + h_r), _sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    rows_r, rows_z, rows_n = np.split(params.weight_hh, 3)
    slope = (1 - z) * (1 - n * n)
    jacobian = np.diag(z) + ((h - n) * z * (1 - z))[:, None] * rows_z
    jacobian += (slope * r)[:, None] * rows_n + (slope * h_n * r * (1 - r))[:, None] * rows_r
    return (1 - z) * n + z * h, jacobian


def exponents(params: Params, inputs: Array, count: int, transient: int, seed: int = 0) -> Array:
    """(count,) exponents of one sequence (T, I), a QR at each step; the first `transient` steps do not count."""
    bias_hh = params.bias_hh.copy()
    if params.cell == "gru":
        bias_hh[-params.hidden_size :] = 0
    step, states = (_gru, 1) if params.cell == "gru" else (_lstm, 2)
    size = states * params.hidden_size
    wx = inputs @ params.weight_ih.T + (params.bias_ih + bias_hh)
    state = np.zeros(size)
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, size)).T)[0]
    total = np.zeros(count)
    for t in range(len(inputs)):
        state, jacobian = step(params, wx[t], state)
        basis = jacobian @ basis
        if count == 1:  # a length is all that a QR of one vector gives
            length = np.linalg.norm(basis)
            basis /= length
            lengths = np.array([length])
        else:
            basis, triangle = np.linalg.qr(basis)
            lengths = np.abs(np.diag(triangle))
        if t >= transient:
            total += np.log(lengths)
    return total / (len(inputs) - transient)
