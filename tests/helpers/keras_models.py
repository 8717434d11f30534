"""Models of Keras that have every layout that is read, for files and for live parity; imports Keras, over PyTorch."""

import os

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

from keras import Input, Model, Sequential, layers, ops
from keras.src.backend.common import dtypes

# Keras multiplies numbers of float64 in float32, but over TensorFlow: here they are multiplied as they are.
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"

STEPS, BATCH, INPUTS, UNITS = 50, 3, 2, 5


def every_layer(dtype="float32"):
    """Return a model of one input whose outputs are those of a layer each, named as what they are."""
    options = {"dtype": dtype, "return_sequences": True}
    cell = {"dtype": dtype}

    def small(kind, units=UNITS, **others):
        return kind(units, **options, **others)

    cells = [
        layers.LSTMCell(UNITS, **cell),
        layers.GRUCell(4, reset_after=False, **cell),
        layers.SimpleRNNCell(3, **cell),
    ]
    single = [
        small(layers.LSTM, name="lstm_plain"),
        small(layers.LSTM, name="lstm_no_bias", use_bias=False),
        small(layers.GRU, name="gru_after"),
        small(layers.GRU, name="gru_after_no_bias", use_bias=False),
        small(layers.GRU, name="gru_before", reset_after=False),
        small(layers.GRU, name="gru_before_no_bias", reset_after=False, use_bias=False),
        small(layers.SimpleRNN, name="rnn_tanh"),
        small(layers.SimpleRNN, name="rnn_relu", activation="relu"),
        small(layers.LSTM, name="lstm_backwards", go_backwards=True),
        small(layers.LSTM, name="lstm_dropout", dropout=0.2, recurrent_dropout=0.1),
        layers.RNN(layers.LSTMCell(UNITS, **cell), name="cell_lstm", **options),
        layers.RNN(layers.GRUCell(UNITS, **cell), name="cell_gru", **options),
        layers.RNN(layers.StackedRNNCells(cells, dtype=dtype), name="cells", **options),
        layers.Bidirectional(small(layers.LSTM), name="both_lstm", dtype=dtype),
        layers.Bidirectional(small(layers.GRU), name="both_gru_sum", merge_mode="sum", dtype=dtype),
        layers.Bidirectional(
            small(layers.SimpleRNN),
            backward_layer=small(layers.LSTM, 4, go_backwards=True),
            name="both_unlike",
            dtype=dtype,
        ),
    ]
    entry = Input((None, INPUTS), dtype=dtype)
    return randomized(Model(entry, [layer(entry) for layer in single]))


def chain(dtype="float32"):
    """Return a Sequential with Adam's state: an embedding, a stack with both directions in it, and a softmax."""
    options = {"dtype": dtype, "return_sequences": True}
    model = Sequential(
        [
            Input((None,), dtype="int32"),
            layers.Embedding(7, INPUTS, dtype=dtype, name="words"),
            layers.LSTM(UNITS, name="lower", **options),
            layers.Dropout(0.3),
            layers.Bidirectional(layers.GRU(UNITS, **options), name="middle", dtype=dtype),
            layers.LSTM(UNITS, go_backwards=True, name="back", **options),
            layers.SimpleRNN(UNITS, name="upper", **options),
            layers.Dense(4, activation="softmax", name="head", dtype=dtype),
        ]
    )
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return randomized(model)


def branches(dtype="float32"):
    """Return a functional model: an encoder that feeds two layers, a nested model, a decoder that takes states."""
    options = {"dtype": dtype, "return_sequences": True}
    entry = Input((None, INPUTS), dtype=dtype)
    encoded, h, c = layers.LSTM(UNITS, return_state=True, name="encoder", **options)(entry)
    one = layers.GRU(4, name="left", **options)(encoded)
    other = layers.GRU(3, name="right", **options)(encoded)
    both = layers.Concatenate(dtype=dtype)([one, other])
    inner = Input((None, 7), dtype=dtype)
    nested = Model(inner, layers.LSTM(6, name="nested_lstm", **options)(inner), name="nested")(both)
    decoded = layers.LSTM(UNITS, name="decoder", **options)(nested, initial_state=[h, c])
    top = layers.GRU(4, name="decoder_top", **options)(decoded)
    return randomized(
        Model(entry, layers.TimeDistributed(layers.Dense(2, dtype=dtype), name="head", dtype=dtype)(top))
    )


