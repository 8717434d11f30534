"""sLSTM (Beck et al. 2024, xLSTM): input and forget gate are exponential, and a normalizer divides by what came in.

p = W_i x + R_i h + b_i      q = W_f x + R_f h + b_f + m      m' = max(p, q)
i = exp(p - m')              f = exp(q - m')                  g = tanh(W_g x + R_g h + b_g)
c' = f * c + i * g           d' = f * d + i                   o = sigmoid(W_o x + R_o h + b_o)
h' = o * c' / d'

m keeps the exponentials at 1 and below.  No output sees it: more of m and less of c and d, by the same factor, is the
same network.  So where f wins the gradient of the whole state stays for ever along m, and what is remembered is to be
measured with ``of="h"``.  From states of zeros h' is 0 / 0 if the first q is so far above p that i is 0: by 745, in
float32 by 103.

The paper's z is g here and its normalizer n is d, as z and n are letters of the GRU; there is one head.  No activation
is an exponential, but for x <= 0 exp(x) is sigmoid(x) / sigmoid(-x), and max(p, q) is q + relu(p - q).
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
    p = wx[0] + rh[0]
    q = wx[1] + rh[1] + m
    g = tanh(wx[2] + rh[2])
    o = sigmoid(wx[3] + rh[3])
    above, below = relu(p - q), relu(q - p)
    i = sigmoid(-below) / sigmoid(below)
    f = sigmoid(-above) / sigmoid(above)
    c = f * c + i * g
    d = f * d + i
    return (o * (c / d), q + above, d, c), (i, f, g, o)


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
    # of the exponents p - m' and q - m'; m' is the larger of what they begin with
    d_i = (d_c * g + d_d) * i
    d_f = (d_c * c + d_d * d) * f
    d_m = d_m - d_i - d_f
    input_wins = positive(i - f)
    d_p = d_i + d_m * input_wins
    d_q = d_f + d_m * complement(input_wins)
    d_pre = (d_p, d_q, d_g, d_o)
    return d_pre, d_pre, (zero(d_h), d_q, d_d * f, d_c * f)
