"""The task of a student: the teacher is a cell with the weights that are said, and a student of these is right."""

import numpy as np
import pytest
from helpers.judging import loss

import gatescope as gs
from gatescope.tasks._teacher import CELLS, teacher, teacher_weights

SIZES = {"hidden_size": 5, "input_size": 3, "gain": 1.5, "memory_bias": 2.0}


@pytest.mark.parametrize("cell", CELLS)
def test_the_answers_are_the_states_of_the_teacher(cell):
    batch = teacher(cell=cell, **SIZES, steps=30, sequences=4, teacher=7, seed=1, dtype="float64")
    trace = gs.run(teacher_weights(cell, **SIZES, seed=7), batch.inputs)
    # Both compute the same equations in another order: a few roundings a step, and a gain of 1.5 makes more of them.
    np.testing.assert_allclose(batch.targets, trace.h[1:], atol=1e-11)


@pytest.mark.parametrize("cell", CELLS)
def test_the_weights_are_as_said(cell):
    weights = teacher_weights(cell, 6, input_size=2000, gain=1.5, memory_bias=2.0, seed=0)
    biases = {"lstm": {"f": 2.0}, "gru": {"z": 2.0}, "rnn": {}}[cell]
    for gate in weights.gate_names:
        rows = weights.gate(gate)
        np.testing.assert_allclose(rows["weight_hh"] @ rows["weight_hh"].T, 1.5**2 * np.eye(6), atol=1e-12)
        np.testing.assert_array_equal(rows["bias_ih"], biases.get(gate, 0.0))
        assert not rows["bias_hh"].any()
        # The variance of 12,000 normal numbers has a relative deviation of 0.013.
        assert rows["weight_ih"].var() * 2000 == pytest.approx(1, abs=0.06)


def test_another_teacher_and_other_sequences():
    one, other, again = (teacher(teacher=k, seed=s) for k, s in ((0, 0), (1, 0), (0, 1)))
    np.testing.assert_array_equal(one.inputs, other.inputs)
    assert not np.array_equal(one.targets, other.targets)
    assert not np.array_equal(one.inputs, again.inputs)


def test_the_baseline_is_what_the_means_cost():
    batch = teacher(dtype="float64")
    means = np.broadcast_to(batch.targets.mean(axis=(0, 1)), batch.targets.shape)
    assert batch.baseline == pytest.approx(loss(batch, means), rel=1e-12)
    assert loss(batch, batch.targets) == 0


def test_one_answer_alone_is_refused():
    with pytest.raises(gs.ValueRangeError, match="has one answer alone"):
        teacher(steps=1, sequences=1)
