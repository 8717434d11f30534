"""jacobian_spectrum: against mpmath, and where the answer is known."""

import dataclasses
import itertools
import math

import mpmath
import naive
import numpy as np
import pytest
from helpers.cases import random_params
from helpers.linear_networks import weights
from helpers.stacks import joint_run, offsets, random_stack

import gatescope as gs
from gatescope.errors import ValueRangeError


def exact(params, inputs, lag, digits):
    """Return the product d s_T / d s_{T-lag} in so many digits, from one-step Jacobians by the complex step."""
    states, _ = naive.forward(params.cell, params, inputs[:, None])
    steps = len(inputs)
    with mpmath.workdps(digits):
        total = mpmath.eye(states[0, 0].size)
        for t in range(steps - 1, steps - 1 - lag, -1):
            matrix = naive.jacobian(params.cell, params, inputs[t], states[t, 0])
            total = total * mpmath.matrix(matrix.tolist())
        return total


def logs_of(matrix, digits):
    with mpmath.workdps(digits):
        values = mpmath.svd_r(matrix, compute_uv=False)
        return np.sort([float(mpmath.log(v)) if v > 0 else -math.inf for v in values])[::-1]


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "gru", "rnn"])
def test_against_mpmath(cell):
    """A thousand steps: the values differ by hundreds of decades, and their logs are right to 1e-9."""
    params = random_params(cell, input_size=1, hidden_size=2, seed=5, scale=1.5)
    inputs = np.random.default_rng(0).standard_normal((1010, 1))
    spectrum = gs.jacobian_spectrum(params, inputs, lags=[0, 1, 30, 1000])
    np.testing.assert_allclose(spectrum.log_singular[0, 0], 0, atol=1e-15)
    for row, lag in ((1, 1), (2, 30), (3, 1000)):
        digits = 30 + 4 * lag
        expected = logs_of(exact(params, inputs, lag, digits), digits)
        np.testing.assert_allclose(spectrum.log_singular[row, 0], expected, rtol=1e-9)
    if cell == "lstm":
        assert spectrum.span()[3, 0] > 300


def test_blocks():
    params = random_params("lstm", input_size=1, hidden_size=3, seed=6)
    inputs = np.random.default_rng(0).standard_normal((120, 1))
    total = exact(params, inputs, 100, 500)
    units = {"h": slice(0, 3), "c": slice(3, 6), "joint": slice(0, 6)}
    for of, wrt in itertools.product(units, units):
        spectrum = gs.jacobian_spectrum(params, inputs, lags=[100], of=of, wrt=wrt)
        expected = logs_of(total[units[of], units[wrt]], 500)
        np.testing.assert_allclose(spectrum.log_singular[0, 0], expected, rtol=1e-9)
        assert (spectrum.of, spectrum.wrt) == (of, wrt)


def test_linear_network():
    """Singular values of W^k."""
    rng = np.random.default_rng(0)
    params = random_params("rnn_relu", input_size=1, hidden_size=5)
    params.weight_hh[:] = np.abs(rng.standard_normal((5, 5))) / 4
    params.bias_ih[:], params.bias_hh[:], params.weight_ih[:] = 1, 0, 0
    lags = [0, 1, 2, 7, 200]
    spectrum = gs.jacobian_spectrum(params, np.zeros((210, 1)), lags=lags)
    for row, lag in enumerate(lags):
        digits = 40 + 4 * lag
        with mpmath.workdps(digits):
            power = mpmath.matrix(params.weight_hh.tolist()) ** lag
        np.testing.assert_allclose(
            spectrum.log_singular[row, 0], logs_of(power, digits), rtol=1e-10, atol=1e-13
        )


def test_rates_tend_to_the_exponents():
    params = random_params("gru", input_size=1, hidden_size=4, seed=1)
    inputs = np.random.default_rng(0).standard_normal((4000, 1))
    spectrum = gs.lyapunov_spectrum(params, inputs, transient=0, qr_every=1)
    jacobian = gs.jacobian_spectrum(params, inputs, lags=[4000])
    # Directions that have to align cost a few nats at either end, of 4,000 steps.
    np.testing.assert_allclose(jacobian.rates()[0, 0], spectrum.exponents[0], rtol=0, atol=5e-3)
    assert np.isnan(gs.jacobian_spectrum(params, inputs, lags=[0]).rates()).all()


def test_largest_value_is_the_spectral_flow():
    params = random_params("lstm", input_size=1, hidden_size=8, seed=2)
    inputs = np.random.default_rng(0).standard_normal((500, 2, 1))
    lags = [0, 3, 50, 400]
    spectrum = gs.jacobian_spectrum(params, inputs, lags=lags, k=2, source_step=450)
    flow = gs.gradient_flow(
        params, inputs, source_step=450, wrt="joint", of="joint", norm="spectral", lags=lags
    )
    np.testing.assert_allclose(spectrum.log_singular[:, :, 0], flow.log_norm, rtol=1e-10, atol=1e-12)
    assert spectrum.log_singular.shape == (4, 2, 2)


