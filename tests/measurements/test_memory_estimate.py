"""The memory of gradient_flow over long series: what is planned is what is measured, and what is printed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu import device
from gatescope.measurements.memory_estimate import plan_flow

SRC = Path(__file__).resolve().parents[2] / "src"


def case(*, H=5, steps=200):
    return Case("lstm", T=steps, B=1, I=2, H=H)


MEASURE = """
import sys, numpy as np, gatescope as gs
from gatescope.measurements.memory_estimate import plan_flow
path, steps, dtype, source = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
inputs = np.load(path, mmap_mode="r")
params = gs.init("lstm", input_size=inputs.shape[1], hidden_size=int(sys.argv[5]), seed=0, dtype=dtype)
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
print(before, high(), plan_flow(params, steps, threads=2).total)
"""


def measured(tmp_path, steps, dtype, source, *, width=1, hidden=64):
    path = tmp_path / "inputs.npy"
    file = np.lib.format.open_memmap(path, "w+", dtype="float64", shape=(steps, width))
    rng = np.random.default_rng(0)
    for at in range(0, steps, 100_000):
        file[at : at + 100_000] = rng.standard_normal((min(100_000, steps - at), width))
    del file
    command = [sys.executable, "-c", MEASURE, str(path), str(steps), dtype, source, str(hidden)]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return (int(word) for word in done.stdout.split())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of resident memory")
@pytest.mark.parametrize(("source", "width"), [("memmap", 1), ("generator", 1), ("memmap", 8)])
def test_the_plan_is_what_is_measured(tmp_path, source, width):
    before, peak, planned = measured(tmp_path, 2_000_000, "float32", source, width=width, hidden=2)
    assert planned == pytest.approx(peak - before, rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_million_steps_from_a_memmap(tmp_path, dtype):
    before, peak, planned = measured(tmp_path, 2_000_000, dtype, "memmap")
    assert peak < 1.5 * 2**30
    assert planned == pytest.approx(peak - before, rel=0.3)


def test_ten_million_steps_are_planned_for_less_than_the_bound():
    for dtype in ("float32", "float64"):
        params = gs.init("lstm", input_size=1, hidden_size=64, seed=0, dtype=dtype)
        plan = plan_flow(params, 10_000_000, threads=2)
        assert plan.total < 2**28
        assert plan.total == sum(plan.parts.values())
        assert plan.segment * plan.segments >= 10_000_000


def test_plans_of_large_batches_stay_reasonable():
    """Segments are not balanced with checkpoints that would take all there is."""
    params = gs.init("lstm", input_size=8, hidden_size=512, seed=0)
    plan = plan_flow(params, 100_000, 64, norm="spectral", threads=2)
    assert plan.parts["checkpoints"] < 2**31
    assert "spectral" not in str(plan)
    assert "64 sequences" in str(plan)


def test_plan_is_printed_once(monkeypatch, capsys):
    monkeypatch.setattr(device, "_CPU_LEAST", 1)  # many segments in few steps
    c = case()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    gs.gradient_flow(c.params, c.inputs, progress=True)
    seen = capsys.readouterr().err
    assert (
        seen.count("gradient flow of lstm with 5 units in float64, 200 steps, one sequence: 15 segments") == 1
    )
    assert "together" in seen
    assert "back: 100%" in seen
    gs.gradient_flow(c.params, c.inputs)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueRangeError, "steps=0"),
        ({"batch": 0}, ValueRangeError, "batch=0"),
        ({"norm": "frobenius"}, UnknownNameError, "frobenius"),
        ({"lags": 102}, ValueRangeError, "lags=102"),
        ({"params": None}, DtypeError, "give gatescope.Params"),
        ({"threads": 0}, ValueRangeError, "threads=0"),
    ],
)
def test_plans_that_make_no_sense(arguments, error, message):
    with pytest.raises(error, match=message):
        plan_flow(**{"params": case().params, "steps": 100, **arguments})
