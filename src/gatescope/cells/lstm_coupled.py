"""LSTM with coupled input and forget gate (Greff et al. 2015, CIFG; ONNX's ``input_forget``): i is 1 - f.

f = sigmoid(W_f x + R_f h + b_f)      g = tanh(W_g x + R_g h + b_g)      o = sigmoid(W_o x + R_o h + b_o)
c' = f * c + (1 - f) * g              h' = o * tanh(c')
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero

NAME = "lstm_coupled"
GATES = ("f", "g", "o")
STATES = ("h", "c")
SAVED = ("f", "g", "o")


@register_jitable
def step(wx, rh, states):
    _, c = states
    f = sigmoid(wx[0] + rh[0])
    g = tanh(wx[1] + rh[1])
    o = sigmoid(wx[2] + rh[2])
    c = f * c + complement(f) * g
    return (o * tanh(c), c), (f, g, o)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    f, g, o = saved
    _, c = states
    _, c_new = new_states
    d_h, d_c = adjoint
    y = tanh(c_new)
    d_c = d_c + d_h * o * complement(y * y)
    d_pre = (
        d_c * (c - g) * f * complement(f),
        d_c * complement(f) * complement(g * g),
        d_h * y * o * complement(o),
    )
    return d_pre, d_pre, (zero(d_h), d_c * f)
