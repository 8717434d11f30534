"""``gatescope weights`` and ``gatescope convert``, and a layer of a foreign network on its real inputs."""

from itertools import pairwise

import numpy as np
import pytest
from helpers.command_line import torch_weights
from helpers.stack_cases import random_stack

import gatescope as gs

LAYERS = {
    **torch_weights(4, 5, inputs=3),
    **{name.replace("l0", "l1"): value for name, value in torch_weights(4, 5, inputs=5, seed=1).items()},
}
HEAD = {"head.weight": np.ones((2, 5), np.float32), "head.bias": np.zeros(2, np.float32)}
OTHER = {"embedding.weight": np.ones((9, 3), np.float32)}


def test_the_commands(invoke, tmp_path):
    np.savez(
        tmp_path / "model.npz", **{f"net.{name}": value for name, value in LAYERS.items()}, **HEAD, **OTHER
    )
    done = invoke("weights", "model.npz")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "model.npz: npz: 1 recurrent network"
    rows = [line.replace("│", " ").split() for line in lines if "net" in line][1:]
    assert rows == [
        ["net.", "0", "net_l0", "lstm", "forward", "3", "5", "float32"],
        ["net.", "1", "net_l1", "lstm", "forward", "5", "5", "float32"],
        ["net.", "head", "linear", "read-out", "5", "2"],
    ]
    assert lines[-1] == "not read: 'embedding.weight'"
    done = invoke("convert", "model.npz", "model.safetensors")
    assert done.exit_code == 0, done.output
    assert "not read: 'embedding.weight'" in done.stdout.splitlines()
    assert "wrote model.safetensors" in done.stdout
    assert gs.load_weights(tmp_path / "model.safetensors") == gs.load_weights(tmp_path / "model.npz")
    for arguments, message in (
        (["model.npz", "model.safetensors"], "OUT 'model.safetensors' is there already"),
        (["model.npz", "model.npz", "--overwrite"], "is the file of IN too"),
        (["model.npz", "model.pt"], "OUT 'model.pt' must end in"),
        (["none.npz", "a.npz"], "'none.npz' cannot be read: there is no such file"),
        (["model.npz", "a.npz", "--prefix", "other"], "other"),
    ):
        done = invoke("convert", *arguments)
        assert done.exit_code == 2, done.output
        assert message in done.stderr
        assert not (tmp_path / "a.npz").exists()


def test_what_a_file_does_not_say_is_noted_and_can_be_said(invoke, tmp_path):
    np.savez(tmp_path / "rnn.npz", **torch_weights(1, 5, inputs=3))
    done = invoke("convert", "rnn.npz", "tanh.npz")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[0].startswith("note: rnn.npz does not say what its RNN squashes")
    assert "Warning" not in done.stderr
    done = invoke("convert", "rnn.npz", "relu.npz", "--nonlinearity", "relu")
    assert (done.exit_code, done.stderr) == (0, "")
    assert gs.load(tmp_path / "relu.npz").cell == "rnn_relu"
    done = invoke("convert", "relu.npz", "again.npz", "--reset-before")
    assert done.exit_code == 2
    assert "for a file of gatescope, which says it" in " ".join(done.stderr.split())


def test_float64_has_no_onnx_file_and_the_option_that_helps_is_named(invoke, tmp_path):
    pytest.importorskip("onnx")
    gs.init("lstm", input_size=1, hidden_size=2, dtype="float64").save(tmp_path / "w.npz")
    done = invoke("convert", "w.npz", "w.onnx")
    assert done.exit_code == 2
    assert "IN is float64" in done.stderr.replace("\n", " ")
    assert "--dtype" in done.stderr
    assert not (tmp_path / "w.onnx").exists()
    assert invoke("convert", "w.npz", "w.onnx", "--dtype", "float32").exit_code == 0


