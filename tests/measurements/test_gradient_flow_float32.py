"""gradient_flow in float32 over many steps, where every log-norm is known: its roundings do not add up."""

import dataclasses
import math
from functools import reduce

import numpy as np
from helpers.linear_networks import weights

import gatescope as gs

UNITS, STEPS = 16, 200_000
ROUNDING = 2.0**-24  # float32's, of a number


def lstm_that_rotates():
    """Return an LSTM in float32 whose every step back turns the adjoint of c and shrinks it by the same factor.

    Inputs have no weights and the states stay at 0, so i, f and o are the sigmoids of their biases and g is 0.  With
    weights s K from h to g, where K' = -K and K' K = n I, a step back multiplies by f I + i o s K': a rotation times
    sqrt(f^2 + n (i o s)^2).  Through the other gates, whose weights are random, nothing flows, since g, c and tanh(c)
    are 0.
    """
    turned = reduce(np.kron, [[[1, 1], [1, -1]]] * 3, np.array([[0, 1], [-1, 0]]))
    np.testing.assert_array_equal(turned.T @ turned, 8 * np.eye(UNITS))
    weight_hh = np.random.default_rng(0).uniform(-0.25, 0.25, (4 * UNITS, UNITS))
    weight_hh[2 * UNITS : 3 * UNITS] = 0.266 * turned  # so that half is left after 7,000 steps
    bias = np.repeat([0.0, 4.0, 0.0, 0.0], UNITS)
    return weights("lstm", weight_hh=weight_hh, bias=bias).astype("float32")


def known_log_norms(params, lags):
    """With the gates as the kernel has rounded them; of the first step f alone counts, as h is held fixed."""
    trace = gs.run(params, np.ones((2, 1)))
    assert (trace.states == 0).all()
    i, f, o = (float(trace.gate(name)[0, 0, 0]) for name in ("i", "f", "o"))
    s = float(np.abs(params.gate("g")["weight_hh"]).max())
    rate = math.log(f**2 + 8 * (i * o * s) ** 2) / 2
    assert -1.5e-4 < rate < -0.5e-4
    return np.where(lags > 0, math.log(f) + (lags - 1) * rate, 0.0)


def test_the_error_grows_with_the_root_of_the_lag():
    params = lstm_that_rotates()
    inputs = np.random.default_rng(1).standard_normal((STEPS, 1))
    flow = gs.gradient_flow(params, inputs, of="c", wrt="c")
    error = np.abs(flow.log_norm[:, 0] - known_log_norms(params, flow.lag))
    # What a step rounds of a unit: f (d_c + o d_h) twice, with d_h the product of i d_c with s K, whose 16 terms and
    # one factor are roundings of at most sqrt(1 - f^2) = 0.19 of the whole.  A rounding is ROUNDING / sqrt(3) in the
    # root mean square, so these together are sqrt((2 + 17 * 0.19^2) / 3) = 0.93 of ROUNDING; if all units erred alike,
    # so would the norm.  The roundings of k steps have either sign and add up to sqrt(k) times that.  Four times that
    # is allowed, and 2 ROUNDING for the direction, which has length 1 up to its own rounding, and for the norm.
    allowed = ROUNDING * (2 + 4 * 0.93 * np.sqrt(flow.lag))
    assert (error <= allowed).all(), f"worst: {(error / allowed).max():.3g} of what is allowed"
    # A tenth of a rounding that went the same way at every step would be seen, and so would the last bit of a gate.
    drift = STEPS * ROUNDING / 10
    assert drift > 2 * allowed[-1]
    bias = params.bias_ih.copy()
    bias[UNITS : 2 * UNITS] += np.float32(4e-6)  # which moves f by f (1 - f) times that: 7e-8
    other = known_log_norms(dataclasses.replace(params, bias_ih=bias), flow.lag)
    assert abs(flow.log_norm[-1, 0] - other[-1]) > 2 * allowed[-1]
