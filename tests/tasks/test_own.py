"""Own arrays: what becomes of each, what is held back, the baseline."""

import functools

import numpy as np
import pytest
from helpers.judging import loss, same
from helpers.own_arrays import CLASSES, INPUTS, LENGTHS, MASK, RNG, RUNNING, B, T, save_own
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gatescope as gs
from gatescope.datatypes import Batch, Head
from gatescope.errors import ShapeError
from gatescope.recurrence.initialization import init_stack
from gatescope.tasks._own import own
from gatescope.tasks._splits import NoSuchSplitError
from gatescope.training.arrays import as_data


@pytest.fixture
def write(tmp_path):
    return functools.partial(save_own, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_arrays_are_those_of_the_file(write, dtype):
    targets = RNG.standard_normal((T, B, 2))
    batch = own(write(targets=targets, mask=MASK, lengths=LENGTHS), dtype=dtype)
    counts = MASK & RUNNING
    np.testing.assert_array_equal(batch.inputs, INPUTS.astype(dtype))
    np.testing.assert_array_equal(batch.targets[counts], targets.astype(dtype)[counts])
    assert not batch.targets[~counts].any()
    np.testing.assert_array_equal(batch.mask, counts)
    np.testing.assert_array_equal(batch.lengths, LENGTHS)
    assert batch.heads == (Head("y", 2, "mse"),)
    assert batch.inputs.dtype == batch.targets.dtype == dtype
    assert all(array.flags.c_contiguous for array in batch.arrays().values())
    stack = init_stack("gru", hidden_size=4, heads=batch, dtype=dtype)
    np.testing.assert_array_equal(as_data(batch, stack).mask, counts)  # and it can be trained on


KINDS = [
    ("mse", RNG.standard_normal((T, B, 2)), 2),
    ("mse", RNG.standard_normal((T, B)), 1),
    ("mse", RNG.standard_normal((B, 5)), 5),
    ("mse", RNG.standard_normal(B), 1),
    ("cross_entropy", CLASSES, 4),
    ("cross_entropy", CLASSES.astype(float)[..., None], 4),
    ("cross_entropy", CLASSES[0], 4),
    ("cross_entropy", CLASSES[0, :, None] > 1, 2),
    ("bernoulli", RNG.random((T, B, 3)) < 0.3, 3),
    ("bernoulli", (RNG.random(B) < 0.3).astype(np.uint8), 1),
]
IDS = [f"{name}-{targets.shape}" for name, targets, _ in KINDS]


@pytest.mark.parametrize(("name", "targets", "size"), KINDS, ids=IDS)
def test_the_baseline_is_the_loss_of_the_best_constant(write, name, targets, size):
    path = write(targets=targets, mask=MASK, lengths=LENGTHS)
    batch = own(path, loss=name, dtype="float64")
    assert batch.heads[0].size == size
    assert batch.heads[0].loss == name
    stack = init_stack("gru", hidden_size=4, heads=batch, dtype="float64")
    data = as_data(batch, stack)  # one a sequence, laid out over the steps
    whole = Batch(inputs=data.inputs, targets=data.targets, mask=data.mask.astype(bool), heads=batch.heads)
    known = data.targets[whole.mask].astype(float)
    share = known.mean(axis=0)
    if name == "cross_entropy":
        share = np.bincount(known[:, 0].astype(int), minlength=size) / len(known)
        best = np.log(np.maximum(share, 1e-300))
    elif name == "bernoulli":
        best = np.log(share) - np.log1p(-share)
    else:
        best = share
    outputs = np.broadcast_to(best, (T, B, size))
    assert batch.baseline == pytest.approx(loss(whole, outputs), rel=1e-12)
    assert batch.baseline <= loss(whole, outputs + 0.01 * np.arange(1, size + 1))


def test_one_target_a_sequence_is_that_of_its_last_step(write):
    batch = own(write(targets=np.arange(B), lengths=LENGTHS))
    data = as_data(batch, init_stack("gru", hidden_size=4, heads=batch))
    np.testing.assert_array_equal(data.mask, np.arange(T)[:, None] == LENGTHS - 1)
    np.testing.assert_array_equal(data.targets[LENGTHS - 1, np.arange(B), 0], np.arange(B))
    silent = np.ones((T, B), bool)
    silent[LENGTHS[3] - 1, 3] = False
    batch = own(write(targets=np.arange(B), lengths=LENGTHS, mask=silent))
    assert batch.mask.sum(axis=0).tolist() == [int(b != 3) for b in range(B)]


def test_as_many_sequences_as_steps_are_read_as_steps(tmp_path):
    np.savez(tmp_path / "x.npz", inputs=INPUTS[:, :T], targets=np.ones((T, T)))
    assert own(tmp_path / "x.npz").targets.shape == (T, T, 1)


def test_what_does_not_count_may_be_anything(write):
    targets = np.where(MASK & RUNNING, 1.0, np.nan)
    batch = own(write(targets=targets, mask=MASK, lengths=LENGTHS))
    assert np.isfinite(batch.targets).all()
    assert batch.baseline == 0
    own(write(targets=np.where(MASK & RUNNING, 1, -7), mask=MASK, lengths=LENGTHS), loss="bernoulli")


@given(count=st.integers(2, 40), valid=st.floats(0, 0.5), test=st.floats(0, 0.4))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_splits_share_out_the_sequences(tmp_path_factory, count, valid, test):
    path = tmp_path_factory.mktemp("own") / "own.npz"
    inputs = np.arange(count, dtype=float).reshape(1, count, 1)
    np.savez(path, inputs=inputs, targets=inputs)
    assume(round((valid + test) * count) < count)  # or nothing is left to train on, which is refused
    values = {}
    for split in ("train", "valid", "test"):
        try:
            batch = own(path, split=split, valid_fraction=valid, test_fraction=test)
        except NoSuchSplitError:
            values[split] = []
            continue
        values[split] = batch.inputs[0, :, 0].astype(int).tolist()
        assert batch.provenance["sequences"] == values[split] == sorted(values[split])
        np.testing.assert_array_equal(batch.targets, batch.inputs)
    assert sorted([*values["train"], *values["valid"], *values["test"]]) == list(range(count))
    assert len(values["test"]) == round(test * count)
    assert len(values["valid"]) == round((valid + test) * count) - round(test * count)


def test_a_file_sorted_by_class_is_mixed(write):
    path = write(targets=np.arange(B) >= B // 2)
    valid = own(path, loss="cross_entropy", split="valid", valid_fraction=0.4)
    assert set(valid.targets.ravel()) == {0, 1}
    assert valid.heads[0].size == 2
    assert same(valid, own(path, loss="cross_entropy", split="valid", valid_fraction=0.4))


def test_the_classes_are_those_of_the_whole_file(write):
    targets = np.zeros(B, int)
    targets[0] = 7
    for split in ("all", "train", "valid", "test"):
        batch = own(write(targets=targets), loss="cross_entropy", split=split)
        assert batch.heads == (Head("class", 8, "cross_entropy"),)
    assert own(write(targets=targets), loss="cross_entropy", classes=9).heads[0].size == 9
    assert own(write(targets=np.zeros(B, int)), loss="cross_entropy").heads[0].size == 2


def test_it_is_saved_and_loaded_with_its_arguments(write, tmp_path):
    batch = own(write(targets=CLASSES), loss="cross_entropy", split="test")
    batch.save(tmp_path / "batch.npz")
    assert gs.load(tmp_path / "batch.npz") == batch
    provenance = batch.provenance
    assert (provenance["file"], provenance["loss"], provenance["classes"], provenance["split"]) == (
        "own.npz",
        "cross_entropy",
        4,
        "test",
    )
    assert len(provenance["sha256"]) == 64


def test_a_file_that_is_batch_first(tmp_path):
    rng = np.random.default_rng(0)
    inputs, lengths = rng.standard_normal((7, 4, 2)), np.array([7, 3, 5, 7])
    every, last = rng.standard_normal((7, 4, 3)), rng.standard_normal((4, 3))
    mask = np.arange(7)[:, None] < lengths
    for targets in (every, every[..., 0], last, last[:, 0]):
        turned = targets.swapaxes(0, 1) if targets.shape[:2] == (7, 4) else targets
        np.savez(tmp_path / "a.npz", inputs=inputs, targets=targets, mask=mask, lengths=lengths)
        batch = own(tmp_path / "a.npz")
        arrays = {"inputs": inputs.swapaxes(0, 1), "targets": turned, "mask": mask.T, "lengths": lengths}
        np.savez(tmp_path / "b.npz", **arrays)
        other = own(tmp_path / "b.npz", batch_first=True)
        for name in ("inputs", "targets", "mask", "lengths"):
            np.testing.assert_array_equal(getattr(other, name), getattr(batch, name))
    with pytest.raises(ShapeError):
        own(tmp_path / "b.npz")
