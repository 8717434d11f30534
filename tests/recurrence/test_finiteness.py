"""run and backprop say where numbers leave the range of floating point."""

import warnings

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import AccuracyWarning
from gatescope.recurrence.finiteness import first_overflow


def diagonal(rates, dtype="float64"):
    """Return a relu network whose units multiply themselves by rates."""
    size = len(rates)
    arrays = {"weight_ih": np.ones((size, 1)), "weight_hh": np.diag(rates)}
    arrays |= {name: np.zeros(size) for name in ("bias_ih", "bias_hh")}
    return gs.Params(cell="rnn_relu", **{name: array.astype(dtype) for name, array in arrays.items()})


def test_run_says_at_which_step_and_unit_a_state_overflows():
    params, inputs = diagonal([0.5, 1e10], "float32"), np.ones((10, 2, 1))
    inputs[:, 0] = 0
    with pytest.warns(
        AccuracyWarning, match=r"sequence 1 are not finite from step 5 on, unit 1 of h first \(1 of 2"
    ):
        trace = gs.run(params, inputs)
    assert np.isfinite(trace.states[:5]).all()
    assert np.isinf(trace.states[5, 1, 0, 1])


def test_a_state_that_overflows_and_comes_back_is_seen():
    params = diagonal([-1])  # what is infinite once is 0 at the next step
    params.weight_ih[:] = 10
    with pytest.warns(
        AccuracyWarning, match=r"not finite from step 3 on, unit 0 of h first; use smaller weights"
    ):
        trace = gs.run(params, np.array([[1.0], [1], [1e308], [1], [1]]))
    assert np.isinf(trace.states[3])
    assert np.isfinite(trace.states[4:]).all()


def test_backprop_says_at_which_step_and_unit_the_gradient_overflows():
    # The states grow from 1e-300 to 1e30, and the adjoint by as much, from 1.
    params, inputs = diagonal([0.5, 1e30]), np.zeros((12, 1))
    params.weight_ih[:], inputs[0] = 1e-300, 1
    trace = gs.run(params, inputs)
    with pytest.warns(
        AccuracyWarning, match="adjoints of sequence 0 are not finite back from step 1 on, unit 1 of h"
    ):
        gs.backprop(params, trace, final_adjoint=np.ones((1, 1, 2)))


def test_the_first_of_several_is_the_earliest():
    states = np.zeros((2000, 3, 2, 4))
    states[[1500, 1990], [2, 0], [1, 0], [3, 1]] = np.nan
    assert tuple(first_overflow(states)) == (1500, 2, 1, 3, 1)
    assert tuple(first_overflow(states, backwards=True)) == (1990, 0, 0, 1, 1)
    assert first_overflow(states[:1500]) is None


def test_a_finite_run_says_nothing():
    params = diagonal([0.5, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace = gs.run(params, np.ones((10, 1)))
        gs.backprop(params, trace, output_adjoint=np.ones_like(trace.outputs))
