"""What diagnose suggests: for a half-life that is given or assumed, measured, and named by where it lies."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.cases import random_params
from helpers.linear_networks import at_zero, weights, with_biases
from numpy.testing import assert_allclose, assert_array_equal

import gatescope as gs
from gatescope.errors import ValueRangeError
from gatescope.measurements.diagnosed_cell import DiagnosedCell
from gatescope.measurements.diagnosis import diagnose
from gatescope.measurements.half_life import half_life


def noise(steps=400, batch=1, size=1, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, batch, size))


def test_the_bias_suggested_is_the_one_that_the_gate_alone_needs():
    """With no recurrent weights a half-life of n steps needs f = 2^(-1/n), whatever the rest does."""
    params = with_biases("lstm", {"f": 1.0})
    diagnosis = diagnose(params, np.zeros((400, 1)), target_half_life=97, initial_state=at_zero(params))
    f = 0.5 ** (1 / 97)
    assert_allclose(
        diagnosis.suggested_value, math.log(f / (1 - f)) - 1.0, atol=1e-3
    )  # the digits it is rounded to
    assert diagnosis.reached
    # Half of the last digit of the bias is 0.05 % of the rate.
    assert_allclose(diagnosis.number("suggested_half_life_exponent"), 97, rtol=1e-3)
    applied = diagnosis.apply(params)
    assert_array_equal(applied.gate("f")["bias_ih"], 1.0 + diagnosis.suggested_value)
    assert_array_equal(np.delete(applied.bias_ih, np.s_[5:10]), np.delete(params.bias_ih, np.s_[5:10]))
    life = half_life(applied, np.zeros((400, 1)), transient=40)
    assert life == diagnosis.suggested_half_life
    again = diagnose(applied, np.zeros((400, 1)), target_half_life=90, initial_state=at_zero(params))
    assert again.verdict == "near-critical"
    assert not again.suggestion
    with pytest.raises(ValueRangeError, match="nothing is suggested"):
        again.apply(applied)
    with pytest.raises(ValueRangeError, match="of the cell 'lstm'"):
        diagnosis.apply(gs.init("rnn", input_size=1, hidden_size=5, seed=0))


@pytest.mark.slow  # kernels of its own, some of them those of test_variants.py
def test_the_bias_of_a_leak_is_suggested_downwards():
    """What a leaky network keeps is 1 - a: a half-life of n steps needs 1 - a = 2^(-1/n)."""
    params, inputs = with_biases("leaky", {"a": -1.0}), np.zeros((400, 3, 1))
    diagnosis = diagnose(params, inputs, target_half_life=97, initial_state=at_zero(params, 3))
    fraction = 0.5 ** (1 / 97)
    assert diagnosis.suggested_gate == "a"
    assert_allclose(diagnosis.suggested_value, math.log((1 - fraction) / fraction) + 1.0, atol=1e-3)
    assert diagnosis.reached
    assert "by 1 - the gate a alone" in diagnosis.summary()
    life = half_life(diagnosis.apply(params), inputs, transient=40)
    assert (life.gate, life.fraction) == ("a", "1 - a")
    life.check_fields("life")
    assert_allclose(life.by_gate, 97, rtol=1e-3)  # half of the last digit of the bias
    assert_allclose(life.by_exponent, 97, rtol=1e-3)


@pytest.mark.parametrize(("cell", "gate"), [("lstm_peephole", "f"), ("min_gru", "z"), ("rnn", None)])
def test_the_memory_gates_bias_is_tried(cell, gate):
    diagnosed = object.__new__(DiagnosedCell)
    diagnosed.cell, diagnosed.problem = gs.cells.get(cell), SimpleNamespace(clamp=None)
    assert diagnosed._gates_to_try("") == (() if gate is None else (gate,))


def test_what_no_change_can_reach_is_said():
    diagnosis = diagnose(with_biases("gru", {}), np.zeros((100, 1)), clamp={"z": 0.5})
    assert diagnosis.verdict == "vanishing"
    assert (diagnosis.suggestion, diagnosis.suggested_gate, diagnosis.suggested_value, diagnosis.reached) == (
        "",
        "",
        0.0,
        False,
    )
    assert "No suggestion reaches a half-life of 10 steps" in diagnosis.summary()
    assert diagnosis.suggested_half_life is None


def test_a_target_that_nobody_gave_is_said_to_be_assumed():
    params = with_biases("lstm", {"f": 1.0})
    keywords = {"initial_state": at_zero(params)}
    assumed = diagnose(params, np.zeros((400, 1)), **keywords)
    assert (
        "No target_half_life was given: a tenth of the series, at most 1,000 steps, is assumed"
        in assumed.summary()
    )
    assert "the rate of a half-life of 40 steps (which is assumed)" in assumed.summary()
    assert "Suggestion for the half-life assumed: " in assumed.summary()
    asked = diagnose(params, np.zeros((400, 1)), target_half_life=40, **keywords)
    for text in ("No target_half_life", "assumed", "inputs' own memory"):
        assert text not in asked.summary()


def test_where_a_target_is_assumed_the_inputs_own_memory_is_given_with_its_evidence():
    params = with_biases("lstm", {"f": 1.0})
    x = noise()
    echoing = diagnose(params, x + np.roll(x, 37, axis=0))
    assert echoing.number("inputs_memory_lag") == 37
    evidence = "at least 37 steps: at that lag they still correlate with themselves beyond chance (0."
    assert f"The inputs' own memory is {evidence}" in echoing.summary()
    none = diagnose(params, noise()).summary()
    assert f"Of it the inputs say nothing: at no lag up to {len(x) // 4:,} steps do they correlate" in none
    constant = diagnose(params, np.zeros((400, 1)), initial_state=at_zero(params)).summary()
    assert "Of it the inputs say nothing: they are constant." in constant


def test_a_half_life_that_its_error_does_not_carry_leaves_open_whether_to_change_anything():
    """The exponent is within the bound, two of its errors are not."""
    diagnosis = diagnose(with_biases("lstm", {"f": 4.5}), np.zeros((400, 1)), target_half_life=40)
    assert diagnosis.verdict == "near-critical"
    assert "Nothing is to be changed" in diagnosis.summary()
    numbers = {**diagnosis.numbers, "exponent_error": diagnosis.number("bound")}
    text = dataclasses.replace(diagnosis, numbers=numbers).summary()
    assert "Nothing is to be changed" not in text
    assert "is open: within two of its errors the exponent may be 0.0457 away from 0" in text


@pytest.mark.parametrize(
    ("cell", "gate", "torch", "keras"),
    [
        ("lstm", "f", "in PyTorch bias_ih_l0[5:10]", "in Keras bias[5:10]"),
        pytest.param(
            "gru", "z", "in PyTorch bias_ih_l0[5:10]", "in Keras bias[0, 0:5]", marks=pytest.mark.slow
        ),
        pytest.param("gru_reset_before", "z", None, "is in Keras bias[0:5]", marks=pytest.mark.slow),
    ],
)
def test_the_bias_is_named_by_where_it_lies(cell, gate, torch, keras):
    params = with_biases(cell, {gate: 0.0})
    text = diagnose(params, np.zeros((200, 1)), initial_state=at_zero(params)).summary()
    assert keras in text
    assert (torch or "PyTorch") in text if torch else "PyTorch" not in text


def test_a_suggestion_is_measured_from_its_own_state():
    """The window begins with the state that the changed network has by then, not with that of the old one."""
    params, x = random_params("lstm", input_size=1, hidden_size=5), noise(700)
    diagnosis = diagnose(params, x, window=200, target_half_life=20)
    assert diagnosis.suggestion == "bias"
    applied = diagnosis.apply(params)
    start = np.random.default_rng([0, 1]).uniform(-0.1, 0.1, at_zero(params).shape)
    state = gs.run(applied, x[:500], initial_state=start).final_state
    expected = half_life(applied, x[500:], transient=20, initial_state=state)
    assert_allclose(diagnosis.suggested_half_life.by_exponent, expected.by_exponent, rtol=1e-12)
    # Searched from the old network's states it was 16.5.
    assert_allclose(expected.by_exponent, 20, rtol=0.01)


def test_a_state_that_has_not_forgotten_its_beginning_is_said_so():
    """A half-life of 62.7 steps: the state forgets in 272, and all but a tenth of 400 steps count."""
    params = with_biases("lstm", {"f": 4.5})
    short, long = (diagnose(params, np.zeros((T, 1)), target_half_life=40) for T in (400, 2500))
    text = "The state forgets what it began with in about 272 steps, three times 1 / |exponent|, and 40 steps came"
    assert text in short.summary()
    assert "The state forgets" not in long.summary()


def test_one_step_that_cuts_the_memory_is_named_and_the_rest_is_diagnosed():
    """A spike that shuts the forget gate: an exponent of -0.43 ± 0.4 was undecided, and the gate's half-life 1.6."""
    params = with_biases("lstm", {"f": 4.0})
    params.gate("f")["weight_ih"][:] = 10.0
    x = np.zeros((400, 1))
    x[300] = -30.0
    life = math.log(2) / math.log1p(math.exp(-4))
    measured = half_life(params, x)
    assert_allclose(measured.by_gate, life, rtol=1e-9)
    assert_allclose(
        measured.by_exponent, life, rtol=0.02
    )  # the bin that cuts is left out, a direction turns in it
    diagnosis = diagnose(params, x, target_half_life=100, initial_state=at_zero(params))
    assert diagnosis.verdict == "vanishing"
    assert_allclose(diagnosis.number("half_life_exponent"), life, rtol=0.02)
    text = diagnosis.summary()
    assert (
        "Step 300 cuts the memory: nothing that came before it is left; rates are those of the steps before"
        in text
    )
    assert diagnosis.suggestion == "bias"


def test_a_half_life_by_an_exponent_that_is_not_told_from_0_is_a_lower_bound():
    """A network that turns on a circle has an exponent of 0: 26,737 steps were read off 2,000."""
    turn = 1.6 * np.array([[math.cos(2.0), -math.sin(2.0)], [math.sin(2.0), math.cos(2.0)]])
    matrix = np.diag([0.0, 0.0, 0.3, 0.2, -0.5])
    matrix[:2, :2] = turn
    params = weights("rnn", weight_hh=matrix)
    text = diagnose(params, np.zeros((1000, 1)), target_half_life=100).summary()
    assert "by the leading exponent, which is not told from 0" in text
    assert "of the gradient is at least " in text
    assert "The state forgets" not in text
