"""Own arrays that cannot be trained on, or that are asked about."""

import functools
import pickle

import numpy as np
import pytest
from helpers.own_arrays import CLASSES, INPUTS, LENGTHS, MASK, B, T, save_own

from gatescope.errors import (
    DtypeError,
    FileFormatError,
    InputWarning,
    ShapeError,
    UnknownNameError,
    ValueRangeError,
)
from gatescope.tasks._own import own
from gatescope.tasks._splits import NoSuchSplitError


@pytest.fixture
def write(tmp_path):
    return functools.partial(save_own, tmp_path)


GOOD = np.zeros((T, B))


def changed(array, at, value):
    other = np.array(array, float)
    other[at] = value
    return other


BAD = [
    (
        {"targets": GOOD, "length": LENGTHS},
        {},
        FileFormatError,
        "holds 'length', which is none of inputs, targets",
    ),
    ({"targets": GOOD.astype(str)}, {}, DtypeError, "targets has dtype <U32; give real numbers"),
    ({"targets": GOOD.astype(complex)}, {}, DtypeError, "has dtype complex128"),
    (
        {"targets": GOOD, "inputs": INPUTS[:, 0]},
        {},
        ShapeError,
        r"\(6, 3\), but a Batch needs \(T, B, I\).*inputs\[:, None, :\]",
    ),
    ({"targets": GOOD, "inputs": INPUTS[:0]}, {}, ShapeError, r"inputs has shape \(0, 20, 3\)"),
    (
        {"targets": GOOD, "inputs": changed(INPUTS, (2, 1, 0), np.nan)},
        {},
        ValueRangeError,
        r"inputs\[2, 1, 0\] is nan; remove or replace such values",
    ),
    (
        {"targets": GOOD, "inputs": changed(INPUTS, (2, 1, 0), 1e39)},
        {},
        ValueRangeError,
        r"inputs\[2, 1, 0\] is 1e\+39; it is too large for float32; scale it",
    ),
    (
        {"targets": GOOD.T},
        {"loss": "cross_entropy"},
        ShapeError,
        r"\(20, 6\), but should have \(6, 20, 1\).*give \(20, 1\) for one target a sequence",
    ),
    (
        {"targets": np.zeros((T, B, 2))},
        {"loss": "cross_entropy"},
        ShapeError,
        r"\(6, 20, 2\), but should have \(6, 20, 1\)",
    ),
    ({"targets": np.zeros((T, B + 1))}, {}, ShapeError, r"\(6, 21\), but should have \(6, 20, 21\)"),
    (
        {"targets": GOOD[0], "inputs": INPUTS.swapaxes(0, 1)},
        {},
        ShapeError,
        r"\(20,\), but .*\(inputs are time-major, \(T, B, I\): are these \(B, T, I\)\?\)",
    ),
    (
        {"targets": GOOD[0][:, None], "inputs": INPUTS.swapaxes(0, 1)},
        {"loss": "cross_entropy"},
        ShapeError,
        r"\(20, 1\), but .* are these \(B, T, I\)\?\)",
    ),
    (
        {"targets": GOOD.T, "lengths": LENGTHS, "inputs": INPUTS.swapaxes(0, 1)},
        {},
        ShapeError,
        r"lengths has shape \(20,\), but .* are these \(B, T, I\)\?\)",
    ),
    (
        {"targets": GOOD},
        {"loss": "cross-entropy"},
        UnknownNameError,
        r"'cross-entropy' is not known; .*\(did you mean 'cross_entropy'\?\)",
    ),
    ({"targets": np.zeros((T, B, 0))}, {}, ShapeError, r"\(6, 20, 0\)"),
    ({"targets": np.float64(3)}, {}, ShapeError, r"has shape \(\)"),
    ({"targets": changed(GOOD, (1, 2), np.inf)}, {}, ValueRangeError, r"targets\[1, 2, 0\] is inf"),
    (
        {"targets": changed(GOOD, (1, 2), 0.5)},
        {"loss": "cross_entropy"},
        ValueRangeError,
        r"\[1, 2, 0\] is 0.5; .*needs whole numbers",
    ),
    (
        {"targets": changed(GOOD, (1, 2), -1)},
        {"loss": "cross_entropy"},
        ValueRangeError,
        "is -1; .* needs whole numbers from 0",
    ),
    (
        {"targets": changed(GOOD, (1, 2), 20260101)},
        {"loss": "cross_entropy"},
        ValueRangeError,
        "is 20260100; .* needs whole numbers from 0 to 65535",
    ),
    (
        {"targets": changed(GOOD, (1, 2), 2)},
        {"loss": "bernoulli"},
        ValueRangeError,
        "is 2; .*bernoulli needs 0 or 1",
    ),
    (
        {"targets": CLASSES},
        {"loss": "cross_entropy", "classes": 3},
        ValueRangeError,
        "is 3; .* needs whole numbers from 0 to 2",
    ),
    ({"targets": CLASSES}, {"loss": "cross_entropy", "classes": 1}, ValueRangeError, "classes=1 must be"),
    ({"targets": GOOD}, {"classes": 3}, ValueRangeError, "classes=3 goes with the cross-entropy"),
    (
        {"targets": GOOD, "mask": np.zeros((T, B), bool)},
        {},
        ValueRangeError,
        "mask is False at every step",
    ),
    ({"targets": GOOD[0], "mask": ~MASK & False}, {}, ValueRangeError, "mask is False at every step"),
    (
        {"targets": GOOD, "mask": MASK.T},
        {},
        ShapeError,
        r"mask has shape \(20, 6\), but should have \(6, 20\)",
    ),
    ({"targets": GOOD, "mask": 0.5 * MASK}, {}, ValueRangeError, "other values than True and False"),
    (
        {"targets": GOOD, "lengths": LENGTHS[1:]},
        {},
        ShapeError,
        r"lengths has shape \(19,\), but should have \(20,\)",
    ),
    (
        {"targets": GOOD, "lengths": changed(LENGTHS, 4, 0).astype(int)},
        {},
        ValueRangeError,
        r"lengths has a sequence of no steps",
    ),
    (
        {"targets": GOOD, "lengths": changed(LENGTHS, 4, 7).astype(int)},
        {},
        ValueRangeError,
        r"lengths\[4\] is 7",
    ),
    (
        {"targets": GOOD, "lengths": changed(LENGTHS, 4, 1.5)},
        {},
        DtypeError,
        "lengths .*float64; give whole",
    ),
    (
        {"targets": GOOD},
        {"loss": "l1"},
        UnknownNameError,
        "loss='l1' is not known; choose one of mse, cross_entropy",
    ),
    ({"targets": GOOD}, {"split": "dev"}, UnknownNameError, "split='dev' is not known"),
    ({"targets": GOOD}, {"dtype": "int8"}, DtypeError, "dtype='int8'"),
    (
        {"targets": GOOD},
        {"valid_fraction": 0.6, "split": "train", "test_fraction": 0.4},
        ValueRangeError,
        "leave nothing to train on",
    ),
    (
        {"targets": GOOD},
        {"valid_fraction": 0.99, "split": "train", "test_fraction": 0},
        ValueRangeError,
        "split='train' has none of the 20 sequences",
    ),
    (
        {"targets": GOOD},
        {"valid_fraction": 0, "split": "valid"},
        NoSuchSplitError,
        "split='valid' has none of the 20 sequences",
    ),
    ({}, {}, FileFormatError, "has no array 'targets', but 'inputs'"),
]


