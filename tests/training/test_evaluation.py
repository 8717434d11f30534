"""What always giving the commonest answer reaches, against the engine's own count of right answers."""

import dataclasses
import itertools

import numpy as np
import pytest
from helpers.engine_cases import HEADS, make_batch, make_stack

import gatescope as gs
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError


def constant(answers):
    """Return a model of the three heads that gives one class and five notes, whatever it reads."""
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
        ({}, {"heads": HEADS[:2]}, ValueRangeError, "heads are .*, but the losses of the data"),
        ({"targets": np.full((37, 5, 9), 0.5)}, {}, ValueRangeError, "0.5; the head 'class'"),
        ({"targets": np.zeros((36, 5, 9))}, {}, ShapeError, r"targets has shape \(36, 5, 9\)"),
    ],
)
def test_what_does_not_fit_is_named(change, options, error, message):
    with pytest.raises(error, match=message):
        gs.majority_accuracy(dataclasses.replace(make_batch(), **change), **options)


def test_only_a_batch():
    with pytest.raises(DtypeError, match="batch is a Stack; give a Batch, as the makers"):
        gs.majority_accuracy(make_stack())
    words = r"; give a Batch of your arrays: gatescope\.Batch\(inputs=x, targets=y\)"
    with pytest.raises(DtypeError, match=f"batch is a ndarray{words}"):
        gs.majority_accuracy(np.zeros((5, 1)))
    with pytest.raises(DtypeError, match=f"batch is a tuple{words}"):
        gs.evaluate(make_stack(), (np.zeros((4, 5, 3)), np.zeros((5, 1))))
    with pytest.raises(DtypeError, match=r"inputs is a Batch; give its arrays: batch\.inputs"):
        gs.predict(make_stack(), make_batch())


def test_a_run_of_training_is_no_model():
    task = gs.tasks.adding(steps=4, sequences=2, seed=0)
    run = gs.train(gs.init_stack("gru", hidden_size=4, heads=task, seed=0), task, epochs=1)
    for work in (lambda: gs.evaluate(run, task), lambda: gs.predict(run, task.inputs)):
        with pytest.raises(DtypeError, match=r"stack is a TrainingRun; give .*: run\.best or run\.model"):
            work()


def test_sequences_in_the_place_of_steps_are_asked_about():
    stack, swapped = make_stack(), np.zeros((5, 37, 3))
    words = r"\(inputs are time-major, \(T, B, I\): are these \(B, T, I\)\?\)"
    with pytest.raises(ShapeError, match=rf"targets has shape \(5, 9\).*{words}"):
        gs.evaluate(stack, gs.Batch(inputs=swapped, targets=np.zeros((5, 9)), heads=HEADS))
    with pytest.raises(ShapeError, match=rf"lengths has shape \(5,\), but should have \(37,\).*{words}"):
        gs.predict(stack, swapped, lengths=np.full(5, 37))
    with pytest.raises(
        ShapeError, match=r"lengths has shape \(4,\), but should have \(37,\), which is \(B,\)$"
    ):
        gs.predict(stack, swapped, lengths=np.full(4, 37))
