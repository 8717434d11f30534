"""JANET (van der Westhuizen and Lasenby 2018): an LSTM of a forget gate alone, its hidden state the cell state.

s = W_f x + R_f h + b_f      f = sigmoid(s)      i = 1 - sigmoid(s - 1)      g = tanh(W_g x + R_g h + b_g)
h' = f * h + i * g

The paper's beta is 1: a little more is let in than is forgotten.  i has no weights and is saved beside the gates.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh

NAME = "janet"
GATES = ("f", "g")
STATES = ("h",)
SAVED = ("f", "g", "i")


@register_jitable
def step(wx, rh, states):
    (h,) = states
    s = wx[0] + rh[0]
    f = sigmoid(s)
    g = tanh(wx[1] + rh[1])
    i = sigmoid(complement(s))  # 1 - sigmoid(s - 1), which would round where it is small
    return (f * h + i * g,), (f, g, i)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    f, g, i = saved
    (h,) = states
    (d_h,) = adjoint
    d_pre = (d_h * (h * f * complement(f) - g * i * complement(i)), d_h * i * complement(g * g))
    return d_pre, d_pre, (d_h * f,)
