"""The file that training goes on from: only by the same call, and left alone otherwise."""

import contextlib
import os
import warnings

import numpy as np
import pytest
from helpers.train_cases import fresh, make_batch, make_params, make_stack, same, train

import gatescope as gs
from gatescope.errors import FileFormatError, OutputError, ValueRangeError
from gatescope.storage import resumable
from gatescope.storage.resumable import Resumable
from gatescope.training.dropout import Dropout
from gatescope.training.optimizers import SGD, Adam
from gatescope.training.schedules import WarmUp


@pytest.fixture
def path(tmp_path):
    """Return the checkpoint of a run that has finished."""
    path = tmp_path / "run.state"
    train(epochs=3, checkpoint=path)
    return path


def test_it_stays_and_holds_all_that_the_run_returned(path):
    before = path.read_bytes()
    again = train(epochs=3, checkpoint=path)
    assert same(again, train(epochs=3))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_finished_run_is_not_computed_again(path, monkeypatch):
    monkeypatch.delattr("gatescope.training.train.Engine")
    assert train(epochs=3, checkpoint=path).message == "finished: 3 epochs, 3 updates"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": make_params("gru")}, r"other `cells` \(lstm there, gru here\)"),
        ({"model": make_params(dtype="float64")}, r"other `dtype` \(float32 there, float64 here\)"),
        ({"model": make_params(seed=1)}, r"other initial weights;"),
        ({"model": make_stack(("lstm",))}, r"other initial weights;"),
        ({"data": make_batch(1)}, r"other `data`;"),
        ({"data": fresh}, r"other .*fresh data \(False there, True here\)"),
        ({"validation": make_batch(1)}, r"other `validation`;"),
        ({"lr": 0.1}, r"other `lr` \(0.001 there, 0.1 here\)"),
        ({"optimizer": "sgd"}, r"other `optimizer`;"),
        ({"optimizer": Adam(eps=1e-7)}, r"other `optimizer`;"),
        ({"schedule": "cosine"}, r"other `schedule` \(Constant\(\) there, Cosine\(floor=0.0\) here\)"),
        ({"clip_norm": None}, r"other `clip_norm` \(1.0 there, none here\);"),
        ({"batch_size": 3}, r"other `batch_size` \(none there, 3 here\);"),
        ({"bptt_steps": 3}, r"other `bptt_steps` \(none there, 3 here\);"),
        ({"dropout": Dropout(outputs=0.5)}, r"other `dropout`;"),
        ({"clamp": {"f": 1.0}}, r"other `clamp` \(none there, {'layers.0.f': 1.0} here\);"),
        ({"patience": 3}, r"other `patience` \(none there, 3 here\);"),
        ({"probe_every": 3}, r"other `probe_every`"),
        ({"seed": 1}, r"other .*`seed` \(0 there, 1 here\);"),
    ],
)
def test_another_call(path, options, message):
    before = path.read_bytes()
    with pytest.raises(ValueRangeError, match=message) as caught:
        train(epochs=3, checkpoint=path, **options)
    assert f"checkpoint={str(path)!r} is the state of a call of train with other" in str(caught.value)
    assert "give the same arguments to resume, or the name of another file to begin anew" in str(caught.value)
    assert path.read_bytes() == before


def test_what_the_numbers_do_not_depend_on_may_change(path):
    run = train(epochs=4, checkpoint=path, threads=1, checkpoint_seconds=5, progress=True)
    assert same(run, train(epochs=4))


def test_fewer_epochs(path):
    before = path.read_bytes()
    with pytest.raises(
        ValueRangeError, match=r"epochs=2 is less than what `checkpoint` has come to, epoch 3"
    ):
        train(epochs=2, checkpoint=path)
    assert path.read_bytes() == before


def test_a_schedule_that_looks_at_the_end(tmp_path):
    path = tmp_path / "cosine.state"
    train(epochs=3, checkpoint=path, schedule="cosine")
    with pytest.raises(
        ValueRangeError, match=r"epochs=6 is not the 3 of `checkpoint`, on which this schedule"
    ):
        train(epochs=6, checkpoint=path, schedule="cosine")
    other = tmp_path / "step.state"
    train(epochs=3, checkpoint=other, schedule="step(2, 0.5)")
    assert same(
        train(epochs=6, checkpoint=other, schedule="step(2, 0.5)"), train(epochs=6, schedule="step(2, 0.5)")
    )


def factor_of(values):
    """Functions that have one name, one code and no constants of their own."""
    return lambda update, updates: values[update] if isinstance(values, list) else values


@pytest.mark.parametrize("cased", [lambda function: function, lambda function: WarmUp(1, then=function)])
def test_another_function_of_the_same_name(tmp_path, cased):
    path = tmp_path / "run.state"
    train(epochs=4, checkpoint=path, schedule=cased(factor_of(0.5)))
    before = path.read_bytes()
    for epochs in (4, 6):  # of a run that has ended, too
        with pytest.raises(
            ValueRangeError,
            match=r"schedule does not give the factors that `checkpoint` was trained with: until now their sum is "
            r".*; give the same function to resume, or another file as `checkpoint`",
        ):
            train(epochs=epochs, checkpoint=path, schedule=cased(factor_of(0.25)))
        assert path.read_bytes() == before
    again = train(
        epochs=6, checkpoint=path, schedule=cased(factor_of(0.5))
    )  # another object, the same factors
    assert same(again, train(epochs=6, schedule=cased(factor_of(0.5))))


