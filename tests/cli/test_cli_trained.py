"""Weights of a trained model, or of a model that was not trained, for the commands that take ``--weights``."""

import numpy as np
import pytest
from helpers.command_line import torch_weights
from helpers.weights import load_torch

import gatescope as gs
from gatescope.recurrence.initialization import init_stack
from gatescope.training import train

pytestmark = pytest.mark.usefixtures("blank_figures")
COMMANDS = [["measure", "gradient-flow"], ["run"], ["compare"]]


@pytest.fixture
def run(tmp_path):
    """Return a GRU of 3 units under an LSTM of 4, whose best model is not the last one."""
    batch = gs.tasks.adding(steps=12, sequences=3, seed=0, dtype="float64")
    stack = init_stack(["gru", "lstm"], hidden_size=[3, 4], heads=batch, seed=0, dtype="float64")
    run = train.train(stack, batch, epochs=3, lr=1e-2)
    assert run.best != run.model
    run.save(tmp_path / "run.npz")
    run.model.save(tmp_path / "stack.npz")
    rng = np.random.default_rng(0)
    for width in (2, 3):
        np.save(tmp_path / f"x{width}.npy", rng.standard_normal((30, width)))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_trained_model_is_taken_whole_and_its_best(command, run, invoke):
    done = invoke(*command, "--weights", "run.npz", "--inputs", "x2.npy")
    assert done.exit_code == 0, done.output
    (line,) = done.stderr.splitlines()
    assert line == f"run.npz: the best model, that after epoch {run.best_epoch}, lstm on gru"


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
        done = invoke(
            command, "--hidden-size", 4, "--dtype", "float64", *cells, "--inputs", "padded.npz", "--steps", 20
        )
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
def test_the_weights_are_those_of_the_layer_on_what_comes_up_to_it(file, model, layer, run, invoke, tmp_path):
    options = ["--weights", file, "--layer", layer, "--inputs", "x2.npy", "--threads", 1]
    done = invoke("run", *options)
    assert done.exit_code == 0, done.output
    layers, inputs = getattr(run, model).layers, np.load(tmp_path / "x2.npy")
    if layer:
        inputs = gs.run(layers[0], inputs).outputs
    expected = gs.run(layers[layer], inputs)
    trace = gs.load(tmp_path / "trace.npz")
    np.testing.assert_array_equal(trace.states, expected.states)
    assert f"{file}: layer {layer} of 2, {layers[layer].cell} of" in done.stderr
    assert ("layer 0 is run on the inputs, and layer 1 gets what comes out" in done.stderr) == bool(layer)


def test_its_dtype_can_be_another(run, invoke, tmp_path):
    done = invoke("run", "--weights", "run.npz", "--inputs", "x2.npy", "--dtype", "float32")
    assert done.exit_code == 0, done.output
    assert gs.load(tmp_path / "trace.npz").outputs.dtype == np.float32


def test_the_layer_is_that_of_every_file_that_has_layers(run, invoke, tmp_path):
    gs.init("gru", input_size=2, hidden_size=3, seed=1).save(tmp_path / "own.npz")
    second = {name.replace("l0", "l1"): value for name, value in torch_weights(3, 4, inputs=4).items()}
    np.savez(tmp_path / "torch.npz", **torch_weights(3, 4, inputs=2), **second)
    files = [part for name in ("own", "run", "torch") for part in ("--weights", f"{name}.npz")]
    done = invoke("compare", *files, "--layer", 1, "--inputs", "x2.npy")
    assert done.exit_code == 0, done.output
    model, *below = done.stderr.splitlines()
    assert model.startswith("run.npz: layer 1 of 2, lstm of 4 units")
    assert [line.partition(":")[0] for line in below] == ["run", "torch"]
    inputs = np.load(tmp_path / "x2.npy")
    for label, first in (("run", run.best.layers[0]), ("torch", load_torch(tmp_path / "torch.npz"))):
        trace = gs.load(tmp_path / "gatescope-out" / "data" / f"trace_{label}.npz")
        np.testing.assert_array_equal(trace.inputs, gs.run(first, inputs).outputs)
    del second["weight_hh_l1"]
    np.savez(tmp_path / "torch.npz", **torch_weights(3, 4, inputs=2), **second)
    done = invoke("run", "--weights", "torch.npz", "--layer", 1, "--inputs", "x2.npy")
    assert done.exit_code == 2
    assert "has no entry 'weight_hh_l1', which layer 1 needs" in done.stderr


