"""Rates, half-lives and steps to half of a gradient flow, read off lines that are known."""

import dataclasses
import math

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import ValueRangeError


def line(log_norm, lag=None):
    log_norm = np.asarray(log_norm, float)
    return gs.GradientFlow(
        cell="lstm",
        lag=np.arange(len(log_norm)) if lag is None else np.asarray(lag),
        log_norm=log_norm,
        of="h",
        wrt="h",
        source_step=len(log_norm) - 1,
        norm="unit",
    )


def test_decay_rate_of_lines():
    lag = np.arange(1001)
    flow = line(np.stack([2 - 0.01 * lag, 0.02 * lag - 1, np.zeros(1001)], axis=1))
    rate = flow.decay_rate()
    np.testing.assert_allclose(rate.value, [0.01, -0.02, 0.0], rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(rate.r_squared, 1.0, rtol=1e-12)
    assert rate.fit_range == (100, 1000)
    assert rate.unit == "nats per step"
    half = flow.half_life()
    np.testing.assert_allclose(half.value, [math.log(2) / 0.01, np.inf, np.inf], rtol=1e-12)
    assert half.unit == "steps"
    assert half.fit_range == rate.fit_range


def test_a_sequence_of_nan_alone_has_no_rate_and_says_so():
    lag = np.arange(51)
    flow = line(np.stack([-0.1 * lag, np.full(51, np.nan)], axis=1))
    flow = dataclasses.replace(flow, source_steps=np.array([50, 40]))
    assert flow.sequence(1).lag.size == 51
    rate = flow.decay_rate()
    np.testing.assert_allclose(rate.value, [0.1, np.nan], rtol=1e-12)
    np.testing.assert_array_equal(flow.steps_to_half(), [7, np.nan])
    assert "over 1 of 2 sequences" in flow.summary()
    assert "nothing is known" in flow.sequence(1).summary()


def test_decay_rate_uses_the_window_alone():
    lag = np.arange(201)
    broken = np.where(lag <= 100, -0.1 * lag, -10 - 0.3 * (lag - 100))[:, None]
    flow = line(broken)
    assert float(flow.decay_rate((0, 100))) == pytest.approx(0.1, rel=1e-12)
    assert float(flow.decay_rate((100, 200))) == pytest.approx(0.3, rel=1e-12)
    whole = flow.decay_rate((0, 200))
    assert 0.1 < float(whole) < 0.3
    assert whole.r_squared[0] < 0.99


def test_r_squared_is_the_share_explained():
    lag = np.arange(101)
    noisy = -0.1 * lag + np.random.default_rng(3).standard_normal(101)
    fit = line(noisy[:, None]).decay_rate((0, 100))
    slope, intercept = np.polyfit(lag, noisy, 1)
    residual = noisy - slope * lag - intercept
    assert float(fit) == pytest.approx(-slope, rel=1e-10)
    assert fit.r_squared[0] == pytest.approx(1 - residual.var() / noisy.var(), rel=1e-10)


def test_what_follows_no_line_has_no_rate():
    """An upward slope of norms that are all below 1 is no growth; a walk is no line; a few steps are no window."""
    lag = np.arange(201)
    early = np.where(lag < 20, -1.0 * lag, -20 + 0.02 * (lag - 20))  # lost at the end, then slowly up
    flow = line(early[:, None])
    assert "the norms rise with the lag but are all below 1" in flow.summary()
    assert "no single rate" in flow.summary()
    assert "growing" not in flow.summary()
    walk = np.cumsum(np.random.default_rng(3).standard_normal(201) * 3)
    fit = line(walk[:, None]).decay_rate()
    assert fit.r_squared[0] < 0.9
    assert fit.why_none[0].startswith("the norms follow no line (R^2 0.")
    assert "no single rate" in str(fit)
    assert (
        "the window of 5 steps is too short"
        in line(-0.1 * np.arange(7.0)[:, None]).decay_rate((1, 6)).why_none[0]
    )
    grows = line(0.02 * lag[:, None])
    assert grows.decay_rate().why_none == ("",)
    assert "growing: its tail doubles every 34.66 steps" in grows.summary()
    flat = line(1e-3 * np.random.default_rng(3).standard_normal((201, 1)))
    assert flat.decay_rate().why_none == ("",)  # it strays too little to need a line


def test_steps_to_half_are_those_of_the_curve_and_not_of_the_tail():
    lag = np.arange(1001)
    fast_then_slow = np.where(lag < 3, -1.0 * lag, -3 - 1e-3 * (lag - 3))
    back = np.where(lag == 5, -2.0, -0.01 * lag)  # once below half, and back
    half_lost = -0.001 * lag / 2  # e^-0.5 is left
    flow = line(np.stack([fast_then_slow, back, half_lost, np.full(1001, -np.inf)], axis=1))
    np.testing.assert_array_equal(flow.steps_to_half(), [1, 70, np.inf, 0])
    assert flow.half_life().value[0] == pytest.approx(math.log(2) / 1e-3, rel=1e-9)
    text = line(fast_then_slow[:, None]).summary()
    assert "half of the gradient is gone after 1 step" in text
    assert "its tail halves every 693.1 steps, asymptotically" in text


def test_fits_leave_exact_zeros_out():
    log_norm = -0.5 * np.arange(101.0)
    log_norm[41:] = -np.inf
    flow = line(log_norm[:, None])
    fit = flow.decay_rate()
    assert fit.fit_range == (4, 40)
    assert float(fit) == pytest.approx(0.5, rel=1e-12)
    assert np.isnan(float(line(np.full((5, 1), -np.inf)).decay_rate()))
    with pytest.raises(ValueRangeError, match=r"(?s)fit_range=\(7, 7\).*line"):
        flow.decay_rate((7, 7))


@pytest.mark.parametrize("power", [1.0, -0.5, -2.0])
def test_a_power_of_the_lag_has_no_rate(power):
    """As of a state that adds up, or of a network at the edge of chaos: its slope falls with the lag for ever."""
    lag = np.arange(601)
    flow = line(power * np.log(np.maximum(lag, 0.5))[:, None])
    rate = flow.decay_rate()
    assert not rate.is_rate.any()
    assert "the norms go as a power of the lag" in rate.why_none[0]
    assert f"{abs(power):g} (R^2 1.0000)" in rate.why_none[0]
    assert "doubles" not in flow.summary()


def test_a_line_that_bends_a_little_is_a_line():
    lag = np.arange(601)
    both = -0.02 * lag - 0.5 * np.log(np.maximum(lag, 0.5))
    assert line(both[:, None]).decay_rate().is_rate.all()
