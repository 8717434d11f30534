"""The LSTM that is said to be a GRU: f is 1 - z, i is z, o stands for r, and nothing activates the output.

z = sigmoid(W_z x + R_z h + b_z)      g = tanh(W_g x + R_g h + b_g)      o = sigmoid(W_o x + R_o h + b_o)
c' = (1 - z) * c + z * g              h' = o * c'

From answers to "Difference between RNN, LSTM and GRU", a thread of questions and answers.  The next step's candidate
is a tanh of W_g x + R_g (o * c): it sees the o of the step before, where `gru_reset_before` has its own r.  And the
gates read h, where a GRU's read what is c here.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero

NAME = "lstm_bridge"
GATES = ("z", "g", "o")
STATES = ("h", "c")
SAVED = ("z", "g", "o")


@register_jitable
def step(wx, rh, states):
    _, c = states
    z = sigmoid(wx[0] + rh[0])
    g = tanh(wx[1] + rh[1])
    o = sigmoid(wx[2] + rh[2])
    c = complement(z) * c + z * g
    return (o * c, c), (z, g, o)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    z, g, o = saved
    _, c = states
    _, c_new = new_states
    d_h, d_c = adjoint
    d_c = d_c + d_h * o
    d_pre = (
        d_c * (g - c) * z * complement(z),
        d_c * z * complement(g * g),
        d_h * c_new * o * complement(o),
    )
    return d_pre, d_pre, (zero(d_h), d_c * complement(z))
