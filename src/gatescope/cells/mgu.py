"""Minimal gated unit (Zhou et al. 2016): one gate that both resets and updates.

    f = sigmoid(W_f x + R_f h + b_f)
    n = tanh(W_n x + R_n (f * h) + b_n)
    h' = (1 - f) * h + f * n

Two phases, as in `gru_reset_before`.  f is called a forget gate and is what is written: at f = 0 the state stays.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh

NAME = "mgu"
GATES = ("f", "n")
STATES = ("h",)
SAVED = ("f", "n")
PREPARED = 1  # the first phase computes f


@register_jitable
def prepare(wx, rh, states):
    return (sigmoid(wx[0] + rh[0]),)


@register_jitable
def operand(prepared, states):
    (h,) = states
    return prepared[0] * h


@register_jitable
def step(wx, rh, states, prepared):
    (h,) = states
    (f,) = prepared
    n = tanh(wx[0] + rh[0])
    return (complement(f) * h + f * n,), (f, n)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    f, n = saved
    (h,) = states
    (d_h,) = adjoint
    d_pre = (d_h * f * complement(n * n),)
    return d_pre, d_pre, (d_h * complement(f),), (d_h * (n - h),)


@register_jitable
def prepare_vjp(saved, states, d_operand, d_prepared):
    f, _ = saved
    (h,) = states
    d_f = d_prepared[0] + d_operand * h
    d_pre = (d_f * f * complement(f),)
    return d_pre, d_pre, (d_operand * f,)
