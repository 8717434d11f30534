"""LSTM as "LSTM vs GRU: Comparison performance and architecture" (2023) prints it: no cell state, and h' = o * g.

i, f, o = sigmoid(W x + R h + b), each with weights of its own      g = tanh(W_g x + R_g h + b_g)
h' = o * g

i and f are computed and lead nowhere, so their weights get no gradient.  It is here to show what the misprint does.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero

NAME = "lstm_as_printed"
GATES = ("i", "f", "g", "o")
STATES = ("h",)
SAVED = ("i", "f", "g", "o")


@register_jitable
def step(wx, rh, states):
    i = sigmoid(wx[0] + rh[0])
    f = sigmoid(wx[1] + rh[1])
    g = tanh(wx[2] + rh[2])
    o = sigmoid(wx[3] + rh[3])
    return (o * g,), (i, f, g, o)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    _, _, g, o = saved
    (d_h,) = adjoint
    none = zero(d_h)
    d_pre = (none, none, d_h * o * complement(g * g), d_h * g * o * complement(o))
    return d_pre, d_pre, (none,)
