"""The 20,000-step experiment, small: it can be stopped anywhere, and what it finds depends on its settings alone."""

import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gatescope as gs
from gatescope.datatypes.long_series import LongSeriesResult
from gatescope.datatypes.training_run import Status
from gatescope.errors import DtypeError, FileFormatError, OutputError, UnknownNameError, ValueRangeError
from gatescope.experiments.long_series import spec as spec_module
from gatescope.experiments.long_series import store as store_module
from gatescope.experiments.long_series import timing as times
from gatescope.experiments.long_series.report import write_report
from gatescope.experiments.long_series.run import run_long_series
from gatescope.experiments.long_series.spec import LongSeriesSpec
from gatescope.experiments.long_series.store import LongSeriesStore, code_of
from gatescope.experiments.seeds.code import _closure, code_fingerprint
from gatescope.recurrence.initialization import init_stack
from gatescope.tasks._long_series import long_series as make
from gatescope.training import train
from gatescope.training.engine import Engine
from gatescope.training.loop import Trainer
from gatescope.training.optimizers import Adam

SMALL = {"steps": 50, "sequences": 3, "epochs": 3, "seeds": 2, "hidden_size": 5, "dtype": "float64"}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_long_series(tmp_path_factory.mktemp("runs"), **SMALL)


def spec_of(**fields):
    """Return a spec of the small runs."""
    return LongSeriesSpec(**{name: value for name, value in SMALL.items() if name != "seeds"}, **fields)


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


def test_the_settings_of_the_published_experiment_have_not_changed(result, tmp_path):
    """Nothing is written of what is as published."""
    assert run_long_series(tmp_path, **SMALL, lr=1e-3, clamp={}) == result
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
    store = LongSeriesStore(tmp_path)
    specs = [spec_of(cell=cell, seed=seed) for cell in ("lstm", "gru") for seed in range(2)]
    files = {file for spec in specs for file in (store.path(spec), store.state(spec))}
    assert {*tmp_path.iterdir()} == files
    monkeypatch.setattr(LongSeriesSpec, "train", too_late)
    again = run_long_series(tmp_path, **SMALL)
    assert again == result
    fewer = run_long_series(tmp_path, **{**SMALL, "seeds": [1]}, cells=("gru",))
    np.testing.assert_array_equal(fewer.loss[0, 0], result.loss[1, 1])


def test_more_of_everything_continues(result, tmp_path, monkeypatch):
    run_long_series(tmp_path, **{**SMALL, "epochs": 1, "seeds": 1}, cells=("gru",))
    real, epochs = Trainer._epoch, []
    monkeypatch.setattr(Trainer, "_epoch", lambda self: epochs.append(1) or real(self))
    assert run_long_series(tmp_path, **SMALL) == result
    assert len(epochs) == 4 * 3 - 1  # but the one that was there


def test_fewer_epochs_are_the_beginning(result, tmp_path, monkeypatch):
    run_long_series(tmp_path, **SMALL)
    monkeypatch.setattr(LongSeriesSpec, "train", too_late)
    fewer = run_long_series(tmp_path, **{**SMALL, "epochs": 2})
    np.testing.assert_array_equal(fewer.loss, result.loss[..., :2])
    assert fewer.status == result.status


@pytest.mark.parametrize("after", [1, 2])  # updates that are done before Ctrl-C
def test_fewer_epochs_than_a_run_that_was_stopped_has_done(after, result, tmp_path, monkeypatch):
    real, calls = Engine.back, []

    def interrupting(self, *args, **keywords):
        calls.append(1)
        if len(calls) == after:
            signal.raise_signal(signal.SIGINT)
        return real(self, *args, **keywords)

    monkeypatch.setattr(Engine, "back", interrupting)
    with pytest.raises(KeyboardInterrupt):
        run_long_series(tmp_path, **SMALL)
    ((file,),) = (tmp_path.glob("*.state"),)
    assert not list(tmp_path.glob("*.npz"))
    fewer = run_long_series(tmp_path, **{**SMALL, "epochs": 1})
    np.testing.assert_array_equal(fewer.loss, result.loss[..., :1])
    assert file.exists()
    assert run_long_series(tmp_path, **SMALL) == result


