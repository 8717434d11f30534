"""``--standardize``: whose scale is taken, and a series that is mapped stays so."""

import dataclasses

import numpy as np
import pytest
from helpers.stack_cases import random_stack

import gatescope as gs
from gatescope.cli import inputs, scale
from gatescope.cli.networks import Network
from gatescope.cli.options import InputOptions

pytestmark = pytest.mark.usefixtures("blank_figures")
RNG = np.random.default_rng(0)
WALK = 133 + 9 * RNG.standard_normal((300, 1))
TRAINED = {"mean": [120.0], "standard_deviation": [8.0]}


@pytest.fixture
def run(tmp_path):
    """``run.npz`` of a network that was trained on another part of the series, and ``x.npy``."""
    np.save(tmp_path / "x.npy", WALK)
    task = gs.tasks.next_step(np.sin(np.arange(40)), dtype="float64")
    stack = gs.init_stack("lstm", hidden_size=5, heads=task, seed=0, dtype="float64")
    trained = gs.train(stack, task, epochs=1)
    assert trained.provenance["inputs_scale"]["mean"] == task.provenance["mean"]
    kept = {**trained.provenance, "inputs_scale": TRAINED}
    dataclasses.replace(trained, provenance=kept).save(tmp_path / "run.npz")
    return trained


@pytest.mark.slow  # compiles kernels of its own
def test_the_scale_is_that_of_the_weights(run, invoke, tmp_path):
    done = invoke("run", "--weights", "run.npz", "--inputs", "x.npy", "--standardize")
    assert done.exit_code == 0, done.output
    assert "; standardized as run was trained, by mean 120 and sd 8" in done.stdout
    advice = "give such, as train has written them beside it, or the file with --standardize"
    assert advice not in done.stderr
    without = invoke("run", "--weights", "run.npz", "--inputs", "x.npy", "--out", "raw.npz")
    assert (
        f"run was trained on standardized inputs, (x - mean) / sd with mean 120 and sd 8: {advice}"
        in without.stderr
    )
    trace = gs.load(tmp_path / "trace.npz")
    np.testing.assert_allclose(trace.inputs[:, 0], (WALK - 120) / 8, rtol=1e-12)
    assert trace.provenance["inputs_scale"] == TRAINED
    cells = ["--cells", "rnn", "--hidden-size", 5, "--dtype", "float64"]
    done = invoke("compare", "--weights", "run.npz", *cells, "--inputs", "x.npy", "--standardize")
    assert done.exit_code == 0, done.output
    line = done.stdout.splitlines()[0]
    assert "; standardized run as run was trained, by mean 120 and sd 8; rnn by its own mean 132.7" in line
    traces = [gs.load(tmp_path / "gatescope-out" / "data" / f"trace_{name}.npz") for name in ("run", "rnn")]
    np.testing.assert_allclose(traces[0].inputs[:, 0], (WALK - 120) / 8, rtol=1e-12)
    np.testing.assert_allclose(traces[1].inputs[:, 0], (WALK - WALK.mean()) / WALK.std(), rtol=1e-9)
    assert traces[0].provenance["inputs_scale"] == TRAINED


def test_a_series_that_was_standardized_already_is_asked_about(run, invoke, tmp_path):
    np.save(tmp_path / "y.npy", (WALK - 120) / 8)
    done = invoke("run", "--weights", "run.npz", "--inputs", "y.npy", "--standardize")
    assert done.exit_code == 0, done.output
    said = "y.npy: on the scale that run was trained on, the inputs have mean −14.8"
    assert said in done.stderr
    assert "leave out --standardize if they are standardized already" in done.stderr


