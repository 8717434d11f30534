"""Errors of exponents: noise with memory, what directions began with, and intervals that cover the truth."""

import numpy as np
import pytest
from helpers.linear_networks import weights
from scipy import stats

import gatescope as gs
from gatescope.measurements import exponent_errors
from gatescope.measurements.exponent_errors import batch_means_error, between_cuts, start_error
from gatescope.measurements.tangent_sweep import misalignment


def test_an_error_holds_for_noise_with_memory():
    """200 bins with a correlation over 4 of them: 95 % intervals of independent blocks cover 0 in 88 %, these 93 %."""
    rng = np.random.default_rng(0)
    factor = np.exp(-1 / 4)
    noise = rng.standard_normal((400, 2000))
    for t in range(1, 400):
        noise[t] += factor * noise[t - 1]
    sums = noise[200:, :, None]
    error = batch_means_error(sums, np.ones(200))[:, 0]
    covered = np.abs(sums[:, :, 0].mean(axis=0)) <= 1.96 * error
    assert covered.mean() > 0.92
    assert np.isnan(batch_means_error(sums[:3], np.ones(3))).all()


@pytest.mark.parametrize("freedom", [3, 4, 9, 19])
def test_students_factor(freedom):
    assert exponent_errors._students(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.05)


def test_misalignment_is_that_of_volumes():
    rng = np.random.default_rng(0)
    one, other = (np.linalg.qr(rng.standard_normal((7, 7)))[0] for _ in range(2))
    expected = [-np.linalg.slogdet((one @ other.T)[:i, :i])[1] for i in range(1, 8)]
    np.testing.assert_allclose(misalignment(one, other), expected, atol=1e-9)
    np.testing.assert_allclose(misalignment(one, one), 0, atol=1e-12)


def test_two_starts_that_lie_alike_by_accident_do_not_count():
    close = np.array([[-0.100, -0.101]])
    assert start_error(close, np.zeros((1, 2)), 10, 100, 2)[0, 0] == pytest.approx(np.log(2) / 200, rel=0.05)
    apart = np.array([[-0.1, -2.0]])
    assert start_error(apart, np.zeros((1, 2)), 10, 100, 2)[0, 0] < 1e-15


def test_a_stretch_that_cuts_is_left_out_and_many_are_not():
    sums = np.full((40, 1, 1), -0.5)
    sums[7] = -np.inf
    rates = between_cuts(sums, np.full(40, 5))
    assert (rates["cuts"], rates["between"]) == (1, -0.1)
    assert rates["between_error"] < 1e-15
    sums[7] = -300
    assert between_cuts(sums, np.full(40, 5))["between"] == -0.1
    sums[::4] = -np.inf
    assert between_cuts(sums, np.full(40, 5))["cuts"] == 0


# ---- verdicts ----


def test_slow_directions_that_lie_close_are_not_called_converged():
    """Exponents ln(linspace(.9, .9997, 64)), 5,000 steps: a mixture of -0.00077 was called converged."""
    rates = np.linspace(0.9, 0.9997, 64)
    params = weights("rnn_relu", weight_hh=np.diag(rates), bias=np.ones(64))
    for k in (1, None):
        spectrum = gs.lyapunov_spectrum(params, np.zeros((5000, 1)), k=k, checks=False)
        assert not spectrum.converged()[0, 0]
        assert "converged" not in spectrum.verdict()[0]
        assert abs(spectrum.exponents[0, 0] - np.log(0.9997)) < 3 * spectrum.error[0, 0]
    long = gs.lyapunov_spectrum(params, np.zeros((20_000, 1)), k=1, transient=12_000, checks=False)
    assert long.exponents[0, 0] == pytest.approx(np.log(0.9997), abs=1e-5)
    assert long.converged()[0, 0]


def test_an_exponent_that_is_not_told_from_0_is_not_converged():
    """Jacobians whose logarithm is noise about 0."""
    noise = np.random.default_rng(0).standard_normal(400)
    spectrum = gs.lyapunov_of_jacobians(np.exp(0.2 * (noise - noise.mean()))[:, None, None])
    assert not spectrum.converged()[0, 0]
    assert "not told from 0" in spectrum.verdict()[0]
    exact = gs.lyapunov_of_jacobians(np.ones((400, 1, 1)))
    assert exact.converged()[0, 0]


CASES = [
    (cell, scheme, steps, transient)
    for cell, schemes in {
        "rnn": ("pytorch", "gaussian(0.9)"),
        "gru": ("pytorch", "chrono(200)"),
        "lstm": ("pytorch", "chrono(200)"),
    }.items()
    for scheme in schemes
    for steps, transient in ((500, None), (4000, None), (10_000, 1000))
]


@pytest.mark.slow  # long runs for the truth
@pytest.mark.parametrize(("cell", "scheme", "steps", "transient"), CASES)
def test_intervals_cover_the_truth_wherever_an_exponent_is_called_converged(cell, scheme, steps, transient):
    """40 runs: 95 % intervals of an exponent that is called converged cover it in at least 85 % of these."""
    params = gs.init(cell, input_size=1, hidden_size=8, seed=0, scheme=scheme, dtype="float64")
    rng = np.random.default_rng(1)
    truth = gs.lyapunov_spectrum(params, rng.standard_normal((200_000, 1)), transient=10_000, checks=False)
    runs = gs.lyapunov_spectrum(
        params, rng.standard_normal((steps, 40, 1)), transient=transient, checks=False
    )
    settled = runs.converged()
    covered = np.abs(runs.exponents - truth.exponents) <= 1.96 * np.hypot(runs.error, truth.error)
    for k in range(settled.shape[1]):
        called = settled[:, k]
        if called.any():
            assert covered[called, k].mean() >= 0.85, (k, called.sum())
    # Time scales of 200 steps: in 500 nothing can be said, with a transient that is long enough most of it.
    if "chrono" in scheme and transient is None:
        assert not settled.any()
    else:
        assert settled.mean() > 0.8
