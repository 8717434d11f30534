"""A model whose outputs are its next inputs, against a loop in NumPy by equations of its own."""

import dataclasses

import naive
import numpy as np
import pytest
from helpers.cases import assert_close
from helpers.stack_cases import random_stack, random_states

import gatescope as gs
from gatescope.errors import AccuracyWarning, DtypeError, InputWarning, ShapeError, ValueRangeError

B, WARM, STEPS = 3, 4, 25
MODEL = random_stack("lstm 5", "lstm 5")  # one compiled loop for most tests here
COMPILES = pytest.mark.slow  # seconds, in every process anew
INPUTS = np.random.default_rng(0).standard_normal((WARM, B, 2))


def by_hand(stack, inputs, states, steps):
    """Return outputs (T, B, O), and states (T+1, B, S, H) by name."""
    weights = stack.directions()
    matrices = {name: naive.Matrices(params.cell, params) for name, params in weights.items()}
    W = np.eye(stack.output_size) if stack.readout_weight is None else stack.readout_weight
    b = 0 if stack.readout_bias is None else stack.readout_bias
    outputs = np.zeros((len(inputs) + steps, B, stack.output_size))
    kept = {name: np.zeros((len(outputs) + 1, *state.shape)) for name, state in states.items()}
    for n in range(B):
        now = {name: state[n] for name, state in states.items()}
        y = W @ now[[*weights][-1]][0] + b
        for name in weights:
            kept[name][0, n] = now[name]
        for t in range(len(outputs)):
            x = inputs[t, n] if t < len(inputs) else y
            for name, params in weights.items():
                now[name], _ = naive.step(params.cell, matrices[name], x, now[name])
                kept[name][t + 1, n] = x = now[name]
                x = x[0]
            y = outputs[t, n] = W @ x + b
    return outputs, kept


@COMPILES
@pytest.mark.parametrize(
    "layers",
    [
        ("lstm 5", "lstm 5"),
        ("gru_reset_before 5", "lstm 5"),
    ],
    ids=" on ".join,
)
@pytest.mark.parametrize("warm", [0, WARM])
def test_it_is_the_loop_written_out(layers, warm):
    model = random_stack(*layers)
    states = random_states(model, B)
    trace = gs.run(model, INPUTS[:warm] if warm else None, steps=STEPS, feedback=True, initial_state=states)
    outputs, expected = by_hand(model, INPUTS[:warm], states, STEPS)
    assert_close(trace.outputs, outputs, 1e-12)
    for name, values in expected.items():
        assert_close(trace[name].states, values, 1e-12, name)
    np.testing.assert_array_equal(trace.inputs[:warm], INPUTS[:warm])
    np.testing.assert_array_equal(trace.inputs[warm + 1 :], trace.outputs[warm:-1])
    assert trace.provenance["feedback_from"] == warm
    np.testing.assert_array_equal(trace.lengths, [warm + STEPS] * B)


@COMPILES
def test_its_traces_are_those_of_a_run_over_what_was_fed_back():
    states = random_states(MODEL, B)
    closed = gs.run(
        MODEL, INPUTS, steps=STEPS, feedback=True, initial_state=states, clamp={"layers.1.f": 0.5}
    )
    opened = gs.run(MODEL, closed.inputs, initial_state=states, clamp={"layers.1.f": 0.5})
    assert_close(closed["layers.1"].states, opened["layers.1"].states, 1e-14)
    assert_close(closed["layers.0"].gates, opened["layers.0"].gates, 1e-14)
    assert closed["layers.1"].clamp is not None
    grads = gs.backprop(MODEL, closed, output_adjoint=np.ones_like(closed.outputs))
    assert np.isfinite(grads.params.flat()).all()


@COMPILES
def test_it_goes_on_from_where_it_stopped():
    whole = gs.run(MODEL, INPUTS, steps=STEPS, feedback=True)
    first = gs.run(MODEL, INPUTS, steps=10, feedback=True)
    rest = gs.run(MODEL, steps=STEPS - 10, feedback=True, initial_state=first.final_state)
    np.testing.assert_allclose(rest.outputs, whole.outputs[WARM + 10 :], rtol=0, atol=1e-15)
    assert first == gs.run(MODEL, INPUTS, steps=10, feedback=True, threads=1)


