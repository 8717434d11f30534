"""A cell that is no part of the package: tests register it as a user would register theirs."""

import numpy as np
from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero


class Leaky:
    """a = sigmoid(W_a x + b_a), n = tanh(W_n x + R_n h + b), h' = a h + (1 - a) n."""

    NAME = "leaky_test"
    GATES = ("a", "n")
    STATES = ("h",)
    SAVED = ("a", "n")

    @staticmethod
    @register_jitable
    def step(wx, rh, states):
        (h,) = states
        a = sigmoid(wx[0])
        n = tanh(wx[1] + rh[1])
        return (a * h + complement(a) * n,), (a, n)

    @staticmethod
    @register_jitable
    def step_vjp(saved, states, new_states, adjoint):
        a, n = saved
        (h,) = states
        (d_h,) = adjoint
        d_a = d_h * (h - n) * a * complement(a)
        d_n = d_h * complement(a) * complement(n * n)
        return (d_a, d_n), (zero(d_h), d_n), (d_h * a,)


def by_hand(weights, inputs, h):
    """Return the same cell in plain NumPy, complex too: (T, B, I), (B, H) -> outputs (T, B, H)."""
    W_a, W_n = np.split(weights["weight_ih"], 2)
    _, R_n = np.split(weights["weight_hh"], 2)
    b_a, b_n = np.split(weights["bias_ih"], 2)
    _, d_n = np.split(weights["bias_hh"], 2)
    outputs = []
    for x in inputs:
        a = 1 / (1 + np.exp(-(x @ W_a.T + b_a)))
        n = np.tanh(x @ W_n.T + b_n + h @ R_n.T + d_n)
        h = a * h + (1 - a) * n
        outputs.append(h)
    return np.array(outputs)