def test_dead_units():
    """A unit that no gradient leaves: -inf, and no other value suffers."""
    params = random_params("rnn_relu", input_size=1, hidden_size=3)
    params.weight_hh[:] = np.diag([0.5, 0.25, 0.9])
    params.bias_ih[:], params.bias_hh[:], params.weight_ih[:] = [1, 1, -9], 0, 0
    spectrum = gs.jacobian_spectrum(params, np.zeros((30, 1)), lags=[20])
    np.testing.assert_allclose(
        spectrum.log_singular[0, 0], [20 * math.log(0.5), 20 * math.log(0.25), -np.inf]
    )
    assert spectrum.span()[0, 0] == np.inf


def test_saturated_units_are_said():
    params = random_params("lstm", input_size=1, hidden_size=3, seed=5, scale=15)
    inputs = np.random.default_rng(0).standard_normal((60, 1))
    with pytest.warns(gs.AccuracyWarning, match="ill-conditioned"):
        gs.jacobian_spectrum(params, inputs, lags=[50])


def test_save_and_load(tmp_path):
    params = random_params("gru", input_size=1, hidden_size=2)
    spectrum = gs.jacobian_spectrum(params, np.ones((20, 1)), lags=[1, 20], k=1)
    spectrum.save(tmp_path / "jacobian.npz")
    assert gs.load(tmp_path / "jacobian.npz") == spectrum


@pytest.mark.parametrize(
    ("lags", "keywords", "message"),
    [
        ([5, 41], {}, r"lags=\[5, 41\] must ascend and lie in 0..40"),
        ([-1], {}, r"lie in 0..40"),
        ([3, 2], {}, "ascend"),
        ([1.5], {}, "lags has dtype float64"),
        ([], {}, "lags has"),
        (
            [1],
            {"k": 7},
            "k=7 is more singular values than there are; .* 'joint' by 'joint' of this lstm has 6",
        ),
        ([1], {"k": 4, "wrt": "c"}, "k=4 .* 'joint' by 'c' of this lstm has 3"),
        ([1], {"wrt": "z"}, "wrt='z' is not a state of 'lstm'; choose 'h', 'c' or 'joint'"),
        ([1], {"source_step": 41}, "source_step=41"),
        ([1], {"clamp": {"q": 1.0}}, "'q'"),
    ],
)
def test_bad_arguments(lags, keywords, message):
    params = random_params("lstm", input_size=1, hidden_size=3)
    with pytest.raises(gs.GatescopeError, match=message):
        gs.jacobian_spectrum(params, np.zeros((40, 1)), lags=lags, **keywords)


def test_what_neither_falls_nor_grows_is_said_to():
    """An orthogonal network at rest was said to grow by 0."""
    turning = weights("rnn", weight_hh=np.eye(5)[[1, 2, 3, 4, 0]])
    assert (
        "neither falls nor grows over 40 steps" in gs.jacobian_spectrum(turning, np.zeros((40, 1))).summary()
    )


def test_a_stack_against_mpmath():
    """Of the joint state of two layers, and of a block by one of another layer."""
    stack = random_stack(("lstm", "gru"), (2, 2), inputs=1, scale=1.5)
    inputs = np.random.default_rng(0).standard_normal((310, 1))
    (where, size), (_, jacobians) = offsets(stack), joint_run(stack, inputs)
    with mpmath.workdps(1300):
        total = mpmath.eye(size)
        for matrix in jacobians[:-301:-1]:
            total = total * mpmath.matrix(matrix.tolist())
    blocks = {"joint": slice(0, size), **where}
    for of, wrt in (("joint", "joint"), ("layers.1.h", "layers.0.c"), ("layers.1.h", "joint")):
        spectrum = gs.jacobian_spectrum(stack, inputs, lags=[300], of=of, wrt=wrt)
        expected = logs_of(total[blocks[of], blocks[wrt]], 1300)
        np.testing.assert_allclose(spectrum.log_singular[0, 0], expected, rtol=1e-9)
        assert (spectrum.cell, spectrum.of, spectrum.wrt) == ("gru on lstm", of, wrt)
    assert (
        gs.jacobian_spectrum(stack, inputs, lags=[9], of="layers.0.h", wrt="layers.1.h").log_singular < -1e300
    ).all()
    both = gs.Bidirectional(
        forward=stack.layers[0], backward=dataclasses.replace(stack.layers[0], reverse=True)
    )
    with pytest.raises(ValueRangeError, match=r"layers.0.backward goes backward.*later steps"):
        gs.jacobian_spectrum(both, inputs)
    with pytest.raises(ValueRangeError, match="has 2"):
        gs.jacobian_spectrum(stack, inputs, of="layers.1.h", k=3)
