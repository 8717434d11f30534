"""Training that was stopped, in any way and at any place, ends with the bits of training that never was."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.train_cases import fresh, make_batch, make_params, make_stack, same, train

import gatescope as gs
from gatescope.training.dropout import Dropout
from gatescope.training.engine import Engine
from gatescope.training.optimizers import SGD, RMSprop

CASES = {
    "plain": {},
    "minibatches": {
        "batch_size": 3,
        "optimizer": RMSprop(momentum=0.5),
        "clip_value": 0.1,
        "schedule": "cosine",
    },
    "windows": {"bptt_steps": 5, "batch_size": 3, "optimizer": SGD(momentum=0.9)},
    "stateful": {"model": make_stack(), "bptt_steps": 3, "batch_size": 3, "stateful": True},
    "dropout": {"dropout": Dropout(inputs=0.2, outputs=0.1), "weight_noise": 0.02},
    "fresh": {"data": fresh, "updates_per_epoch": 3},
}
WATCHED = {"validation": make_batch(1), "validate_every": 2, "probe_every": 2, "snapshot_every": 2, "seed": 3}


class Stop(Exception):
    """Stands for whatever ends a process."""


def stop_at(monkeypatch, call, error):
    """Make the engine fail at a call."""
    real, calls = Engine.back, [0]

    def back(self, *rest, **options):
        calls[0] += 1
        if calls[0] == call:
            raise error
        return real(self, *rest, **options)

    monkeypatch.setattr(Engine, "back", back)


def arrays_of(path):
    """Return what is in a checkpoint; the time it took is not compared."""
    arrays = dict(np.load(path))
    arrays["sums"][-1] = 0
    arrays["history.seconds"][:] = 0
    return arrays


def assert_same_files(path, other):
    arrays, others = arrays_of(path), arrays_of(other)
    assert arrays.keys() == others.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(value, others[name], err_msg=name, strict=True)


@pytest.mark.parametrize("name", CASES)
def test_any_update_may_be_the_last(tmp_path, monkeypatch, name):
    """Killed before update 1, 2, ... of a short run; what was written after the one before is gone on from."""
    options = {**WATCHED, **CASES[name]}
    whole = train(epochs=4, checkpoint=tmp_path / "whole", **options)
    updates = int(whole.history.updates[-1])
    for call in sorted({*range(1, min(updates, 5) + 1), updates // 2, updates - 1, updates}):
        path = tmp_path / f"stopped {call}"
        with monkeypatch.context() as patch:
            stop_at(patch, call, Stop)
            with pytest.raises(Stop):
                train(epochs=4, checkpoint=path, checkpoint_seconds=0, **options)
        assert path.exists() == (call > 1)
        assert same(train(epochs=4, checkpoint=path, **options), whole)
        assert_same_files(path, tmp_path / "whole")


@pytest.mark.parametrize("name", ["plain", "stateful", "fresh"])
def test_stopped_again_and_again(tmp_path, monkeypatch, name):
    options = {**WATCHED, **CASES[name]}
    whole = train(epochs=4, **options)
    path = tmp_path / "run.state"
    stops = 0
    while True:
        with monkeypatch.context() as patch:
            stop_at(patch, 3, Stop)
            try:
                run = train(epochs=4, checkpoint=path, checkpoint_seconds=0, **options)
                break
            except Stop:
                stops += 1
    assert stops >= 1
    assert same(run, whole)


def test_more_epochs(tmp_path):
    path = tmp_path / "run.state"
    for epochs in (0, 3, 4, 7):
        options = {**WATCHED, "batch_size": 3}
        run = train(epochs=epochs, checkpoint=path, **options)
        assert same(run, train(epochs=epochs, **options))


def test_early_stopping_is_resumed(tmp_path, monkeypatch):
    options = {"validation": make_batch(1), "lr": 0.5, "patience": 4, "epochs": 200}
    whole = train(**options)
    assert whole.status == gs.Status.EARLY_STOPPED
    path = tmp_path / "run.state"
    with monkeypatch.context() as patch:
        stop_at(patch, whole.history.epoch.size - 1, Stop)
        with pytest.raises(Stop):
            train(checkpoint=path, checkpoint_seconds=0, **options)
    run = train(checkpoint=path, **options)
    assert same(run, whole)
    again = train(checkpoint=path, **{**options, "epochs": 300})  # it has stopped, whatever may be allowed
    assert again.message == whole.message
    assert same(again, whole, config=False)


@pytest.mark.skipif(os.name != "posix", reason="sends itself SIGINT")
@pytest.mark.parametrize("name", ["minibatches", "stateful"])
def test_ctrl_c(tmp_path, monkeypatch, name):
    path = tmp_path / "run.state"
    options = {**WATCHED, **CASES[name]}
    whole = train(epochs=4, **options)
    real, calls = Engine.back, [0]

    def back(self, *rest, **options):
        calls[0] += 1
        if calls[0] == 5:
            os.kill(os.getpid(), signal.SIGINT)  # while it is computing
        return real(self, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "back", back)
        run = train(epochs=4, checkpoint=path, **options)
    assert run.status == gs.Status.INTERRUPTED
    assert run.message.endswith(f"and 5 updates; call again with checkpoint={str(path)!r} to resume")
    assert same(train(epochs=4, checkpoint=path, **options), whole)


def test_an_interrupt_in_the_middle_of_an_update(tmp_path, monkeypatch):
    """What was written last is gone on from, since nobody knows what is half done."""
    path = tmp_path / "run.state"
    stop_at(monkeypatch, 5, KeyboardInterrupt)
    run = train(epochs=8, checkpoint=path)
    assert run.status == gs.Status.INTERRUPTED
    assert run.message.endswith(f"nothing was written to checkpoint={str(path)!r} yet")
    assert not path.exists()
    monkeypatch.undo()
    stop_at(monkeypatch, 5, KeyboardInterrupt)
    run = train(epochs=8, checkpoint=path, checkpoint_seconds=0)
    assert run.message.endswith(f"call again with checkpoint={str(path)!r} to resume")
    monkeypatch.undo()
    assert same(train(epochs=8, checkpoint=path), train(epochs=8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes that are killed are forked")
def test_killed_at_random_moments(tmp_path):
    """tests/helpers/subprocess_kill.py in a process of its own: forking one that has threads is not safe."""
    tests = Path(__file__).parents[1]
    roots = [str(tests), str(Path(gs.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, str(tests / "helpers" / "subprocess_kill.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "killed" in done.stdout
    assert_same_files(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow  # compiles for half a minute
def test_a_model_in_float64(tmp_path, monkeypatch):
    path = tmp_path / "run.state"
    params = make_params(dtype="float64")
    stop_at(monkeypatch, 3, Stop)
    with pytest.raises(Stop):
        train(params, epochs=5, checkpoint=path, checkpoint_seconds=0)
    monkeypatch.undo()
    assert same(train(params, epochs=5, checkpoint=path), train(params, epochs=5))
