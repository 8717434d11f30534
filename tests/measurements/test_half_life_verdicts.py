"""half_life: what is said where the estimators differ, and where one number cannot say it."""

import dataclasses
import math

import numpy as np
import pytest

import gatescope as gs
from gatescope.datatypes.half_life import HalfLife, differ
from gatescope.measurements.half_life import half_life

# ---- disagreement ----


@pytest.mark.slow  # compiles kernels of its own
def test_recurrent_paths_are_noticed():
    """Keras's forget bias of 1: the gate alone forgets twice as fast as the cell."""
    params = gs.init("lstm", input_size=1, hidden_size=16, seed=0, scheme="keras", dtype="float64")
    life = half_life(params, np.random.default_rng(0).standard_normal((1500, 1)))
    assert life.disagree.tolist() == [True]
    assert life.slowest[0] < 0.8 * life.by_exponent[0]
    assert "the gate disagrees with the adjoint and the exponent: it leaves out" in life.summary()
    assert "which lengthen the memory here" in life.summary()


def test_the_rule_of_disagreement():
    assert not differ((1.0, 0.0), (1.2, 0.0))  # within 20 % of the larger
    assert differ((1.0, 0.0), (1.3, 0.0))
    assert differ((1.0, 0.0), (1.3, math.nan))  # an unknown error counts as 0
    assert not differ((1.0, 0.1), (1.3, 0.1))  # within 3 sigma
    assert differ((1.0, 0.05), (1.3, 0.05))
    assert differ((-0.1, 0.0), (0.1, 0.0))
    assert differ((math.inf, 0.0), (0.1, 0.0))
    assert not differ((math.inf, math.nan), (math.inf, 0.0))
    assert not differ((math.nan, 0.0), (1.0, 0.0))


def rates(gate=(0.1, 0.2), adjoint=0.1, exponent=0.1, error=0.001):
    return HalfLife.from_rates(
        cell="lstm",
        gate="f",
        gate_rate=np.array([gate]),
        gate_error=np.full((1, len(gate)), error),
        adjoint_rate=np.array([adjoint]),
        adjoint_error=np.array([error]),
        exponent_rate=np.array([exponent]),
        exponent_error=np.array([error]),
        r_squared=np.array([0.99]),
        steps=1100,
        transient=100,
    )


def test_the_summary_says_numbers_units_and_why():
    text = rates().summary()
    assert "over 1,000 steps" in text
    assert text.count("6.931 steps") == 3
    assert "(6.863 to 7.001 within its error)" in text
    assert "(R^2 0.990)" in text
    assert "3.466 steps in the median unit" in text  # the shorter of two
    assert "they agree within their errors or 20 %" in text
    shorter = rates(adjoint=0.2, exponent=0.2)
    assert shorter.disagree[0]
    assert "which shorten the memory here" in shorter.summary()
    assert "exponent disagree" not in shorter.summary()
    apart = rates(adjoint=0.3).summary()
    assert "the adjoint and the exponent disagree" in apart
    assert "the gate disagrees with the adjoint: it leaves out" in apart
    assert "had not settled" not in apart
    unsettled = rates(gate=(0.001,), adjoint=0.001, exponent=0.005, error=1e-5).summary()
    assert "the transient of 100 steps is shorter than the half-life" in unsettled
    growing = rates(gate=(0.1,), adjoint=-0.01, exponent=-0.01, error=0.02)
    assert "infinite (no decay) by the leading Lyapunov exponent (69.31 to ∞" in growing.summary()


# ---- what one number cannot say ----


def relu_network(weight_hh, inputs_scale=1.0):
    size = len(weight_hh)
    return gs.Params(
        cell="rnn_relu",
        weight_ih=np.full((size, 1), inputs_scale),
        weight_hh=np.array(weight_hh),
        bias_ih=np.zeros(size),
        bias_hh=np.zeros(size),
    )


