"""Minimal GRU whose gate and candidate see the input alone (Feng et al. 2024), so that the recurrence is linear in h.

z = sigmoid(W_z x + b_z)    n = W_n x + b_n    h' = (1 - z) * h + z * n

L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, "Were RNNs all we needed?", 2024, section 3.1.2.  Their
training by a parallel scan, for which n is kept positive, changes the order of additions and nothing here.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, zero

NAME = "min_gru"
GATES = ("z", "n")
STATES = ("h",)
SAVED = ("z", "n")
WEIGHTS = {"z": "xb", "n": "xb"}


@register_jitable
def step(wx, rh, states):
    (h,) = states
    z = sigmoid(wx[0])
    n = wx[1]
    return (complement(z) * h + z * n,), (z, n)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    z, n = saved
    (h,) = states
    (d_h,) = adjoint
    none = zero(d_h)
    return (d_h * (n - h) * z * complement(z), d_h * z), (none, none), (d_h * complement(z),)
