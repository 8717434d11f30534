"""Piano rolls: what is read from an archive, what is predicted, the baseline, and files that are none."""

import functools
import math
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from helpers.piano_rolls import LENGTHS, make_archive, pieces, save_archive

from gatescope.datatypes import Head
from gatescope.errors import (
    DtypeError,
    FileFormatError,
    ShapeError,
    UnknownNameError,
    ValueRangeError,
)
from gatescope.tasks._piano_roll import piano_roll


@pytest.fixture
def archive():
    return make_archive()


@pytest.fixture
def write(tmp_path):
    return functools.partial(save_archive, tmp_path / "music.mat")


# ---- what is read and predicted ----


@pytest.mark.parametrize(("split", "name"), list(zip(("train", "valid", "test"), LENGTHS, strict=True)))
def test_every_step_is_predicted_from_the_one_before(write, archive, split, name):
    batch = piano_roll(write(archive), split=split)
    assert batch.lengths.tolist() == list(LENGTHS[name])
    assert batch.inputs.shape == batch.targets.shape == (max(LENGTHS[name]), len(LENGTHS[name]), 88)
    assert batch.inputs.dtype == batch.targets.dtype == np.float32
    assert batch.inputs.flags.c_contiguous
    assert batch.targets.flags.c_contiguous
    assert batch.heads == (Head("notes", 88, "bernoulli"),)
    for b, piece in enumerate(archive[name][0]):
        steps = len(piece)
        np.testing.assert_array_equal(batch.targets[:steps, b], piece)
        np.testing.assert_array_equal(batch.inputs[1:steps, b], piece[:-1])
        assert not batch.inputs[0, b].any()  # the first step is predicted from nothing, and counts
        assert batch.mask[:, b].tolist() == [True] * steps + [False] * (len(batch.mask) - steps)
        assert not batch.inputs[steps:, b].any()
        assert not batch.targets[steps:, b].any()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.float32, np.int16, np.int64, bool])
@pytest.mark.parametrize("column", [False, True])
def test_all_forms_of_an_archive_give_the_same(write, compressed, dtype, column):
    content = {name: pieces(lengths, dtype=dtype) for name, lengths in LENGTHS.items()}
    if column:
        content = {name: cells.T for name, cells in content.items()}
    expected = {name: pieces(lengths) for name, lengths in LENGTHS.items()}
    batch = piano_roll(write({**content, "extra": np.arange(3)}, do_compression=compressed), dtype="float64")
    assert batch.inputs.dtype == np.float64
    assert batch == piano_roll(write(expected), dtype="float64")


def test_a_range_of_notes(write, archive):
    path = write(archive)
    whole, part = piano_roll(path), piano_roll(path, min_note=40, max_note=60)
    np.testing.assert_array_equal(part.targets, whole.targets[:, :, 19:40])
    assert part.heads == (Head("notes", 21, "bernoulli"),)
    assert part.provenance["notes_left_out"] == whole.targets.sum() - part.targets.sum() > 0
    assert whole.provenance["notes_left_out"] == 0
    assert piano_roll(path, min_note=50, max_note=50).inputs.shape == (8, 4, 1)


def test_cut_pieces_predict_every_step_once(write, archive):
    path = write(archive)
    whole, cut = piano_roll(path), piano_roll(path, steps=3)
    assert cut.lengths.tolist() == [3, 3, 3, 3, 3, 2, 3, 2]  # 6, 3, 8 and 5 steps
    assert cut.inputs.shape == (3, 8, 88)
    pairs = {}
    for name, batch in (("whole", whole), ("cut", cut)):
        both = np.concatenate([batch.inputs, batch.targets], axis=2).transpose(1, 0, 2)
        pairs[name] = both[batch.mask.T]
    np.testing.assert_array_equal(
        pairs["cut"], pairs["whole"]
    )  # the same input and target at every step, in order
    assert cut.baseline == whole.baseline


# ---- the baseline ----


