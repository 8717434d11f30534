"""What always giving the commonest answer reaches, against the engine's own count of right answers."""

import dataclasses
import itertools

import numpy as np
import pytest
from engine_cases import HEADS, make_batch, make_stack

import gatescope as gs
from gatescope.errors import ShapeError, UnknownNameError, ValueRangeError


def constant(answers):
    """A model of the three heads that gives one class and five notes, whatever it reads."""
    stack = make_stack()
    chosen, *notes = answers
    bias = np.concatenate([np.zeros(3), np.eye(4)[chosen], np.array(notes) - 0.5])
    return dataclasses.replace(stack, readout_weight=np.zeros_like(stack.readout_weight), readout_bias=bias)


@pytest.mark.parametrize("at", [None, "last", "every"])
def test_no_answer_that_is_always_the_same_reaches_more(at):
    batch = make_batch()
    # Ends, and steps that do not count, must not decide what is commonest.
    batch.targets[~batch.mask] = 1
    past = np.arange(37)[:, None] >= batch.lengths
    batch.targets[past] = 1
    reached = [
        gs.evaluate(constant(answers), batch, at=at).accuracy
        for answers in itertools.product(range(4), *[(0, 1)] * 5)
    ]
    assert gs.majority_accuracy(batch, at=at) == pytest.approx(max(reached), rel=1e-14)
    assert max(reached) > np.median(reached)


def test_silence_is_right_where_notes_are_rare():
    rng = np.random.default_rng(0)
    notes = (rng.random((40, 6, 20)) < 0.05).astype("float32")
    batch = gs.Batch(inputs=notes, targets=notes, heads=[gs.Head("notes", 20, "bernoulli")])
    assert gs.majority_accuracy(batch) == 1 - notes.mean(dtype=np.float64)
    notes[:, :, 3] = 1  # a key that always sounds
    assert gs.majority_accuracy(batch) == pytest.approx(
        1 - np.delete(notes, 3, axis=2).mean() * 19 / 20, rel=1e-6
    )


def test_one_target_a_sequence_and_heads_of_the_model():
    classes = np.array([[0], [2], [2], [1], [2]])
    batch = gs.Batch(inputs=np.zeros((4, 5, 1)), targets=classes, lengths=np.array([4, 4, 2, 1, 0]))
    head = gs.Head("class", 3, "cross_entropy")
    assert gs.majority_accuracy(batch, heads=[head]) == 2 / 4  # the last has no step
    assert np.isnan(gs.majority_accuracy(batch))  # mean squared error has no right answers


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({}, {"at": "first"}, UnknownNameError, "at='first' is not known"),
        ({}, {"heads": HEADS[:2]}, ValueRangeError, "is to be judged by"),
        ({"targets": np.full((37, 5, 9), 0.5)}, {}, ValueRangeError, "head 'class' hold 0.5"),
        ({"targets": np.zeros((36, 5, 9))}, {}, ShapeError, r"targets has the shape \(36, 5, 9\)"),
    ],
)
def test_what_does_not_fit_is_named(change, options, error, message):
    with pytest.raises(error, match=message):
        gs.majority_accuracy(dataclasses.replace(make_batch(), **change), **options)


def test_only_a_batch():
    with pytest.raises(ShapeError, match="batch is a Stack; give a Batch"):
        gs.majority_accuracy(make_stack())
