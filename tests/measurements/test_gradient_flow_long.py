"""gradient_flow over long series: inputs of all kinds, two threads on one sequence, interruptions, memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import FEW, Case, random_params

import gatescope as gs
from gatescope.errors import FileFormatError, OutputError, ValueRangeError
from gatescope.kernels.cpu import device
from gatescope.measurements import gradient_flow as flow_module
from gatescope.recurrence.recompute import Replay
from gatescope.storage import resumable

SRC = Path(__file__).resolve().parents[2] / "src"
T = 200


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    """Many segments in few steps."""
    monkeypatch.setattr(device, "_CPU_LEAST", 1)


def case(cell="lstm", *, B=1, H=5, dtype="float64", steps=T):
    return Case(cell, T=steps, B=B, I=2, H=H, dtype=dtype)


def same(one, other):
    assert one == other  # all fields, every bit
    assert one.log_norm.tobytes() == other.log_norm.tobytes()


# ---- where inputs come from ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("B", [1, 3])
def test_memmap_generator_and_array_give_the_same_bits(tmp_path, B, dtype):
    c = case(B=B, dtype=dtype)
    expected = gs.gradient_flow(c.params, c.inputs)
    np.save(tmp_path / "x.npy", c.inputs.astype("float64"))
    same(gs.gradient_flow(c.params, np.load(tmp_path / "x.npy", mmap_mode="r")), expected)
    same(gs.gradient_flow(c.params, (c.inputs[a : a + 7] for a in range(0, T, 7))), expected)
    if B == 1:
        same(gs.gradient_flow(c.params, iter(c.inputs[:, 0])), expected)


def test_a_memmap_is_never_read_whole(tmp_path, monkeypatch):
    c = case()
    np.save(tmp_path / "x.npy", c.inputs)
    from gatescope.recurrence import input_stream

    read = []
    original = input_stream._Mapped.read

    def watched(self, begin, end):
        read.append(end - begin)
        return original(self, begin, end)

    monkeypatch.setattr(input_stream._Mapped, "read", watched)
    monkeypatch.setattr(
        "gatescope.measurements.problem._LOOKED_STEPS", 14
    )  # at the end, for the size of the inputs
    gs.gradient_flow(c.params, np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert max(read) == 14  # the square root of 200
    assert sum(read) < 2 * T + 14  # forward, back, and the look at the end


def test_nan_in_a_memmap_is_named_by_its_step(tmp_path):
    c = case()
    c.inputs[150, 0, 1] = np.nan
    np.save(tmp_path / "x.npy", c.inputs)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(ValueRangeError, match=r"inputs at step 150 \(sequence 0, input 1\) is nan"):
        gs.gradient_flow(c.params, mapped)
    gs.gradient_flow(c.params, mapped, source_step=150)  # does not come that far
    with pytest.raises(ValueRangeError, match="inputs at step 150"):
        gs.gradient_flow(c.params, iter(c.inputs))


# ---- segments and threads ----


@pytest.mark.parametrize("cell", FEW)
@pytest.mark.parametrize("norm", ["random", "spectral"])
def test_segments_and_threads_change_no_bit(monkeypatch, cell, norm):
    c = case(cell)
    lags = {"max_lag": 199} if norm == "random" else {"lags": [0, 1, 13, 14, 15, 120, 199]}
    options = {"norm": norm, "of": "joint", "wrt": "joint", **lags}
    monkeypatch.setattr(device, "_CPU_LEAST", 1 << 20)
    expected = gs.gradient_flow(c.params, c.inputs, threads=1, **options)  # one segment
    monkeypatch.setattr(device, "_CPU_LEAST", 1)
    for threads in (1, 2, 5):
        same(gs.gradient_flow(c.params, c.inputs, threads=threads, **options), expected)


def test_a_second_thread_recomputes_ahead(monkeypatch):
    buffers = []
    original = Replay.pieces

    def watched(self, before=None):
        buffers.append(self.buffers)
        yield from original(self, before)

    monkeypatch.setattr(Replay, "pieces", watched)
    for B, threads in [(1, 1), (1, 2), (3, 2), (37, 2), (37, 3)]:
        c = case(B=B)
        same(
            gs.gradient_flow(c.params, c.inputs, threads=threads),
            gs.gradient_flow(c.params, c.inputs, threads=1),
        )
    assert buffers[::2] == [1, 2, 2, 1, 2]  # 37 sequences are two blocks
    assert set(buffers[1::2]) == {1}


@pytest.mark.parametrize("options", [{"lags": [0]}, {"lags": [3, 28, 199]}, {"max_lag": 1}, {"max_lag": 14}])
@pytest.mark.parametrize("source_step", [1, 14, 15, 28, 200])
def test_parts_of_the_lags_are_parts_of_the_result(options, source_step):
    c = case("gru")
    whole = gs.gradient_flow(c.params, c.inputs, source_step=source_step)
    if max(options.get("lags", [options.get("max_lag")])) > source_step:
        pytest.skip("reaches back too far")
    flow = gs.gradient_flow(c.params, c.inputs, source_step=source_step, **options)
    np.testing.assert_array_equal(flow.log_norm, whole.log_norm[flow.lag])


def test_checkpoints_are_stored_only_where_they_are_needed():
    c = case(steps=1000)
    machine = device.CpuDevice(gs.cells.get("lstm"), c.params, 2)
    from gatescope.recurrence.input_stream import in_memory

    start = np.zeros((1, 2, 5))
    assert len(Replay(machine, in_memory(c.inputs), start, 1000, 0).checkpoints) == 33
    assert len(Replay(machine, in_memory(c.inputs), start, 1000, 995).checkpoints) == 1


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
@pytest.mark.parametrize("first", [1, 17, 18, 19, 20, 38])
def test_states_that_stop_being_finite(dtype, first):
    """The state grows eightfold a step, and is beyond the largest float32 after 43 steps, beyond float64 after 342."""
    params = gs.Params(
        cell="rnn_relu", weight_ih=np.ones((1, 1), dtype), weight_hh=np.full((1, 1), 8.0, dtype),
        bias_ih=np.zeros(1, dtype), bias_hh=np.zeros(1, dtype), 
    )  # fmt: skip
    inputs = np.zeros((400, 2, 1))
    inputs[first - 1, 1] = 1
    last = first + (43 if dtype == "float32" else 342)
    gs.gradient_flow(params, inputs, source_step=last - 1)
    for source in (last, last + 1, -1):
        with pytest.raises(ValueRangeError, match=rf"sequence 1 are not finite from step {last} on"):
            gs.gradient_flow(params, inputs, source_step=source)


# ---- interruptions ----


class Interrupted:
    """Raises KeyboardInterrupt at the n-th segment of a call, counted through both directions."""

    def __init__(self, monkeypatch, after, *, where="forward"):
        self.left = after
        original = device.CpuDevice.forward if where == "forward" else flow_module.FlowRecord.piece

        def counted(*args):
            if threading_main():
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt
            return original(*args)

        owner = device.CpuDevice if where == "forward" else flow_module.FlowRecord
        monkeypatch.setattr(owner, where if where == "forward" else "piece", counted)


def threading_main():
    import threading

    return threading.current_thread() is threading.main_thread()


CASES = [
    {},
    {"norm": "spectral", "lags": [0, 1, 20, 57, 200]},
    {"norm": "unit", "unit": 2, "source_step": 190, "lags": [0, 3, 150], "of": "c", "wrt": "joint"},
]


@pytest.mark.parametrize("options", CASES, ids=["random", "spectral", "unit"])
@pytest.mark.parametrize(
    ("where", "after"), [("forward", 1), ("forward", 6), ("back", 1), ("back", 2), ("back", 11)]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_resumed_is_uninterrupted(tmp_path, options, where, after, threads):
    c = case(B=2)
    keywords = {"initial_state": c.initial_state, **options}
    expected = gs.gradient_flow(c.params, c.inputs, threads=1, **keywords)
    path = tmp_path / "state"
    with pytest.MonkeyPatch.context() as patch:
        Interrupted(patch, after, where=where)
        with pytest.raises(KeyboardInterrupt) as caught:
            gs.gradient_flow(c.params, c.inputs, threads=threads, resume=path, **keywords)
    assert "resumes from here" in caught.value.__notes__[-1]
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        original = device.CpuDevice.forward
        patch.setattr(device.CpuDevice, "forward", lambda *a: (steps.append(len(a[1])), original(*a))[1])
        same(gs.gradient_flow(c.params, c.inputs, threads=3 - threads, resume=path, **keywords), expected)
    assert os.listdir(tmp_path) == []
    if (where, after) == ("back", 11):
        assert sum(steps) < T / 2  # the forward pass was not made again


def test_interrupted_again_and_again(tmp_path):
    c = case(dtype="float32")
    expected = gs.gradient_flow(c.params, c.inputs)
    path = tmp_path / "state"
    for _ in range(40):
        with pytest.MonkeyPatch.context() as patch:
            Interrupted(patch, 3, where="forward")
            Interrupted(patch, 2, where="back")
            try:
                flow = gs.gradient_flow(c.params, c.inputs, resume=path)
                break
            except KeyboardInterrupt:
                assert path.exists()
    same(flow, expected)
    assert not path.exists()


def test_written_every_minute(tmp_path, monkeypatch):
    """A state that was not asked for by Ctrl-C serves as well, and so does a generator given anew."""
    c = case()
    expected = gs.gradient_flow(c.params, c.inputs)
    path = tmp_path / "state"
    minutes = iter(range(0, 10**6, 61))
    monkeypatch.setattr(resumable.time, "monotonic", lambda: next(minutes))
    with pytest.MonkeyPatch.context() as patch:
        left = [10]
        original = flow_module.FlowRecord.piece

        def killed(*args):
            left[0] -= 1
            if not left[0]:
                raise MemoryError
            return original(*args)

        patch.setattr(flow_module.FlowRecord, "piece", killed)
        with pytest.raises(MemoryError):
            gs.gradient_flow(c.params, iter(c.inputs), resume=path)
    with np.load(path) as state:
        assert int(state["before"]) == 200 - 4 - 8 * 14
    same(gs.gradient_flow(c.params, iter(c.inputs), resume=path), expected)


def interrupted(c, path, **keywords):
    with pytest.MonkeyPatch.context() as patch:
        Interrupted(patch, 5, where="back")
        with pytest.raises(KeyboardInterrupt):
            gs.gradient_flow(c.params, c.inputs, resume=path, **keywords)


def test_the_state_of_another_call_is_left_alone(tmp_path):
    c, path = case(), tmp_path / "state"
    interrupted(c, path)
    before = path.read_bytes()
    other = random_params("lstm", input_size=2, hidden_size=5, seed=9)
    changed = c.inputs.copy()
    changed[-1] += 1
    for params, inputs, keywords, message in [
        (other, c.inputs, {}, "other `params`"),
        (c.params, c.inputs[:-1], {}, "other `inputs`"),
        (c.params, changed, {}, "other `inputs`"),
        (c.params, c.inputs, {"clamp": {"f": 1.0}}, "other `params`"),
        (c.params, c.inputs, {"wrt": "c"}, r"other `wrt` \(h there, c here\)"),
        (c.params, c.inputs, {"of": "joint"}, "other `of`"),
        (c.params, c.inputs, {"seed": 1}, "other `direction`"),
        (c.params, c.inputs, {"norm": "unit"}, "other `norm`"),
        (c.params, c.inputs, {"max_lag": 100}, "other `lags`"),
        (c.params, c.inputs, {"source_step": 199}, r"`source_step` \(200 there, 199 here\)"),
        (c.params, c.inputs, {"initial_state": c.initial_state}, "other `initial_state`"),
    ]:
        with pytest.raises(ValueRangeError, match=message):
            gs.gradient_flow(params, inputs, resume=path, **keywords)
        assert path.read_bytes() == before
    same(gs.gradient_flow(c.params, c.inputs, resume=path), gs.gradient_flow(c.params, c.inputs))


def test_a_torn_state_is_left_alone(tmp_path):
    c, path = case(), tmp_path / "state"
    interrupted(c, path)
    whole = path.read_bytes()
    for size in (0, 100, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match="cannot be resumed from"):
            gs.gradient_flow(c.params, c.inputs, resume=path)
        assert len(path.read_bytes()) == size


@pytest.mark.parametrize(
    ("name", "value"),
    [("before", np.array(7)), ("checkpoints", np.zeros((1, 1, 2, 5))), ("log_norm", np.zeros((3, 1))),
     ("adjoints", np.zeros((1, 1))), ("length", np.array(0)), ("reached", np.array(99))],
)  # fmt: skip
def test_a_state_that_does_not_fit_together(tmp_path, name, value):
    c, path = case(), tmp_path / "state"
    interrupted(c, path)
    with np.load(path) as state:
        arrays = dict(state)
    arrays[name] = value
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
    with pytest.raises(FileFormatError, match="cannot be resumed from"):
        gs.gradient_flow(c.params, c.inputs, resume=path)


def test_a_path_that_cannot_be_written(tmp_path):
    c = case()
    with pytest.raises(OutputError, match="resume="):
        gs.gradient_flow(c.params, c.inputs, resume=tmp_path / "missing" / "state")


SCRIPT = """
import sys, numpy as np, gatescope as gs
params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
inputs = np.random.default_rng(0).standard_normal((800_000, 1))
print("ready", flush=True)
flow = gs.gradient_flow(params, inputs, resume=sys.argv[1], lags=np.arange(0, 800_001, 1000))
np.save(sys.argv[2], flow.log_norm)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT")
def test_a_real_interrupt(tmp_path):
    """Ctrl-C from outside, then to the end."""
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "state"), str(tmp_path / "found.npy")]
    for seconds in (0.15, None):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        ) as process:
            process.stdout.readline()
            if seconds is not None:
                time.sleep(seconds)
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=100)
            if seconds is None:
                assert process.returncode == 0, errors
            elif process.returncode:  # it may have been faster
                assert b"KeyboardInterrupt" in errors
                if b"resumes from here" in errors:
                    assert (tmp_path / "state").exists()
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
    inputs = np.random.default_rng(0).standard_normal((800_000, 1))
    expected = gs.gradient_flow(params, inputs, lags=np.arange(0, 800_001, 1000))
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), expected.log_norm)
    assert not (tmp_path / "state").exists()
