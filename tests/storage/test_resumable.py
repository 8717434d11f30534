"""Computations that are interrupted go on, and a file that is not theirs is left alone."""

import os
import warnings

import numpy as np
import pytest

from gatescope.errors import FileFormatError, OutputError, ValueRangeError
from gatescope.storage import resumable
from gatescope.storage.resumable import Resumable, digest


def total(path, n=10, stop=None, error=KeyboardInterrupt, **options):
    """Return the sum of 0..n-1, and from where it was computed."""
    with Resumable(path, "total", {"n": n, "weights": digest(np.arange(n))}, **options) as resumable:
        now = {"next": np.array(0), "sum": np.array(0.0)}
        if resumable.stored is not None:
            with resumable.restoring():
                now = {name: resumable.stored[name] for name in now}
        begin = int(now["next"])
        resumable.snapshot = lambda: now
        for k in range(begin, n):
            if k == stop:
                raise error
            now = {"next": np.array(k + 1), "sum": now["sum"] + k}
            resumable.tick()
    return float(now["sum"]), begin


def test_nothing_is_stored_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert total(None) == (45.0, 0)
    with pytest.raises(KeyboardInterrupt):
        total(None, stop=3)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("stop", [0, 1, 9])
def test_resumes_where_it_was_interrupted(tmp_path, stop):
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt) as caught:
        total(path, stop=stop)
    assert any("resumes from here" in note and str(path) in note for note in caught.value.__notes__)
    assert os.listdir(tmp_path) == ["state"]
    assert total(path) == (45.0, stop)
    assert os.listdir(tmp_path) == []


def test_interrupted_twice(tmp_path):
    path = tmp_path / "state"
    for stop in (3, 3, 7):
        with pytest.raises(KeyboardInterrupt):
            total(path, stop=stop)
    assert total(path) == (45.0, 7)


def test_written_now_and_then(tmp_path):
    """Whatever ends the process, what was written last is there."""
    path = tmp_path / "state"
    with pytest.raises(MemoryError):
        total(path, stop=6, error=MemoryError, every=0.0)
    assert total(path) == (45.0, 6)
    with pytest.raises(MemoryError):
        total(path, stop=6, error=MemoryError, every=3600.0)
    assert not path.exists()


def test_a_disk_that_is_full_does_not_end_the_computation(tmp_path, monkeypatch):
    def full(path):
        raise OutputError("no space left")

    monkeypatch.setattr(resumable, "atomic_write", full)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert total(tmp_path / "state", every=0.0) == (45.0, 0)
    assert "total continues, but: no space left" in str(seen[0].message)
    with pytest.raises(KeyboardInterrupt) as caught:
        total(tmp_path / "state", stop=4)
    assert caught.value.__notes__ == ["no space left"]


def left_alone(path, error, message, **arguments):
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        total(path, **arguments)
    assert path.read_bytes() == before


def test_the_state_of_another_call(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        total(path, stop=5)
    left_alone(path, ValueRangeError, r"with other `n` \(10 there, 11 here\), `weights`; give the same", n=11)
    with (
        pytest.raises(ValueRangeError, match="the state of total, not of product"),
        Resumable(path, "product", {}),
    ):
        pass
    assert total(path) == (45.0, 5)


def test_the_state_of_another_version(tmp_path, monkeypatch):
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        total(path, stop=5)
    monkeypatch.setattr(resumable, "__version__", "99.0")
    left_alone(path, ValueRangeError, r"other `gatescope` \(.* there, 99\.0 here\)")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_state(tmp_path, share):
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        total(path, stop=5)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    left_alone(path, FileFormatError, "cannot be resumed from .*delete this one")


def test_a_flipped_bit(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        total(path, stop=5)
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"sum.npy") + 150] ^= 1
    path.write_bytes(whole)
    left_alone(path, FileFormatError, "cannot be resumed from")


def test_files_of_others(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, inputs=np.zeros(3))
    left_alone(path, FileFormatError, "holds no state of gatescope's")
    path.write_text("my only copy")
    left_alone(path, FileFormatError, "cannot be resumed from")


def test_a_state_without_what_is_needed(tmp_path):
    path = tmp_path / "state"

    def begin():
        with Resumable(path, "total", {"n": 10, "weights": digest(np.arange(10))}) as resumable:
            resumable.snapshot = lambda: {"next": np.array(3)}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    left_alone(path, FileFormatError, "KeyError: 'sum'")


def test_paths_that_cannot_be_written(tmp_path):
    for place in (tmp_path, tmp_path / "missing" / "state", "a\0b", 3.5):
        with pytest.raises(OutputError, match="resume="):
            total(place)


def test_digests():
    arrays = [np.zeros(4), np.zeros(4, "float32"), np.zeros((2, 2)), np.ones(4), None]
    assert len({digest(array) for array in arrays}) == 5
    assert digest(np.zeros(4), None) != digest(np.zeros(4))
    assert digest(np.arange(6).reshape(2, 3)[:, ::2]) == digest(np.array([[0, 2], [3, 5]]))


def test_a_state_stays_until_the_result_is_stored(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        total(path, stop=3)

    def full():
        with resumable.removed_at_the_end():
            assert total(path) == (45.0, 3)
            raise OutputError("the disk is full")

    with pytest.raises(OutputError):
        full()
    assert path.exists()
    with resumable.removed_at_the_end():
        assert total(path) == (45.0, 3)
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize("value", [-1, 2.0, np.inf, np.nan, 1 + 2j, [3], "3", True])
def test_what_counts_nothing_is_refused(value):
    with pytest.raises(ValueError, match="counts nothing"):
        resumable.counter({"step": np.array(value)}, "step")
    assert resumable.counter({"step": np.array(3)}, "step") == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"next": np.array(1 + 2j)},
        {"gatescope_state": np.array("[" * 100_000)},
        {"gatescope_state": np.array('{"task": "total", "metadata": 3}')},
    ],
    ids=["complex", "deep", "no metadata"],
)
def test_a_state_that_nothing_here_writes(tmp_path, changes):
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        total(path, stop=5)
    with np.load(path) as stored:
        arrays = dict(stored)
    with path.open("wb") as stream:
        np.savez(stream, **{**arrays, **changes})
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match="cannot be resumed from"):
        total(path)
    assert path.read_bytes() == before


def test_arithmetic_on_a_state_that_does_not_fit(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        total(path, stop=5)
    with (
        pytest.raises(FileFormatError, match="OverflowError"),
        Resumable(path, "total", META) as one,
        one.restoring(),
    ):
        int(np.inf)


META = {"n": 10, "weights": digest(np.arange(10))}
