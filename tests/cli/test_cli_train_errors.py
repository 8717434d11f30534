"""``gatescope train``, given what it cannot use: one line in the words of its options, status 2, nothing written."""

import pytest
from helpers.command_line import python_in, too_late

from gatescope.training import train

SMALL = ["train", "adding", "--steps", 12, "--sequences", 3, "--hidden-size", 4]


BAD = [
    (["addition"], "there is no task 'addition'; choose one of adding, copying"),
    (["adding", "--steps", "1"], "--steps 1 must be"),
    (["adding", "--sequences", "0"], "--sequences 0 must be"),
    (
        ["adding", "--data", "text.txt"],
        "--data 'text.txt' goes with piano-roll, characters and own, not with adding",
    ),
    (["characters"], "characters reads a file; give it with --data FILE.txt"),
    (["piano-roll"], "give it with --data FILE.mat"),
    (["piano-roll", "--data", "text.txt"], "--data: 'text.txt' is not a .mat file"),
    (["characters", "--data", "missing.txt"], "--data: 'missing.txt' cannot be read: there is no such file"),
    (["laser", "--sequences", "10"], "--sequences 10 does not go with laser"),
    (["laser", "--validation"], "--validation needs data that are held back"),
    (["laser", "--fixed"], "--fixed is for tasks that make fresh data"),
    (
        ["laser", "--updates-per-epoch", "2"],
        "--updates-per-epoch 2 is for fresh data; here an epoch is a pass over the data, so give --batch-size instead",
    ),
    (
        ["adding", "--batch-size", "2"],
        "--batch-size 2 is for data that stay the same; of fresh data give --sequences",
    ),
    (["adding", "--fixed", "--batch-size", "0"], "--batch-size 0 must be a whole number of at least 1"),
    (["adding", "--loss", "mse"], "--loss 'mse' goes with own, not with adding; leave it out"),
    (
        ["adding", "--set", "window=3"],
        "must be left out: adding has nothing else to set than --steps, --sequences, --seed, --dtype",
    ),
    (["adding", "--set", "steps=3"], "--set 'steps=3' has an option of its own; give --steps"),
    (["laser", "--set", "speed=3"], "--set 'speed=3' must be NAME=VALUE with one of"),
    (["characters", "--data", "text.txt", "--set", "split=test"], "training takes the train split"),
    (["copying", "--set", "memory"], "NAME=VALUE with one of symbols, memory"),
    (["copying", "--set", "memory=many"], "--set memory='many' must be a whole number"),
    (["laser", "--set", "standardize=3"], "--set 'standardize=3' must be true or false"),
    (["laser", "--steps", "0"], "--steps 0 must be a whole number from 1 to 10093"),
    (
        ["characters", "--data", "text.txt", "--set", "encoding=foo"],
        "--set encoding='foo' is no text encoding",
    ),
    (["characters", "--data", "text.txt", "--set", "vocabulary=12"], "vocabulary does not have 'a'"),
    (["characters", "--data", "text.txt", "--set", "valid_fraction=2"], "--set valid_fraction=2 must be"),
    (["characters", "--data", "text.txt", "--steps", "1000"], "give fewer --sequences or --steps"),
    (["copying", "--set", "seed=3"], "--set 'seed=3' has an option of its own; give --seed"),
    (["copying", "--set", "dtype=float64"], "give --dtype"),
    (["adding", "--cell", "grue"], "--cell 'grue' is not known"),
    (["adding", "--cell", ","], "names no cell"),
    (["adding", "--cell", "gru,lstm", "--layers", "3"], "--cell has 2 values for 3 layers"),
    (
        ["adding", "--cell", "gru,lstm", "--hidden-size", "4,5,6"],
        "--cell has 2 values, but --hidden-size has 3; give one for all layers, or one each",
    ),
    (["adding", "--layers", "0"], "--layers 0"),
    (["adding", "--hidden-size", "4,5,6", "--layers", "2"], "--hidden-size has 3 values for 2 layers"),
    (["adding", "--hidden-size", "x"], "--hidden-size 'x' must be whole numbers"),
    (["adding", "--hidden-size", "0"], "--hidden-size 0 must be"),
    (["adding", "--lr", "0"], "--lr 0.0 must be a finite number above 0"),
    (["adding", "--lr", "-1"], "--lr -1.0 must be"),
    (["adding", "--lr", "nan"], "--lr nan must be"),
    (
        ["adding", "--optimizer", "adamant"],
        "--optimizer 'adamant' is not known; choose one of adam, adamw, rmsprop, sgd",
    ),
    (["adding", "--schedule", "sine"], "--schedule 'sine' is not known; choose one like 'constant'"),
    (["adding", "--schedule", "step(0,0.5)"], "--schedule 'step(0,0.5)': every = 0 must be"),
    (["adding", "--clip-norm", "-1"], "--clip-norm -1.0 must be"),
    (["adding", "--clip-tensor-norm", "0"], "--clip-tensor-norm 0.0 must be"),
    (["adding", "--clip-value", "-1"], "--clip-value -1.0 must be"),
    (["adding", "--epochs", "-1"], "--epochs -1 must be"),
    (["adding", "--updates-per-epoch", "0"], "--updates-per-epoch 0 must be"),
    (["adding", "--at", "first"], "--at 'first' is not known; choose last or every, or leave it out"),
    (["adding", "--bptt-steps", "0"], "--bptt-steps 0 must be"),
    (
        ["adding", "--stateful"],
        "--stateful carries the state from one window to the next, but there are none; give --bptt-steps",
    ),
    (["adding", "--dropout", "1.5"], "--dropout '1.5' must be a probability of at least 0 and below 1"),
    (["adding", "--dropout", "gates=0.5"], "the names are inputs, between, outputs, recurrent"),
    (["adding", "--dropout", "much"], "--dropout 'much'"),
    (["adding", "--weight-noise", "-1"], "--weight-noise -1.0 must be"),
    (["adding", "--patience", "0"], "--patience 0 must be"),
    (["adding", "--target-loss", "nan"], "--target-loss nan must be a finite number"),
    (["adding", "--probe-every", "0"], "--probe-every 0 must be"),
    (["adding", "--snapshot-every", "0"], "--snapshot-every 0 must be"),
    (["adding", "--seed", "-1"], "--seed -1 must be"),
    (
        ["adding", "--dtype", "float16"],
        "--dtype 'float16' is not one the cells compute in; give float32 or float64",
    ),
    (
        ["adding", "--threads", "0"],
        "--threads 0 must be a whole number of at least 1; left out, it is one a core",
    ),
    (["adding", "--init", "magic"], "--init 'magic' is not known"),
    (["adding", "--init", "chrono(0)"], "--init 'chrono(0)': 0.0 must be a finite number of at least 2"),
    (["adding", "--cell", "rnn", "--init", "chrono"], "--init 'chrono' needs a gate that holds the memory"),
    (["adding", "--out", "run.txt"], "--out 'run.txt' must end in .npz"),
    (["adding", "--out", "folder.npz"], "--out 'folder.npz': it is a folder"),
    (["adding", "--out", "text.txt/run.npz"], "--out 'text.txt/run.npz': 'text.txt' is a file, not a folder"),
    (
        ["adding", "--out", "folder"],
        "--out 'folder': it is a folder; name a file in it, as in folder/out.npz",
    ),
    (["adding", "--checkpoint", "folder"], "--checkpoint 'folder': it is a folder"),
    (["adding", "--plot", "folder"], "--plot 'folder': it is a folder"),
    (["adding", "--checkpoint", "kept.txt"], "--checkpoint 'kept.txt' must end in .npz"),
    (["adding", "--checkpoint", "run.npz"], "is --out too"),
    (["adding", "--checkpoint", "torn.npz"], "--checkpoint 'torn.npz' cannot be resumed from"),
    (["adding", "--plot", "curves.pdf"], "--plot 'curves.pdf' must end in .png or .svg"),
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
    said = {
        ("--lr", "0.5"): "--lr (0.001 there, 0.5 here)",
        ("--optimizer", "sgd"): "--optimizer (adam there, sgd here)",
        (
            "--cell",
            "gru,lstm",
        ): "--cell (lstm there, gru,lstm here), --hidden-size (4 there, 4,4 here), initial weights",
        ("--clip-norm", "0"): "--clip-norm (1.0 there, none here)",
        (
            "--stateful",
            "--bptt-steps",
            "3",
        ): "--bptt-steps (none there, 3 here), --stateful (no there, yes here)",
        ("--dropout", "inputs=0.1"): "--dropout inputs (0.0 there, 0.1 here)",
        ("--fixed",): "--fixed (only here), data",
        ("--validation",): "--validation",
    }
    for others, changes in said.items():
        done = invoke(*options, "--epochs", 4, *others)
        assert done.exit_code == 2, done.output
        assert done.stderr == (
            f"gatescope: error: --checkpoint 'kept.npz' is of a training with other {changes}; give the same to go on, "
            "or another --checkpoint to begin anew\n"
        )
    other_task = ("train", "copying", *options[2:], "--set", "memory=2", "--epochs", 4)
    assert "with other TASK (adding there, copying here); give" in invoke(*other_task).stderr
    done = invoke(*options, "--epochs", 3)
    assert done.stderr == (
        "gatescope: error: --epochs 3 is less than what --checkpoint 'kept.npz' has come to, epoch 4; give at least "
        "that, or another --checkpoint\n"
    )


def test_a_checkpoint_beside_out_is_told_of_as_such(invoke, tmp_path, monkeypatch):
    options = [*SMALL, "--epochs", 2]
    assert invoke(*options, "--checkpoint", "run.checkpoint.npz").exit_code == 0
    monkeypatch.setattr(train.Engine, "back", too_late)
    done = invoke(*options, "--seed", 1)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith(
        "gatescope: error: the checkpoint 'run.checkpoint.npz' is of a training with other"
    )
    assert (
        "give the same to go on, or another --out, or delete 'run.checkpoint.npz', to begin anew"
        in done.stderr
    )
    (tmp_path / "run.checkpoint.npz").write_bytes(b"PK\x03\x04torn")
    done = invoke(*options)
    assert done.stderr.startswith(
        "gatescope: error: the checkpoint 'run.checkpoint.npz' cannot be resumed from"
    )
    assert (
        "; give another --out, or delete this one if it is a damaged checkpoint of gatescope" in done.stderr
    )


def test_lack_of_memory_is_told(invoke, monkeypatch):
    def greedy(*_args, **_keywords):
        raise MemoryError

    monkeypatch.setattr(train.Engine, "back", greedy)
    done = invoke(*SMALL)
    assert done.exit_code == 2, done.output
    assert (
        "there is not enough memory; give fewer --steps, --sequences or units (--hidden-size)" in done.stderr
    )
