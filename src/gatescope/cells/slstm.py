"""sLSTM (Beck et al. 2024, xLSTM): input and forget gate are exponential, and a normalizer divides by what came in.

a = W_i x + R_i h + b_i      b = W_f x + R_f h + b_f      m' = max(a, b + m)
i = exp(a - m')              f = exp(b + m - m')          g = tanh(W_g x + R_g h + b_g)
c' = f * c + i * g           d' = f * d + i               o = sigmoid(W_o x + R_o h + b_o)
h' = o * c' / d'

m keeps the exponentials at 1 and below, and cancels in c / d: the outputs are those without it.  The paper's z is g
here and its normalizer n is d, as z and n are letters of the GRU; recurrent weights are whole matrices, one head.  From
states of zeros, h' is 0 / 0 where the first step's b is so far above a that i is 0: by 745, in float32 by 103.

No activation is an exponential, but for x <= 0 exp(x) is sigmoid(x) / sigmoid(-x); max(a, b) is b + relu(a - b).
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, positive, relu, sigmoid, tanh, zero

NAME = "slstm"
GATES = ("i", "f", "g", "o")
STATES = ("h", "m", "d", "c")
SAVED = ("i", "f", "g", "o")


@register_jitable
def step(wx, rh, states):
    _, m, d, c = states
    a = wx[0] + rh[0]
    b = wx[1] + rh[1] + m
    g = tanh(wx[2] + rh[2])
    o = sigmoid(wx[3] + rh[3])
    above, below = relu(a - b), relu(b - a)
    i = sigmoid(-below) / sigmoid(below)
    f = sigmoid(-above) / sigmoid(above)
    c = f * c + i * g
    d = f * d + i
    return (o * (c / d), b + above, d, c), (i, f, g, o)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    i, f, g, o = saved
    _, _, d, c = states
    h_new, _, d_new, c_new = new_states
    d_h, d_m, d_d, d_c = adjoint
    d_o = d_h * (c_new / d_new) * o * complement(o)
    d_c = d_c + d_h * o / d_new
    d_d = d_d - d_h * h_new / d_new
    d_g = d_c * i * complement(g * g)
    # of the logarithms of i and f, a - m' and b + m - m'; m' is the larger of what they begin with
    d_i = (d_c * g + d_d) * i
    d_f = (d_c * c + d_d * d) * f
    d_m = d_m - d_i - d_f
    input_wins = positive(i - f)
    d_a = d_i + d_m * input_wins
    d_b = d_f + d_m * complement(input_wins)
    d_pre = (d_a, d_b, d_g, d_o)
    return d_pre, d_pre, (zero(d_h), d_b, d_d * f, d_c * f)
