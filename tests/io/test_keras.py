"""Files and models of Keras: what is read computes what Keras computes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.stored_networks import outputs_of

from gatescope.io.keras import read_keras

pytest.importorskip("h5py")

GOLDEN = Path(__file__).parents[1] / "golden" / "weights" / "keras"
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


def written(model, kind, folder):
    """Return a file of a model, or the model itself."""
    if kind == "live":
        return model
    path = folder / f"model{kind}"
    (model.save_weights if kind == ".weights.h5" else model.save)(path)
    return path
