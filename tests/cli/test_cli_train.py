"""``gatescope train``: each task once, what it leaves behind, and what it says of what it cannot use."""

import dataclasses
import functools
import importlib
import importlib.util
import inspect
import signal

import numpy as np
import pytest

import gatescope as gs
from gatescope import tasks
from gatescope.cli.train import data, names, parsing, table
from gatescope.datatypes.training_run import Status, TrainingRun
from gatescope.recurrence.initialization import init_stack
from gatescope.reporting.text import percent
from gatescope.training import train
from gatescope.training.dropout import Dropout

SMALL = ["--hidden-size", "4", "--epochs", "2", "--dtype", "float64"]
# Options of each task, and what its table says.
TASKS = {
    "adding": (["--steps", "12", "--sequences", "3"], "baseline"),
    "copying": (["--steps", "10", "--sequences", "3", "--set", "memory=2"], "training accuracy"),
    "temporal-order": (["--steps", "30", "--sequences", "3"], "training accuracy"),
    "counting": (["--steps", "13", "--sequences", "3", "--set", "n_max=6"], "training loss"),
    "delayed-xor": (["--steps", "12", "--sequences", "3"], "training accuracy"),
    "flip-flop": (["--steps", "12", "--sequences", "3", "--set", "pulse=0.2"], "training loss"),
    "long-series": (
        ["--steps", "20", "--sequences", "3", "--set", "lookback=4"],
        "baseline: the best constant",
    ),
    "laser": (["--steps", "50"], "training loss"),
    "digits": (["--sequences", "20"], "test accuracy, of the best model"),
    "characters": (["--data", "text.txt", "--sequences", "3"], "test loss, of the best model"),
}
OPTIONAL = {"digits": "sklearn", "chorales": "music21"}


def started(*arguments):
    return ["train", *arguments, *SMALL]


def test_each_task_that_needs_no_download_is_tried():
    assert set(names.NAMES) - set(TASKS) == {"chorales", "piano-roll", "own"}  # of these, elsewhere


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_trained_on_and_reported_and_stored(name, text, invoke, tmp_path):
    if name in OPTIONAL and importlib.util.find_spec(OPTIONAL[name]) is None:
        pytest.skip(f"{OPTIONAL[name]} is not installed")
    options, said = TASKS[name]
    done = invoke(*started(name, *options), "--plot", "curves.png")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert said in done.stdout
    assert "finished: 2 epochs" in done.stdout
    run = gs.load(tmp_path / "run.npz")
    assert isinstance(run, TrainingRun)
    assert run.history.epoch.tolist() == [1, 2]
    assert run.history.updates[-1] == (20 if name in names.FRESH else 2)
    assert (tmp_path / "curves.png").stat().st_size > 5_000
    assert not list(tmp_path.glob("*checkpoint*"))


def test_clamped_gates_are_said_and_not_counted(invoke, tmp_path):
    options = "--clamp", "f=1.0", "--clamp", "i[0,2]=0.5"
    done = invoke(*started("adding", "--steps", 12, "--sequences", 3), *options)
    assert done.exit_code == 0, done.output
    assert "layers.0.i at 0.5 (unit 0), 0.5 (unit 2); layers.0.f at 1" in " ".join(done.stdout.split())
    run = gs.load(tmp_path / "run.npz")
    assert run.clamp == {"layers.0.i": {"0": 0.5, "2": 0.5}, "layers.0.f": 1.0}
    assert run.count() == 16 * (2 + 4 + 2) + 5 - 6 * (2 + 4 + 2)
    assert (run.model.layers[0].gate("f")["weight_hh"] == 0).all()


def test_layers_of_two_directions(invoke, tmp_path):
    """The laser series is predicted, so the note is there, too."""
    done = invoke(*started("laser", "--steps", 20), "--layers", 2, "--bidirectional")
    assert done.exit_code == 0, done.output
    assert "the model can read what it is to predict" in done.stderr
    assert "lstm 4 and lstm 4 backward + lstm 4 and lstm 4 backward on laser" in done.stdout
    assert list(gs.load(tmp_path / "run.npz").model.directions())[-1] == "layers.1.backward"


