"""An LSTM on its way to a GRU: f = 1 - z, i = z, no second tanh, and gates that read c.

    z = sigmoid(W_z x + R_z c + b_z)      o = sigmoid(W_o x + R_o c + b_o)
    g = tanh(W_g x + R_g h + b_g)
    c' = (1 - z) * c + z * g              h' = o * c'

c is put out, as the only state of a GRU is; h is what g reads.  With h written out, g of the next step is
tanh(W_g x' + R_g (o * c')): o is of this step, where `gru_reset_before` has r of the next.
Two phases: z and o come from R c, then g from R_g h, so that the second product's operand is the second state.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh, zero

NAME = "lstm_bridge_from_c"
GATES = ("z", "o", "g")
STATES = ("c", "h")
SAVED = ("z", "o", "g")
PREPARED = 2  # the first phase computes z and o


@register_jitable
def prepare(wx, rh, states):
    z = sigmoid(wx[0] + rh[0])
    o = sigmoid(wx[1] + rh[1])
    return (z, o)


@register_jitable
def operand(prepared, states):
    _, h = states
    return h


@register_jitable
def step(wx, rh, states, prepared):
    c, _ = states
    z, o = prepared
    g = tanh(wx[0] + rh[0])
    c = complement(z) * c + z * g
    return (c, o * c), (z, o, g)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    z, o, g = saved
    c, _ = states
    c_new, _ = new_states
    d_c, d_h = adjoint
    d_c = d_c + d_h * o
    d_pre = (d_c * z * complement(g * g),)
    return d_pre, d_pre, (d_c * complement(z), zero(d_h)), (d_c * (g - c), d_h * c_new)


@register_jitable
def prepare_vjp(saved, states, d_operand, d_prepared):
    z, o, _ = saved
    d_z, d_o = d_prepared
    d_pre = (d_z * z * complement(z), d_o * o * complement(o))
    return d_pre, d_pre, (zero(d_operand), d_operand)
