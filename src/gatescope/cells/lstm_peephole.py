"""LSTM with peepholes (Gers and Schmidhuber 2000): i and f see the old cell state, o the new one, unit by unit.

i = sigmoid(W_i x + R_i h + p_i * c + b_i)    f = sigmoid(W_f x + R_f h + p_f * c + b_f)
g = tanh(W_g x + R_g h + b_g)                 c' = f * c + i * g
o = sigmoid(W_o x + R_o h + p_o * c' + b_o)   h' = o * tanh(c')

F. A. Gers and J. Schmidhuber, "Recurrent nets that time and count", IJCNN 2000; the LSTM of Greff et al. 2015 and of
ONNX with its input P.  The peepholes p, a number a unit, are the gates pi, pf and po, which have a bias alone.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero

NAME = "lstm_peephole"
GATES = ("i", "f", "g", "o", "pi", "pf", "po")
STATES = ("h", "c")
SAVED = ("i", "f", "g", "o", "peephole of i", "peephole of f", "peephole of o")
WEIGHTS = {"pi": "b", "pf": "b", "po": "b"}


@register_jitable
def step(wx, rh, states):
    _, c = states
    p_i = wx[4] + rh[4]
    p_f = wx[5] + rh[5]
    p_o = wx[6] + rh[6]
    i = sigmoid(wx[0] + rh[0] + p_i * c)
    f = sigmoid(wx[1] + rh[1] + p_f * c)
    g = tanh(wx[2] + rh[2])
    c = f * c + i * g
    o = sigmoid(wx[3] + rh[3] + p_o * c)
    return (o * tanh(c), c), (i, f, g, o, p_i, p_f, p_o)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    i, f, g, o, p_i, p_f, p_o = saved
    _, c = states
    _, c_new = new_states
    d_h, d_c = adjoint
    y = tanh(c_new)
    d_o = d_h * y * o * complement(o)
    d_c = d_c + d_h * o * complement(y * y) + d_o * p_o
    d_i = d_c * g * i * complement(i)
    d_f = d_c * c * f * complement(f)
    d_pre = (d_i, d_f, d_c * i * complement(g * g), d_o, d_i * c, d_f * c, d_o * c_new)
    return d_pre, d_pre, (zero(d_h), d_c * f + d_i * p_i + d_f * p_f)
