"""Weights of a trained model, or of a model that was not trained, for the commands that take ``--weights``."""

import numpy as np
import pytest
from helpers.command_line import torch_weights

import gatescope as gs
from gatescope.recurrence.initialization import init_stack
from gatescope.training import train

pytestmark = pytest.mark.usefixtures("blank_figures")
COMMANDS = [["measure", "gradient-flow"], ["run"], ["compare"]]


@pytest.fixture
def run(tmp_path):
    """Return a GRU of 3 units under an LSTM of 4, whose best model is not the last one."""
    batch = gs.tasks.adding(steps=12, sequences=3, seed=0)
    stack = init_stack(["gru", "lstm"], hidden_size=[3, 4], heads=batch, seed=0)
    run = train.train(stack, batch, epochs=3, lr=1e-2)
    assert run.best != run.model
    run.save(tmp_path / "run.npz")
    run.model.save(tmp_path / "stack.npz")
    rng = np.random.default_rng(0)
    for width in (2, 3):
        np.save(tmp_path / f"x{width}.npy", rng.standard_normal((30, width)))
    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_trained_model_is_taken_its_lowest_layer_and_its_best(command, run, invoke):
    done = invoke(*command, "--weights", "run.npz", "--inputs", "x2.npy")
    assert done.exit_code == 0, done.output
    (line,) = done.stderr.splitlines()
    after = f"after epoch {run.best_epoch}"
    assert line == f"run.npz: layer 0 of 2, gru of 3 units, of the best model, that {after}"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_inputs_of_another_width_are_reported_before_anything_is_made(command, run, invoke, tmp_path):
    before = sorted(tmp_path.iterdir())
    done = invoke(*command, "--weights", "run.npz", "--inputs", "x3.npy")
    assert done.exit_code == 2
    assert "--inputs 'x3.npy' has 3 numbers a step, but run takes 2" in done.stderr
    done = invoke(*command, "--weights", "run.npz")
    assert done.exit_code == 2
    assert (
        "run takes 2 numbers a step, but the Santa Fe laser series, which is the default, has 1"
        in done.stderr
    )
    assert sorted(tmp_path.iterdir()) == before


def test_an_npz_is_run_and_compared_with_its_lengths(invoke, tmp_path):
    np.savez(tmp_path / "padded.npz", inputs=np.ones((30, 2, 1)), lengths=np.array([30, 12]))
    for command, file in (("run", "trace.npz"), ("compare", "gatescope-out/data/trace_lstm.npz")):
        cells = ["--cells", "lstm"] if command == "compare" else []
        done = invoke(command, "--hidden-size", 4, *cells, "--inputs", "padded.npz", "--steps", 20)
        assert done.exit_code == 0, done.output
        np.testing.assert_array_equal(gs.load(tmp_path / file).lengths, [20, 12])


def test_a_trace_does_not_take_the_place_of_what_it_is_of(run, invoke, tmp_path):
    before = (tmp_path / "run.npz").read_bytes()
    done = invoke("run", "--weights", "run.npz", "--inputs", "x2.npy", "--out", "run.npz")
    assert done.exit_code == 2
    assert "--out 'run.npz' is the file of --weights too" in done.stderr
    assert (tmp_path / "run.npz").read_bytes() == before


@pytest.mark.parametrize(("file", "model"), [("run.npz", "best"), ("stack.npz", "model")])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_weights_are_those_of_the_layer(file, model, layer, run, invoke, tmp_path):
    options = ["--weights", file, "--layer", layer, "--inputs", f"x{2 + layer}.npy", "--threads", 1]
    done = invoke("run", *options)
    assert done.exit_code == 0, done.output
    params = getattr(run, model).layers[layer]
    expected = gs.run(params, np.load(tmp_path / f"x{2 + layer}.npy"))
    trace = gs.load(tmp_path / "trace.npz")
    np.testing.assert_array_equal(trace.states, expected.states)
    assert f"{file}: layer {layer} of 2, {params.cell} of" in done.stderr
    assert ("its inputs have to be the outputs of layer 0, 3 numbers a step" in done.stderr) == bool(layer)


def test_its_dtype_can_be_another(run, invoke, tmp_path):
    done = invoke("run", "--weights", "run.npz", "--inputs", "x2.npy", "--dtype", "float64")
    assert done.exit_code == 0, done.output
    assert gs.load(tmp_path / "trace.npz").states.dtype == np.float64


def test_the_layer_is_that_of_every_file_that_has_layers(run, invoke, tmp_path):
    run.best.layers[1].save(tmp_path / "own.npz")
    second = {name.replace("l0", "l1"): value for name, value in torch_weights(3, 2, inputs=3).items()}
    np.savez(tmp_path / "torch.npz", **second)
    files = [part for name in ("own", "run", "torch") for part in ("--weights", f"{name}.npz")]
    done = invoke("compare", *files, "--layer", 1, "--inputs", "x3.npy")
    assert done.exit_code == 0, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("run.npz: layer 1 of 2, lstm of 4 units")


BAD = [
    (
        ["--layer", "2"],
        "--layer 2 is no layer of 'run.npz', which has 0 (gru of 3 units), 1 (lstm of 4 units)",
    ),
    (["--layer", "-1"], "--layer -1 is no layer of 'run.npz'"),
    (["--layer", "1"], "has 2 numbers a step, but run takes 3"),
    (["--prefix", "net"], "--prefix 'net' is for PyTorch files"),
    (["--nonlinearity", "relu"], "--nonlinearity 'relu' is for PyTorch files"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(("options", "message"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_what_it_has_not_is_reported(command, options, message, run, invoke):
    done = invoke(*command, "--weights", "run.npz", "--inputs", "x2.npy", *options)
    assert done.exit_code == 2, done.output
    assert message in done.stderr.splitlines()[-1]
    assert done.stdout == ""


@pytest.mark.parametrize("measure", [gs.run, gs.gradient_flow, gs.lyapunov_spectrum, gs.half_life])
def test_a_model_in_the_place_of_weights_is_answered_with_its_layers(measure, run):
    inputs = np.zeros((200, 2))
    with pytest.raises(
        gs.GatescopeError, match=r"params is a Stack; take one of its layers: stack\.layers\[0\]"
    ):
        measure(run.model, inputs)
    with pytest.raises(
        gs.GatescopeError, match=r"params is a TrainingRun; take one of its layers: run\.best\.layers\[0\]"
    ):
        measure(run, inputs)
