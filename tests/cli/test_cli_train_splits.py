"""``gatescope train`` on data with splits: what is validated and tested on, and what there is to say without them."""

import functools

import numpy as np
import pytest
import scipy.io
from helpers.command_line import too_late

import gatescope as gs
from gatescope import tasks
from gatescope.cli.train import names
from gatescope.training import train


def started(*arguments):
    return ["train", *arguments, "--hidden-size", "4", "--epochs", "2", "--overwrite"]


def test_an_archive_of_piano_rolls_has_three_splits(invoke, tmp_path, monkeypatch):
    """The reader has tests of its own: here, what is made of the splits."""
    asked = []

    def piano_roll(path, *, split="train", steps=None, dtype="float32"):
        asked.append(split)
        return tasks.laser(steps={"train": 30, "valid": 20, "test": 10}[split], dtype=dtype)

    monkeypatch.setattr(tasks, "piano_roll", piano_roll, raising=False)
    done = invoke(*started("piano-roll", "--data", "x.mat"))
    assert done.exit_code == 0, done.output
    assert asked == ["train", "valid", "test"]
    asked.clear()
    assert "validation loss (valid split), last" in done.stdout
    assert "test loss, of the best model" in done.stdout
    assert "on piano-roll of x.mat" in done.stdout
    done = invoke(*started("piano-roll", "--data", "x.mat", "--no-validation"))
    assert asked == ["train", "test"]
    assert "validation" not in done.stdout
    assert "test loss" in done.stdout


def archive(path, **parts):
    """Return a small archive of piano rolls, with these parts."""
    rolls = {}
    for name, pieces in parts.items():
        rolls[name] = np.empty((1, len(pieces)), object)
        rolls[name][0, :] = pieces
    scipy.io.savemat(path, rolls)


ROLLS = [np.eye(5 + k, 88, 30, dtype=np.uint8) for k in range(3)]


@pytest.mark.parametrize(
    "parts", [("train", "valid", "test"), ("train", "test"), ("train", "valid"), ("train",)]
)
def test_splits_that_an_archive_lacks_are_done_without(parts, invoke, tmp_path):
    archive(tmp_path / "x.mat", **{f"{part}data": ROLLS for part in parts})
    done = invoke(*started("piano-roll", "--data", "x.mat"))
    assert done.exit_code == 0, done.output
    assert ("validation loss (valid split), last" in done.stdout) == ("valid" in parts)
    assert ("validation" in done.stdout) == ("valid" in parts)  # never on the test split
    assert ("test loss, of the best model" in done.stdout) == ("test" in parts)


def test_damage_is_not_taken_for_a_split_that_is_not_there(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(train.Engine, "back", too_late)
    archive(tmp_path / "x.mat", traindata=ROLLS, validdata=[ROLLS[0], "text"], testdata=ROLLS)
    done = invoke(*started("piano-roll", "--data", "x.mat"))
    assert done.exit_code == 2, done.output
    assert "piece 1 of validdata in 'x.mat' is a text" in done.stderr
    archive(tmp_path / "x.mat", traindata=ROLLS, validdata=ROLLS, testdata=[ROLLS[0], "text"])
    done = invoke(*started("piano-roll", "--data", "x.mat"))
    assert done.exit_code == 2, done.output
    assert "piece 1 of testdata" in done.stderr
    archive(tmp_path / "x.mat", traindata=ROLLS)
    done = invoke(*started("piano-roll", "--data", "x.mat", "--validation"))
    assert done.exit_code == 2, done.output
    assert "--validation needs a valid split, and piano-roll of x.mat has none; leave it out" in done.stderr


@pytest.mark.parametrize("name", [name for name in names.FIXED if name not in names.FROM_FILE])
def test_what_is_chosen_by_is_never_what_is_tested_on(name, invoke, monkeypatch):
    """Tasks with a test split have a valid split beside it, of which only the optional packages need be there."""
    series, asked = tasks.laser, []

    @functools.wraps(getattr(tasks, name))
    def split_of(*, split="train", dtype="float32", **_):
        asked.append(split)
        return series(steps={"train": 30, "valid": 20, "test": 10}[split], dtype=dtype)

    monkeypatch.setattr(tasks, name, split_of)
    done = invoke(*started(name))
    assert done.exit_code == 0, done.output
    assert asked == ["train", "valid", "test"]
    assert "validation loss (valid split), last" in done.stdout
    assert "test loss, of the best model" in done.stdout


def test_a_text_is_trained_on_without_what_is_held_back(text, invoke, tmp_path):
    options = started("characters", "--data", "text.txt", "--sequences", 3)
    done = invoke(*options, "--no-validation", "--set", "valid_fraction=0")
    assert done.exit_code == 0, done.output
    assert "validation" not in done.stdout
    assert "test loss, of the best model" in done.stdout
    done = invoke(*options, "--set", "test_fraction=0", "--set", "valid_fraction=0.2")
    assert done.exit_code == 0, done.output
    assert "validation loss (valid split), last" in done.stdout
    assert "none: split 'test' of 'text.txt' has 0 characters" in done.stdout


def test_a_short_text_needs_no_validation(invoke, tmp_path):
    (tmp_path / "text.txt").write_text("abcabcaabb" * 2)
    options = started("characters", "--data", "text.txt", "--sequences", 3)
    done = invoke(*options)
    assert done.exit_code == 2, done.output
    assert "split 'valid' of 'text.txt' has 2 characters" in done.stderr
    assert "give fewer --sequences, or --no-validation" in done.stderr
    done = invoke(*options, "--no-validation")
    assert done.exit_code == 0, done.output
    assert "none: split 'test' of 'text.txt' has 2 characters" in done.stdout
    assert gs.load(tmp_path / "run.npz").history.validation_loss.size == 0
    done = invoke(*options, "--no-validation", "--sequences", 20)
    assert done.exit_code == 2, done.output
    assert "split 'train'" in done.stderr
