"""connectivity(..., resume=): interrupted anywhere and called again it gives the bits of a call that went through."""

import os

import numpy as np
import pytest
from helpers.cases import Case, random_params

from gatescope.errors import FileFormatError, OutputError, ValueRangeError
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.measurements import connectivity_sweep
from gatescope.measurements.connectivity import connectivity
from gatescope.storage import resumable

T = 40


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Short segments; of all targets of three sequences five sweeps, of several blocks that threads share."""
    monkeypatch.setattr(CpuDevice, "piece", lambda *sizes: 7)
    monkeypatch.setattr("gatescope.kernels.cpu.adjoints._BLOCK_BYTES", 5000)
    monkeypatch.setattr("gatescope.kernels.cpu.sweeps._THREAD_WORK", 0)
    monkeypatch.setattr(connectivity_sweep, "_NORM_BYTES", 10_000)
    monkeypatch.setattr(connectivity_sweep, "_CARRIED_BYTES", 5000)


def gru(B=3):
    return Case("gru", T=T, B=B, I=2, H=5)


def same(one, other):
    assert one == other  # all fields
    assert one.log_norm.tobytes() == other.log_norm.tobytes()


def stop(patch, owner, method, after, error=KeyboardInterrupt):
    """Let the method's call number `after` be followed by an interruption: what it changes has been changed."""
    original, left = getattr(owner, method), [after]

    def stopped(*args):
        measured = original(*args)
        left[0] -= 1
        if left[0] == 0:
            raise error
        return measured

    patch.setattr(owner, method, stopped)


def interrupted(case, path, owner=Adjoints, method="back_to_inputs", after=20, **keywords):
    with pytest.MonkeyPatch.context() as patch:
        stop(patch, owner, method, after)
        with pytest.raises(KeyboardInterrupt) as caught:
            connectivity(case.params, case.inputs, resume=path, **keywords)
    assert "resumes from here" in caught.value.__notes__[-1]


def resumed(case, path, **keywords):
    """Return the result, and how many segments were run for it."""
    segments = []
    with pytest.MonkeyPatch.context() as patch:
        original = CpuDevice.forward
        patch.setattr(CpuDevice, "forward", lambda *args: (segments.append(0), original(*args))[1])
        measured = connectivity(case.params, case.inputs, resume=path, **keywords)
    return measured, len(segments)


PLACES = [
    # 40, 32, 24, 16 and 8 steps are 6, 5, 4, 3 and 2 segments, and all but the last of each are run twice.
    (CpuDevice, "forward", 1, 0, 35),  # on the way forward
    (CpuDevice, "forward", 4, 0, 32),
    (CpuDevice, "forward", 8, 0, 28),  # on the way back
    (Adjoints, "back_to_inputs", 1, 0, 30),  # one target has joined
    (Adjoints, "back_to_inputs", 5, 0, 30),  # within a segment
    (Adjoints, "back_to_inputs", 11, 0, 26),  # all have
    (CpuDevice, "forward", 13, 1, 23),  # on the way forward of the second batch of targets
    (Adjoints, "back_to_inputs", 20, 1, 19),
    (Adjoints, "back_to_inputs", 50, 4, 1),  # in the last
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("owner", "method", "after", "finished", "left"), PLACES)
def test_resumed_is_uninterrupted(tmp_path, owner, method, after, finished, left, threads):
    case, path = gru(), tmp_path / "state"
    keywords = {"initial_state": case.initial_state}
    expected, segments = resumed(case, None, threads=1, **keywords)
    assert segments == 35
    interrupted(case, path, owner, method, after, threads=threads, **keywords)
    with np.load(path) as state:
        assert state["finished"] == finished
    measured, segments = resumed(case, path, threads=3 - threads, **keywords)
    same(measured, expected)
    assert segments == left  # what had been done was not done again
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("threads", [1, 2])  # two: one of them recomputes the segment before
@pytest.mark.parametrize(
    ("owner", "method", "after"),
    [(CpuDevice, "forward", 3), (Adjoints, "back_to_inputs", 1), (Adjoints, "back_to_inputs", 4)],
)
def test_one_row_of_one_sequence(tmp_path, owner, method, after, threads):
    case = Case("lstm", T=T, B=1, I=5, H=5)
    case.params.bias_ih[5:10] -= 3  # forget at once, so that adjoints are scaled
    keywords = {"target_steps": [35], "source_steps": [4, 11, 20, 34], "norm": "random", "seed": 3}
    expected = connectivity(case.params, case.inputs, threads=1, **keywords)
    interrupted(case, tmp_path / "state", owner, method, after, threads=threads, **keywords)
    with np.load(tmp_path / "state") as state:
        assert state["exponents"].any() == (after == 4)
    same(resumed(case, tmp_path / "state", threads=3 - threads, **keywords)[0], expected)


@pytest.mark.parametrize("after", [2, 6, 10])
def test_adjoints_that_have_become_zero(tmp_path, after):
    """Without recurrent weights nothing is left after a step; what has joined is not told from what has not."""
    case = Case("rnn", T=T, B=3, I=2, H=5)
    case.params.weight_hh[:] = 0
    keywords = {"target_steps": [3, 9, 21, 22, 30, 39]}
    expected = connectivity(case.params, case.inputs, **keywords)
    assert np.isneginf(expected.log_norm[expected.lag() > 0]).all()
    interrupted(case, tmp_path / "state", after=after, **keywords)
    same(resumed(case, tmp_path / "state", **keywords)[0], expected)


