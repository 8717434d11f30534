"""What a call takes in memory: what is estimated is what is measured, and what is printed before a long call."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import Case, random_params
from helpers.stacks import random_stack

import gatescope as gs
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu import device
from gatescope.recurrence.exact_steps import ExactSteps

SRC = Path(__file__).resolve().parents[2] / "src"


def case(*, H=5, steps=200):
    return Case("lstm", T=steps, B=1, I=2, H=H)


MEASURE = """
import sys, numpy as np, gatescope as gs
path, steps, dtype, source, hidden, bias = sys.argv[1:]
inputs = np.load(path, mmap_mode="r")
params = gs.init("lstm", input_size=inputs.shape[1], hidden_size=int(hidden), seed=0, dtype=dtype)
params.bias_ih[-int(hidden):] += float(bias)  # of the gate o
gs.gradient_flow(params, np.zeros((300, inputs.shape[1])), threads=2)  # compiled, loaded
if source == "generator":
    mapped = inputs
    inputs = (np.array(mapped[a : a + 1000]) for a in range(0, len(mapped), 1000))
def high():  # getrusage's peak is the parent's, where that was larger
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = high()
flow = gs.gradient_flow(params, inputs, threads=2)
assert np.isfinite(flow.log_norm).all()
estimate = gs.estimate_memory("gradient_flow", params, steps=int(steps), threads=2)
print(before, high(), estimate.total, estimate.if_saturated)
"""


def measured(tmp_path, steps, dtype, source, *, width=1, hidden=64, bias=0):
    """Return what a gradient flow takes, and what is estimated: without saturated units, and what they add."""
    path = tmp_path / "inputs.npy"
    file = np.lib.format.open_memmap(path, "w+", dtype="float64", shape=(steps, width))
    rng = np.random.default_rng(0)  # so small that no unit of the weights as drawn is saturated
    for at in range(0, steps, 100_000):
        file[at : at + 100_000] = 0.2 * rng.standard_normal((min(100_000, steps - at), width))
    del file
    command = [sys.executable, "-c", MEASURE, *map(str, (path, steps, dtype, source, hidden, bias))]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    before, peak, *estimates = map(int, done.stdout.split())
    return peak - before, *estimates


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of resident memory")
@pytest.mark.parametrize(
    ("source", "width"), [pytest.param("memmap", 1, marks=pytest.mark.slow), ("generator", 1), ("memmap", 8)]
)
def test_the_plan_is_what_is_measured(tmp_path, source, width):
    taken, planned, _ = measured(tmp_path, 1_000_000, "float32", source, width=width, hidden=2)
    assert planned == pytest.approx(taken, rel=0.3)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of resident memory")
@pytest.mark.parametrize(("dtype", "bias"), [("float32", 0), ("float64", 25)])
def test_the_plan_of_many_units_saturated_or_not(tmp_path, dtype, bias):
    taken, planned, more = measured(tmp_path, 300_000, dtype, "memmap", bias=bias)
    assert taken < 2**25  # of a trace of 0.4 or 0.9 GiB
    assert planned + more * (bias > 0) == pytest.approx(taken, rel=0.3)
    assert more > 0.3 * planned


def test_ten_million_steps_stay_below_the_bound():
    for dtype in ("float32", "float64"):
        estimate = gs.estimate_memory("gradient_flow", "lstm", steps=10_000_000, dtype=dtype, threads=2)
        assert estimate.total + estimate.if_saturated < 2**28
        assert estimate.total == sum(estimate.parts.values())
        assert estimate.segments > 3000


def test_derivatives_of_saturated_units_are_a_part_of_their_own(monkeypatch):
    """What is said of them is what is in memory, by every measurement that takes them."""
    asked = {}
    steps = ExactSteps.steps

    def watched(self, inputs, states, gates, slot=0):
        coefficients = steps(self, inputs, states, gates, slot)
        key = id(self), slot
        asked[key] = max(asked.get(key, 0), coefficients.nbytes)
        return coefficients

    monkeypatch.setattr(ExactSteps, "steps", watched)
    params = random_params("lstm", input_size=1, hidden_size=5)
    params.bias_ih[:] += 10
    calls = {
        "gradient_flow": {},
        "connectivity": {"target_steps": [299]},
        "lyapunov_spectrum": {"k": 1, "qr_every": 1},
    }
    for call, options in calls.items():
        asked.clear()
        getattr(gs, call)(params, np.zeros((300, 1)), threads=1, **options)
        estimate = gs.estimate_memory(call, params, steps=300, threads=1, **options)
        assert 0 < sum(asked.values()) <= estimate.if_saturated <= 3 * sum(asked.values()), call
        assert "more where units are saturated" in estimate.summary()
    assert gs.estimate_memory("run", params, steps=300).if_saturated == 0


def test_estimates_of_large_batches_stay_reasonable():
    """Segments are not balanced with checkpoints that would take all there is."""
    params = gs.init("lstm", input_size=8, hidden_size=512, seed=0)
    estimate = gs.estimate_memory(
        "gradient_flow", params, steps=100_000, batch=64, norm="spectral", threads=2
    )
    assert estimate.parts["checkpoints"] < 2**31
    assert "64 sequences" in str(estimate)


def test_an_estimate_is_printed_once_if_someone_watches(monkeypatch, capsys):
    monkeypatch.setattr(device, "_CPU_LEAST", 1)  # many segments in few steps
    c = case()
    gs.gradient_flow(c.params, c.inputs, progress=True)
    assert "together" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    gs.gradient_flow(c.params, c.inputs, progress=True)
    seen = capsys.readouterr().err
    title = "gradient flow of lstm with 5 units in float64, 200 steps, 1 sequence: 15 segments of 14 steps"
    assert seen.count(title) == 1
    assert "together" in seen
    assert "100%" in seen
    gs.gradient_flow(c.params, c.inputs)
    assert capsys.readouterr().err == ""


def announced(monkeypatch, measure, *args, **keywords):
    """Return the one estimate that a call shows."""
    shown = []
    with monkeypatch.context() as patch:
        patch.setattr(gs.MemoryEstimate, "announce", lambda estimate: shown.append(estimate))
        measure(*args, **keywords)
        assert shown == []
        measure(*args, **keywords, progress=True)
    (estimate,) = shown
    assert estimate.total == sum(estimate.parts.values())
    return estimate


def test_exponents(monkeypatch):
    params = random_params("gru", input_size=1, hidden_size=8)
    options = {"k": 2, "qr_every": 1}
    estimate = announced(monkeypatch, gs.lyapunov_spectrum, params, np.zeros((3000, 1)), **options)
    assert estimate.title == "2 exponents of gru with 8 units, 3,000 steps in 2 chunks"
    # A state and four saved values of 8 units, float64: of 2,048 steps, in the first chunk of the 1,600 that it has.
    assert estimate.parts["states and gates of a piece"] == 8 * 8 * (1601 + 4 * 1600 + 2049 + 4 * 2048)
    before = gs.estimate_memory("lyapunov_spectrum", params, steps=3000, **options)
    # A series that is not in memory yet is counted too.
    assert estimate.parts.items() <= before.parts.items()
    assert estimate.title == before.title


def test_connectivity(monkeypatch):
    params = random_params("lstm", input_size=1, hidden_size=8)
    options = {"target_steps": [5, 299], "norm": "random"}
    estimate = announced(monkeypatch, gs.connectivity, params, np.zeros((300, 1)), **options)
    assert estimate.title == "connectivity of lstm with 8 units, 300 steps, 1 sweep"
    assert estimate.parts["log-norms"] == 2 * 300 * 8
    assert estimate.parts["norms of a part of a segment"] == 2 * 300 * 8
    before = gs.estimate_memory("connectivity", params, steps=300, **options)
    assert estimate.parts.items() <= before.parts.items()


def test_the_gpu_need_not_be_there():
    sizes = {"hidden_size": 64, "steps": 100_000, "batch": 40}
    run = gs.estimate_memory("run", "lstm", **sizes)
    assert run.parts["states"] == 100_001 * 40 * 2 * 64 * 4
    assert run.parts["inputs"] == 100_000 * 40 * 4
    on_device = gs.estimate_memory("run", "lstm", on_device=["inputs", "weights"], **sizes)
    assert run.parts.keys() - on_device.parts.keys() == {"inputs", "weights"}
    back = gs.estimate_memory(
        "backprop", gs.init("lstm", input_size=1, hidden_size=64), steps=100_000, batch=40, free=16 << 30
    )
    assert back.segments > 1
    assert back.least > back.parts["trace"]
    first, *rows, last = str(back).splitlines()
    assert first.startswith(
        "backprop of lstm with 64 units in float32, 100,000 steps, 40 sequences on the GPU"
    )
    assert rows[0].split() == ["trace", "5.74", "GiB"]
    assert len(rows) == len(back.parts)
    assert "together; at least" in last
    assert back.table().texts()[-1][0] == "together"
    assert "output adjoint" not in gs.estimate_memory("backprop", "lstm", output_adjoint=False, **sizes).parts


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueRangeError, "steps=0"),
        ({"batch": 0}, ValueRangeError, "batch=0"),
        ({"norm": "frobenius"}, UnknownNameError, "frobenius"),
        ({"lags": [102]}, ValueRangeError, r"lags=\[102\]"),
        ({"params": None}, DtypeError, "give gatescope.Params"),
        ({"params": "transformer"}, UnknownNameError, "transformer"),
        ({"params": "lstm", "hidden_size": 0}, ValueRangeError, "hidden_size=0"),
        ({"params": "lstm", "dtype": "float16"}, DtypeError, "float16"),
        ({"threads": 0}, ValueRangeError, "threads=0"),
        ({"call": "sweep"}, UnknownNameError, "call='sweep' is not known; choose from gradient_flow"),
        ({"call": "run", "on_device": ["weigths"]}, UnknownNameError, "on_device='weigths' is not known"),
    ],
)
def test_estimates_that_make_no_sense(arguments, error, message):
    with pytest.raises(error, match=message):
        gs.estimate_memory(**{"call": "gradient_flow", "params": case().params, "steps": 100, **arguments})


def test_a_stack_takes_what_its_layers_take():
    stack = random_stack(("lstm", "lstm"), (64, 64), inputs=1, dtype="float32")
    estimate = gs.estimate_memory("gradient_flow", stack, steps=1_000_000, threads=2)
    assert "lstm on lstm with 64 units" in estimate.title
    assert estimate.total < 2**29
    alone = gs.estimate_memory("gradient_flow", stack.layers[0], steps=1_000_000, threads=2)
    # As many steps of both layers' states and gates in memory, and as many checkpoints of both.
    assert (
        estimate.parts["checkpoints"] / estimate.segments == 2 * alone.parts["checkpoints"] / alone.segments
    )
    with pytest.raises(ValueRangeError, match="one layer at a time"):
        gs.estimate_memory("lyapunov_spectrum", stack, steps=10)
    with pytest.raises(UnknownNameError, match="'h'"):
        gs.estimate_memory("gradient_flow", stack, steps=10, of="h")


def test_an_estimate_of_nothing_has_a_table():
    estimate = gs.MemoryEstimate(title="nothing", parts={"weights": 0})
    assert estimate.table().rows[0] == ("weights", "0 B", "0.0 %")
