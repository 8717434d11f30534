"""LSTM without an activation of its output (Greff et al. 2015, NOAF): the output gate reads the cell state as it is.

i, f, o = sigmoid(W x + R h + b), each with weights of its own      g = tanh(W_g x + R_g h + b_g)
c' = f * c + i * g                                                  h' = o * c'
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero

NAME = "lstm_linear_output"
GATES = ("i", "f", "g", "o")
STATES = ("h", "c")
SAVED = ("i", "f", "g", "o")


@register_jitable
def step(wx, rh, states):
    _, c = states
    i = sigmoid(wx[0] + rh[0])
    f = sigmoid(wx[1] + rh[1])
    g = tanh(wx[2] + rh[2])
    o = sigmoid(wx[3] + rh[3])
    c = f * c + i * g
    return (o * c, c), (i, f, g, o)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    i, f, g, o = saved
    _, c = states
    _, c_new = new_states
    d_h, d_c = adjoint
    d_c = d_c + d_h * o
    d_pre = (
        d_c * g * i * complement(i),
        d_c * c * f * complement(f),
        d_c * i * complement(g * g),
        d_h * c_new * o * complement(o),
    )
    return d_pre, d_pre, (zero(d_h), d_c * f)
