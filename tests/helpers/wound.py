"""A cell of two phases and two states in which all happens that may: no network anyone uses."""

import numpy as np
from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero


class Wound:
    """Both phases read both states.

    p = sigmoid(a_0 + c), u = tanh(a_1), of R h; v = p * h + u + c goes through the third gate's recurrent weights;
    n = tanh(w_2 + R_2 v);  c' = u * c + p * n,  h' = n * tanh(c').
    """

    NAME, GATES, STATES, SAVED, PREPARED = "wound_test", ("p", "u", "n"), ("h", "c"), ("p", "u", "n"), 2

    @staticmethod
    @register_jitable
    def prepare(wx, rh, states):
        return (sigmoid(wx[0] + rh[0] + states[1]), tanh(wx[1] + rh[1]))

    @staticmethod
    @register_jitable
    def operand(prepared, states):
        h, c = states
        return prepared[0] * h + prepared[1] + c

    @staticmethod
    @register_jitable
    def step(wx, rh, states, prepared):
        _, c = states
        p, u = prepared
        n = tanh(wx[0] + rh[0])
        c = u * c + p * n
        return (n * tanh(c), c), (p, u, n)

    @staticmethod
    @register_jitable
    def step_vjp(saved, states, new_states, adjoint):
        p, u, n = saved
        _, c = states
        y = tanh(new_states[1])
        d_h, d_c = adjoint
        d_c = d_c + d_h * n * complement(y * y)
        d_pre = ((d_h * y + d_c * p) * complement(n * n),)
        return d_pre, d_pre, (zero(d_h), d_c * u), (d_c * n, d_c * c)

    @staticmethod
    @register_jitable
    def prepare_vjp(saved, states, d_operand, d_prepared):
        p, u, _ = saved
        h, _ = states
        d_p, d_u = d_prepared
        d_pre = ((d_p + d_operand * h) * p * complement(p), (d_u + d_operand) * complement(u * u))
        return d_pre, d_pre, (d_operand * p, d_pre[0] + d_operand)


def by_hand(weights, x, state):
    """Return a step of the same cell in plain NumPy, complex too: (I,), (2, H) -> (2, H)."""
    W, R = (np.split(weights[name], 3) for name in ("weight_ih", "weight_hh"))
    b = np.split(weights["bias_ih"] + weights["bias_hh"], 3)
    h, c = state
    p = 1 / (1 + np.exp(-(W[0] @ x + R[0] @ h + b[0] + c)))
    u = np.tanh(W[1] @ x + R[1] @ h + b[1])
    n = np.tanh(W[2] @ x + R[2] @ (p * h + u + c) + b[2])
    c = u * c + p * n
    return np.stack([n * np.tanh(c), c])