@COMPILES
def test_blocks_of_sequences_are_computed_alike():
    many = gs.run(MODEL, np.repeat(INPUTS, 14, axis=1), steps=9, feedback=True, threads=2)  # two blocks
    few = gs.run(MODEL, INPUTS, steps=9, feedback=True)
    np.testing.assert_allclose(many.outputs[:, ::14], few.outputs, rtol=0, atol=1e-15)


@COMPILES
def test_without_a_read_out_the_uppermost_state_is_fed_back():
    model = random_stack("lstm 5", "lstm 5", inputs=5, outputs=0)
    trace = gs.run(model, steps=6, feedback=True, initial_state=random_states(model, B))
    np.testing.assert_array_equal(trace.inputs[0], random_states(model, B)["layers.1"][:, 0])
    np.testing.assert_array_equal(trace.inputs[1:], trace["layers.1"].outputs[:-1])


@COMPILES
def test_a_loop_that_grows_is_warned_of():
    # Outputs of opposite signs, so that what is fed back soon is no number.
    grows = dataclasses.replace(MODEL, readout_bias=np.array([1.7e308, -1.7e308]))
    grows = dataclasses.replace(grows, readout_weight=np.full((2, 5), 1e308) * np.array([[1], [-1]]))
    opened = dataclasses.replace(MODEL.layers[1], bias_ih=np.full(20, 9.0))
    grows = dataclasses.replace(grows, layers=(MODEL.layers[0], opened))
    with pytest.warns(
        AccuracyWarning, match=r"the outputs of sequence 0 are not finite from step 0 on, output 0"
    ):
        gs.run(grows, INPUTS, steps=5, feedback=True)
    with pytest.warns(
        AccuracyWarning, match=r"the outputs of sequence 0 are not finite from step 0 on, output 0"
    ):
        gs.run(grows, INPUTS)


@COMPILES
def test_outputs_that_are_judged_as_classes_are_fed_back_as_they_are():
    model = dataclasses.replace(MODEL, heads=[gs.Head("sign", 2, "cross_entropy")])
    with pytest.warns(InputWarning, match="also of sign: not through a softmax"):
        trace = gs.run(model, INPUTS, steps=3, feedback=True)
    assert trace.outputs.shape == (WARM + 3, B, 2)


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (MODEL, {}, ValueRangeError, "steps=None must be .* say how many steps the loop"),
        (MODEL, {"steps": 0}, ValueRangeError, "steps=0 must be"),
        (MODEL, {"steps": 3, "lengths": [1]}, ValueRangeError, "lengths.* has no effect in a closed loop"),
        (
            MODEL,
            {"steps": 3, "initial_state": {"layers.0": [[1], [2, 3]]}},
            ShapeError,
            r"initial_state\['layers.0'\]",
        ),
        (MODEL, {"steps": 3, "feedback": 1}, ValueRangeError, "feedback"),
        (MODEL, {"steps": 3, "feedback": False}, ValueRangeError, "steps=3 has no effect without"),
        (MODEL.layers[0], {"steps": 3}, DtypeError, "give a Stack, whose outputs are its next inputs"),
        (
            random_stack("lstm 5 | lstm 5"),
            {"steps": 3},
            ValueRangeError,
            r"params goes both ways in layers\[0\], so that out",
        ),
        (
            random_stack("lstm 5", "| lstm 5"),
            {"steps": 3},
            ValueRangeError,
            r"params goes backward in layers\[1\]",
        ),
        (random_stack("lstm 5", outputs=3), {"steps": 3}, ShapeError, "has 3 outputs and 2 inputs"),
    ],
)
def test_what_cannot_be_a_closed_loop(model, options, error, message):
    with pytest.raises(error, match=message):
        gs.run(model, **{"feedback": True, **options})
