"""Random tanh networks without input against mean-field theory: vanishing below gain 1, chaos above.

h' = tanh(J h), J_ij normal with variance g^2 / N.  As N grows, the units' values become independent and normal with
variance g^2 q, where q = <tanh(g sqrt(q) z)^2> over a standard normal z (Sompolinsky, Crisanti and Sommers 1988; in
discrete time Molgedey, Schuchhardt and Schuster 1992, where successive steps are uncorrelated too).  The squared
norm of a tangent is then multiplied by g^2 <tanh'^2> at every step, so that

    lambda_1 = ln(g^2 <(1 - tanh(g sqrt(q) z)^2)^2>) / 2
"""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

import gatescope as gs
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
from gatescope.measurements.phase_diagram import phase_diagram


def expectation(function):
    """Over a standard normal z."""
    density = 1 / math.sqrt(2 * math.pi)
    return quad(lambda z: density * math.exp(-z * z / 2) * function(z), -12, 12, epsabs=1e-12)[0]


def mean_field(gain):
    """Return the leading exponent for infinitely many units, nats per step."""
    if gain <= 1:
        return math.log(gain)  # q = 0
    q = brentq(lambda q: expectation(lambda z: math.tanh(gain * math.sqrt(q) * z) ** 2) - q, 1e-6, 1)
    slope = expectation(lambda z: (1 - math.tanh(gain * math.sqrt(q) * z) ** 2) ** 2)
    return math.log(gain**2 * slope) / 2


def leading(gain, units, networks, steps=1500):
    """Leading exponents of so many networks and their errors over time, (networks,) each."""
    exponents = []
    for seed in range(networks):
        params = gs.init(
            "rnn", input_size=1, hidden_size=units, seed=seed, scheme="gaussian", gain=gain, dtype="float64"
        )
        start = np.random.default_rng(seed).uniform(-1, 1, (1, 1, units))
        spectrum = lyapunov_spectrum(params, np.zeros((steps, 1)), k=1, initial_state=start, checks=False)
        exponents.append((spectrum.exponents[0, 0], spectrum.error[0, 0]))
    return np.array(exponents).T


def test_the_theory_is_continuous_at_the_edge_and_grows():
    exponents = [mean_field(gain) for gain in (0.5, 1.0, 1.05, 1.5, 2.0, 3.0)]
    assert exponents[:2] == [math.log(0.5), 0]
    assert 0 < exponents[2] < 0.01
    assert (np.diff(exponents) > 0).all()


@pytest.mark.slow
def test_below_gain_1_gradients_vanish_and_above_1_5_they_explode():
    gains = [0.3, 0.6, 0.9, 1.6, 2.0, 3.0]
    diagram = phase_diagram("rnn", gain=gains, hidden_size=200, inputs=np.zeros((600, 1)), seeds=2)
    exponent, error = diagram.exponent[0, :, 0], diagram.exponent_error[0, :, 0]
    assert (exponent[:3] + 3 * error[:3] < 0).all()
    assert (exponent[3:] - 3 * error[3:] > 0).all()
    np.testing.assert_array_equal(np.sign(diagram.decay_rate[0, :, 0]), [1, 1, 1, -1, -1, -1])
    np.testing.assert_array_equal(np.isinf(diagram.half_life[0, :, 0]), [False] * 3 + [True] * 3)


@pytest.mark.slow
def test_the_limit_of_many_units_is_the_mean_field_value():
    """What N units lack is proportional to 1/N, about 2.5/N: more than the error of one long run of 500 units.

    The line through two N meets the theory at 1/N = 0.
    """
    gain, networks, rows = 3.0, 24, []
    for units in (160, 320):
        exponents, errors = leading(gain, units, networks)
        spread = exponents.std(ddof=1)  # because no two networks are alike, and each is measured for so long
        assert spread > 0.5 * errors.mean()
        rows.append((exponents.mean(), spread / math.sqrt(networks)))
    (few, few_error), (many, many_error) = rows
    limit, error = 2 * many - few, math.hypot(2 * many_error, few_error)
    assert abs(limit - mean_field(gain)) < 3 * error
    assert few < many < mean_field(gain)
    assert abs(limit - mean_field(0.95 * gain)) > 3 * error  # so sharp that a gain 5 % lower would be seen
    assert error < 0.0035