def test_the_baseline_is_that_of_independent_notes(write, archive):
    batch = piano_roll(write(archive), split="test", dtype="float64")
    training = np.concatenate(list(archive["traindata"][0])).astype(float)
    on = (training.sum(axis=0) + 0.5) / (len(training) + 1)
    total = 0.0
    for t, b in np.argwhere(batch.mask):
        for k in range(88):
            total -= math.log(on[k] if batch.targets[t, b, k] else 1 - on[k])
    assert batch.baseline == pytest.approx(total / batch.mask.sum(), rel=1e-12)
    assert "training split" in batch.baseline_of
    unheard = (training.sum(axis=0) == 0) & batch.targets.any(axis=(0, 1))
    assert unheard.any()  # such notes are in the case, and cost no infinity
    assert np.isfinite(batch.baseline)


def test_the_baseline_of_the_notes_that_are_kept(write, archive):
    path = write(archive)
    low, high = piano_roll(path, max_note=60), piano_roll(path, min_note=61)
    assert low.baseline + high.baseline == pytest.approx(piano_roll(path).baseline, rel=1e-12)


def test_provenance_and_saving(write, archive, tmp_path):
    batch = piano_roll(write(archive), split="valid")
    assert batch.provenance["file"] == "music.mat"
    assert (batch.provenance["split"], batch.provenance["pieces"]) == ("valid", 2)
    batch.save(tmp_path / "batch.npz")
    loaded = type(batch).load(tmp_path / "batch.npz")
    assert loaded == batch
    assert loaded.provenance == batch.provenance


# ---- arguments ----


def test_arguments_that_are_wrong(write, archive):
    path = write(archive)
    with pytest.raises(UnknownNameError, match=r"split='dev' is not known; choose from train, valid, test"):
        piano_roll(path, split="dev")
    with pytest.raises(ValueRangeError, match=r"min_note=20 must be a whole number from 21 to 108"):
        piano_roll(path, min_note=20)
    with pytest.raises(ValueRangeError, match=r"max_note=109 must be a whole number from 21 to 108"):
        piano_roll(path, max_note=109)
    with pytest.raises(ValueRangeError, match=r"min_note=60 is above `max_note`=50"):
        piano_roll(path, min_note=60, max_note=50)
    with pytest.raises(ValueRangeError, match=r"steps=0 must be a whole number of at least 1"):
        piano_roll(path, steps=0)
    with pytest.raises(DtypeError, match=r"dtype='int8'"):
        piano_roll(path, dtype="int8")


# ---- files that are no archive ----


def test_files_that_cannot_be_read(tmp_path, write):
    with pytest.raises(FileFormatError, match=r"gone.mat.*there is no such file"):
        piano_roll(tmp_path / "gone.mat")
    with pytest.raises(FileFormatError, match=r"it is a folder"):
        piano_roll(tmp_path)
    for content in (b"", b"x" * 50, b"notes, not MATLAB\n" * 30, b"\0" * 500):
        with pytest.raises(FileFormatError, match=r"music.mat' is not a .mat file of MATLAB's level 5"):
            piano_roll(write(content))
    with pytest.raises(FileFormatError, match=r"looks like a pickle, which is never loaded"):
        piano_roll(write(b"\x80\x04}q\0." * 100))
    with pytest.raises(FileFormatError, match=r"version 7.3 \(HDF5\), which is not read; .*save -v7"):
        piano_roll(write(b"MATLAB 7.3 MAT-file, Platform".ljust(124) + b"\0\2IM" + b"\0" * 600))


def test_a_split_that_is_missing(write, archive):
    del archive["validdata"]
    path = write(archive)
    assert piano_roll(path, split="test").inputs.shape[1] == 3
    with pytest.raises(FileFormatError, match=r"has no 'validdata'; it holds 'traindata', 'testdata'"):
        piano_roll(path, split="valid")
    del archive["traindata"]
    with pytest.raises(FileFormatError, match=r"has no 'traindata'; it holds 'testdata'"):
        piano_roll(write(archive), split="test")


def changed(archive, piece):
    archive["traindata"][0, 2] = piece
    return archive


