"""Gated recurrent unit with the reset gate before the recurrent product (Cho et al. 2014, Chung et al. 2014).

    r = sigmoid(W_r x + R_r h + b_r)      z = sigmoid(W_z x + R_z h + b_z)
    n = tanh(W_n x + R_n (r * h) + b_n)
    h' = (1 - z) * n + z * h

Two phases: r and z come from R h, then n from a second recurrent product, R_n (r * h).
This is ONNX's default.  `prepare` is the first phase; `operand` is what the second phase's recurrent weights multiply.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero

NAME = "gru_reset_before"
GATES = ("r", "z", "n")
STATES = ("h",)
SAVED = ("r", "z", "n")
PREPARED = 2  # the first phase computes this many of the gates


@register_jitable
def prepare(wx, rh, states):
    r = sigmoid(wx[0] + rh[0])
    z = sigmoid(wx[1] + rh[1])
    return (r, z)


@register_jitable
def operand(prepared, states):
    (h,) = states
    return prepared[0] * h


@register_jitable
def step(wx, rh, states, prepared):
    (h,) = states
    r, z = prepared
    n = tanh(wx[0] + rh[0])
    return (complement(z) * n + z * h,), (r, z, n)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    r, z, n = saved
    (h,) = states
    (d_h,) = adjoint
    d_pre = (d_h * complement(z) * complement(n * n),)
    return d_pre, d_pre, (d_h * z,), (zero(r), d_h * (h - n))


@register_jitable
def prepare_vjp(saved, states, d_operand, d_prepared):
    r, z, _ = saved
    (h,) = states
    d_r, d_z = d_prepared
    d_r = d_r + d_operand * h
    d_pre = (d_r * r * complement(r), d_z * z * complement(z))
    return d_pre, d_pre, (d_operand * r,)
