"""``gatescope train``, given what it cannot use: one line in the words of its options, status 2, nothing written."""

import pytest
from helpers.command_line import python_in, too_late

from gatescope.training import train

SMALL = ["train", "adding", "--steps", 12, "--sequences", 3, "--hidden-size", 4, "--dtype", "float64"]


BAD = [
    (["addition"], "TASK 'addition' is not known; choose from adding, copying"),
    (
        ["adding", "--data", "text.txt"],
        "--data 'text.txt' goes with piano-roll, characters and own, not with adding",
    ),
    (["characters"], "characters reads a file; give it with --data FILE.txt"),
    (["piano-roll"], "give it with --data FILE.mat"),
    (["piano-roll", "--data", "text.txt"], "'text.txt' is not a .mat file"),
    (["characters", "--data", "missing.txt"], "'missing.txt'"),
    (["laser", "--sequences", "10"], "--sequences 10 does not go with laser"),
    (["laser", "--fixed"], "--fixed is for tasks that make fresh data"),
    (["laser", "--updates-per-epoch", "2"], "--updates-per-epoch 2 is for fresh data"),
    (["adding", "--batch-size", "2"], "--batch-size 2 is for data that stay the same; give --sequences"),
    (["adding", "--loss", "mse"], "--loss 'mse' goes with own, not with adding; leave it out"),
    (
        ["adding", "--set", "window=3"],
        "one of largest (options of their own: --steps, --sequences, --seed, --dtype)",
    ),
    (["adding", "--set", "steps=3"], "--set 'steps=3' has an option of its own; give --steps"),
    (["laser", "--set", "speed=3"], "--set 'speed=3' must be NAME=VALUE with one of"),
    (["characters", "--data", "text.txt", "--set", "split=test"], "training takes the train split"),
    (["copying", "--set", "memory"], "NAME=VALUE with one of symbols, memory"),
    (["laser", "--set", "standardize=3"], "--set 'standardize=3' must be true or false"),
    (["adding", "--cell", ","], "names no cell"),
    (["adding", "--cell", "gru,lstm", "--layers", "3"], "--cell has 2 values for 3 layers"),
    (
        ["adding", "--cell", "gru,lstm", "--hidden-size", "4,5,6"],
        "--cell has 2 values, but --hidden-size has 3; give one for all layers, or one each",
    ),
    (
        ["adding", "--bidirectional", "--bptt-steps", "6"],
        "--bptt-steps 6 cuts sequences, and layers.0.backward takes them from their last step on",
    ),
    (
        ["adding", "--bidirectional", "--bptt-steps", "6", "--stateful"],
        "leave out --stateful and --bptt-steps",
    ),
    (["adding", "--layers", "0"], "--layers 0"),
    (["adding", "--hidden-size", "x"], "--hidden-size 'x' must be whole numbers"),
    (["adding", "--lr", "0"], "--lr 0.0 must be a finite number above 0"),
    (["adding", "--clip-norm", "-1"], "--clip-norm -1.0 must be"),
    (["adding", "--dropout", "1.5"], "--dropout '1.5' must be a probability of at least 0 and below 1"),
    (["adding", "--dropout", "gates=0.5"], "the names are inputs, between, outputs, recurrent"),
    (["adding", "--threads", "0"], "--threads 0 must be a whole number from 1 to"),
    (["adding", "--init", "chrono(0)"], "must be a finite number of at least 2"),
    (["adding", "--cell", "rnn", "--init", "chrono"], "--init 'chrono' needs a gate"),
    (["adding", "--out", "run.txt"], "--out 'run.txt' must end in .npz"),
    (["adding", "--out", "folder"], "--out 'folder' is a folder; name a file in it, as in folder/out.npz"),
    (
        ["adding", "--out", "text.txt/run.npz"],
        "--out 'text.txt/run.npz' cannot be written: 'text.txt' is a file, not a folder",
    ),
    (["adding", "--checkpoint", "folder"], "--checkpoint 'folder' is a folder"),
    (["adding", "--checkpoint", "run.npz"], "is --out too"),
    (["adding", "--plot", "curves.bmp"], "--plot 'curves.bmp' must end in one of .png, .svg, .pdf"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_status_2(arguments, message, text, invoke, tmp_path, monkeypatch):
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(train.Engine, "back", too_late)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = invoke("train", *arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatescope: error: ")
    assert message in line
    assert python_in(line) == []
    assert done.stdout == ""
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_other_options(invoke, monkeypatch):
    options = [*SMALL, "--checkpoint", "kept.npz"]
    assert invoke(*options, "--epochs", 4).exit_code == 0
    monkeypatch.setattr(train.Engine, "back", too_late)
    changes = {
        ("--lr", "0.5"): "--lr (0.001 there, 0.5 here)",
        ("--cell", "gru,lstm"): "--cell (lstm there, gru,lstm here), --hidden-size",
        ("--stateful", "--bptt-steps", "3"): "--bptt-steps (none there, 3 here), --stateful",
        ("--dropout", "inputs=0.1"): "--dropout",
        ("--bidirectional",): "--bidirectional (none there, layers.0.backward here)",
        ("--fixed",): "the data of TASK",
        ("--validation",): "--validation",
    }
    for others, change in changes.items():
        done = invoke(*options, "--epochs", 4, *others)
        assert done.exit_code == 2, done.output
        assert done.stderr.startswith(
            "gatescope: error: --checkpoint 'kept.npz' is the state of a call of train"
        )
        assert change in done.stderr
    other_task = ("train", "copying", *options[2:], "--set", "memory=2", "--epochs", 4)
    assert "TASK (adding there, copying here)" in invoke(*other_task).stderr
    done = invoke(*options, "--epochs", 3)
    assert done.stderr.startswith("gatescope: error: --epochs 3 is less than what --checkpoint")


def test_a_checkpoint_beside_out_is_named_as_such(invoke, tmp_path, monkeypatch):
    options = [*SMALL, "--epochs", 2]
    assert invoke(*options, "--checkpoint", "run.checkpoint.npz").exit_code == 0
    monkeypatch.setattr(train.Engine, "back", too_late)
    expected = "gatescope: error: the checkpoint 'run.checkpoint.npz' "
    assert invoke(*options, "--seed", 1).stderr.startswith(f"{expected}is the state of a call of train")
    (tmp_path / "run.checkpoint.npz").write_bytes(b"PK\x03\x04torn")
    assert invoke(*options).stderr.startswith(f"{expected}cannot be resumed from")


def test_lack_of_memory_is_reported(invoke, monkeypatch):
    def greedy(*_args, **_keywords):
        raise MemoryError

    monkeypatch.setattr(train.Engine, "back", greedy)
    done = invoke(*SMALL)
    assert done.exit_code == 2, done.output
    assert "there is not enough memory; use a shorter --steps" in done.stderr