def test_the_half_life_of_an_upper_layer_is_that_on_its_real_inputs(invoke, tmp_path):
    source = torch_weights(
        4, 5, inputs=5
    )  # as of nn.LSTM(5, 5, 2): the raw series has the width of both layers
    source |= {
        name.replace("l0", "l1"): value for name, value in torch_weights(4, 5, inputs=5, seed=1).items()
    }
    np.savez(tmp_path / "w.npz", **source)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((80, 1, 5)))
    options = ["--weights", "w.npz", "--layer", 1, "--inputs", "x.npy", "--dtype", "float64", "--out", "out"]
    done = invoke("measure", "half-life", *options)
    assert done.exit_code == 0, done.output
    lower, upper = (load_torch(source, layer=k, dtype="float64") for k in range(2))
    raw = np.load(tmp_path / "x.npy")
    measured = gs.load(tmp_path / "out" / "half_life.npz")
    assert measured == gs.half_life(upper, gs.run(lower, raw).outputs)
    assert measured != gs.half_life(upper, raw)


def test_a_layer_without_those_below_it_is_refused(invoke, tmp_path):
    second = {name.replace("l0", "l1"): value for name, value in torch_weights(3, 4, inputs=4).items()}
    np.savez(tmp_path / "torch.npz", **second)
    np.save(tmp_path / "x4.npy", np.ones((9, 4)))
    done = invoke("run", "--weights", "torch.npz", "--layer", 1, "--inputs", "x4.npy")
    assert done.exit_code == 2
    assert (
        "--layer 1 is no layer of 'torch.npz', which has 0 (l1, which lies above a layer 0 that is missing"
        in done.stderr
    )


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_bidirectional_file(layer, reverse, invoke, tmp_path):
    both = {}
    for number, inputs in ((0, 2), (1, 10)):
        for seed, direction in enumerate(("", "_reverse")):
            for name, value in torch_weights(4, 5, inputs=inputs, seed=2 * number + seed).items():
                both[f"{name.replace('l0', f'l{number}')}{direction}"] = value
    np.savez(tmp_path / "torch.npz", **both)
    lengths = np.array([30, 12, 30])
    x = np.random.default_rng(0).standard_normal((30, 3, 2)).astype(np.float32)
    np.savez(tmp_path / "x.npz", inputs=x, lengths=lengths)
    options = ["--reverse"] if reverse else []
    done = invoke("run", "--weights", "torch.npz", "--layer", layer, "--inputs", "x.npz", *options)
    assert done.exit_code == 0, done.output
    direction = "the forward direction" if reverse else "the backward direction (--reverse)"
    above = "" if layer else "; layer 1 (--layer)"
    assert f"torch.npz: not used: {direction}{above}" in done.stderr.splitlines()
    if layer:
        halves = [gs.run(load_torch(both, reverse=way), x, lengths=lengths).outputs for way in (False, True)]
        x = np.concatenate(halves, axis=2)
    expected = gs.run(load_torch(both, layer=layer, reverse=reverse), x, lengths=lengths)
    trace = gs.load(tmp_path / "trace.npz")
    np.testing.assert_allclose(
        trace.outputs[trace.mask], expected.outputs[expected.mask], rtol=1e-5, atol=1e-6
    )
    assert trace.reverse is reverse
    parts = [part for part, shown in (("layer 1", layer), ("backward direction", reverse)) if shown]
    _, line = done.stdout.splitlines()
    assert line.startswith(f"torch ({', '.join(parts)}) over x.npz" if parts else "torch over x.npz")


BAD = [
    (
        ["--layer", "2"],
        "--layer 2 is no layer of 'run.npz', which has 0 (gru of 3 units), 1 (lstm of 4 units)",
    ),
    (["--layer", "-1"], "--layer -1 is no layer of 'run.npz'"),
    (["--reverse"], "--reverse is for files of other frameworks and layers of two directions"),
    (["--prefix", "net"], "--prefix 'net' is for files of other frameworks"),
    (["--nonlinearity", "relu"], "--nonlinearity 'relu' is for an RNN whose file does not say it"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(("options", "message"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_what_it_has_not_is_reported(command, options, message, run, invoke):
    done = invoke(*command, "--weights", "run.npz", "--inputs", "x2.npy", *options)
    assert done.exit_code == 2, done.output
    assert message in done.stderr.splitlines()[-1]
    assert done.stdout == ""


@pytest.mark.parametrize("measure", [gs.run, gs.gradient_flow, gs.lyapunov_spectrum, gs.half_life])
def test_a_training_in_the_place_of_weights_is_answered_with_its_model(measure, run):
    with pytest.raises(
        gs.GatescopeError, match=r"params is a TrainingRun; give one of its models: run\.best or run\.model"
    ):
        measure(run, np.zeros((200, 2)))
