"""What Keras's recurrent layers receive: run on it, the kernels give Keras's outputs; the model stays as it was."""

import os

import numpy as np
import pytest

import gatescope as gs

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(3, 9, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def _the_same_weights():
    keras.utils.set_random_seed(0)


def as_array(value):
    return keras.ops.convert_to_numpy(value)


def outputs_of(network):
    """Return outputs (B, T, H), from a captured network's weights and arguments alone."""
    return gs.run(network.model, **network.arguments).outputs.swapaxes(0, 1)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_a_layer_and_one_in_both_directions_behind_an_embedding(kind):
    tokens = RNG.integers(1, 20, (3, 9))
    layer = getattr(layers, kind)
    both = layers.Bidirectional(layer(5, return_sequences=True), name="both")
    one = layer(5, return_sequences=True, go_backwards=True, name="one")
    model = keras.Sequential([layers.Embedding(20, 3), both, layers.Dropout(0.5), one])
    outputs = as_array(model(tokens))
    captured = gs.capture(model, tokens)
    assert captured.names == ("both", "one")
    inner = captured["one"]
    close = 2e-7 if kind == "SimpleRNN" else 1e-7  # states near 1, where two floats are 6e-8 apart
    np.testing.assert_allclose(outputs_of(captured["both"]), inner.inputs.swapaxes(0, 1), rtol=0, atol=close)
    np.testing.assert_allclose(outputs_of(inner)[:, ::-1], outputs, rtol=0, atol=close)
    assert not any("call" in vars(each) for each in model.layers)


@pytest.mark.parametrize("padded", ["behind", "before", "between"])
def test_steps_that_a_mask_leaves_out_are_taken_out(padded):
    tokens = RNG.integers(1, 20, (3, 9))
    hidden = {"behind": slice(6, 9), "before": slice(0, 3), "between": slice(2, 5)}[padded]
    tokens[1, hidden] = 0
    model = keras.Sequential([layers.Embedding(20, 3, mask_zero=True), layers.LSTM(5, name="lstm")])
    network = gs.capture(model, tokens)["lstm"]
    np.testing.assert_array_equal(network.lengths, [9, 6, 9])
    trace = gs.run(network.model, **network.arguments)
    np.testing.assert_allclose(trace.final_state[:, 0], as_array(model(tokens)), rtol=0, atol=1e-7)


def test_initial_states_and_those_that_a_layer_keeps():
    inputs = keras.Input(batch_shape=(3, 9, 3))
    first = layers.LSTM(5, return_sequences=True, return_state=True, stateful=True, name="first")
    sequences, *states = first(inputs)
    second = layers.LSTM(5, return_sequences=True, name="second")(sequences, initial_state=states)
    model = keras.Model(inputs, second)
    model(INPUTS)
    before = [as_array(state) for state in first.states]
    captured = gs.capture(model, INPUTS)
    for state, values in zip(first.states, before, strict=True):
        np.testing.assert_array_equal(as_array(state), values)
    np.testing.assert_array_equal(captured["first"].initial_states()["layers.0"], np.stack(before, axis=1))
    np.testing.assert_allclose(outputs_of(captured["second"]), as_array(model(INPUTS)), rtol=0, atol=1e-7)


def test_a_cell_in_a_loop_of_one_s_own():
    class Loop(keras.Model):
        def __init__(self):
            super().__init__()
            self.cell = layers.GRUCell(5, name="cell")

        def call(self, inputs):
            state = keras.ops.zeros((3, 5))
            for t in range(9):
                output, (state,) = self.cell(inputs[:, t], [state])
            return output

    model = Loop()
    model(INPUTS)
    network = gs.capture(model, INPUTS)["cell"]
    assert network.calls == 9
    np.testing.assert_allclose(outputs_of(network)[:, -1], as_array(model(INPUTS)), rtol=0, atol=1e-7)


def test_what_cannot_be_captured_is_named():
    with pytest.raises(gs.WeightFormatError, match="no recurrent module; give one with LSTM, GRU, SimpleRNN"):
        gs.capture(keras.Sequential([layers.Dense(2)]), INPUTS)
    hard = keras.Sequential([layers.LSTM(5, recurrent_activation="hard_sigmoid", name="lstm")])
    with pytest.raises(gs.WeightFormatError, match=r"lstm cannot be read.*hard_sigmoid"):
        gs.capture(hard, INPUTS)