def test_the_run_is_that_of_the_function(invoke, tmp_path):
    done = invoke(
        *("train", "adding", "--steps", 12, "--sequences", 3, "--cell", "gru,lstm", "--hidden-size", "4,5"),
        *(
            "--epochs",
            3,
            "--updates-per-epoch",
            2,
            "--lr",
            "0.01",
            "--optimizer",
            "rmsprop",
            "--clip-norm",
            "0.5",
            "--clip-tensor-norm",
            "0.25",
            "--clip-value",
            "0.125",
        ),
        *(
            "--schedule",
            "cosine",
            "--dropout",
            "between=0.2",
            "--weight-noise",
            "0.01",
            "--init",
            "orthogonal",
        ),
        *(
            "--seed",
            7,
            "--validation",
            "--patience",
            9,
            "--snapshot-every",
            2,
            "--bptt-steps",
            6,
            "--stateful",
        ),
        *("--dtype", "float64", "--threads", 1, "--at", "every", "--out", "out/other.npz"),
    )
    assert done.exit_code == 0, done.output
    from gatescope.tasks._adding import adding

    maker = functools.partial(adding, steps=12, sequences=3, dtype="float64")
    stack = init_stack(
        ["gru", "lstm"], hidden_size=[4, 5], heads=maker(seed=7), seed=7, scheme="orthogonal", dtype="float64"
    )
    expected = train.train(
        stack,
        maker,
        epochs=3,
        updates_per_epoch=2,
        lr=0.01,
        optimizer="rmsprop",
        clip_norm=0.5,
        clip_tensor_norm=0.25,
        clip_value=0.125,
        schedule="cosine",
        dropout=Dropout(between=0.2),
        weight_noise=0.01,
        seed=7,
        validation=maker,
        patience=9,
        snapshot_every=2,
        bptt_steps=6,
        stateful=True,
        at="every",
    )
    assert gs.load(tmp_path / "out" / "other.npz") == expected
    assert "gru 4 + lstm 5 on adding" in done.stdout


def test_fixed_data_and_no_clipping(invoke, tmp_path):
    done = invoke(
        *started("adding", "--steps", 12, "--sequences", 4, "--fixed", "--batch-size", 2, "--clip-norm", 0)
    )
    assert done.exit_code == 0, done.output
    run = gs.load(tmp_path / "run.npz")
    assert run.history.updates.tolist() == [2, 4]
    assert run.config["clip_norm"] is None
    assert run.config["fresh data"] is False


def test_probes_are_stored(invoke, tmp_path):
    done = invoke(*started("adding", "--steps", 12, "--sequences", 3, "--probe-every", 1))
    assert done.exit_code == 0, done.output
    assert gs.load(tmp_path / "run.npz").history.half_life.shape == (3, 1)