@pytest.mark.parametrize(
    ("piece", "error", "message"),
    [
        (
            np.zeros((5, 87)),
            ShapeError,
            r"piece 2 of traindata in .*\(5, 87\), but should have \(steps, 88\)",
        ),
        (np.zeros((88, 5)), ShapeError, r"piece 2 of traindata in .*\(88, 5\).*transpose it"),
        (np.zeros((5, 88, 2)), ShapeError, r"piece 2 of traindata in .*\(5, 88, 2\)"),
        (
            np.eye(3, 88) * 2,
            ValueRangeError,
            r"piece 2 of .* holds 2\.?0? at step 0, column 0; .* 0 and 1 only",
        ),
        (np.full((3, 88), np.nan), ValueRangeError, r"piece 2 of .* holds nan at step 0, column 0"),
        (np.zeros((0, 88)), FileFormatError, r"piece 2 of traindata in .* is empty: its shape is \(0, 88\)"),
        (
            np.zeros((2, 88), complex),
            FileFormatError,
            r"piece 2 of .* is a complex matrix, not a matrix of numbers",
        ),
        ("a melody", FileFormatError, r"piece 2 of .* is a text, not a matrix of numbers"),
        ({"notes": 1}, FileFormatError, r"piece 2 of .* is a structure, not a matrix of numbers"),
        (pieces((3, 4)), FileFormatError, r"piece 2 of .* is a cell array, not a matrix of numbers"),
        (
            scipy.sparse.eye(3, 88),
            FileFormatError,
            r"piece 2 of .* is a sparse matrix, not a matrix of numbers",
        ),
    ],
)
def test_pieces_that_are_no_piano_roll(write, archive, piece, error, message):
    path = write(changed(archive, piece))
    with pytest.raises(error, match=message):
        piano_roll(path, split="test")  # the training split is checked too: the baseline is made of it


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.zeros((5, 88)),
            r"'traindata', a 5 x 88 matrix of numbers, which has to be a row or a column of cells",
        ),
        (np.zeros((2, 5, 88)), r"a 2 x 5 x 88 matrix of numbers"),
        (pieces((3, 4, 5, 6)).reshape(2, 2), r"a 2 x 2 cell array, which has to be a row or a column"),
        (np.empty((1, 0), object), r"a 1 x 0 cell array"),
        ({"a": 1.0}, r"a 1 x 1 structure"),
        ("text", r"a 1 x 4 text"),
    ],
)
def test_splits_that_are_no_cells(write, archive, value, message):
    archive["traindata"] = value
    with pytest.raises(FileFormatError, match=message):
        piano_roll(write(archive))


def test_a_batch_that_would_be_absurdly_large(write):
    # One long piece and many short ones: a small file, but every short one is filled up to the long one's length.
    content = {"traindata": np.empty((1, 2001), object)}
    content["traindata"][0, :] = [np.zeros((1, 88), np.uint8)] * 2001
    content["traindata"][0, 0] = np.zeros((20_000, 88), np.uint8)
    path = write(content)
    with pytest.raises(
        ValueRangeError, match=r"would take 26\.2 GiB in float32, more than the 4 GiB.*cut long pieces"
    ):
        piano_roll(path)
    assert piano_roll(path, steps=100).inputs.shape == (100, 2200, 88)


# ---- the real archives, where there are some ----


@pytest.mark.skipif("GATESCOPE_PIANO_ROLLS" not in os.environ, reason="GATESCOPE_PIANO_ROLLS names no folder")
@pytest.mark.parametrize(
    ("name", "counts"), [("JSB_Chorales", (229, 76, 77)), ("Nottingham", (694, 173, 170))]
)
def test_real_archives(name, counts):
    path = Path(os.environ["GATESCOPE_PIANO_ROLLS"]) / f"{name}.mat"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    theirs = scipy.io.loadmat(path)
    for split, key, count in zip(("train", "valid", "test"), LENGTHS, counts, strict=True):
        batch = piano_roll(path, split=split, steps=200)
        assert batch.provenance["pieces"] == count
        expected = np.concatenate(list(theirs[key].ravel()))
        np.testing.assert_array_equal(batch.targets.transpose(1, 0, 2)[batch.mask.T], expected)
        assert 9 < batch.baseline < 12  # networks reach 8 to 9 on the chorales and 3 on Nottingham
