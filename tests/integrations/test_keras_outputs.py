"""Layers and files of Keras, as Keras runs them."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import WeightFormatError

layers = pytest.importorskip("helpers.keras_models").layers  # first: it sets what Keras computes with
keras = pytest.importorskip("keras")


def verified(source, **options):
    return gs.load_weights(source, verify=True, **options).provenance["verified"]


@pytest.mark.parametrize(
    "upper",
    [
        layers.GRU(5),
        layers.LSTM(5, return_sequences=True, return_state=True),
        layers.Bidirectional(layers.LSTM(5)),
        layers.SimpleRNN(5, go_backwards=True, return_sequences=True),
    ],
    ids=["last output", "states", "both directions", "backwards"],
)
def test_models_and_their_files(upper, tmp_path):
    inputs = keras.Input((None, 3))
    outputs = upper(layers.Dropout(0.5)(layers.LSTM(4, return_sequences=True)(inputs)))
    model = keras.Model(inputs, outputs)
    assert verified(model)["difference"] < 1e-6
    model.save(tmp_path / "model.keras")
    seen = verified(tmp_path / "model.keras")
    assert seen["difference"] < 1e-6
    assert seen["by"] == f"Keras {keras.__version__}"
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(WeightFormatError, match="Keras builds no model; give the live model"):
        verified(tmp_path / "model.weights.h5")


def test_one_layer_by_itself():
    layer = layers.GRU(5, reset_after=False, return_sequences=True)
    layer(np.zeros((1, 2, 3), np.float32))
    assert verified(layer)["difference"] < 1e-6


def test_what_does_not_run_by_itself_is_said():
    stacked = layers.RNN([layers.LSTMCell(4), layers.GRUCell(5)], return_sequences=True)
    stacked(np.zeros((1, 2, 3), np.float32))
    with pytest.raises(WeightFormatError, match="that runs by itself"):
        verified(stacked)
    stateful = layers.LSTM(4, stateful=True)
    stateful(np.zeros((1, 2, 3), np.float32))
    with pytest.raises(WeightFormatError, match="keeps its states from call to call"):
        verified(stateful)