def test_a_model_of_both_directions_is_converted_there_and_back_without_a_word(invoke, tmp_path):
    model = random_stack("rnn_relu 5 | rnn_relu 5", dtype="float32")
    model.save(tmp_path / "a.npz")
    for source, target in pairwise(("a.npz", "b.safetensors", "c.npz")):
        done = invoke("convert", source, target)
        assert (done.exit_code, done.stderr) == (0, ""), done.output
        assert len(done.stdout.splitlines()) == 9  # the table, and what was written
    assert gs.load(tmp_path / "c.npz") == model


def test_a_network_measured_whole_from_its_file(invoke, tmp_path):
    np.savez(tmp_path / "model.npz", **LAYERS, **HEAD)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((60, 3)))
    done = invoke(
        "measure", "half-life", "--weights", "model.npz", "--layer", 1, "--inputs", "x.npy", "--out", "o"
    )
    assert done.exit_code == 0, done.output
    assert "model.npz: not used: 'head.'" in done.stderr or "not used: 'head'" in done.stderr
    assert "layer 0 is run on the inputs, and layer 1 gets what comes out" in done.stderr
    stack = gs.load_weights(tmp_path / "model.npz")
    lower = gs.run(stack.layers[0], np.load(tmp_path / "x.npy"))
    assert gs.load(tmp_path / "o" / "half_life.npz") == gs.half_life(stack.layers[1], lower.outputs)


def test_a_model_runs_whole(invoke, tmp_path):
    np.savez(tmp_path / "model.npz", **LAYERS, **HEAD, **OTHER)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((60, 3)))
    options = ("--weights", "model.npz", "--inputs", "x.npy", "--clamp", "layers.1.f=1.0")
    done = invoke("run", *options)
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == ["model.npz: not used: 'embedding.weight'"]
    assert (
        "model (lstm on lstm) over x.npy: 60 steps, 1 sequence, every gate and state of layers.0, layers.1, and the "
        "outputs, in trace.npz" in " ".join(done.stdout.split())
    )
    trace = gs.load(tmp_path / "trace.npz")
    assert trace.outputs.shape == (60, 1, 2)
    assert trace == gs.run(
        gs.load_weights(tmp_path / "model.npz"), np.load("x.npy"), clamp={"layers.1.f": 1.0}
    )
    done = invoke("run", *options[:-1], "f=1.0", "--layer", 0, "--overwrite")
    assert done.exit_code == 0, done.output
    assert "layer 1 (--layer)" in done.stderr
    assert isinstance(gs.load(tmp_path / "trace.npz"), gs.Trace)
    done = invoke("run", *options[:-1], "layers.2.f=1.0", "--overwrite")
    assert done.exit_code == 2
    assert "--clamp 'layers.2.f' names a layer that is not among the 2" in " ".join(done.stderr.split())


def test_a_model_of_our_own_runs_whole(invoke, tmp_path):
    stack = gs.load_weights({**LAYERS, **HEAD})
    layer = random_stack("lstm 5 | lstm 5", inputs=3, outputs=0).layers[0]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((60, 3)).astype("float32"))
    for model, cells in ((stack, "lstm on lstm"), (layer, "lstm+lstm")):
        model.save(tmp_path / "model.npz")
        done = invoke("run", "--weights", "model.npz", "--inputs", "x.npy", "--overwrite")
        assert done.exit_code == 0, done.output
        assert f"model.npz: the model, {cells}" in done.stderr
        assert gs.load(tmp_path / "trace.npz") == gs.run(model, np.load(tmp_path / "x.npy"))


def test_saturation_of_every_layer(invoke, tmp_path):
    np.savez(tmp_path / "model.npz", **LAYERS)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((60, 3)))
    options = ("measure", "saturation", "--weights", "model.npz", "--inputs", "x.npy", "--out", "o")
    done = invoke(*options)
    assert done.exit_code == 0, done.output
    assert "saturation: model (lstm on lstm) over x.npy, 60 steps" in done.stdout
    counted = gs.load(tmp_path / "o" / "saturation.npz")
    assert counted.names == ("layers.0", "layers.1")
    assert done.stdout.count("layers.1") >= 3  # rows of its gates
    done = invoke(*options, "--layer", 1)
    assert done.exit_code == 0, done.output
    assert gs.load(tmp_path / "o" / "saturation.npz") == counted["layers.1"]


