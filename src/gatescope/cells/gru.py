"""Gated recurrent unit with the reset gate after the recurrent product (PyTorch, cuDNN, Keras's default).

    r = sigmoid(W_r x + R_r h + b_r)      z = sigmoid(W_z x + R_z h + b_z)
    n = tanh(W_n x + b_Wn + r * (R_n h + b_Rn))
    h' = (1 - z) * n + z * h

Chung et al. 2014 write h' = (1 - z) * h + z * n: the same model with z's weights and bias negated.
The recurrent part of n is saved too, as "q": the reset gate's gradient needs it.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh

NAME = "gru"
GATES = ("r", "z", "n")
STATES = ("h",)
SAVED = ("r", "z", "n", "q")


@register_jitable
def step(wx, rh, states):
    (h,) = states
    r = sigmoid(wx[0] + rh[0])
    z = sigmoid(wx[1] + rh[1])
    n = tanh(wx[2] + r * rh[2])
    return (complement(z) * n + z * h,), (r, z, n, rh[2])


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    r, z, n, q = saved
    (h,) = states
    (d_h,) = adjoint
    d_n = d_h * complement(z) * complement(n * n)
    d_r = d_n * q * r * complement(r)
    d_z = d_h * (h - n) * z * complement(z)
    return (d_r, d_z, d_n), (d_r, d_z, d_n * r), (d_h * z,)