@pytest.mark.parametrize(("arrays", "options", "kind", "message"), BAD, ids=lambda value: "")
def test_what_cannot_be_trained_on(write, arrays, options, kind, message):
    with pytest.raises(kind, match=message):
        own(write(**arrays), **options)


def test_a_split_in_which_nothing_counts(write):
    path = write(targets=GOOD)
    valid = own(path, split="valid").provenance["sequences"]
    mask = np.ones((T, B), bool)
    mask[:, valid] = False
    with pytest.raises(ValueRangeError, match=r"split='valid' has no target of .* that counts"):
        own(write(targets=GOOD, mask=mask), split="valid")


def test_files_that_are_none(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(FileFormatError, match="there is no such file"):
        own(path)
    path.write_bytes(b"PK\x03\x04torn")
    with pytest.raises(FileFormatError, match="not a readable"):
        own(path)
    path.write_bytes(pickle.dumps({"inputs": INPUTS}))
    with pytest.raises(FileFormatError, match="not a readable"):
        own(path)
    np.savez(path, inputs=INPUTS, targets=np.array([None]))
    with pytest.raises(FileFormatError, match="pickled Python objects, which are never loaded"):
        own(path)


def test_classes_from_one_are_asked_about(write):
    """MATLAB and R count from 1: taken as they are there would be a class 0 that never occurs."""
    targets = 1 + np.arange(B) % 3
    with pytest.raises(
        ValueRangeError, match=r"targets are 1 to 3, but classes begin at 0; store targets - 1"
    ):
        own(write(targets=targets), loss="cross_entropy")
    assert own(write(targets=targets), loss="cross_entropy", classes=4).heads[0].size == 4
    assert own(write(targets=targets - 1), loss="cross_entropy").heads[0].size == 3
    with pytest.raises(
        ValueRangeError, match=r"from 0 to 2, the classes; these begin at 1: give targets - 1"
    ):
        own(write(targets=targets), loss="cross_entropy", classes=3)


def test_arrays_that_seem_to_be_batch_first_are_asked_about(write):
    inputs = np.zeros((4, 9, 2))
    with pytest.warns(
        InputWarning, match=r"T = 4 steps of B = 9 sequences; if they are \(B, T, I\), give `batch_first`"
    ):
        own(write(inputs=inputs, targets=np.zeros((4, 9, 1))))