def test_steps_of_feedback_are_called_so(invoke, tmp_path):
    random_stack("lstm 5", outputs=1, inputs=1).save(tmp_path / "m.npz")
    for command in (["run"], ["measure", "lyapunov-spectrum"]):
        done = invoke(*command, "--feedback", -3)
        assert done.exit_code == 2
        assert "--feedback -3 must be a whole number of at least 1" in " ".join(done.stderr.split())
    for option, message in (
        (["--resume", "state.npz"], "--resume 'state.npz' has no effect with --feedback; leave it out"),
        (["--weights", "m.npz", "--no-checks"], "--no-checks has no effect with --feedback; leave it out"),
        (
            [],
            "--feedback needs a model whose outputs are its next inputs, and this is a cell alone; give --weights",
        ),
    ):
        done = invoke("measure", "lyapunov-spectrum", "--feedback", 3, *option)
        assert done.exit_code == 2
        assert message in " ".join(done.stderr.split())


@pytest.mark.slow  # compiles a loop
def test_a_model_that_goes_on_by_itself(invoke, tmp_path):
    random_stack("lstm 5", "lstm 5").save(tmp_path / "two.npz")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((4, 3, 2)))
    done = invoke("run", "--weights", "two.npz", "--inputs", "x.npy", "--feedback", 25)
    assert done.exit_code == 0, done.output
    assert "29 steps, 3 sequences" in " ".join(done.stdout.split())
    trace = gs.load(tmp_path / "trace.npz")
    np.testing.assert_array_equal(trace.inputs[5:], trace.outputs[4:-1])
    done = invoke(
        "measure", "lyapunov-spectrum", "--weights", "two.npz", "--inputs", "x.npy", "--feedback", 25
    )
    assert done.exit_code == 0, done.output
    exponents = gs.load(tmp_path / "gatescope-measured" / "lyapunov_spectrum.npz")
    assert exponents == gs.lyapunov_spectrum(
        gs.load(tmp_path / "two.npz"), np.load(tmp_path / "x.npy"), steps=25, feedback=True
    )
    single = random_stack("lstm 5", outputs=1)
    single.save(tmp_path / "one.npz")
    for options, message in (
        (["--weights", "one.npz"], "has 1 output and 2 inputs, which cannot be the same"),
        (
            ["--weights", "two.npz", "--layer", 1],
            "--feedback needs a model whose outputs are its next inputs",
        ),
        (["--cell", "gru"], "as many outputs as inputs, and no --layer"),
    ):
        done = invoke("run", *options, "--inputs", "x.npy", "--feedback", 3, "--overwrite")
        assert done.exit_code == 2, done.output
        assert message in " ".join(done.stderr.split())


def test_networks_that_cannot_be_verified_are_named_and_the_others_verified(invoke, tmp_path):
    pytest.importorskip("torch")
    refused = {f"b.{name}": value for name, value in LAYERS.items()} | {"b.weight_hr_l0": np.ones((2, 5))}
    np.savez(tmp_path / "model.npz", **refused, **{f"a.{name}": value for name, value in LAYERS.items()})
    done = invoke("weights", "model.npz", "--verify")
    assert done.exit_code == 2
    assert "a.: 300 outputs in float32 differ from those of PyTorch" in done.stdout
    assert "b.: 'model.npz' has a layer 'b_l0' that holds" in " ".join(done.stderr.split())
    gs.init("gru", input_size=1, hidden_size=4).save(tmp_path / "own.npz")
    done = invoke("weights", "own.npz", "--verify")
    assert done.exit_code == 2
    assert "nothing to verify in a file of gatescope" in done.stderr
