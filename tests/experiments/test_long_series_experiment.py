"""The 20,000-step experiment, small: it can be stopped anywhere, and what it finds depends on its settings alone."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import gatescope as gs
from gatescope.datatypes.long_series import LongSeriesResult
from gatescope.datatypes.training_run import Status
from gatescope.errors import DtypeError, FileFormatError, OutputError, UnknownNameError, ValueRangeError
from gatescope.experiments.long_series import run as experiment
from gatescope.experiments.long_series import timing as times
from gatescope.experiments.long_series.report import write_report
from gatescope.experiments.long_series.run import run_long_series
from gatescope.recurrence.initialization import init_stack
from gatescope.tasks._long_series import long_series as make
from gatescope.training import train
from gatescope.training.optimizers import Adam

SMALL = {"steps": 50, "sequences": 3, "epochs": 3, "seeds": 2, "hidden_size": 5, "dtype": "float64"}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_long_series(tmp_path_factory.mktemp("runs"), **SMALL)


def too_late(*_args, **_kwargs):
    raise AssertionError("something was trained")


def test_it_returns_a_curve_a_cell_and_seed(result):
    assert (result.cells, result.seeds.tolist()) == (("lstm", "gru"), [0, 1])
    assert result.loss.shape == result.gradient_norm.shape == result.clipped.shape == (2, 2, 3)
    for name in ("loss", "gradient_norm", "clipped", "seconds"):
        assert np.isfinite(getattr(result, name)).all()
    assert len(set(result.loss[..., 0].ravel().tolist())) == 4  # every run has weights of its own
    assert (result.loss[..., 2] < result.loss[..., 0]).all()
    assert (result.steps, result.sequences, result.lookback, result.hidden_size) == (50, 3, 8, 5)
    assert result.status == (("finished",) * 2,) * 2
    assert result.preliminary
    assert 2 < result.baseline < 3


def test_a_run_is_what_the_settings_say(result):
    batch = make(steps=50, sequences=3, lookback=8, seed=0, dtype="float64")
    stack = init_stack("gru", hidden_size=5, heads=batch, seed=1, scheme="keras", dtype="float64")
    run = train.train(stack, batch, optimizer=Adam(eps=1e-7), lr=1e-3, clip_norm=1.0, epochs=3, seed=1)
    np.testing.assert_array_equal(result.loss[1, 1], run.history.loss)
    np.testing.assert_array_equal(result.gradient_norm[1, 1], run.history.gradient_norm)


def test_another_learning_rate_and_a_clamped_gate(result, tmp_path):
    batch = make(steps=50, sequences=3, lookback=8, seed=0, dtype="float64")
    stack = init_stack("gru", hidden_size=5, heads=batch, seed=1, scheme="keras", dtype="float64")
    run = train.train(stack, batch, optimizer=Adam(eps=1e-7), lr=0.02, clamp={"r": 1.0}, epochs=3, seed=1)
    arm = {**SMALL, "cells": ("gru",), "lr": 0.02, "clamp": {"r": 1}}
    first = run_long_series(tmp_path / "arm", **arm)
    np.testing.assert_array_equal(first.loss[0, 1], run.history.loss)
    assert (first.settings["lr"], first.settings["clamp"]) == (0.02, {"r": 1.0})
    assert run_long_series(tmp_path / "arm", **arm) == first
    with pytest.raises(ValueRangeError, match=r"`clamp` \(\{'r': 1.0\} there, None here\)"):
        run_long_series(tmp_path / "arm", **{**arm, "clamp": None})
    with pytest.raises(ValueRangeError, match=r"`lr` \(0.02 there, 0.001 here\)"):
        run_long_series(tmp_path / "arm", **{**arm, "lr": 1e-3})


def test_the_settings_of_the_published_experiment_have_not_changed(result, tmp_path):
    """Files of runs that are there already go on: nothing is written of what is as published."""
    assert run_long_series(tmp_path, **SMALL, lr=1e-3, clamp={}) == result
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert [*settings] == [
        *("steps", "sequences", "lookback", "hidden_size", "data_seed", "dtype"),
        *("optimizer", "lr", "epsilon", "clip_norm", "scheme", "epochs"),
    ]
    assert result.settings == {
        "dtype": "float64",
        "optimizer": "adam",
        "lr": 1e-3,
        "epsilon": 1e-7,
        "clip_norm": 1.0,
        "scheme": "keras",
    }


def test_finished_runs_are_not_done_again(result, tmp_path, monkeypatch):
    first = run_long_series(tmp_path, **SMALL)
    assert first == result
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["gru-0.npz", "gru-1.npz", "lstm-0.npz", "lstm-1.npz", "settings.json"]
    monkeypatch.setattr("gatescope.training.loop.Trainer.run", too_late)
    again = run_long_series(tmp_path, **SMALL)
    assert again == result
    fewer = run_long_series(tmp_path, **{**SMALL, "seeds": [1]}, cells=("gru",))
    np.testing.assert_array_equal(fewer.loss[0, 0], result.loss[1, 1])


def test_more_of_everything_continues(result, tmp_path):
    run_long_series(tmp_path, **{**SMALL, "epochs": 1, "seeds": 1}, cells=("gru",))
    assert run_long_series(tmp_path, **SMALL) == result


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_stopped_between_runs_it_resumes(stop, result, tmp_path):
    counted = itertools.count()

    def stopping(_line):
        if next(counted) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_long_series(tmp_path, **SMALL, log=stopping)
    assert len(list(tmp_path.glob("*.npz"))) == stop
    assert run_long_series(tmp_path, **SMALL) == result


def test_ctrl_c_in_a_run_is_an_interrupt_that_says_how_to_go_on(tmp_path, monkeypatch):
    real = train.train

    def interrupted(*args, **keywords):
        run = real(*args, **keywords)
        return dataclasses.replace(run, status=Status.INTERRUPTED)

    monkeypatch.setattr(experiment, "train", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_long_series(tmp_path, **SMALL)
    assert "the same call resumes from there" in caught.value.__notes__[0]


@pytest.mark.slow
def test_killed_at_any_time_it_resumes(result, tmp_path):
    code = (
        "import sys; from gatescope.experiments.long_series.run import run_long_series\n"
        f"run_long_series(sys.argv[1], **{ {**SMALL, 'epochs': 200}!r}, checkpoint_seconds=0)"
    )
    for turn, delay in enumerate((0.0, 0.3)):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        file = tmp_path / ("lstm-0.npz", "gru-1.npz")[turn]
        deadline = time.monotonic() + 120
        while not file.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    whole = run_long_series(tmp_path / "whole", **{**SMALL, "epochs": 200})
    assert run_long_series(tmp_path, **{**SMALL, "epochs": 200}) == whole
    np.testing.assert_array_equal(whole.loss[..., :3], result.loss)


def test_a_run_that_diverged_ends_there(tmp_path, monkeypatch):
    real = train.train

    def diverging(stack, *args, **keywords):
        run = real(stack, *args, **keywords)
        if stack.cells == ("gru",) and keywords["seed"] == 1:
            cut = {
                name: getattr(run.history, name)[:1]
                for name in ("loss", "gradient_norm", "clipped", "seconds")
            }
            return dataclasses.replace(
                run, history=dataclasses.replace(run.history, **cut), status=Status.DIVERGED
            )
        return run

    monkeypatch.setattr(experiment, "train", diverging)
    result = run_long_series(tmp_path, **SMALL)
    assert np.isnan(result.loss[1, 1]).tolist() == [False, True, True]
    assert np.isfinite(result.loss[0]).all()
    assert result.status == (("finished", "finished"), ("finished", "diverged"))
    assert result.diverged().tolist() == [0, 1]


def test_the_epoch_that_diverged_has_no_loss_and_the_report_can_be_written(tmp_path):
    result = run_long_series(tmp_path / "runs", **{**SMALL, "seeds": 1}, lr=1e300)
    assert result.status == (("diverged",),) * 2
    assert np.isnan(result.loss[..., 1:]).all()
    assert np.isnan(result.spikes()).all()
    assert len(write_report(result, tmp_path)) == 4
    assert "GRU: 1 of 1 runs diverged" in (tmp_path / "table.md").read_text()


def test_the_package_has_the_function_and_loads_nothing_heavy():
    code = (
        "import sys, gatescope.experiments as e; assert callable(e.run_long_series)\n"
        "assert not {'matplotlib', 'scipy.stats', 'scipy.optimize'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cells_take_turns(tmp_path):
    lines = []
    run_long_series(tmp_path, **{**SMALL, "seeds": [3, 5, 8], "epochs": 1}, log=lines.append)
    assert [line.split(": ")[1] for line in lines[:-1]] == [
        "lstm, seed 3",
        "gru, seed 3",
        "gru, seed 5",
        "lstm, seed 5",
        "lstm, seed 8",
        "gru, seed 8",
    ]
    assert lines[0].startswith("run 1 of 6")
    assert lines[-1] == "timing epochs, the cells in turns"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"steps": 60}, r"other `steps` \(50 there, 60 here\)"),
        ({"lookback": 4}, r"other `lookback` \(8 there, 4 here\)"),
        ({"data_seed": 1}, r"other `data_seed` \(0 there, 1 here\)"),
        (
            {"hidden_size": 16, "dtype": "float32"},
            r"`hidden_size` \(5 there, 16 here\), `dtype` \('float64' there",
        ),
        ({"epochs": 2}, r"`epochs` \(3 there, 2 here: more can be added"),
    ],
)
def test_a_folder_with_other_settings_is_left_alone(other, message, tmp_path):
    settings = {**SMALL, "seeds": 1}
    run_long_series(tmp_path, **settings, cells=("gru",))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueRangeError, match=message):
        run_long_series(tmp_path, **{**settings, **other}, cells=("gru",))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_damaged_files_are_reported(tmp_path):
    settings = {**SMALL, "seeds": 1, "epochs": 1}
    run_long_series(tmp_path, **settings, cells=("gru",))
    (tmp_path / "gru-0.npz").write_bytes((tmp_path / "gru-0.npz").read_bytes()[:100])
    with pytest.raises(FileFormatError, match=r"gru-0\.npz"):
        run_long_series(tmp_path, **settings, cells=("gru",))
    for text in ("{", "[]", '{"steps": 50}', json.dumps({"epochs": "many"})):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(FileFormatError, match=r"settings\.json.* is damaged"):
            run_long_series(tmp_path, **settings, cells=("gru",))
    (tmp_path / "settings.json").unlink()
    with pytest.raises(FileFormatError, match=r"holds npz files but no 'settings\.json'"):
        run_long_series(tmp_path, **settings, cells=("gru",))


def test_a_torn_run_is_reported_before_another_is_trained(tmp_path, monkeypatch):
    run_long_series(tmp_path, **{**SMALL, "seeds": [1], "epochs": 1}, cells=("gru",))
    file = tmp_path / "gru-1.npz"
    whole = file.read_bytes()
    monkeypatch.setattr("gatescope.training.engine.Engine.back", too_late)
    for torn in (whole[: len(whole) // 2], b"", b"text"):
        file.write_bytes(torn)
        with pytest.raises(
            FileFormatError, match=r"gru-1\.npz' is damaged .*; delete it to train that run anew"
        ):
            run_long_series(tmp_path, **{**SMALL, "epochs": 1})
        assert file.read_bytes() == torn
    np.savez(file, inputs=np.zeros(3))
    with pytest.raises(FileFormatError, match=r"gru-1\.npz' is damaged \(holds no state of gatescope's\)"):
        run_long_series(tmp_path, **{**SMALL, "epochs": 1})
    assert not (tmp_path / "lstm-0.npz").exists()


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"cells": ("lstm", "grue")}, UnknownNameError, "grue"),
        ({"cells": ()}, ValueRangeError, r"cells=\(\) must have at least one value"),
        ({"cells": ("gru", "gru")}, ValueRangeError, "none twice"),
        ({"seeds": 0}, ValueRangeError, "seeds=0"),
        ({"seeds": []}, ValueRangeError, r"seeds=\(\) must have at least one value"),
        ({"seeds": [1, 1]}, ValueRangeError, "none twice"),
        ({"seeds": [-1]}, ValueRangeError, "seeds=-1"),
        ({"epochs": 0}, ValueRangeError, "epochs=0"),
        ({"steps": 0}, ValueRangeError, "steps=0"),
        ({"lookback": 0}, ValueRangeError, "lookback=0"),
        ({"hidden_size": 1.5}, ValueRangeError, r"hidden_size=1\.5"),
        ({"data_seed": -1}, ValueRangeError, "data_seed=-1"),
        ({"threads": 0}, ValueRangeError, "threads=0"),
        ({"lr": 0}, ValueRangeError, "lr=0"),
        ({"clamp": {"i": 1.0}}, UnknownNameError, "clamp='i'"),  # a GRU has no such gate
        ({"clamp": {"o": np.nan}, "cells": ("lstm",)}, ValueRangeError, r"clamp\['o'\]=nan"),
        ({"clamp": 1.0}, DtypeError, "give a mapping"),
    ],
)
def test_bad_input(bad, error, message, tmp_path, monkeypatch):
    monkeypatch.setattr("gatescope.training.engine.Engine.back", too_late)
    with pytest.raises(error, match=message):
        run_long_series(tmp_path, **{**SMALL, **bad})
    assert not list(tmp_path.glob("*.npz"))


def test_a_path_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "nul\0l"):
        with pytest.raises(OutputError):
            run_long_series(folder, **SMALL)


def test_the_result_is_a_result(result, tmp_path):
    result.save(tmp_path / "result.npz")
    assert gs.load(tmp_path / "result.npz") == result
    assert isinstance(result, LongSeriesResult)
    assert result.provenance["dtype"] == "float64"
    assert os.path.getsize(tmp_path / "result.npz") < 20_000


def test_an_epoch_is_timed_for_every_run(result):
    assert result.seconds.shape == (2, 2)
    assert (result.seconds > 0).all()


def test_a_cell_that_takes_longer_is_seen(monkeypatch):
    """Time stands still but for what the engine of each cell takes."""
    batch, now = make(steps=30, sequences=2), [0.0]
    models = {
        (cell, seed): init_stack(cell, hidden_size=4, heads=batch, seed=seed)
        for cell in ("lstm", "gru")
        for seed in (0, 3)
    }

    class Slow(times.Engine):
        def __init__(self, stack, *, threads, **sizes):
            super().__init__(stack, threads=threads, **sizes)
            self.seconds = (2.0 if stack.cells == ("lstm",) else 0.5) / threads

        def back(self, *arguments):
            now[0] += self.seconds
            return super().back(*arguments)

    monkeypatch.setattr(times, "perf_counter", lambda: now[0])
    monkeypatch.setattr(times, "Engine", Slow)
    seconds = times.epoch_times(
        models, batch, ("lstm", "gru"), (0, 3), optimizer=Adam(), lr=1e-3, clip_norm=1.0, threads=(1, 2)
    )
    np.testing.assert_array_equal(seconds, [[[2.0, 2.0], [0.5, 0.5]], [[1.0, 1.0], [0.25, 0.25]]])
    assert models["gru", 3] == init_stack("gru", hidden_size=4, heads=batch, seed=3)


@pytest.mark.parametrize(
    "text",
    [
        '{"epochs": Infinity}',
        '{"epochs": NaN}',
        '{"epochs": -1}',
        '{"epochs": 1.5}',
        "[" * 99_999,
        "3",
        " " * (2 << 20),
    ],
)
def test_settings_that_nothing_here_writes(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"settings\.json' is damaged"):
        run_long_series(tmp_path, cells=("gru",), seeds=1, epochs=2, steps=50, sequences=4)
    assert (tmp_path / "settings.json").read_text() == text


def test_a_log_that_takes_no_text_is_refused(tmp_path):
    with pytest.raises(DtypeError, match="log"):
        run_long_series(tmp_path, **SMALL, log=lambda: None)