def test_a_checkpoint_is_resumed(invoke, tmp_path):
    options = [
        "train",
        "adding",
        "--steps",
        12,
        "--sequences",
        3,
        "--hidden-size",
        4,
        "--dtype",
        "float64",
        "--checkpoint",
        "kept.npz",
    ]
    assert invoke(*options, "--epochs", 2).exit_code == 0
    assert (tmp_path / "kept.npz").exists()
    assert invoke(*options, "--epochs", 4).exit_code == 0
    went_on = gs.load(tmp_path / "run.npz")
    assert invoke(*options[:-2], "--epochs", 4, "--out", "whole.npz").exit_code == 0
    assert gs.load(tmp_path / "whole.npz") == went_on


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(invoke, tmp_path, monkeypatch):
    options = started("adding", "--steps", 12, "--sequences", 3, "--updates-per-epoch", 2)
    real, calls = train.Engine.back, []

    def interrupting(self, *args, **keywords):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return real(self, *args, **keywords)

    monkeypatch.setattr(train.Engine, "back", interrupting)
    done = invoke(*options)
    assert done.exit_code == 130, done.output
    (line,) = done.stderr.splitlines()
    assert line == (
        "gatescope: interrupted; what has been trained (1 epoch) is in run.checkpoint.npz; the same command continues "
        "from there"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run.checkpoint.npz"]
    done = invoke(*options)
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
    went_on = gs.load(tmp_path / "run.npz")
    assert invoke(*options, "--out", "whole.npz").exit_code == 0
    assert gs.load(tmp_path / "whole.npz") == went_on


def test_training_that_diverged_is_reported_and_stored(invoke, tmp_path):
    small = started("adding", "--steps", 12, "--sequences", 3, "--lr", "1e300", "--clip-norm", 0)
    done = invoke(*small, "--plot", "curves.png")
    assert done.exit_code == 3, done.output
    assert "diverged" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatescope: diverged: ")
    assert line.endswith("; the run is in run.npz")
    assert gs.load(tmp_path / "run.npz").status is Status.DIVERGED
    assert "3 if training diverged" in " ".join(invoke("train", "--help").output.split())


def test_training_that_diverged_leaves_its_checkpoint(invoke, tmp_path, monkeypatch):
    options = started("adding", "--steps", 12, "--sequences", 3, "--updates-per-epoch", 2)
    real, calls = train.Engine.back, []

    def interrupted_and_then_wrong(self, *args, **keywords):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        score = real(self, *args, **keywords)
        if len(calls) == 4:
            self.gradient[:] = np.nan
        return score

    monkeypatch.setattr(train.Engine, "back", interrupted_and_then_wrong)
    assert invoke(*options).exit_code == 130
    before = (tmp_path / "run.checkpoint.npz").read_bytes()
    done = invoke(*options)
    assert done.exit_code == 3, done.output
    (line,) = done.stderr.splitlines()
    assert line.endswith("; the run is in run.npz, the checkpoint before it in run.checkpoint.npz")
    assert (tmp_path / "run.checkpoint.npz").read_bytes() == before


def test_a_finished_run_is_replaced_if_that_is_asked_for(invoke, tmp_path):
    command = started("adding", "--steps", 12, "--sequences", 3)
    assert invoke(*command).exit_code == 0
    before = (tmp_path / "run.npz").read_bytes()
    refused = invoke(*command, "--seed", 1)
    assert refused.exit_code == 2
    assert (
        "--out 'run.npz' is there already; give another name, or --overwrite to replace it" in refused.stderr
    )
    assert (tmp_path / "run.npz").read_bytes() == before
    assert invoke(*command, "--seed", 1, "--overwrite").exit_code == 0
    assert (tmp_path / "run.npz").read_bytes() != before


def test_no_epochs(invoke, tmp_path):
    small = ["train", "adding", "--steps", 12, "--sequences", 3, "--hidden-size", 4, "--plot", "curves.png"]
    done = invoke(*small, "--epochs", 0)
    assert done.exit_code == 0, done.output
    assert "parameters" in done.stdout
    assert "lowest" not in done.stdout
    assert "not written: curves.png, as there is no epoch to draw" in done.stdout
    assert not (tmp_path / "curves.png").exists()


def test_an_accuracy_is_reported_beside_that_of_the_commonest_answer(invoke):
    done = invoke(*started("temporal-order", "--steps", 20, "--sequences", 7, "--fixed"))
    line = next(line for line in done.stdout.splitlines() if "commonest answer" in line)
    expected = gs.majority_accuracy(tasks.temporal_order(steps=20, sequences=7, seed=0))
    assert percent(expected) in line


def run_of(*, loss, seconds):
    """Return a run with this course, ten updates an epoch."""
    maker = functools.partial(tasks.adding, steps=12, sequences=3)
    stack = init_stack("lstm", hidden_size=4, heads=maker(), seed=0)
    run = train.train(stack, maker, epochs=len(loss), updates_per_epoch=10, validation=maker)
    curves = {"loss": np.array(loss), "seconds": np.array(seconds), "validation_loss": 1.3 * np.array(loss)}
    return dataclasses.replace(run, history=dataclasses.replace(run.history, **curves))


def shown(run, *, baseline=float("nan"), at=None):
    """Return the rows of the table of a run on a task with that baseline."""
    example = dataclasses.replace(tasks.adding(steps=12, sequences=3), baseline=baseline, baseline_of="known")
    material = data.Material(
        task=example, example=example, validation=None, test=None, source="", judged_on="others", fresh=False
    )
    return dict(table.progress_rows(run, material, at))


def test_the_time_of_an_update_is_that_of_the_epochs_that_did_not_compile():
    rows = shown(run_of(loss=[4, 3, 2, 1], seconds=[9.0, 0.2, 0.1, 0.2]))
    assert rows["time of the updates; of one, median over epochs"] == "9.5 s; 20 ms"


def test_a_loss_above_the_baseline_is_said_to_be():
    run = run_of(loss=[0.9, 0.5], seconds=[1, 1])  # the validation loss is 1.3 of that
    for baseline, still_above in {0.4: (True, True), 0.6: (False, True), 0.7: (False, False)}.items():
        rows = shown(run, baseline=baseline)
        losses = rows["training loss, first to last epoch"], rows["validation loss (others), last"]
        assert tuple(text.endswith(", still above the baseline") for text in losses) == still_above
        assert rows["baseline: known"] == f"{baseline:g}"
    for rows in (shown(run), shown(run, baseline=0.4, at="every")):  # none, or none that is comparable
        assert not any("above" in text for text in rows.values())


def test_layers():
    assert parsing.layers("gru", "8", None) == (["gru"], [8])
    assert parsing.layers("gru", "8", 3) == (["gru"] * 3, [8] * 3)
    assert parsing.layers("gru, lstm", "8", None) == (["gru", "lstm"], [8, 8])
    assert parsing.layers("gru", "8,4", None) == (["gru", "gru"], [8, 4])


def test_dropout():
    assert parsing.dropout(None) is None
    assert parsing.dropout("0.5") == Dropout(between=0.5, outputs=0.5)
    assert parsing.dropout("inputs=0.1, recurrent=0.2") == Dropout(inputs=0.1, recurrent=0.2)
    assert [field.name for field in dataclasses.fields(Dropout)] == [
        "inputs",
        "between",
        "outputs",
        "recurrent",
    ]


def test_the_tasks_take_what_they_are_given():
    for name in names.NAMES:
        known = inspect.signature(getattr(tasks, name.replace("-", "_"))).parameters
        assert "dtype" in known
        assert ("seed" in known and "steps" in known and "sequences" in known) or name not in names.FRESH


def test_help_names_the_tasks(invoke):
    done = invoke("train", "--help")
    assert done.exit_code == 0
    assert "flip-flop" in done.output
    said = " ".join(done.output.replace("│", " ").split())  # out of its table
    assert "adam, adamw, rmsprop or sgd" in said
    assert "A bare number is for between and outputs" in said
    assert "test is the same for all seeds" in said
    assert "train" in invoke("--help").output
