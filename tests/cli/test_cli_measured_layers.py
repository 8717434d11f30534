"""gatescope measure over a file of several layers: measured whole, or one layer with --layer."""

import dataclasses
import json

import numpy as np
import pytest

import gatescope as gs
from gatescope.comparison.folder import file_names


def cell(seed, inputs, *, reverse=False):
    params = gs.init("lstm", input_size=inputs, hidden_size=5, seed=seed, dtype="float64")
    return dataclasses.replace(params, reverse=reverse)


STACK = gs.Stack(layers=(cell(0, 3), cell(1, 5)))
BOTH = gs.Stack(layers=(gs.Bidirectional(forward=cell(0, 3), backward=cell(1, 3, reverse=True)),))
INPUTS = np.random.default_rng(0).standard_normal((60, 3))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    STACK.save("two.npz")
    BOTH.save("both.npz")
    np.save("x.npy", INPUTS)
    return tmp_path


def measured(invoke, command, *options, weights="two.npz"):
    done = invoke("measure", command, "--weights", weights, "--inputs", "x.npy", "--out", "o", *options)
    assert done.exit_code == 0, done.output
    (stored,) = (path for path in done.stdout.split() if path.endswith(".npz") and path.startswith("o/"))
    return gs.load(stored), done.stdout


@pytest.mark.parametrize(
    ("command", "call", "options"),
    [
        ("half-life", gs.half_life, {}),
        pytest.param("gradient-paths", gs.gradient_paths, {"max_lag": 20}, marks=pytest.mark.slow),
        pytest.param("lyapunov-spectrum", gs.lyapunov_spectrum, {"k": 3}, marks=pytest.mark.slow),
    ],
)
def test_a_model_is_measured_whole(command, call, options, invoke, files):
    typed = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    result, text = measured(invoke, command, *typed)
    assert result == call(STACK, INPUTS, **options)
    assert "two (lstm on lstm) over x.npy, 60 steps" in text
    assert "layers.0" in text
    assert "layers.1" in text
    lower = gs.run(STACK.layers[0], INPUTS[:, None]).outputs
    one, text = measured(invoke, command, *typed, "--layer", 1)
    assert one == call(STACK.layers[1], lower, **options)
    assert "layers.1" not in text


def test_directions_are_said_and_what_is_not_causal(invoke, files):
    result, text = measured(invoke, "half-life", weights="both.npz")
    assert [*result] == ["layers.0.forward", "layers.0.backward"]
    assert "the whole has no half-life" in text
    done = invoke("measure", "lyapunov-spectrum", "--weights", "both.npz", "--inputs", "x.npy", "--out", "p")
    assert done.exit_code != 0
    assert "goes both ways" in done.output
    assert (
        "measure one direction of one layer by itself; of a file --layer and --reverse choose it"
        in done.output
    )


@pytest.mark.slow
def test_a_diagnosis_writes_the_whole_model_with_one_layer_changed(invoke, files):
    options = ("--target-half-life", 5, "--apply", "changed.npz")
    result, text = measured(invoke, "diagnose", *options)
    assert result == gs.diagnose(STACK, INPUTS, target_half_life=5)
    assert f"weights, {result.layer} changed as suggested: changed.npz" in text
    assert gs.load("changed.npz") == result.apply(STACK)


@pytest.mark.slow
def test_half_lives_of_each_sequence_say_their_layer(invoke, files):
    np.save("x.npy", np.stack([INPUTS, 2 * INPUTS], axis=1))
    _, text = measured(invoke, "half-life", "--per-sequence")
    for name in ("layers.0", "layers.1"):
        for number in range(2):
            assert f"{name}, sequence {number}: over 54 steps" in text


def test_clamps_are_named_with_their_layer(invoke, files):
    result, _ = measured(invoke, "half-life", "--clamp", "layers.1.f=0.9")
    assert result == gs.half_life(STACK, INPUTS, clamp={"layers.1.f": 0.9})


@pytest.mark.slow
def test_models_are_compared_whole(invoke, files):
    done = invoke("compare", "--weights", "two.npz", "--inputs", "x.npy", "--out", "c", "--units", "0")
    assert done.exit_code == 0, done.output
    assert "two.npz: the model, lstm on lstm" in done.output
    assert gs.load("c/data/params_two.npz") == STACK
    assert gs.load("c/data/flow_two.npz") == gs.gradient_flow(STACK, INPUTS, of="joint", wrt="joint")
    names = {str(path.relative_to(files / "c")) for path in (files / "c").rglob("*.*")}
    assert {f"heatmap_two_layers.{k}.png" for k in (0, 1)} <= names <= {*file_names({"two": STACK})}
    assert {*np.load("c/data/saturation.npz")} >= {"two_layers.1_f_shut", "two_layers.0_f_open"}
    assert json.loads((files / "c" / "summary.json").read_text())["cells"]["two"]["hidden_size"] == [5, 5]
    page = (files / "c" / "report.html").read_text()
    assert "two (lstm on lstm: 5, 5 units)" in page
    assert "two, layers.1: all units" in page


@pytest.mark.usefixtures("blank_figures")
def test_directions_of_a_model_that_goes_both_ways_are_compared(invoke, files):
    done = invoke("compare", "--weights", "both.npz", "--inputs", "x.npy", "--out", "c", "--no-traces")
    assert done.exit_code == 0, done.output
    assert "both: both ways, so that no state is made of earlier steps alone" in done.stdout
    names = {f"both, layers.0.{way}" for way in ("forward", "backward")}
    assert {*json.loads((files / "c" / "summary.json").read_text())["cells"]} == names
    assert gs.load("c/data/params_both_layers.0.backward.npz") == BOTH.layers[0].backward