@pytest.mark.parametrize(
    "bad",
    [None, {"mean": [1.0]}, {"mean": [1.0, 2.0], "standard_deviation": [1.0, 2.0]}, [1.0], {"mean": "1"}],
)
def test_a_scale_that_cannot_be_is_none(bad, run, invoke, tmp_path):
    trained = gs.load(tmp_path / "run.npz")
    kept = {**trained.provenance, "inputs_scale": bad}
    dataclasses.replace(trained, provenance=kept).save(tmp_path / "run.npz")
    done = invoke("run", "--weights", "run.npz", "--inputs", "x.npy", "--standardize")
    assert done.exit_code == 0, done.output
    assert "; standardized by its own mean 132.7" in done.stdout


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_long_file_stays_mapped(batch_first, tmp_path, monkeypatch):
    values = (50 + RNG.standard_normal((40, 3, 2))).astype(np.float32)
    np.save(tmp_path / "x.npy", values.swapaxes(0, 1) if batch_first else values)
    options = InputOptions(inputs=tmp_path / "x.npy", batch_first=batch_first, steps=30)
    monkeypatch.setattr(scale, "_PIECE", 7 * 6)  # several pieces
    whole, reading = scale.fed_to({"": None}, inputs.read_inputs(options), standardize=True)
    monkeypatch.setattr(inputs, "MAPPED_BYTES", 0)
    series = inputs.read_inputs(options, mapped=True)
    assert isinstance(series.values, np.memmap)
    mapped, same = scale.fed_to({"": None}, series, standardize=True)
    assert isinstance(mapped[""].values, np.memmap)
    assert same == reading
    np.testing.assert_array_equal(mapped[""].values, whole[""].values)
    steps = values[:30].astype(np.float64)
    expected = (steps - steps.mean(axis=(0, 1))) / steps.std(axis=(0, 1))
    np.testing.assert_allclose(whole[""].values, expected, atol=1e-12)


def test_a_constant_is_not_divided_by_what_rounding_leaves_of_it(tmp_path):
    np.save(tmp_path / "x.npy", np.full((300, 1), 0.1))  # whose standard deviation NumPy gives as 1.4e-17
    series = inputs.read_inputs(InputOptions(inputs=tmp_path / "x.npy"))
    fed, _ = scale.fed_to({"": None}, series, standardize=True)
    assert np.abs(fed[""].values).max() < 1e-15
    assert np.abs(gs.tasks.next_step(np.full(300, 0.1), dtype="float64").inputs).max() < 1e-15


def test_networks_of_one_series_are_fed_apart():
    series = inputs.Series(WALK[:, None], None, "x", None, "x: T = 300 steps")
    params = gs.init("rnn", input_size=1, hidden_size=5, seed=0, dtype="float64")
    networks = {"a": Network(params, scale=TRAINED), "b": Network(params), "c": Network(params)}
    fed, reading = scale.fed_to(networks, series, standardize=True)
    assert fed["b"] is fed["c"]
    assert fed["a"] is not fed["b"]
    assert reading.startswith(
        "x: T = 300 steps; standardized a as a was trained, by mean 120 and sd 8; b, c by its"
    )
    fed, reading = scale.fed_to(networks, series, standardize=False)
    assert all(own is series for own in fed.values())
    assert reading == series.reading


def test_what_layers_make_of_a_series_is_on_a_scale_of_theirs():
    series = inputs.Series(WALK[:, None], None, "x", None, "x: T = 300 steps", {"inputs_text": "abc"})
    lower, upper = random_stack("lstm 5", "lstm 5", inputs=1).layers
    networks = {"lower": Network(lower), "upper": Network(upper, below=(lower,))}
    fed, _ = scale.fed_to(networks, series, standardize=True)
    assert {*fed["lower"].provenance} == {"inputs_scale", "inputs_text"}
    assert {*fed["upper"].provenance} == {"inputs_text"}
    assert fed["upper"].values.shape == (300, 1, 5)


@pytest.mark.slow  # a whole comparison
def test_nor_has_a_direction_of_an_upper_layer_that_is_compared(invoke, tmp_path):
    random_stack("lstm 5 | lstm 5", "lstm 5 | lstm 5", inputs=1).save(tmp_path / "m.npz")
    np.save(tmp_path / "x.npy", WALK)
    done = invoke("compare", "--weights", "m.npz", "--inputs", "x.npy", "--standardize")
    assert done.exit_code == 0, done.output
    traces = {path.stem: gs.load(path) for path in (tmp_path / "gatescope-out" / "data").glob("trace_*.npz")}
    assert len(traces) == 4
    for name, trace in traces.items():
        lowest = trace.inputs.shape[-1] == 1
        assert ("inputs_scale" in trace.provenance) == lowest, name


def test_a_long_file_of_series_in_rows_is_asked_about(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", RNG.standard_normal((3, 40)))
    options = InputOptions(inputs=tmp_path / "x.npy")
    reading = inputs.read_inputs(options).reading
    assert reading.endswith("I = 40 inputs; if these are 3 series of 40 steps, transpose the file")
    monkeypatch.setattr(inputs, "MAPPED_BYTES", 0)
    assert inputs.read_inputs(options, mapped=True).reading == reading
