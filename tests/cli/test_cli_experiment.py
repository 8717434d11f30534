"""``gatescope experiment long-series``: what it prints and writes, stopped and gone on with."""

import signal

import numpy as np
import pytest
from helpers.command_line import python_in, too_late

import gatescope as gs
from gatescope.cli.experiment import FAST
from gatescope.experiments.long_series import run
from gatescope.experiments.long_series import timing as epoch_times
from gatescope.training import train

# Of units and a precision that most tests are in: kernels are compiled in seconds for each.
UNITS = {"hidden_size": 5, "dtype": "float64"}
SMALL = ["experiment", "long-series", "--steps", "50", "--sequences", "3", "--epochs", "3", "--seeds", "2"]
SMALL += ["--hidden-size", "5", "--dtype", "float64"]
FILES = ["curves.png", "curves.svg", "result.npz", "runs", "table.md"]


def test_it_prints_the_table_and_writes_four_files(invoke, tmp_path):
    done = invoke(*SMALL, "--out", "here")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == FILES
    assert done.stdout.startswith("preliminary: LSTM, GRU on 3 series x 50 steps: 3 epochs, 2 seeds")
    assert "Shape and order of the curves are compared, not absolute losses." in done.stdout
    assert "3.84 %" in done.stdout
    assert done.stderr.splitlines()[0] == "run 1 of 4: lstm, seed 0"
    assert (tmp_path / "here" / "table.md").read_text().startswith("# preliminary: ")
    result = gs.load(tmp_path / "here" / "result.npz")
    assert result == run.run_long_series(
        tmp_path / "again", steps=50, sequences=3, epochs=3, seeds=2, **UNITS
    )
    assert (tmp_path / "here" / "curves.png").stat().st_size > 20_000


@pytest.mark.slow  # compiles kernels of its own
def test_its_options_are_those_of_the_function(invoke, tmp_path):
    options = [
        "--cells",
        "gru, rnn",
        "--lookback",
        "3",
        "--data-seed",
        "4",
    ]
    done = invoke(*SMALL, *options, "--threads", "1", "--out", "here")
    assert done.exit_code == 0, done.output
    arguments = {"cells": ("gru", "rnn"), "lookback": 3, "data_seed": 4, **UNITS}
    expected = run.run_long_series(tmp_path / "again", steps=50, sequences=3, epochs=3, seeds=2, **arguments)
    assert gs.load(tmp_path / "here" / "result.npz") == expected


@pytest.mark.parametrize("fast", [False, True])
def test_the_sizes(fast, invoke, monkeypatch):
    seen = {}

    def caught(_folder, **keywords):
        seen.update(keywords)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_long_series", caught)
    command = ["experiment", "long-series", *(["--fast"] if fast else []), "--epochs", "7"]
    invoke(*command, "--workers", "2", "--part", "1/2")
    full = {"seeds": 10, "epochs": 1000, "steps": 20_000, "sequences": 40}
    expected = {**(FAST if fast else full), "epochs": 7}
    assert {name: seen[name] for name in expected} == expected
    assert seen["cells"] == ["lstm", "gru"]
    assert (seen["workers"], seen["executor"], seen["part"]) == (2, None, "1/2")


def test_ctrl_c_leaves_the_runs_and_the_same_command_resumes(invoke, tmp_path, monkeypatch):
    real, calls = train.Engine.back, []

    def interrupting(self, *args, **keywords):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return real(self, *args, **keywords)

    monkeypatch.setattr(train.Engine, "back", interrupting)
    done = invoke(*SMALL, "--out", "here")
    assert done.exit_code == 130, done.output
    line = done.stderr.splitlines()[-1]
    assert (
        line
        == "gatescope: interrupted; what has been trained is in here/runs; the same command continues from there"
    )
    assert not (tmp_path / "here" / "result.npz").exists()
    trained = len(calls)
    done = invoke(*SMALL, "--out", "here")
    assert done.exit_code == 0, done.output
    timing = 4 * (epoch_times.ROUNDS + 1)
    assert len(calls) - trained - timing == 4 * 3 - 5  # the fifth was done to its end
    assert np.isfinite(gs.load(tmp_path / "here" / "result.npz").loss).all()


BAD = [
    (["--cells", "lstm,grue"], "'grue' is not known"),
    (["--cells", "gru,gru"], "--cells 'gru,gru' names a cell twice; give each once"),
    (["--cells", ","], "--cells ',' names no cell; give for example lstm,gru"),
    (["--seeds", "0"], "--seeds 0 must be"),
    (["--epochs", "0"], "--epochs 0 must be"),
    (["--steps", "2"], "--steps 2 must be"),
    (["--lookback", "0"], "--lookback 0 must be"),
    (["--dtype", "float16"], "--dtype 'float16' is not one"),
    (["--hidden-size", "0"], "--hidden-size 0 must be"),
    (["--data-seed", "-1"], "--data-seed -1 must be"),
    (["--threads", "0"], "--threads 0 must be a whole number from 1 to"),
    (["--out", "file.txt"], "--out 'file.txt' cannot be written: 'file.txt' is a file, not a folder"),
    (["--out", "older"], "older/runs' holds 'settings.json' of an older gatescope"),
    (["--workers", "0"], "--workers 0 must be"),
    (["--scheduler", "nowhere"], "--scheduler 'nowhere' is no address"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_status_2(arguments, message, invoke, tmp_path, monkeypatch):
    (tmp_path / "file.txt").write_text("")
    if "older" in arguments:
        (tmp_path / "older" / "runs").mkdir(parents=True)
        (tmp_path / "older" / "runs" / "settings.json").write_text("{}")
    monkeypatch.setattr(train.Engine, "back", too_late)
    done = invoke(*SMALL, *arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatescope: error: ")
    assert message in line
    assert python_in(line) == []
    assert done.stdout == ""


def test_help(invoke):
    assert "long-series" in invoke("experiment", "--help").output
    done = invoke("experiment", "long-series", "--help")
    assert done.exit_code == 0
    assert "20,000" in done.output


def test_help_says_how_long_it_takes(invoke):
    said = " ".join(invoke("experiment", "long-series", "--help").output.replace("│", " ").split())
    assert "about half an hour on two cores" in said
