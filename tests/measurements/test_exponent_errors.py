"""Errors of exponents: noise with memory, what directions began with, and intervals that cover the truth."""

import numpy as np
import pytest
from helpers.linear_networks import orthogonal, weights
from scipy import stats

import gatescope as gs
from gatescope.measurements import exponent_errors
from gatescope.measurements.exponent_errors import (
    batch_means_error,
    between_cuts,
    misalignment,
    start_error,
    unsettled_nats,
)


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
    """The interval, 1.96 errors, covers the angle of 95 % of random starts: of two numbers, tan^2 up to 161."""
    close = unsettled_nats(np.zeros(2), np.array([-10.0, -10.0]), 2)
    assert 1.96 * close[0] == pytest.approx(np.log(1 + stats.f.ppf(0.95, 1, 1)) / 2, rel=1e-3)
    assert unsettled_nats(np.zeros(2), np.array([-10.0, -40.0]), 2)[0] < 1e-20
    assert unsettled_nats(np.array([0.3]), np.array([-10.0, -40.0]), 2)[0] == 0.3  # told by the two starts
    assert unsettled_nats(np.zeros(1), np.array([-np.inf, -np.inf]), 2)[0] < 1e-20
    assert start_error(np.array([[0.4, 0.1, 0.0]]), 100).tolist() == [[0.004, 0.004, 0.001]]


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


@pytest.mark.slow
@pytest.mark.parametrize(("size", "k"), [(2, 1), (3, 1), (3, 2)])
def test_intervals_cover_the_exponents_of_directions_that_turn_slowly(size, k):
    """Gaps of a tenth of 1 / transient: by two starts, which may lie alike by accident, 83 % were covered (k = 1)."""
    covered, called = np.zeros((2, 60, k), np.bool_)
    truth = -0.1 - np.arange(size) * 0.1 / 200
    for run in range(60):
        # A relu network at the fixed point of all ones, whatever its weights: its Jacobian is these.
        turn = np.eye(5)
        turn[:size, :size] = orthogonal(size, run)
        matrix = turn @ np.diag(np.exp(np.append(truth, np.full(5 - size, -9.0)))) @ turn.T
        params = weights("rnn_relu", weight_hh=matrix, bias=(np.eye(5) - matrix) @ np.ones(5))
        keywords = {"initial_state": np.ones((1, 1, 5)), "checks": False, "seed": run}
        spectrum = gs.lyapunov_spectrum(params, np.zeros((4000, 1)), k=k, **keywords)
        called[run] = spectrum.converged()[0]
        covered[run] = np.abs(spectrum.exponents[0] - truth[:k]) <= 1.96 * spectrum.error[0]
    assert called.mean() > 0.8
    for j in range(k):
        assert covered[called[:, j], j].mean() >= 0.95


TRUTH = 60_000  # steps, 15 times as many as of a run
COVERED = {
    **{(cell, scheme): ((500, None), (4000, None)) for cell, scheme in (
        ("rnn", "pytorch"), ("rnn", "gaussian(0.9)"), ("gru", "pytorch"), ("lstm", "pytorch"),
    )},
    # Time scales of 200 steps: in 500 nothing can be said, with a transient that is long enough most of it.
    **{(cell, "chrono(200)"): ((500, None), (10_000, 1000)) for cell in ("gru", "lstm")},
}  # fmt: skip


@pytest.mark.slow  # long runs for the truth
@pytest.mark.parametrize(("cell", "scheme"), COVERED)
def test_intervals_cover_the_truth_wherever_an_exponent_is_called_converged(cell, scheme):
    """40 runs: 95 % intervals of an exponent that is called converged cover it in at least 85 % of these."""
    params = gs.init(cell, input_size=1, hidden_size=5, seed=0, scheme=scheme, dtype="float64")
    rng = np.random.default_rng(1)
    truth = gs.lyapunov_spectrum(params, rng.standard_normal((TRUTH, 4, 1)), transient=5000, checks=False)
    value, off = truth.exponents.mean(axis=0), np.sqrt((truth.error**2).sum(axis=0)) / 4
    for steps, transient in COVERED[cell, scheme]:
        x = rng.standard_normal((steps, 40, 1))
        runs = gs.lyapunov_spectrum(params, x, transient=transient, checks=False)
        settled = runs.converged()
        covered = np.abs(runs.exponents - value) <= 1.96 * np.hypot(runs.error, off)
        for k in range(settled.shape[1]):
            called = settled[:, k]
            if called.any():
                assert covered[called, k].mean() >= 0.85, (steps, k, called.sum())
        if "chrono" in scheme and transient is None:
            assert not settled.any()
        else:
            assert settled.mean() > 0.8
