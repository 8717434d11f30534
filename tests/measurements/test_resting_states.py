"""Runs that never move: zero inputs and a zero state leave a network without biases at a fixed point, stable or not."""

import numpy as np
from helpers.linear_networks import orthogonal, weights

import gatescope as gs


def linear(gain):
    return weights("rnn", weight_hh=gain * orthogonal(5, 0), weight_ih=np.ones((5, 1)))


def test_a_gradient_along_a_state_that_never_moved_is_said_to_be_that_of_a_fixed_point():
    zeros = np.zeros((300, 3, 1))
    stable, unstable = (gs.gradient_flow(linear(gain), zeros) for gain in (0.9, 1.5))
    assert stable.moved.tolist() == unstable.moved.tolist() == [False] * 3
    assert stable.summary().endswith(
        "in 3 of 3 sequences the state never moved from where it began, a fixed point: this is its gradient"
    )
    assert "a fixed point that is not stable: this is its gradient, not that of where" in unstable.summary()
    assert unstable.summary().endswith("initial_state='random'")
    flow = gs.gradient_flow(linear(1.5), zeros, initial_state="random")
    assert flow.moved.all()
    assert "never moved" not in flow.summary()


def test_one_of_several_sequences_may_rest():
    x = np.zeros((300, 3, 1))
    x[7, 1] = 1.0
    flow = gs.gradient_flow(linear(0.9), x)
    assert flow.moved.tolist() == [False, True, False]
    assert "in 2 of 3 sequences the state never moved" in flow.summary()
    assert "never moved" not in flow.sequence(1).summary()
    padded = gs.gradient_flow(linear(0.9), x, lengths=[300, 200, 100])
    assert padded.moved.tolist() == [False, True, False]
    assert gs.gradient_flow(linear(0.9), x, lags=[0]).moved is None


def test_a_state_that_comes_back_has_moved():
    """Of period 2, so that it is the first one again at the beginning of every second step."""
    params = weights("rnn_relu", weight_hh=-np.eye(5), bias=np.ones(5))
    assert gs.gradient_flow(params, np.zeros((400, 3, 1))).moved.all()


def test_a_comparison_says_it_of_the_cell_it_is_true_of():
    compared = gs.compare({"still": linear(0.9), "biased": weights("rnn", weight_hh=np.eye(5), bias=np.ones(5))},
                          np.zeros((300, 3, 1)))  # fmt: skip
    text = compared.summary()
    assert "still: in 3 of 3 sequences the state never moved" in text
    assert "biased: in" not in text
