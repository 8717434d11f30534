"""Digits: the split, the three orders, and the errors.

The sizes are those of scikit-learn's data, and where that is not installed, of a stand-in with as many images.
"""

import math
import sys
import types

import numpy as np
import pytest
from helpers.judging import loss, same

from gatescope.datatypes import Head
from gatescope.errors import DtypeError, GatescopeError, UnknownNameError, ValueRangeError
from gatescope.tasks._digits import digits
from gatescope.tasks._splits import NoSuchSplitError

# As many images of each digit as in scikit-learn's data.
COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
SIZES = {"train": 1295, "valid": 143, "test": 359}


@pytest.fixture
def images(monkeypatch):
    """Stand-in for sklearn.datasets: every image is different, and its first pixel tells its class."""
    rng = np.random.default_rng(0)
    target = rng.permutation(np.repeat(np.arange(10), COUNTS))
    data = rng.integers(0, 17, (len(target), 8, 8)).astype(float)
    data[:, 0, 0] = target
    package = types.ModuleType("sklearn.datasets")
    package.load_digits = lambda: types.SimpleNamespace(images=data, target=target)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", package)
    return data


def test_the_splits_divide_the_images(images):
    parts = {split: digits(split=split) for split in SIZES}
    assert {split: part.inputs.shape for split, part in parts.items()} == {
        split: (8, size, 8) for split, size in SIZES.items()
    }
    both = np.concatenate([part.inputs for part in parts.values()], axis=1).transpose(1, 0, 2) * 16
    test = parts["test"]
    rows = {image.tobytes() for image in images.astype(np.float32)}
    assert {image.tobytes() for image in both} == rows
    assert len(both) == len(rows) == 1797
    for digit, count in enumerate(COUNTS):
        in_test = np.count_nonzero(test.targets[-1, :, 0] == digit)
        assert in_test == round(0.2 * count)  # of every digit the same share


def test_the_valid_split_is_the_end_of_what_is_not_tested_on(images):
    """Whatever share it has, so that more of one is less of the other, and the test split stays what it is."""
    rest, test = digits(valid_fraction=0), digits(split="test")
    assert rest.inputs.shape[1] == 1438
    for fraction, count in ((0.1, 143), (0.0007, 1), (0.5, 719)):  # rounded down
        train, valid = (digits(split=split, valid_fraction=fraction) for split in ("train", "valid"))
        assert valid.inputs.shape[1] == count
        both = np.concatenate([train.inputs, valid.inputs], axis=1)
        np.testing.assert_array_equal(both, rest.inputs)
        np.testing.assert_array_equal(np.concatenate([train.targets, valid.targets], axis=1), rest.targets)
        assert same(digits(split="test", valid_fraction=fraction), test)
    with pytest.raises(
        NoSuchSplitError,
        match=r"split='valid' has none of the 1797 images with `valid_fraction`=0 and",
    ):
        digits(split="valid", valid_fraction=0)
    with pytest.raises(
        ValueRangeError, match=r"split='train' has none of the 1797 images with `valid_fraction`=1 and"
    ):
        digits(split="test", valid_fraction=1)
    with pytest.raises(ValueRangeError, match=r"valid_fraction=-0.1 must be a finite number from 0 to 1"):
        digits(valid_fraction=-0.1)


