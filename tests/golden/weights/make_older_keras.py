"""Make the golden files of older versions of Keras, each with the version that is installed.

    python tests/golden/weights/make_older_keras.py

Written with tensorflow 2.15.1 (keras 2.15.0): keras2.h5; and with keras 3.0.5 over torch 2.13.0: keras3_0.keras, whose
groups have no names of layers.  Beside each lie inputs (T, B, I) and outputs of its network or of parts of it, these at
every STRIDE-th step.
"""

import os
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "keras"
STRIDE = 7


def keras_2():
    """Write a functional model whose weights have names that end in ``:0``, and whose nodes are lists."""
    from tensorflow import keras

    layers, every = keras.layers, {"return_sequences": True}
    entry = keras.Input((None, 2))
    encoded, h, c = layers.LSTM(5, return_state=True, name="enc", **every)(entry)
    both = layers.Bidirectional(layers.GRU(4, **every), name="both")(layers.Dropout(0.1)(encoded))
    decoded = layers.LSTM(5, name="dec", **every)(both, initial_state=[h, c])
    cells = [layers.LSTMCell(4), layers.GRUCell(3, reset_after=False)]
    stacked = layers.RNN(cells, name="cells", **every)(decoded)
    simple = layers.SimpleRNN(3, activation="relu", name="simple", **every)(stacked)
    model = keras.Model(entry, layers.Dense(2, name="head", activation="softmax")(simple))
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(-0.45, 0.45, weight.shape) for weight in model.get_weights()])
    model.save(HERE / "keras2.h5")
    layer = model.get_layer
    lower = rng.standard_normal((3, 50, 2)).astype("float32")
    upper = rng.standard_normal((3, 50, 8)).astype("float32")
    write("keras2.h5", 0, lower, layer("both")(layer("enc")(lower)[0]).numpy())
    write("keras2.h5", 2, upper, layer("simple")(layer("cells")(layer("dec")(upper))).numpy())


def keras_3_0():
    """Write a Sequential of the first Keras 3."""
    import keras

    layers, every = keras.layers, {"return_sequences": True}
    model = keras.Sequential(
        [
            keras.Input((None,)),
            layers.Embedding(7, 2, name="words"),
            layers.LSTM(5, name="low", **every),
            layers.Bidirectional(layers.LSTM(4, **every), name="mid"),
            layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], name="cells", **every),
            layers.Dense(2, name="head"),
        ]
    )
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(-0.45, 0.45, weight.shape) for weight in model.get_weights()])
    model.save(HERE / "keras3_0.keras")
    words = rng.integers(0, 7, (3, 50))
    inputs, outputs = (each.detach().numpy() for each in (model.layers[0](words), model(words)))
    write("keras3_0.keras", 0, inputs, outputs)


def write(name, first, inputs, outputs):
    """Write what the layers from number `first` on compute."""
    outputs = outputs.swapaxes(0, 1)[STRIDE - 1 :: STRIDE]
    np.savez_compressed(HERE / f"{name}.{first}.npz", inputs=inputs.swapaxes(0, 1), outputs=outputs)


if __name__ == "__main__":
    try:
        keras_2()
    except ImportError:
        os.environ["KERAS_BACKEND"] = "torch"
        keras_3_0()
