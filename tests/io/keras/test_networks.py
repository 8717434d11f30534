"""Files and models of Keras: what is read computes what Keras computes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.stored_networks import outputs_of

import gatescope as gs
from gatescope.errors import WeightFormatError
from gatescope.io.keras.networks import read_keras

pytest.importorskip("h5py")

GOLDEN = Path(__file__).parents[2] / "golden" / "weights" / "keras"
STRIDE = 7
TOLERANCES = {np.float32: 1e-6, np.float64: 1e-12}


def networks_of(source, **options):
    return {network.prefix: network for network in read_keras(source, **options).networks}


def check(networks, expected, stride=1):
    """Compare what networks compute with what Keras does, and return the largest difference."""
    assert set(expected) <= set(networks)
    worst = 0.0
    for prefix, (inputs, outputs) in expected.items():
        computed = outputs_of(networks[prefix], inputs)[stride - 1 :: stride]
        assert computed.dtype == outputs.dtype
        difference = np.abs(computed - outputs).max()
        assert difference <= TOLERANCES[outputs.dtype.type], prefix
        worst = max(worst, difference)
    return worst


def golden(name):
    """Return inputs and outputs by network."""
    with np.load(GOLDEN / "keras.npz") as arrays:
        prefixes = {key.split(":")[1] for key in arrays.files if key.startswith(f"{name}:")}
        return {
            prefix: tuple(arrays[f"{name}:{prefix}:{what}"] for what in ("inputs", "outputs"))
            for prefix in prefixes
        }


@pytest.mark.parametrize(
    "name", ["every64.keras", "chain.keras", "chain.h5", "branches.h5", "own.weights.h5", "half.keras"]
)
def test_golden(name):
    networks, expected = networks_of(GOLDEN / name), golden(name)
    if name != "own.weights.h5":
        assert set(networks) == set(expected)
    check(networks, expected, STRIDE)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("keras2.h5", 0, 2), ("keras2.h5", 2, 6), ("keras3_0.keras", 0, 4)],
)
def test_golden_of_older_versions(name, first, last):
    """The layers from one to another; of a decoder, without the states that its model gives it."""
    (network,) = read_keras(GOLDEN / name).networks
    assert all(not (layer.forward or layer.backward).assumed for layer in network.layers)
    readout = network.readout if name == "keras3_0.keras" else None
    part = dataclasses.replace(network, layers=network.layers[first:last], readout=readout)
    with np.load(GOLDEN / f"{name}.{first}.npz") as arrays:
        check({"": part}, {"": (arrays["inputs"], arrays["outputs"])}, STRIDE)


def test_the_door(tmp_path):
    """A whole model is a stack, whatever its file is called; a network of several is chosen by name."""
    renamed = tmp_path / "weights"
    renamed.write_bytes((GOLDEN / "chain.keras").read_bytes())
    stack = gs.load_weights(renamed)
    assert stack.cells == ("lstm", "gru+gru", "lstm", "rnn")
    assert (stack.input_size, stack.output_size) == (2, 4)
    assert stack.layers[1].forward.hidden_size == 5
    both = gs.load_weights(GOLDEN / "every64.keras", prefix="both_unlike")
    assert (both.forward.cell, both.backward.cell, both.forward.dtype) == ("rnn", "lstm", np.float64)


@pytest.fixture(scope="module")
def keras_models():
    """Return the module that builds models with Keras, where it is installed."""
    pytest.importorskip("keras")
    return pytest.importorskip("helpers.keras_models")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [".keras", ".weights.h5", ".h5", "live"])
def test_every_layer_live(tmp_path, keras_models, kind, dtype):
    model = keras_models.every_layer(dtype)
    networks = networks_of(written(model, kind, tmp_path))
    expected = keras_models.expected(model, dtype)
    assert set(networks) == set(expected)
    if kind == ".weights.h5":  # which says neither activations, nor directions, nor how directions are joined
        for name in ("rnn_relu", "gru_before_no_bias", "lstm_backwards", "both_gru_sum"):
            expected.pop(name)
    print(kind, dtype, check(networks, expected))


@pytest.mark.parametrize("kind", [".keras", ".weights.h5", ".h5", "live"])
@pytest.mark.parametrize("name", ["chain", "branches", "own"])
def test_whole_models_live(tmp_path, keras_models, name, kind):
    if name == "own" and kind == ".h5":
        pytest.skip("Keras writes no such file of a model of the user's own")
    model = getattr(keras_models, name)()
    networks = networks_of(written(model, kind, tmp_path))
    expected = keras_models.expected(model)
    if kind == ".weights.h5":
        expected.pop("decoder", None)  # what a functional model does with its layers
        if name == "chain":
            expected.clear()
    if kind == "live" and name == "own":
        expected = {
            prefix.replace("gru_1", "1").replace("gru", "0"): each for prefix, each in expected.items()
        }
    print(name, kind, check(networks, expected))


def test_half_precision_live(keras_models):
    model = keras_models.half()
    stored = read_keras(model)
    check({network.prefix: network for network in stored.networks}, keras_models.expected(model))
    assert [network.layers[0].forward.dtype for network in stored.networks] == [
        "bfloat16",
        "float16",
        "float32",
    ]
    assert any("half precision (mixed_bfloat16)" in note for note in stored.notes)


def test_single_layers_and_cells_live(keras_models):
    layers = keras_models.layers
    for make, cell in (
        (layers.LSTM, "lstm"),
        (layers.GRUCell, "gru"),
        (lambda units: layers.RNN(layers.SimpleRNNCell(units, activation="relu")), "rnn_relu"),
    ):
        layer = make(5)
        ((empty,),) = [network.layers for network in read_keras(layer).networks]
        assert empty.refused.startswith("has no weights in the source: it was not built")
        layer.build((None, 2) if cell == "gru" else (None, None, 2))
        params = gs.load_weights(layer)
        assert (params.cell, params.input_size, params.hidden_size) == (cell, 2, 5)

    class Gated(layers.LSTM):
        """A class that may compute anything."""

    layer = Gated(5)
    layer.build((None, None, 2))
    with pytest.raises(WeightFormatError, match="Gated', which is not Keras's own; LSTM, GRU, SimpleRNN"):
        gs.load_weights(layer)


def test_activations_live(keras_models):
    layers = keras_models.layers

    def tanh(values):
        return values

    for options, reason in (
        ({"activation": "relu"}, "has activation 'relu'"),
        ({"recurrent_activation": "hard_sigmoid"}, "has recurrent_activation 'hard_sigmoid'"),
        ({"activation": tanh}, r"has activation 'tanh \(a function of its own\)'"),
    ):
        layer = layers.LSTM(5, **options)
        layer.build((None, None, 2))
        with pytest.raises(WeightFormatError, match=reason):
            gs.load_weights(layer)


def written(model, kind, folder):
    """Return a file of a model, or the model itself."""
    if kind == "live":
        return model
    path = folder / f"model{kind}"
    (model.save_weights if kind == ".weights.h5" else model.save)(path)
    return path
