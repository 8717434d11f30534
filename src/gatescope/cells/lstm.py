"""Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

i = sigmoid(W_i x + R_i h + b_i)      f = sigmoid(W_f x + R_f h + b_f)
g = tanh(W_g x + R_g h + b_g)         o = sigmoid(W_o x + R_o h + b_o)
c' = f * c + i * g                    h' = o * tanh(c')
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero

NAME = "lstm"
GATES = ("i", "f", "g", "o")  # row blocks of weight_ih and weight_hh, PyTorch's order
STATES = ("h", "c")  # the first feeds back through weight_hh
SAVED = ("i", "f", "g", "o")


@register_jitable
def step(wx, rh, states):
    _, c = states
    i = sigmoid(wx[0] + rh[0])
    f = sigmoid(wx[1] + rh[1])
    g = tanh(wx[2] + rh[2])
    o = sigmoid(wx[3] + rh[3])
    c = f * c + i * g
    return (o * tanh(c), c), (i, f, g, o)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    i, f, g, o = saved
    _, c = states
    _, c_new = new_states
    d_h, d_c = adjoint
    y = tanh(c_new)
    d_c = d_c + d_h * o * complement(y * y)
    d_pre = (
        d_c * g * i * complement(i),
        d_c * c * f * complement(f),
        d_c * i * complement(g * g),
        d_h * y * o * complement(o),
    )
    return d_pre, d_pre, (zero(d_h), d_c * f)