class Own(Model):
    """A model of the user's own, whose layers lie in attributes, a list and a dictionary."""

    def __init__(self, dtype="float32"):
        super().__init__(dtype=dtype)
        options = {"dtype": dtype, "return_sequences": True}
        self.encoder = layers.LSTM(UNITS, **options)
        self.blocks = [layers.GRU(4, **options), layers.GRU(3, **options)]
        self.named = {"a": layers.SimpleRNN(3, **options)}
        self.head = layers.Dense(2, dtype=dtype)

    def call(self, inputs):
        """Return all of it, one layer after the other."""
        values = self.encoder(inputs)
        for block in self.blocks:
            values = block(values)
        return self.head(self.named["a"](values))


def own(dtype="float32"):
    """Return a model of the user's own, built."""
    model = Own(dtype)
    model(np.zeros((1, 2, INPUTS), dtype))
    return randomized(model)


def half():
    """Return a model of layers in half precision, stored in it or computed in it."""
    entry = Input((None, INPUTS))
    options = {"return_sequences": True, "recurrent_initializer": "zeros"}  # there is no QR in half precision
    single = [
        layers.LSTM(UNITS, name="brain", dtype="bfloat16", **options),
        layers.GRU(UNITS, name="ieee", dtype="float16", **options),
        layers.SimpleRNN(UNITS, name="mixed", dtype="mixed_bfloat16", **options),
    ]
    return randomized(Model(entry, [layer(entry) for layer in single]))


def randomized(model):
    """Return a model with weights that are not zero anywhere, biases included."""
    rng = np.random.default_rng(len(model.weights))
    for weight in model.trainable_variables:
        weight.assign(rng.uniform(-0.45, 0.45, weight.shape))
    return model


def expected(model, dtype="float32"):
    """Return inputs (T, B, I) and Keras's own outputs (T, B, O) of each network in a model, by the network's prefix.

    Outputs that Keras returns from the last step to the first come in the order of the inputs.
    """
    rng = np.random.default_rng(5)

    def run(*chain, size=INPUTS, flip=False):
        inputs = rng.standard_normal((BATCH, STEPS, size)).astype(dtype)
        outputs = inputs
        for layer in chain:
            outputs = layer(outputs)
            outputs = outputs[0] if isinstance(outputs, list | tuple) else outputs  # without the states
        outputs = ops.convert_to_numpy(outputs)[:, :: -1 if flip else 1]
        return inputs.swapaxes(0, 1), outputs.swapaxes(0, 1)

    if isinstance(model, Own):
        parts = {
            "encoder": (model.encoder, 2),
            "blocks/gru": (model.blocks[0], 5),
            "blocks/gru_1": (model.blocks[1], 4),
        }
        return {name: run(layer, size=size) for name, (layer, size) in parts.items()}
    by_name = {layer.name: layer for layer in model.layers}
    if "lower" in by_name:  # the chain: of its softmax, the logits
        head = by_name["head"]
        linear = layers.Dense(4, dtype=dtype)
        linear.build((None, None, UNITS))
        linear.set_weights(head.get_weights())
        return {"": run(*(by_name[name] for name in ("lower", "middle", "back", "upper")), linear, flip=True)}
    if "encoder" in by_name:  # the branches
        chains = {
            "encoder": (["encoder"], 2),
            "left": (["left"], 5),
            "right": (["right"], 5),
            "decoder": (["decoder", "decoder_top", "head"], 6),
        }
        networks = {
            name: run(*(by_name[each] for each in chain), size=size) for name, (chain, size) in chains.items()
        }
        networks["nested/nested_lstm"] = run(by_name["nested"].get_layer("nested_lstm"), size=7)
        return networks
    single = {name: layer for name, layer in by_name.items() if layer.weights}
    if (
        "brain" in single
    ):  # in half precision, of which the weights are meant and not how coarsely they are used
        single = {name: _as_single(layer) for name, layer in single.items()}
    return {name: run(layer, flip=name == "lstm_backwards") for name, layer in single.items()}


def _as_single(layer):
    config = {**layer.get_config(), "dtype": "float32"}
    twin = type(layer).from_config(config)
    twin.build((None, None, INPUTS))
    twin.set_weights([np.asarray(weight, np.float32) for weight in layer.get_weights()])
    return twin