def test_a_folder_may_hold_runs_of_several_settings(result, tmp_path, monkeypatch):
    ways = ({"lr": 0.02}, {"lookback": 4}, {"data_seed": 1}, {"steps": 60}, {"clamp": {"o": 1.0}}, {})
    few = {**SMALL, "cells": ("lstm",), "seeds": 1, "epochs": 1}
    made = [run_long_series(tmp_path, **{**few, **way}) for way in ways]
    assert len(list(tmp_path.glob("*.npz"))) == len({each.loss.item() for each in made}) + 1 == len(ways)
    monkeypatch.setattr(LongSeriesSpec, "train", too_late)
    for way, each in zip(ways, made, strict=True):
        assert run_long_series(tmp_path, **{**few, **way}) == each


def test_other_code_makes_other_runs(tmp_path, monkeypatch):
    few = {**SMALL, "cells": ("gru",), "seeds": 1, "epochs": 1}
    first = run_long_series(tmp_path, **few)
    assert code_of("gru") not in (code_of("lstm"), code_fingerprint("gru", "long_series"))
    monkeypatch.setattr(store_module, "code_of", lambda _: "other")
    assert run_long_series(tmp_path, **few) == first
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_every_setting_makes_another_run_but_epochs():
    base = spec_of(cell="lstm")
    ways = (
        {"cell": "gru"},
        {"seed": 1},
        {"steps": 51},
        {"sequences": 4},
        {"lookback": 7},
        {"hidden_size": 6},
    )
    ways += ({"lr": 0.01}, {"clamp": {"i": 1}}, {"data_seed": 1}, {"dtype": "float32"})
    others = [dataclasses.replace(base, **way) for way in ways]
    assert len({spec.key("code") for spec in (base, *others)}) == len({base, *others}) == len(ways) + 1
    assert base.key("other code") != base.key("code")
    assert dataclasses.replace(base, epochs=9).key("code") == base.key("code")
    assert dataclasses.replace(base, hidden_size=np.int64(5), dtype=np.float64) == base


def test_code_that_a_run_depends_on():
    paths = _closure(("experiments/long_series/spec.py", "tasks/_long_series.py"))
    for path in ("training/loop.py", "training/optimizers.py", "recurrence/schemes.py", "datatypes/batch.py"):
        assert path in paths
    # How runs are stored and put together makes no other numbers.
    assert {path for path in paths if path.startswith("experiments")} == {"experiments/long_series/spec.py"}


def test_runs_that_several_workers_make(result, tmp_path):
    lines = []
    with ThreadPoolExecutor(1) as pool:
        assert run_long_series(tmp_path, **SMALL, executor=pool, log=lines.append) == result
    assert sorted(lines[:-1]) == [
        "run 1 of 4: lstm, seed 0",
        "run 2 of 4: gru, seed 0",
        "run 3 of 4: gru, seed 1",
        "run 4 of 4: lstm, seed 1",
    ]


@pytest.mark.slow  # two processes begin anew, which takes seconds
def test_two_processes_come_to_the_same_curves(result, tmp_path):
    assert run_long_series(tmp_path, **SMALL, workers=2, part="2/2") == result


