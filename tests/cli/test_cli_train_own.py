"""``gatescope train own``: arrays of the user's, a table of the user's, and what cannot be trained on."""

import numpy as np
import pytest
from helpers.command_line import python_in, too_late

import gatescope as gs
from gatescope.reporting.text import number
from gatescope.training import train as loop

SMALL = ["--hidden-size", "4", "--epochs", "2", "--overwrite", "--dtype", "float64"]
STEPS, SEQUENCES = 9, 10


@pytest.fixture
def files(tmp_path):
    """``own.npz`` with a number at every step, ``class.npz`` with one class a sequence, a table, and wrong ones."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((STEPS, SEQUENCES, 2))
    targets = inputs.cumsum(axis=0)[..., 0]
    np.savez(tmp_path / "own.npz", inputs=inputs, targets=targets)
    np.savez(tmp_path / "class.npz", inputs=inputs, targets=np.arange(SEQUENCES) % 3)
    np.savez(tmp_path / "misspelt.npz", inputs=inputs, targets=targets, length=np.full(SEQUENCES, 3))
    np.savez(tmp_path / "alone.npz", inputs=inputs)
    np.savez(tmp_path / "pickle.npz", inputs=inputs, targets=np.array([None]))
    np.savez(tmp_path / "few.npz", inputs=inputs[:, :2], targets=targets[:, :2])
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    rows = "\n".join(f"{step % 7},{step % 5}" for step in range(60))
    (tmp_path / "series.csv").write_text(f"open,close\n{rows}\n")
    (tmp_path / "words.csv").write_text("1,2\n3,many\n")
    (tmp_path / "words.txt").write_text("to be or not to be\nthat is the question\n")


def test_numbers_at_every_step(files, invoke, tmp_path):
    done = invoke("train", "own", "--data", "own.npz", "--batch-size", 4, *SMALL)
    assert done.exit_code == 0, done.output
    assert "lstm 4 on own of own.npz" in done.stdout
    assert "baseline: the best constant" in done.stdout
    assert "validation loss (valid split), last" in done.stdout
    assert "test loss, of the best model" in done.stdout
    run = gs.load(tmp_path / "run.npz")
    assert run.history.updates.tolist() == [2, 4]  # eight sequences, four at a time
    batch = gs.tasks.own(tmp_path / "own.npz", split="train")
    assert batch.inputs.shape[1] == 8
    assert [tuple(head) for head in run.config["heads"]] == [("y", 1, "mse", 1.0)]


def test_classes(files, invoke, tmp_path):
    done = invoke("train", "own", "--data", "class.npz", "--loss", "cross-entropy", *SMALL)
    assert done.exit_code == 0, done.output
    assert "validation accuracy, last" in done.stdout
    assert gs.load(tmp_path / "run.npz").model.heads[0].size == 3
    options = ["--set", "classes=5", "--set", "valid_fraction=0", "--set", "test_fraction=0"]
    done = invoke("train", "own", "--data", "class.npz", "--loss", "cross-entropy", *options, *SMALL)
    assert done.exit_code == 0, done.output
    assert "validation" not in done.stdout
    assert "test loss" not in done.stdout
    assert gs.load(tmp_path / "run.npz").model.heads[0].size == 5


def test_a_table_is_left_as_the_model_takes_it(files, invoke, tmp_path):
    done = invoke("train", "own", "--data", "series.csv", *SMALL)
    assert done.exit_code == 0, done.output
    rows = np.loadtxt(tmp_path / "series.csv", delimiter=",", skiprows=1)
    train = gs.tasks.next_step(rows, split="train", dtype="float64")
    mean, deviation = (np.array(train.provenance[name]) for name in ("mean", "standard_deviation"))
    series = np.load(tmp_path / "run.inputs.npy")
    np.testing.assert_allclose(series[:, 0], (rows - mean) / deviation, atol=1e-12)
    np.testing.assert_array_equal(series[: len(train.inputs)], train.inputs)
    assert gs.load(tmp_path / "run.npz").provenance["inputs_scale"]["mean"] == mean.tolist()
    assert f"{train.provenance['persistence']:.4g}" in done.stdout  # beside the baseline
    # Who measures it is told that the file's own numbers are others.
    note = invoke("run", "--weights", "run.npz", "--inputs", "run.inputs.npy").stderr
    assert f"(x - mean) / sd with mean {number(mean[0])}, {number(mean[1])} and sd" in note


@pytest.mark.parametrize("option", ["--out", "--checkpoint"])
def test_what_is_read_is_not_written_over(option, files, invoke, tmp_path):
    before = (tmp_path / "own.npz").read_bytes()
    done = invoke("train", "own", "--data", "own.npz", option, tmp_path / "own.npz", *SMALL)
    assert done.exit_code == 2
    assert f"{option} " in done.stderr
    assert "is the file of --data too" in done.stderr
    assert (tmp_path / "own.npz").read_bytes() == before


def test_the_next_row_of_a_table(files, invoke, tmp_path):
    done = invoke("train", "own", "--data", "series.csv", "--bptt-steps", 10, "--stateful", *SMALL)
    assert done.exit_code == 0, done.output
    assert "lstm 4 on own of series.csv" in done.stdout
    assert "validation loss (valid split), last" in done.stdout
    assert "test loss" in done.stdout
    assert gs.load(tmp_path / "run.npz").history.updates[-1] == 10  # 48 rows, 47 with another after them
    done = invoke(
        "train", "own", "--data", "series.csv", "--loss", "mse", "--set", "standardize=false", *SMALL
    )
    assert done.exit_code == 0, done.output
    baseline = gs.tasks.next_step(
        gs.io.read_series(tmp_path / "series.csv"), standardize=False, split="train"
    ).baseline
    assert f"{baseline:.4g}" in done.stdout


def test_too_few_to_hold_back(files, invoke):
    done = invoke("train", "own", "--data", "few.npz", *SMALL)
    assert done.exit_code == 0, done.output
    assert "validation" not in done.stdout


BAD = [
    ([], "own reads a file; give it with --data FILE.npz or FILE.csv"),
    (["--data", "missing.npz"], "'missing.npz'"),
    (["--data", "torn.npz"], "'torn.npz' is not a readable .npz file"),
    (["--data", "words.csv"], "'words.csv', line 2, column 2: 'many' is not a number"),
    (["--data", "words.txt"], "'words.txt' holds words, not numbers; a text is read with train characters"),
    (["--data", "own.bin"], "'own.bin' ends in '.bin'"),
    (["--data", "alone.npz"], "'alone.npz' has no array 'targets', but 'inputs'"),
    (
        ["--data", "misspelt.npz"],
        "'misspelt.npz' holds 'length', which is none of inputs, targets, mask",
    ),
    (["--data", "pickle.npz"], "pickled Python objects, which are never loaded"),
    (
        ["--data", "own.npz", "--loss", "l1"],
        "--loss 'l1' is not known; choose from mse, cross-entropy, bernoulli",
    ),
    (
        ["--data", "own.npz", "--loss", "cross-entropy"],
        "needs whole numbers from 0 to 65535, the classes",
    ),
    (
        ["--data", "class.npz", "--loss", "bernoulli"],
        "the head 'y' with the loss bernoulli needs 0 or 1",
    ),
    (
        ["--data", "own.npz", "--set", "classes=3"],
        "goes with the cross-entropy, not with mse",
    ),
    (
        ["--data", "class.npz", "--loss", "cross-entropy", "--set", "classes=2"],
        "'class.npz': targets[2, 0] is 2; the head 'class' with the loss cross_entropy",
    ),
    (["--data", "class.npz", "--at", "every"], "--at 'every' needs a target at every step"),
    (["--data", "own.npz", "--steps", "3"], "--steps 3 does not go with own"),
    (["--data", "own.npz", "--fixed"], "--fixed is for tasks that make fresh data, and own does not"),
    (
        ["--data", "few.npz", "--validation"],
        "own of few.npz has none; give a larger --set valid_fraction=..., or leave it out",
    ),
    (
        ["--data", "own.npz", "--set", "valid_fraction=0.6", "--set", "test_fraction=0.4"],
        "leave nothing to train on",
    ),
    (
        ["--data", "series.csv", "--loss", "bernoulli"],
        "--loss 'bernoulli' needs targets of that kind, from an npz",
    ),
    (["--data", "series.csv", "--set", "standardize=3"], "--set 'standardize=3' must be true or false"),
    (["--data", "series.csv", "--dtype", "float16"], "--dtype 'float16' is not one"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_status_2(arguments, message, files, invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.Engine, "back", too_late)
    before = sorted(tmp_path.rglob("*"))
    done = invoke("train", "own", *arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatescope: error: ")
    assert message in line
    assert python_in(line.partition("; write numpy.savez")[0].replace("pickled Python objects", "")) == []
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before