def test_a_function_may_be_another_for_updates_that_are_still_to_come(tmp_path):
    path = tmp_path / "run.state"
    options = {"batch_size": 3}  # three updates an epoch
    train(epochs=2, checkpoint=path, schedule=factor_of([1.0, 0.9, 0.8, 0.7, 0.6, 0.5]), **options)
    new = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 3.0, 2.0, 1.0]
    run = train(epochs=3, checkpoint=path, schedule=factor_of(new), **options)
    assert same(run, train(epochs=3, schedule=factor_of(new), **options))
    new[4] = 0.61  # inside an epoch, where no history shows it
    with pytest.raises(ValueRangeError, match=r"until now their sum is 10\.51"):
        train(epochs=3, checkpoint=path, schedule=factor_of(new), **options)


def test_a_function_that_looks_at_the_end(tmp_path):
    path = tmp_path / "run.state"

    def falling(update, updates):
        return 1 - update / updates

    train(epochs=3, checkpoint=path, schedule=falling)
    assert same(train(epochs=3, checkpoint=path, schedule=falling), train(epochs=3, schedule=falling))
    with pytest.raises(
        ValueRangeError, match=r"epochs=6 is not the 3 of `checkpoint`, on which this schedule"
    ):
        train(epochs=6, checkpoint=path, schedule=falling)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_torn_file(path, keep):
    whole = path.read_bytes()
    torn = whole[: keep if isinstance(keep, int) else int(keep * len(whole))]
    path.write_bytes(torn)
    with pytest.raises(
        FileFormatError, match=r"checkpoint=.* cannot be resumed from .* delete this one if it is a"
    ):
        train(epochs=5, checkpoint=path)
    assert path.read_bytes() == torn


@pytest.mark.parametrize(
    "name", ["theta", "optimizer.mean", "history.loss", "counters", "sums", "factor_sum"]
)
@pytest.mark.parametrize("what", ["missing", "shorter", "other `dtype`"])
def test_a_file_with_something_else_in_it(path, name, what):
    arrays = dict(np.load(path))
    if name == "factor_sum" and what != "missing":
        return  # it is a single number
    if what == "missing":
        del arrays[name]
    elif what == "shorter":
        arrays[name] = arrays[name][:-1]
    elif name in ("counters", "sums"):
        return  # their numbers are read one by one
    else:
        arrays[name] = arrays[name].astype("float16")
    np.savez(path, **arrays)
    os.replace(f"{path}.npz", path)
    with pytest.raises(FileFormatError, match="cannot be resumed from"):
        train(epochs=5, checkpoint=path)


@pytest.mark.parametrize("ended", [1, 2])
def test_an_end_by_a_limit_that_was_not_set(path, ended):
    arrays = dict(np.load(path))
    arrays["counters"][6] = ended
    np.savez(path, **arrays)
    os.replace(f"{path}.npz", path)
    with pytest.raises(FileFormatError, match="cannot be resumed from"):
        train(epochs=5, checkpoint=path)


def interrupted_measurement(path):
    with contextlib.suppress(KeyboardInterrupt), Resumable(path, "gradient_flow", {}) as resumable:
        resumable.snapshot = lambda: {"before": np.array(3)}
        raise KeyboardInterrupt


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "file"
    gs.save(path, make_params())
    with pytest.raises(FileFormatError, match="holds no state of gatescope's"):
        train(checkpoint=path)
    path.unlink()
    interrupted_measurement(path)
    with pytest.raises(ValueRangeError, match="is the state of gradient_flow, not of train"):
        train(checkpoint=path)
    path.write_text("hello")
    with pytest.raises(FileFormatError, match="cannot be resumed from"):
        train(checkpoint=path)
    assert path.read_text() == "hello"


def test_paths_where_no_file_can_be(tmp_path):
    with pytest.raises(OutputError, match="choose a folder that exists"):
        train(checkpoint=tmp_path / "nowhere" / "run.state")
    with pytest.raises(OutputError, match=r"checkpoint=.* cannot be written: it is a folder"):
        train(checkpoint=tmp_path)
    with pytest.raises(OutputError, match=r"checkpoint=.7.5. cannot be written: expected str"):
        train(checkpoint=7.5)


def test_divergence_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "run.state"
    options = {
        "lr": 10.0,
        "optimizer": SGD(),
        "clip_norm": None,
        "schedule": lambda k, _: 1e35 if k == 5 else 1e-4,
    }
    run = train(epochs=9, checkpoint=path, checkpoint_seconds=0, **options)
    assert run.status == gs.Status.DIVERGED
    stored = np.load(path)
    assert all(np.isfinite(stored[name]).all() for name in ("theta", "good", "best"))
    before = path.read_bytes()
    again = train(epochs=9, checkpoint=path, checkpoint_seconds=0, **options)
    assert same(again, run)
    assert path.read_bytes() == before
    assert same(train(epochs=9, **options), run)


def test_a_full_disk_does_not_end_the_training(tmp_path, monkeypatch):
    def full(path):
        raise OutputError("no space left")

    monkeypatch.setattr(resumable, "atomic_write", full)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run = train(epochs=3, checkpoint=tmp_path / "run.state")
    assert run.status == gs.Status.FINISHED
    assert "train continues, but: no space left" in str(seen[-1].message)


def test_written_now_and_then(tmp_path, monkeypatch):
    written = []
    real = Resumable.write
    monkeypatch.setattr(Resumable, "write", lambda self: written.append(1) or real(self))
    train(epochs=5, checkpoint=tmp_path / "a", checkpoint_seconds=0)
    assert len(written) >= 6
    written.clear()
    train(epochs=5, checkpoint=tmp_path / "b")
    assert len(written) == 1
