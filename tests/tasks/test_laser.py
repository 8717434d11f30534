"""The laser series: complete, unaltered, standardized, with the next value as target."""

import hashlib
from importlib import resources

import numpy as np
import pytest
from helpers.judging import loss

from gatescope.datatypes import Head
from gatescope.errors import DtypeError, ValueRangeError
from gatescope.tasks import laser

STEPS = 10_093


def test_the_series_is_complete_and_unaltered():
    raw = (resources.files("gatescope.tasks") / "data" / "santafe_laser.txt").read_bytes()
    assert (
        hashlib.sha256(raw).hexdigest() == "2445f3df2b91cfb41c3f4f1143e8882e8329b9449ec7ffc739c6d4bd5c6650a0"
    )
    values = laser(standardize=False, dtype="float64").inputs[:, 0, 0]
    # The first values of the competition's data set A.
    assert values[:10].tolist() == [86, 141, 95, 41, 22, 21, 32, 72, 138, 111]
    assert (values.size, values.min(), values.max(), values.sum()) == (STEPS, 0, 255, 603_880)


def test_the_source_is_noted_beside_the_data():
    text = (resources.files("gatescope.tasks") / "data" / "README.md").read_text(encoding="utf-8")
    for word in ("Weigend", "Gershenfeld", "1994", "Huebner", "Tang", "reservoirpy"):
        assert word in text
    assert laser().provenance["sha256"] in text


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_dtypes_and_standardisation(dtype):
    batch = laser(dtype=dtype)
    assert batch.inputs.shape == batch.targets.shape == (STEPS, 1, 1)
    assert batch.inputs.dtype == batch.targets.dtype == dtype
    assert batch.inputs.flags.c_contiguous
    assert batch.mask.shape == (STEPS, 1)
    assert batch.mask.dtype == bool
    assert batch.lengths.tolist() == [STEPS]
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    values = batch.inputs.astype(np.float64)
    assert abs(values.mean()) < tolerance
    assert abs(values.std() - 1) < tolerance
    assert batch.name == "laser"


def test_the_target_is_the_next_value_and_the_unknown_one_is_masked():
    batch = laser()
    np.testing.assert_array_equal(batch.targets[:-1], batch.inputs[1:])
    assert batch.mask[:-1].all()
    assert not batch.mask[-1]
    assert batch.targets[-1] == 0


def test_fewer_steps_are_the_beginning():
    whole, part = laser(), laser(steps=100)
    np.testing.assert_array_equal(part.inputs, whole.inputs[:100])
    np.testing.assert_array_equal(part.targets, whole.targets[:100])
    assert part.mask.all()  # the value after step 100 was measured
    assert part.lengths.tolist() == [100]
    assert laser(steps=np.int64(STEPS)).mask.sum() == STEPS - 1


def test_provenance_undoes_the_standardisation():
    batch = laser(dtype="float64")
    back = batch.inputs * batch.provenance["standard_deviation"] + batch.provenance["mean"]
    np.testing.assert_allclose(back, laser(standardize=False, dtype="float64").inputs, atol=1e-12)


@pytest.mark.parametrize("steps", [None, 1, 100, STEPS])
@pytest.mark.parametrize("standardize", [True, False])
def test_the_baseline_is_that_of_the_best_constant(steps, standardize):
    batch = laser(steps=steps, dtype="float64", standardize=standardize)
    assert batch.heads == (Head("intensity", 1, "mse"),)
    constant = batch.targets[batch.mask].mean()
    assert batch.baseline == pytest.approx(
        loss(batch, np.full_like(batch.targets, constant)), rel=1e-12, abs=0
    )
    assert batch.provenance["persistence"] == pytest.approx(loss(batch, batch.inputs), rel=1e-12)
    if standardize and batch.mask.size == STEPS:
        assert batch.baseline == pytest.approx(1, abs=1e-4)  # one value of the series is no target
        assert batch.provenance["persistence"] == pytest.approx(
            0.939, abs=5e-4
        )  # three digits of it are printed


@pytest.mark.parametrize("steps", [0, STEPS + 1])
def test_steps_that_the_series_has_not(steps):
    with pytest.raises(ValueRangeError, match=rf"steps={steps!r} must be a whole number from 1 to 10093"):
        laser(steps=steps)


@pytest.mark.parametrize("flag", ["no", 1, None])
def test_whether_to_standardise_is_true_or_false(flag):
    with pytest.raises(ValueRangeError, match=rf"standardize={flag!r} must be True or False"):
        laser(standardize=flag)
    assert laser(steps=5, standardize=np.False_).provenance["standardize"] is False


@pytest.mark.parametrize("dtype", ["int32", "float16", "nonsense", None])
def test_other_dtypes(dtype):
    with pytest.raises(DtypeError, match=rf"dtype={dtype!r} .*use 'float32' or 'float64'"):
        laser(dtype=dtype)


def test_it_is_saved_and_loaded(tmp_path):
    batch = laser(steps=50)
    batch.save(tmp_path / "a.npz")
    loaded = type(batch).load(tmp_path / "a.npz")
    np.testing.assert_array_equal(loaded.inputs, batch.inputs)
    assert loaded.provenance == batch.provenance


def test_the_splits_are_parts_of_the_series_without_a_common_step():
    whole = laser(dtype="float64").inputs[:, 0, 0]
    begin = 0
    for split, count in (("train", 8074), ("valid", 1010), ("test", 1009)):
        batch = laser(split=split, dtype="float64")
        assert batch.mask.all()
        np.testing.assert_array_equal(batch.inputs[:, 0, 0], whole[begin : begin + count - 1])
        np.testing.assert_array_equal(batch.targets[:, 0, 0], whole[begin + 1 : begin + count])
        begin += count
    assert begin == STEPS


def test_pieces_follow_one_another():
    whole, pieces = laser(split="valid"), laser(split="valid", length=100)
    assert pieces.inputs.shape == (100, 10, 1)  # 9 steps are left over
    assert pieces.lengths.tolist() == [100] * 10
    np.testing.assert_array_equal(pieces.inputs.transpose(1, 0, 2).reshape(-1), whole.inputs[:1000, 0, 0])
    np.testing.assert_array_equal(pieces.targets.transpose(1, 0, 2).reshape(-1), whole.targets[:1000, 0, 0])
    assert not laser(length=STEPS).mask[-1].any()  # the last target of the whole was never measured


@pytest.mark.parametrize(("length", "must"), [(0, "of at least 1"), (1009, "from 1 to 1008")])
def test_lengths_that_the_split_has_not(length, must):
    with pytest.raises(ValueRangeError, match=rf"length={length} must be a whole number {must}"):
        laser(split="test", length=length)


def test_a_split_that_is_too_small_for_a_target():
    with pytest.raises(ValueRangeError, match="split='test' has 1 of the 10 steps of the series"):
        laser(steps=10, split="test")
