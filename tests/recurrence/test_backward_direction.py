"""A backward direction: each sequence from its last step to its first, and everything in the order of the inputs."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs
from gatescope.errors import ValueRangeError

LENGTHS = [12, 7, 1]


def backward(case):
    return dataclasses.replace(case.params, reverse=True)


def alone(case, b, length):
    """Return a forward run over one sequence's steps in the other order, and what came into it."""
    x = case.inputs[:length, b : b + 1][::-1]
    trace = gs.run(case.params, x, initial_state=case.initial_state[b : b + 1])
    return trace, case.output_adjoint[:length, b : b + 1][::-1], case.final_adjoint[b : b + 1]


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_run_is_that_of_the_reversed_sequences(lengths):
    case = Case("lstm", T=12)
    trace = gs.run(backward(case), case.inputs, initial_state=case.initial_state, lengths=lengths)
    assert trace.reverse
    assert trace.provenance["reverse"] is True
    np.testing.assert_array_equal(trace.inputs, case.inputs)
    np.testing.assert_array_equal(trace.states[0], case.initial_state)
    for b, length in enumerate(lengths or [12] * 3):
        expected, _, _ = alone(case, b, length)
        np.testing.assert_array_equal(trace.outputs[:length, b], expected.outputs[::-1, 0])
        np.testing.assert_array_equal(trace.states[1 : length + 1, b], expected.states[:0:-1, 0])
        np.testing.assert_array_equal(trace.gates[:length, b], expected.gates[::-1, 0])
        np.testing.assert_array_equal(trace.final_state[b], expected.final_state[0])
        assert not trace.gates[length:, b].any()
        assert (trace.states[length + 1 :, b] == case.initial_state[b]).all()
    taken = trace.as_taken()
    assert not taken.reverse
    assert all(array.flags.c_contiguous for array in taken.arrays().values())
    assert taken.as_given() == trace


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients_are_those_of_the_reversed_sequences(lengths):
    case = Case("lstm", T=12)
    params = backward(case)
    trace = gs.run(params, case.inputs, initial_state=case.initial_state, lengths=lengths)
    both = {"output_adjoint": case.output_adjoint, "final_adjoint": case.final_adjoint}
    grads = gs.backprop(params, trace, **both)
    weights = 0
    for b, length in enumerate(lengths or [12] * 3):
        own, output_adjoint, final_adjoint = alone(case, b, length)
        expected = gs.backprop(case.params, own, output_adjoint=output_adjoint, final_adjoint=final_adjoint)
        weights = weights + expected.params.weight_hh
        np.testing.assert_allclose(grads.inputs[:length, b], expected.inputs[::-1, 0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(grads.initial_state[b], expected.initial_state[0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            grads.adjoint[1 : length + 1, b], expected.adjoint[:0:-1, 0], rtol=1e-12, atol=1e-14
        )
        assert not grads.inputs[length:, b].any()
    np.testing.assert_allclose(grads.params.weight_hh, weights, rtol=1e-11, atol=1e-13)


def test_every_measurement_looks_at_the_reversed_sequences():
    case = Case("lstm", T=60, B=3)
    params, x, turned = backward(case), case.inputs, np.ascontiguousarray(case.inputs[::-1])
    for measure, options in (
        (gs.gradient_flow, {}),
        (gs.gradient_flow, {"source_step": 20, "lags": [1, 5]}),
        (gs.gradient_paths, {}),
        (gs.jacobian_spectrum, {"lags": [1, 3]}),
        (gs.lyapunov_spectrum, {"k": 2}),
        (gs.half_life, {}),
    ):
        of_params = measure(params, x, **options)
        assert of_params.provenance["reverse"] is True
        assert of_params == measure(case.params, turned, **options), measure.__name__
    assert gs.gradient_flow(params, iter(x[:, None])) == gs.gradient_flow(case.params, turned)
    padded = gs.gradient_flow(params, x, lengths=[60, 20, 5])
    by_hand = np.zeros_like(x)
    for b, length in enumerate([60, 20, 5]):
        by_hand[:length, b] = x[:length, b][::-1]
    assert padded == gs.gradient_flow(case.params, by_hand, lengths=[60, 20, 5])
    with pytest.raises(
        ValueRangeError, match=r"params\.reverse=True is a backward direction.*inputs\[::-1\]"
    ):
        gs.connectivity(params, x)


def test_a_comparison_has_the_trace_in_the_order_of_the_inputs():
    case = Case("lstm", T=60, B=1)
    comparison = gs.compare({"back": backward(case)}, case.inputs, timing_runs=1)
    assert comparison["back"].trace == gs.run(backward(case), case.inputs)


def test_it_is_saved_and_shown(tmp_path):
    params = backward(Case("lstm"))
    params.save(tmp_path / "a.npz")
    assert gs.load(tmp_path / "a.npz") == params
    assert "reverse=True" in repr(params)
    assert "backward direction" in params.summary()
    assert params != dataclasses.replace(params, reverse=False)
    assert params.astype("float32").reverse


def test_what_cannot_be_is_refused():
    case = Case("lstm")
    with pytest.raises(
        ValueRangeError, match="trace was made with reverse=False, but `params` have reverse=True"
    ):
        gs.backprop(backward(case), case.run(), output_adjoint=case.output_adjoint)
    with pytest.raises(ValueRangeError, match=r"params\.reverse='False' must be True or False"):
        gs.run(dataclasses.replace(case.params, reverse="False"), case.inputs)


def test_states_that_run_off_say_which_way_steps_are_counted():
    case = Case("rnn_relu", T=200, B=1, scale=200.0, dtype="float32")
    with pytest.raises(ValueRangeError, match="steps are counted from the end of the inputs"):
        gs.gradient_flow(backward(case), case.inputs)
