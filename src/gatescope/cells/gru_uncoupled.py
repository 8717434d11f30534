"""GRU that does not tie what it writes to what it erases: its candidate has a gate of its own, as an LSTM's.

r, z, i = sigmoid(W x + R h + b), each with weights of its own
n = tanh(W_n x + b_Wn + r * (R_n h + b_Rn))
h' = z * h + i * n

The cell `gru` with i in the place of 1 - z.  No paper has it: it is here to tell what the coupling does.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh

NAME = "gru_uncoupled"
GATES = ("r", "z", "i", "n")
STATES = ("h",)
SAVED = ("r", "z", "i", "n", "q")  # q: the recurrent part of n


@register_jitable
def step(wx, rh, states):
    (h,) = states
    r = sigmoid(wx[0] + rh[0])
    z = sigmoid(wx[1] + rh[1])
    i = sigmoid(wx[2] + rh[2])
    n = tanh(wx[3] + r * rh[3])
    return (z * h + i * n,), (r, z, i, n, rh[3])


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    r, z, i, n, q = saved
    (h,) = states
    (d_h,) = adjoint
    d_n = d_h * i * complement(n * n)
    d_r = d_n * q * r * complement(r)
    d_z = d_h * h * z * complement(z)
    d_i = d_h * n * i * complement(i)
    return (d_r, d_z, d_i, d_n), (d_r, d_z, d_i, d_n * r), (d_h * z,)