def test_interrupted_again_at_once(tmp_path):
    case, path = gru(), tmp_path / "state"
    expected = connectivity(case.params, case.inputs)
    interrupted(case, path)
    with np.load(path) as state:
        first = dict(state)
    interrupted(case, path, CpuDevice, "forward", 1)
    with np.load(path) as state:
        for name, value in first.items():
            np.testing.assert_array_equal(state[name], value)
    same(resumed(case, path)[0], expected)


def test_interrupted_again_and_again(tmp_path):
    case, path = gru(), tmp_path / "state"
    expected = connectivity(case.params, case.inputs)
    times = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            stop(patch, CpuDevice, "forward", 4)
            stop(patch, Adjoints, "back_to_inputs", 9)
            try:
                measured = connectivity(case.params, case.inputs, resume=path)
                break
            except KeyboardInterrupt:
                assert path.exists()
        times += 1
        assert times < 30
    assert times > 5
    same(measured, expected)
    assert not path.exists()


def test_written_every_minute(tmp_path, monkeypatch):
    """A state that Ctrl-C did not ask for serves as well, and so does a generator given anew."""
    case, path = gru(B=1), tmp_path / "state"
    inputs = case.inputs[:, 0]
    expected = connectivity(case.params, iter(inputs))
    minutes = iter(range(0, 10**6, 61))
    monkeypatch.setattr(resumable.time, "monotonic", lambda: next(minutes))
    with pytest.MonkeyPatch.context() as patch:
        stop(patch, Adjoints, "back_to_inputs", 30, MemoryError)
        with pytest.raises(MemoryError):
            connectivity(case.params, iter(inputs), resume=path)
    assert path.exists()
    same(connectivity(case.params, iter(inputs), resume=path), expected)
    assert not path.exists()


def test_nothing_is_left_behind_where_nothing_is_measured(tmp_path):
    case = gru(B=1)
    measured = connectivity(
        case.params, case.inputs, target_steps=[2], source_steps=[5], resume=tmp_path / "state"
    )
    assert np.isnan(measured.log_norm).all()
    assert os.listdir(tmp_path) == []


def test_the_state_of_another_call_is_left_alone(tmp_path):
    case, path = gru(), tmp_path / "state"
    interrupted(case, path)
    before = path.read_bytes()
    other = random_params("gru", input_size=2, hidden_size=5, seed=9)
    changed = case.inputs.copy()
    changed[-1] += 1
    for params, inputs, keywords, message in [
        (other, case.inputs, {}, "other `params`"),
        (case.params, changed, {}, "other `inputs`"),
        (case.params, case.inputs, {"clamp": {"z": 0.5}}, "other `params`"),
        (case.params, case.inputs, {"target_steps": [5, 39]}, "other `target_steps`"),
        (case.params, case.inputs, {"source_steps": [5, 39]}, "other `source_steps`"),
        (case.params, case.inputs, {"norm": "random"}, r"other `norm` \(frobenius there, random here\)"),
        (case.params, case.inputs, {"initial_state": case.initial_state}, "other `initial_state`"),
    ]:
        with pytest.raises(ValueRangeError, match=message):
            connectivity(params, inputs, resume=path, **keywords)
        assert path.read_bytes() == before
    same(connectivity(case.params, case.inputs, resume=path), connectivity(case.params, case.inputs))
    keywords = {"norm": "unit", "unit": 1}
    interrupted(case, path, after=2, **keywords)
    with pytest.raises(ValueRangeError, match="other `direction`"):
        connectivity(case.params, case.inputs, resume=path, **{**keywords, "unit": 2})


def test_a_torn_state_is_left_alone(tmp_path):
    case, path = gru(), tmp_path / "state"
    interrupted(case, path)
    whole = path.read_bytes()
    for size in (0, 100, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match="cannot be resumed from"):
            connectivity(case.params, case.inputs, resume=path)
        assert len(path.read_bytes()) == size


@pytest.mark.parametrize(
    ("name", "value"),
    [("before", np.array(8)), ("finished", np.array(5)), ("log_norm", np.zeros((40, 40, 1))),
     ("adjoints", np.zeros((3, 1, 1, 5))), ("exponents", np.zeros((1, 40))), ("length", np.array(8)),
     ("reached", np.array(99)), ("checkpoints", np.zeros((1, 3, 1, 5)))],
)  # fmt: skip
def test_a_state_that_does_not_fit_together(tmp_path, name, value):
    case, path = gru(), tmp_path / "state"
    interrupted(case, path, after=20)
    with np.load(path) as state:
        arrays = dict(state)
    assert arrays["before"] < 32  # the adjoints are in it
    assert name in arrays
    arrays[name] = value
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
    with pytest.raises(FileFormatError, match="cannot be resumed from"):
        connectivity(case.params, case.inputs, resume=path)


def test_a_path_that_cannot_be_written(tmp_path):
    case = gru(B=1)
    with pytest.raises(OutputError, match="resume="):
        connectivity(case.params, case.inputs, resume=tmp_path / "missing" / "state")
