"""Leaky recurrent network (Jaeger et al. 2007), its leak a gate of input and state.

a = sigmoid(W_a x + R_a h + b_a)      n = tanh(W_n x + R_n h + b_n)
h' = (1 - a) * h + a * n
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh

NAME = "leaky"
GATES = ("a", "n")  # row blocks of weight_ih and weight_hh
STATES = ("h",)  # the first feeds back through weight_hh and is the output
SAVED = ("a", "n")  # what is stored at every step: gates to look at, and what step_vjp needs


@register_jitable
def step(wx, rh, states):  # wx[g] = (W x + b_ih)_g, rh[g] = (R h + b_hh)_g
    (h,) = states
    a = sigmoid(wx[0] + rh[0])
    n = tanh(wx[1] + rh[1])
    return (complement(a) * h + a * n,), (a, n)  # new states, saved


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    a, n = saved
    (h,) = states
    (d_h,) = adjoint
    d_pre = (d_h * (n - h) * a * complement(a), d_h * a * complement(n * n))
    return d_pre, d_pre, (d_h * complement(a),)  # d_wx, d_rh, the part of d_states that bypasses R