@pytest.mark.parametrize("order", ["rows", "pixels", "permuted"])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_answer_counts_at_the_last_step_only(images, order, split):
    batch = digits(order=order, split=split, dtype="float64")
    steps, sequences = (8 if order == "rows" else 64), SIZES[split]
    assert batch.inputs.shape == (steps, sequences, 64 // steps)
    assert batch.inputs.dtype == np.float64
    assert all(array.flags.c_contiguous for array in batch.arrays().values())
    assert batch.targets.shape == (steps, sequences, 1)
    assert not batch.mask[:-1].any()
    assert batch.mask[-1].all()
    assert batch.lengths.tolist() == [steps] * sequences
    assert batch.heads == (Head("digit", 10, "cross_entropy"),)
    first = 0 if order != "permuted" else batch.provenance["permutation"].index(0)
    np.testing.assert_array_equal(batch.inputs[first, :, 0] * 16, batch.targets[-1, :, 0])
    assert (batch.inputs.min(), batch.inputs.max()) == (0, 1)


def test_the_orders_read_the_same_pixels(images):
    rows, pixels, permuted = (digits(order=order) for order in ("rows", "pixels", "permuted"))
    np.testing.assert_array_equal(pixels.inputs[:, :, 0], rows.inputs.transpose(0, 2, 1).reshape(64, -1))
    permutation = permuted.provenance["permutation"]
    assert sorted(permutation) == list(range(64)) != permutation
    np.testing.assert_array_equal(permuted.inputs, pixels.inputs[permutation])
    for other in (pixels, permuted):
        np.testing.assert_array_equal(other.targets[-1], rows.targets[-1])


def test_the_permutation_is_one_for_all_seeds_and_the_split_is_not(images):
    first, again, other = (digits(order="permuted", seed=seed) for seed in (1, 1, 2))
    assert same(first, again)
    assert first.provenance["permutation"] == other.provenance["permutation"]
    assert not np.array_equal(first.inputs, other.inputs)
    assert first.provenance["permutation"][:4] == [16, 36, 27, 8]  # results with it can be compared


def test_fewer_sequences_are_a_part_of_more(images):
    whole, part = digits(), digits(sequences=100)
    np.testing.assert_array_equal(part.inputs, whole.inputs[:, :100])
    np.testing.assert_array_equal(part.targets, whole.targets[:, :100])
    assert len(np.unique(part.targets)) == 10  # in random order, not digit by digit
    assert digits(sequences=1295, split="valid").inputs.shape[1] == 143  # all of a split that has fewer


@pytest.mark.parametrize("split", SIZES)
def test_half_of_the_digits_are_made_rare_in_a_split(images, split):
    whole, biased = digits(split=split), digits(split=split, rare=0.1)
    answers = whole.targets[-1, :, 0]
    kept = answers < 5
    (rare,) = np.nonzero(~kept)
    kept[rare[: len(rare) // 10]] = True  # the first tenth of them, in their order
    np.testing.assert_array_equal(biased.inputs, whole.inputs[:, kept])
    np.testing.assert_array_equal(biased.targets, whole.targets[:, kept])
    assert len(rare) // 10 == np.count_nonzero(biased.targets[-1, :, 0] >= 5) > 0
    part = digits(split=split, rare=0.1, sequences=50)
    np.testing.assert_array_equal(part.inputs, biased.inputs[:, :50])
    assert digits(split=split, rare=0).targets[-1].max() == 4
    assert same(digits(split=split, rare=1), whole)
    for fraction in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueRangeError, match=r"rare=.* must be a finite number from 0 to 1"):
            digits(rare=fraction)


def test_the_baseline_is_that_of_a_guess(images):
    batch = digits()
    assert batch.baseline == math.log(10)
    assert loss(batch, np.zeros((8, 1295, 10))) == pytest.approx(batch.baseline, rel=1e-12)


def test_arguments_that_are_wrong(images):
    for fraction, count in ((0.0, 0), (0.001, 0), (0.999, 178), (1, 178)):
        with pytest.raises(
            ValueRangeError, match=rf"test_fraction={fraction:g}.* puts {count} of the 178 images of a 0"
        ):
            digits(test_fraction=fraction)
    for fraction in (-0.1, 1.5, math.nan, "half", True):
        with pytest.raises(
            ValueRangeError, match=rf"test_fraction={fraction!r} must be a finite number from 0 to 1"
        ):
            digits(test_fraction=fraction)
    with pytest.raises(UnknownNameError, match=r"split='all' is not known; choose from train, valid, test"):
        digits(split="all")
    with pytest.raises(
        UnknownNameError, match=r"order=\['rows'\] is not known; choose from rows, pixels, permuted"
    ):
        digits(order=["rows"])
    with pytest.raises(ValueRangeError, match=r"sequences=1296 must be a whole number from 1 to 1295"):
        digits(split="test", sequences=1296)
    with pytest.raises(ValueRangeError, match=r"seed=-1 must be"):
        digits(seed=-1)
    with pytest.raises(DtypeError, match=r"dtype='float16'"):
        digits(dtype="float16")


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    message = (
        r"digits needs the package scikit-learn, which is not installed; pip install 'gatescope\[digits\]'"
    )
    with pytest.raises(GatescopeError, match=message) as error:
        digits()
    assert isinstance(error.value, ImportError)


def test_it_is_saved_and_loaded(images, tmp_path):
    batch = digits(order="permuted", sequences=20)
    batch.save(tmp_path / "batch.npz")
    loaded = type(batch).load(tmp_path / "batch.npz")
    assert loaded == batch
    assert loaded.provenance == batch.provenance


def test_scikit_learns_images():
    data = pytest.importorskip("sklearn.datasets").load_digits()
    assert np.bincount(data.target).tolist() == list(COUNTS)  # the stand-in's sizes are right
    parts = [digits(split=split, dtype="float64") for split in SIZES]
    both = np.concatenate([part.inputs for part in parts], axis=1).transpose(1, 0, 2) * 16
    answers = np.concatenate([part.targets[-1] for part in parts])[:, 0]
    known = {image.tobytes(): digit for image, digit in zip(data.images, data.target, strict=True)}
    assert [known[image.tobytes()] for image in both] == answers.tolist()
