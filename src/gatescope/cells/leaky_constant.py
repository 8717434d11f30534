"""Leaky recurrent network whose leak is one learned number a unit (Jaeger et al. 2007): no gate, but the same addition.

a = sigmoid(b_a)    n = tanh(W_n x + R_n h + b_n)    h' = (1 - a) * h + a * n

H. Jaeger, M. Lukosevicius, D. Popovici and U. Siewert, "Optimization and applications of echo state networks with leaky
integrator neurons", Neural Networks 20 (2007), equation 1 with a step of 1.
"""

from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, tanh

NAME = "leaky_constant"
GATES = ("a", "n")
STATES = ("h",)
SAVED = ("a", "n")
WEIGHTS = {"a": "b"}


@register_jitable
def step(wx, rh, states):
    (h,) = states
    a = sigmoid(wx[0] + rh[0])
    n = tanh(wx[1] + rh[1])
    return (complement(a) * h + a * n,), (a, n)


@register_jitable
def step_vjp(saved, states, new_states, adjoint):
    a, n = saved
    (h,) = states
    (d_h,) = adjoint
    d_pre = (d_h * (n - h) * a * complement(a), d_h * a * complement(n * n))
    return d_pre, d_pre, (d_h * complement(a),)
