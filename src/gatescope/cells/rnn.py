"""The vanilla (Elman) recurrent network: h' = tanh(W x + R h + b)."""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, tanh, zero

NAME = "rnn"
GATES = ("h",)
STATES = ("h",)
SAVED = ()  # no gates; the new state is all that step_vjp needs


@register_jitable
def step(wx, rh, states):
    h = tanh(wx[0] + rh[0])
    return (h,), ()


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    (h,) = new_states
    (d_h,) = adjoint
    d_pre = (d_h * complement(h * h),)
    return d_pre, d_pre, (zero(d_h),)
