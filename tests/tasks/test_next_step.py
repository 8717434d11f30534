"""The next step of an own series: what is the target of what, what is held back, scales, and series that are none."""

import numpy as np
import pytest
from helpers.judging import loss, same

import gatescope as gs
from gatescope.datatypes import Head
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.tasks._next_step import next_step
from gatescope.tasks._splits import NoSuchSplitError

SERIES = np.random.default_rng(0).standard_normal((50, 2)).cumsum(axis=0) * [1, 100] + [5, -20]


def test_the_target_is_the_next_row():
    batch = next_step(SERIES, standardize=False, dtype="float64")
    np.testing.assert_array_equal(batch.inputs[:, 0], SERIES[:-1])
    np.testing.assert_array_equal(batch.targets[:, 0], SERIES[1:])
    assert batch.heads == (Head("next", 2, "mse"),)
    assert batch.mask.all()
    assert batch.lengths.tolist() == [49]
    assert next_step(SERIES[:, 0]).inputs.shape == (49, 1, 1)
    several = next_step(np.stack([SERIES, SERIES[::-1]], axis=1), standardize=False, dtype="float64")
    np.testing.assert_array_equal(several.targets[:, 1], SERIES[::-1][1:])


def test_the_splits_are_one_after_another():
    splits = {
        split: next_step(SERIES, standardize=False, split=split, dtype="float64", valid_fraction=0.2)
        for split in ("train", "valid", "test")
    }
    rows = [np.concatenate([batch.inputs, batch.targets[-1:]])[:, 0] for batch in splits.values()]
    assert [len(part) for part in rows] == [35, 10, 5]
    np.testing.assert_array_equal(np.concatenate(rows), SERIES)


@pytest.mark.parametrize("split", ["all", "train", "valid", "test"])
def test_the_scale_is_that_of_the_training_split(split):
    mean, deviation = SERIES[:40].mean(axis=0), SERIES[:40].std(axis=0)
    batch = next_step(SERIES, split=split, dtype="float64")
    plain = next_step(SERIES, split=split, dtype="float64", standardize=False)
    np.testing.assert_allclose(batch.inputs, (plain.inputs - mean) / deviation, rtol=1e-12)
    assert batch.provenance["mean"] == pytest.approx(mean.tolist())
    assert batch.provenance["standard_deviation"] == pytest.approx(deviation.tolist())


def test_the_baselines():
    batch = next_step(SERIES, split="train", dtype="float64")
    constant = np.broadcast_to(batch.targets.mean(axis=0), batch.targets.shape)
    assert batch.baseline == pytest.approx(loss(batch, constant), rel=1e-12)
    assert batch.provenance["persistence"] == pytest.approx(loss(batch, batch.inputs), rel=1e-12)


def test_a_column_that_does_not_change():
    batch = next_step(np.column_stack([SERIES, np.full(50, 3.0)]))
    assert not batch.inputs[..., 2].any()


def test_it_is_saved_and_loaded(tmp_path):
    batch = next_step(SERIES, split="test")
    batch.save(tmp_path / "batch.npz")
    assert gs.load(tmp_path / "batch.npz") == batch
    assert same(batch, next_step(SERIES.tolist(), split="test"))
    assert batch.provenance["first_step"] == 45


BAD = [
    (np.zeros((2, 2, 2, 2)), {}, ShapeError, r"series has shape \(2, 2, 2, 2\)"),
    (np.float64(3), {}, ShapeError, r"series has shape \(\)"),
    (np.zeros((5, 0)), {}, ShapeError, r"\(5, 0\)"),
    (["a"], {}, DtypeError, "series has dtype"),
    (
        [1.0, 2.0, np.nan, 3.0],
        {"valid_fraction": 0},
        ValueRangeError,
        r"series\[2\] is nan; remove or replace",
    ),
    (
        [0, 1e39],
        {"valid_fraction": 0, "test_fraction": 0, "standardize": False},
        ValueRangeError,
        "too large for float32",
    ),
    (SERIES[:1], {}, ValueRangeError, "split='train' has 1 of the 1 steps of the series"),
    (
        SERIES[:10],
        {"split": "valid"},
        NoSuchSplitError,
        "split='valid' has 1 of the 10 steps of the series .* and needs 2",
    ),
    (SERIES, {"standardize": 1}, ValueRangeError, "standardize=1 must be True or False"),
    (SERIES, {"split": "dev"}, UnknownNameError, "split='dev'"),
    (SERIES, {"dtype": "int8"}, DtypeError, "dtype='int8'"),
    (SERIES, {"valid_fraction": -1}, ValueRangeError, "valid_fraction=-1 must be"),
]


@pytest.mark.parametrize(("series", "options", "kind", "message"), BAD, ids=lambda value: "")
def test_what_is_no_series(series, options, kind, message):
    with pytest.raises(kind, match=message):
        next_step(series, **options)
