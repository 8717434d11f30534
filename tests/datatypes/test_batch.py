"""A batch that is not one is told of when it is made, not by what Python says of it later."""

import dataclasses

import numpy as np
import pytest

from gatescope.datatypes.batch import Batch, Head
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError

STEPS, COUNT = 7, 5
INPUTS, TARGETS = np.zeros((STEPS, COUNT, 2)), np.zeros((STEPS, COUNT, 3))
SQUARE = np.zeros((COUNT, COUNT, 2))  # T = B
TWO_AXES = np.zeros((COUNT, COUNT))


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"inputs": INPUTS.tolist()}, DtypeError, "inputs is a list; convert it with numpy.asarray"),
        ({"targets": TARGETS.tolist()}, DtypeError, "targets is a list"),
        ({"targets": "none"}, DtypeError, "targets is a str"),
        ({"inputs": 1.0, "targets": 2.0}, DtypeError, "inputs is a float"),
        ({"mask": [[True]]}, DtypeError, "mask is a list"),
        ({"lengths": [STEPS] * COUNT}, DtypeError, "lengths is a list"),
        (
            {"inputs": INPUTS[:, 0]},
            ShapeError,
            r"inputs has shape \(7, 2\), .*\(T, B, I\).*inputs\[:, None, :\]",
        ),
        ({"inputs": np.array(1.0)}, ShapeError, r"inputs has shape \(\), but a Batch needs \(T, B, I\)"),
        ({"targets": np.array(1.0)}, ShapeError, r"targets has shape \(\), but should have \(T, B, C\)"),
        (
            {"targets": np.zeros(COUNT)},
            ShapeError,
            r"targets has shape \(5,\), .*\(B, C\) for one target a sequence$",
        ),
        (
            {"targets": np.zeros(STEPS)},
            ShapeError,
            r"one target a sequence \(inputs are time-major, \(T, B, I\): are these \(B, T, I\)\?\)",
        ),
        ({"heads": 3}, ValueRangeError, r"heads=3 must be a sequence such as \[Head\('y', 1\)\]"),
        ({"heads": Head("y", 3)}, ValueRangeError, "must be a sequence"),
        ({"heads": "mse"}, ValueRangeError, "heads='mse' must be a sequence"),
        ({"heads": b"mse"}, ValueRangeError, "heads=b'mse' must be a sequence"),
        ({"heads": [3]}, ValueRangeError, r"heads\[0\]=3 is no Head; give one"),
        ({"heads": [Head("y", 3), "ab"]}, ValueRangeError, r"heads\[1\].size='b' must be"),
        ({"heads": [("y",)]}, ValueRangeError, r"heads\[0\]=\('y',\) is no Head"),
        ({"heads": [("y", 0)]}, ValueRangeError, r"heads\[0\]\.size=0 must be a whole number of at least 1"),
        ({"heads": [Head("", 1)]}, ValueRangeError, r"heads\[0\].name='' must be a str"),
        (
            {"heads": [Head("y", 1), Head("y", 2)]},
            ValueRangeError,
            r"heads\[1\].name='y' is the name of one before",
        ),
        ({"heads": [Head("y", 1, "cross_entropy")]}, ValueRangeError, r"heads\[0\].size=1 .* at least 2"),
        ({"heads": [Head("y", 1, "mse", -1.0)]}, ValueRangeError, r"heads\[0\].weight=-1.0"),
        (
            {"heads": [Head("y", 3), Head("class", 2, "cross-entropy")]},
            UnknownNameError,
            r"heads\[1\]\.loss='cross-entropy' is not known; choose one of mse, cross_entropy, bernoulli "
            r"\(did you mean 'cross_entropy'\?\)",
        ),
        ({"heads": [Head("y", 3, "l1")]}, UnknownNameError, "loss='l1' is not known; .*, bernoulli$"),
        ({"heads": [Head("y", 3, ["mse"])]}, UnknownNameError, r"loss=\['mse'\] is not known"),
    ],
)
def test_what_makes_no_batch(fields, kind, words):
    with pytest.raises(kind, match=words):
        Batch(**{"inputs": INPUTS, "targets": TARGETS, **fields})


def test_heads_may_be_tuples():
    batch = Batch(inputs=INPUTS, targets=TARGETS, heads=[("a", np.int64(1)), ["class", 4, "cross_entropy"]])
    assert batch.heads == (Head("a", 1), Head("class", 4, "cross_entropy"))
    assert Batch(inputs=INPUTS, targets=TARGETS).heads == (Head("y", 3),)


@pytest.mark.parametrize("heads", [(), [Head("y", 1)], [Head("class", COUNT, "cross_entropy")]])
def test_where_two_axes_could_be_either_it_is_asked(heads):
    message = r"targets has shape \(5, 5\), but with T = B = 5 .* give \(T, B, 1\) = \(5, 5, 1\) .* heads of 5 columns"
    with pytest.raises(ShapeError, match=message):
        Batch(inputs=SQUARE, targets=TWO_AXES, heads=heads)
    assert Batch(inputs=SQUARE, targets=TWO_AXES[:, :, None], heads=heads).output_size >= 1


def test_where_two_axes_have_one_meaning_they_are_taken(tmp_path):
    named = Batch(inputs=SQUARE, targets=TWO_AXES, heads=[Head("a", 2), Head("b", 3, "bernoulli")])
    assert named.targets.shape == (COUNT, COUNT)  # (B, C), for the heads have C columns
    named.save(tmp_path / "batch.npz")
    assert Batch.load(tmp_path / "batch.npz") == named
    assert dataclasses.replace(named, name="again").heads == named.heads
    assert Batch(inputs=SQUARE, targets=TWO_AXES[:, :3]).heads == (Head("y", 3),)
    assert Batch(inputs=INPUTS, targets=TWO_AXES).heads == (Head("y", COUNT),)  # T is another number than B
    assert Batch(inputs=INPUTS[:1, :1], targets=np.zeros((1, 1))).heads == (Head("y", 1),)


def test_texts_that_no_file_takes_are_refused():
    arrays = {"inputs": np.zeros((9, 1, 1)), "targets": np.zeros((9, 1, 1))}
    for name in ("name", "baseline_of"):
        with pytest.raises(ValueRangeError, match=rf"{name}=.* holds half of a character, at 1"):
            Batch(**arrays, **{name: "a\ud800"})
    with pytest.raises(ValueRangeError, match=r"heads\[0\]\.name=.* holds half of a character"):
        Batch(**arrays, heads=[Head("\ud800", 1)])