def test_a_permutation_does_not_decay_within_rounding():
    """A cyclic permutation keeps every norm: a rate of 1e-17 is no half-life of 1e16 steps."""
    params = relu_network(np.roll(np.eye(5), 1, axis=0), 0.0)
    start = np.arange(1.0, 11.0).reshape(1, 2, 5)[:, :1]
    life = half_life(params, np.zeros((1000, 1)), initial_state=start)
    np.testing.assert_array_equal([life.by_adjoint[0], life.by_exponent[0]], np.inf)
    assert not life.disagree[0]
    text = life.summary()
    assert text.count("infinite (no decay within rounding)") == 2
    assert "disagree" not in text
    assert "within its error" not in text
    assert "too short" not in text


def test_a_step_that_cuts_the_memory_is_named_and_the_rest_has_its_rate():
    """R = 0.99: 68.97 steps before and after an input of -1,000, which shuts every unit once."""
    inputs = np.ones((1000, 1))
    inputs[600] = -1000
    life = half_life(relu_network(0.99 * np.eye(5)), inputs)
    expected = math.log(2) / -math.log(0.99)
    np.testing.assert_allclose([life.by_adjoint[0], life.by_exponent[0]], expected, rtol=1e-9)
    assert life.cut_step.tolist() == [600]
    assert not life.disagree[0]
    assert "68.97 steps by the slope" in life.summary()
    assert "68.97 steps by the leading" in life.summary()
    assert "step 600 cuts the memory" in life.summary()
    late = inputs.copy()
    late[600], late[997] = 1, -1000  # too late for a line after it
    late_life = half_life(relu_network(0.99 * np.eye(5)), late)
    np.testing.assert_allclose([late_life.by_adjoint[0], late_life.by_exponent[0]], expected, rtol=1e-9)
    assert late_life.cut_step.tolist() == [997]
    never = half_life(relu_network(0.99 * np.eye(5)), np.ones((1000, 1)))
    assert never.cut_step.tolist() == [-1]
    assert "cuts the memory" not in never.summary()


def test_the_exponents_own_verdict_is_kept():
    """A time scale of 400 steps in 500: whatever the estimate, T is too short for it."""
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, scheme="chrono(400)", dtype="float64")
    inputs = np.random.default_rng(0).standard_normal((500, 1))
    life = half_life(params, inputs)
    spectrum = gs.lyapunov_spectrum(params, inputs, k=1, transient=50, checks=False)
    assert not spectrum.converged()[0, 0]
    assert life.exponent_doubt == spectrum.doubts()
    assert "T too short" in life.exponent_doubt[0]
    assert f"the exponent: {life.exponent_doubt[0]}" in life.summary()
    with pytest.raises(gs.ShapeError, match="exponent_doubt has 2 texts, for 1 sequences"):
        dataclasses.replace(life, exponent_doubt=("a", "b"))


def test_a_batch_has_one_summary():
    """Of 200 sequences, median and range: not 200 sentences."""
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, scheme="chrono(400)", dtype="float64")
    inputs = np.random.default_rng(0).standard_normal((60, 200, 1))
    life = half_life(params, inputs)
    lines = life.summary().splitlines()
    assert len(lines) < 20
    low, high = life.by_exponent.min(), life.by_exponent.max()
    middle = np.sort(life.by_exponent)[99]
    expected = (
        f"half-life by the leading exponent: median {middle:.4g}, from {low:.4g} to {high:.4g} steps over 200"
    )
    assert any(expected in line for line in lines), lines
    one = life.sequence(7)
    assert one.by_exponent[0] == life.by_exponent[7]
    assert "over 54 steps" in one.summary()
    spectrum = gs.lyapunov_spectrum(params, inputs, k=1, checks=False)
    assert len(spectrum.summary().splitlines()) < 6
    assert len(gs.gradient_flow(params, inputs).summary().splitlines()) < 6
