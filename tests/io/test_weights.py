"""The one door: what a file is by its content, what of it becomes weights."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import random_params
from helpers.command_line import torch_weights
from helpers.weights import load_torch
from safetensors.numpy import save_file

import gatescope as gs
from gatescope.errors import FileFormatError, ValueRangeError, WeightFormatError
from gatescope.io.weights import format_of

LAYERS = {
    **torch_weights(4, 5, inputs=3),
    **{name.replace("l0", "l1"): value for name, value in torch_weights(4, 5, inputs=5, seed=1).items()},
}
HEAD = {"head.weight": np.ones((2, 5), np.float32), "head.bias": np.zeros(2, np.float32)}


@pytest.fixture
def stack():
    return gs.load_weights({f"lstm.{name}": value for name, value in LAYERS.items()} | HEAD)


def test_a_whole_network_of_pytorch(stack):
    assert (stack.cells, stack.input_size, stack.output_size) == (("lstm", "lstm"), 3, 2)
    assert stack.layers[1] == load_torch(LAYERS, layer=1)
    np.testing.assert_array_equal(stack.readout_weight, HEAD["head.weight"])
    assert gs.load_weights(LAYERS, layers=1) == stack.layers[1]
    assert gs.load_weights(LAYERS, layers=0, dtype="float64").dtype == np.float64


def test_a_file_is_told_by_its_content(tmp_path):
    save_file(LAYERS, tmp_path / "model.bin")
    np.savez(tmp_path / "model", **LAYERS)
    (tmp_path / "model.npz").rename(tmp_path / "model.dat")
    for name in ("model.bin", "model.dat"):
        model = gs.load_weights(tmp_path / name)
        assert model == gs.load_weights(LAYERS)
        assert model.provenance["source"] == name
        assert len(model.provenance["sha256"]) == 64
    np.savez(tmp_path / "tree.npz", **{"params/h/kernel": np.zeros((5, 5))})
    assert format_of(tmp_path / "tree.npz") == "jax"
    (tmp_path / "a.onnx").write_bytes(b"\x08\x08")
    assert format_of(tmp_path / "a.onnx") == "onnx"
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(9))
    assert format_of(tmp_path / "a.h5") == "keras"


@pytest.mark.parametrize(
    "name", ["torn.onnx", "torn.keras", "torn.pt", "torn", "torn.safetensors", "torn.eqx"]
)
@pytest.mark.parametrize("data", [b"", b"\x00" * 40, b"PK\x03\x04torn", b"text\n"])
def test_what_is_no_file_of_weights_is_refused(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FileFormatError, match=name):
        gs.load_weights(tmp_path / name)


def test_weights_in_several_files_are_refused_by_name(tmp_path):
    (tmp_path / "m.weights.json").write_text('{"metadata": {}, "weight_map": {}}')
    with pytest.raises(WeightFormatError, match="lists weights that Keras saved in several files"):
        gs.load_weights(tmp_path / "m.weights.json")


@pytest.mark.parametrize("flag", ["False", 0, 1.0, []])
def test_directions_are_true_or_false(flag):
    with pytest.raises(ValueRangeError, match=r"^reverse=.*must be True or False"):
        gs.load_weights(LAYERS, layers=0, reverse=flag)


@pytest.mark.parametrize("source", [3, None, [1, 2], {}, {"a": 1}, np.zeros(3)])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(WeightFormatError):
        gs.load_weights(source)


def test_weights_of_gatescope_need_no_reading(stack):
    for source in (stack, stack.layers[0]):
        with pytest.raises(WeightFormatError, match="which needs no reading; use it as it is"):
            gs.load_weights(source)


def test_files_of_gatescope(stack, tmp_path):
    stack.save(tmp_path / "stack.npz")
    assert gs.load_weights(tmp_path / "stack.npz") == stack
    assert gs.load_weights(tmp_path / "stack.npz", layers=1) == stack.layers[1]
    below = gs.load_weights(tmp_path / "stack.npz", layers=[0])
    assert (below.layers, below.readout_weight) == (stack.layers[:1], None)
    backward = dataclasses.replace(random_params("gru", input_size=3, hidden_size=5), reverse=True)
    both = gs.Bidirectional(forward=dataclasses.replace(backward, reverse=False), backward=backward)
    both.save(tmp_path / "both.npz")
    assert gs.load_weights(tmp_path / "both.npz", reverse=True) == backward
    with pytest.raises(ValueRangeError, match="prefix='a' has no effect for a file of gatescope"):
        gs.load_weights(tmp_path / "both.npz", prefix="a")
    with pytest.raises(WeightFormatError, match="has no backward direction in layer 0"):
        gs.load_weights(tmp_path / "stack.npz", layers=0, reverse=True)
    gs.run(stack.layers[0], np.zeros((4, 3))).save(tmp_path / "trace.npz")
    with pytest.raises(WeightFormatError, match="holds a Trace, not weights"):
        gs.load_weights(tmp_path / "trace.npz")


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_written_and_read_again(ending, stack, tmp_path):
    path = tmp_path / f"model.{ending}"
    gs.save_weights(path, stack)
    assert gs.load_weights(path) == stack
    with pytest.raises(ValueRangeError, match=r"must end in \.safetensors"):
        gs.save_weights(tmp_path / "model.pt", stack)


def test_what_no_cell_computes_is_warned_of_and_kept():
    with pytest.warns(gs.AccuracyWarning, match="'weight_ci_l0' among the weights"):
        model = gs.load_weights(LAYERS | {"weight_ci_l0": np.ones(5, np.float32)})
    assert "weight_ci_l0" in model.provenance["notes"][0]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_tree_of_flax_is_read_again(cell):
    params = random_params(cell, input_size=3, hidden_size=5)
    x = np.random.default_rng(0).standard_normal((12, 2, 3))
    again = gs.load_weights(gs.to_flax(params), nonlinearity="tanh" if cell == "rnn" else None)
    np.testing.assert_allclose(gs.run(again, x).outputs, gs.run(params, x).outputs, rtol=0, atol=1e-14)


GOLDEN = Path(__file__).parents[1] / "golden" / "weights"
FILES = sorted(
    path.relative_to(GOLDEN).as_posix()
    for pattern in (
        "*.pt",
        "*.pth",
        "*.bin",
        "*.ckpt",
        "*.onnx",
        "*.msgpack",
        "*.eqx",
        "*.tree.npz",
        "keras/*.keras",
        "keras/*.h5",
    )
    for path in GOLDEN.glob(pattern)
    if path.name not in ("torch_legacy.pt", "torch_quantized.pt")  # which are refused
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::gatescope.errors.AccuracyWarning")
def test_every_framework_comes_through_the_door(name):
    """Their numbers are compared by each format's own tests."""
    stored = gs.list_weights(GOLDEN / name)
    assert stored.networks
    for network in stored.networks:
        readable = [k for k, layer in enumerate(network.layers) if not layer.refused]
        if len(readable) == len(network.layers):
            model = gs.load_weights(GOLDEN / name, prefix=network.prefix)
            assert len(getattr(model, "layers", (model,))) == len(network.layers)
        else:
            with pytest.raises(WeightFormatError):
                gs.load_weights(GOLDEN / name, prefix=network.prefix)
        for k in readable:
            assert gs.load_weights(GOLDEN / name, prefix=network.prefix, layers=k).input_size > 0