def test_a_part_begins_with_its_own(result, tmp_path):
    lines = []
    assert run_long_series(tmp_path, **SMALL, part="2/2", log=lines.append) == result
    assert [line.split()[1] for line in lines[:-1]] == ["2", "4", "1", "3"]


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

    monkeypatch.setattr(spec_module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_long_series(tmp_path, **SMALL)
    assert "the same call resumes from there" in caught.value.__notes__[0]


@pytest.mark.slow
def test_killed_at_any_time_it_resumes(result, tmp_path):
    code = (
        "import sys; from gatescope.experiments.long_series.run import run_long_series\n"
        f"run_long_series(sys.argv[1], **{ {**SMALL, 'epochs': 200}!r}, checkpoint_seconds=0)"
    )
    store, specs = LongSeriesStore(tmp_path), [spec_of(cell="lstm"), spec_of(cell="gru", seed=1)]
    for turn, delay in enumerate((0.0, 0.3)):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        file = store.state(specs[turn])
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
        if stack.cells != ("gru",) or keywords["seed"] != 1:
            return real(stack, *args, **keywords)
        run = real(stack, *args, **{**keywords, "epochs": 1})
        return dataclasses.replace(run, status=Status.DIVERGED)

    monkeypatch.setattr(spec_module, "train", diverging)
    result = run_long_series(tmp_path, **SMALL)
    assert np.isnan(result.loss[1, 1]).tolist() == [False, True, True]
    assert np.isfinite(result.loss[0]).all()
    assert result.status == (("finished", "finished"), ("finished", "diverged"))
    assert result.diverged().tolist() == [0, 1]
    monkeypatch.setattr(LongSeriesSpec, "train", too_late)
    assert run_long_series(tmp_path, **SMALL) == result
    before = run_long_series(tmp_path, **{**SMALL, "epochs": 1})
    assert before.status == (("finished", "finished"),) * 2


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


def test_a_folder_of_an_older_version_is_left_alone(tmp_path):
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(FileFormatError, match=r"'settings\.json' of an older gatescope.*give another folder"):
        run_long_series(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("kind", ["path", "state"])
def test_a_torn_file_is_reported_before_another_run_is_trained(kind, tmp_path, monkeypatch):
    run_long_series(tmp_path, **{**SMALL, "seeds": [1], "epochs": 1}, cells=("gru",))
    file = getattr(LongSeriesStore(tmp_path), kind)(spec_of(cell="gru", seed=1))
    whole = file.read_bytes()
    monkeypatch.setattr("gatescope.training.engine.Engine.back", too_late)
    for torn in (whole[: len(whole) // 2], b"", b"text"):
        file.write_bytes(torn)
        with pytest.raises(
            FileFormatError, match=rf"{file.name}' .*; delete it, and the same call makes that"
        ):
            run_long_series(tmp_path, **SMALL)
        assert file.read_bytes() == torn
    np.savez(file.with_suffix(".npz"), inputs=np.zeros(3))
    with pytest.raises(FileFormatError, match="delete it, and the same call makes that run anew"):
        run_long_series(tmp_path, **SMALL)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_state_of_another_computation_is_reported(tmp_path):
    few = {**SMALL, "cells": ("gru",), "seeds": 1}
    run_long_series(tmp_path, **{**few, "epochs": 1})
    store, mine, other = LongSeriesStore(tmp_path), spec_of(cell="gru"), spec_of(cell="gru", lr=0.02)
    shutil.copy(store.state(mine), store.state(other))
    with pytest.raises(FileFormatError, match=r"cannot be resumed from \(.*with other `lr`.*; delete it"):
        run_long_series(tmp_path, **few, lr=0.02)
    shutil.copy(store.path(mine), store.path(other))
    with pytest.raises(FileFormatError, match="holds another run than its name says; delete it"):
        run_long_series(tmp_path, **few, lr=0.02)


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
        ({"part": "3/2"}, ValueRangeError, "part='3/2' is no part"),
        ({"executor": 3}, DtypeError, "executor"),
        ({"workers": 0}, ValueRangeError, "workers=0"),
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


def test_a_log_that_takes_no_text_is_refused(tmp_path):
    with pytest.raises(DtypeError, match="log"):
        run_long_series(tmp_path, **SMALL, log=lambda: None)
