"""Stored networks made into weights: which are meant, in what directions, with which read-out; what is refused."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import AccuracyWarning, ShapeError, UnknownNameError, ValueRangeError, WeightFormatError
from gatescope.io.loading import Opened
from gatescope.io.stored import StoredDirection, StoredLayer, StoredNetwork, StoredReadout, StoredWeights

RNG = np.random.default_rng(0)


def direction(inputs=3, units=5, *, dtype="float32", cell="lstm", assumed="", arrays=None):
    gates = len(gs.cells.get(cell).gates)
    shapes = {"weight_ih": (gates * units, inputs), "weight_hh": (gates * units, units)}
    values = arrays or {name: RNG.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    return StoredDirection(
        cell=cell, input_size=inputs, hidden_size=units, dtype=dtype, load=lambda: values, assumed=assumed
    )


def network(*layers, prefix="", outputs=0, **attributes):
    readout = None
    if outputs:
        weight, bias = RNG.standard_normal((outputs, 5)).astype(np.float32), np.zeros(outputs, np.float32)
        readout = StoredReadout(name="head", output_size=outputs, input_size=5, load=lambda: (weight, bias))
    return StoredNetwork(prefix=prefix, layers=layers, readout=readout, attributes=attributes)


def load(*networks, layers=None, reverse=None, **options):
    stored = StoredWeights(format="a format", networks=networks, unused=("embedding",), notes=("It is new.",))
    return Opened(stored, label="model.xyz", provenance={"source": "model.xyz"}, **options).load(
        layers, reverse
    )


ONE = StoredLayer(name="lstm_0", forward=direction())
UPPER = StoredLayer(name="lstm_1", forward=direction(5))
BOTH = StoredLayer(name="both", forward=direction(), backward=direction())


def test_one_layer_is_params_with_zeros_for_missing_biases():
    params = load(network(ONE, prefix="lstm"))
    assert (params.cell, params.dtype, params.bias_ih.any(), params.bias_hh.shape) == (
        "lstm",
        np.float32,
        False,
        (20,),
    )
    np.testing.assert_array_equal(params.weight_ih, ONE.forward.load()["weight_ih"])
    expected = {
        "source": "model.xyz",
        "format": "a format",
        "prefix": "lstm",
        "layer": 0,
        "unused": ["embedding"],
    }
    assert {name: params.provenance[name] for name in expected} == expected


def test_several_layers_are_a_stack_with_the_read_out():
    stack = load(network(ONE, UPPER, outputs=2))
    assert (stack.cells, stack.output_size, stack.heads) == (("lstm", "lstm"), 2, ())
    assert load(network(ONE, UPPER)).readout_weight is None
    assert load(network(ONE, UPPER, outputs=2), layers=0) == stack.layers[0]
    assert load(network(ONE, UPPER, outputs=2), layers=-1) == stack.layers[1]
    assert load(network(ONE, UPPER, outputs=2), layers=[1]).output_size == 2
    assert load(network(ONE, outputs=2)).output_size == 2


def test_both_directions():
    layer = load(network(BOTH))
    assert (layer.output_size, layer.forward.reverse, layer.backward.reverse) == (10, False, True)
    assert load(network(BOTH), reverse=True) == layer.backward
    assert load(network(BOTH), layers=0, reverse=False) == layer.forward
    with pytest.raises(WeightFormatError, match=r"has no backward direction in layer 0, 'lstm_0'"):
        load(network(ONE), reverse=True)
    with pytest.raises(ValueRangeError, match=r"reverse=True takes one direction of one layer"):
        load(network(ONE, UPPER), reverse=True)


def test_precisions_are_made_one():
    wide = StoredLayer(name="wide", forward=direction(5, dtype="float64"))
    assert load(network(ONE, wide)).dtype == np.float64
    assert load(network(ONE, wide), dtype=np.dtype("float32")).dtype == np.float32


def test_the_order_of_axes():
    assert load(network(ONE, batch_first=True)).batch_first is None
    assert load(network(ONE, batch_first=True), batch_first=True).batch_first is True
    assert load(network(ONE)).batch_first is False


def test_one_of_several_networks_is_chosen_by_its_prefix():
    two = network(ONE, prefix="encoder.lstm"), network(UPPER, prefix="decoder.lstm")
    with pytest.raises(
        WeightFormatError, match=r"has 2 recurrent networks.*`prefix`.*'encoder.lstm', 'decoder.lstm'"
    ):
        load(*two)
    assert load(*two, prefix="decoder.lstm.").input_size == 5
    with pytest.raises(UnknownNameError, match=r"prefix='lstm' is no network of model.xyz"):
        load(*two, prefix="lstm")
    with pytest.raises(WeightFormatError, match=r"has no recurrent layer; it holds 'embedding'. It is new"):
        load()


def test_what_the_source_does_not_say_is_warned_of():
    with pytest.warns(AccuracyWarning, match=r"model.xyz does not say"):
        load(network(StoredLayer(name="rnn", forward=direction(cell="rnn", assumed="does not say"))))


@pytest.mark.parametrize("layers", [[], [1, 0], [0, 0], 2, "0", 0.5])
def test_numbers_of_layers_that_there_are_not(layers):
    with pytest.raises((ValueRangeError, ShapeError, gs.DtypeError), match=r"layers"):
        load(network(ONE, UPPER), layers=layers)


def test_layers_that_cannot_be_loaded():
    refused = StoredLayer(name="gate", refused="has recurrent_activation 'hard_sigmoid', which no cell has")
    with pytest.raises(
        WeightFormatError, match=r"a layer 'gate' that has recurrent_activation 'hard_sigmoid'"
    ):
        load(network(refused))
    with pytest.raises(WeightFormatError, match=r"do not fit each other.*takes 4 inputs, but"):
        load(network(ONE, StoredLayer(name="other", forward=direction(4))))
    wrong = {"weight_ih": np.zeros((20, 4), np.float32), "weight_hh": np.zeros((20, 5), np.float32)}
    with pytest.raises(WeightFormatError, match=r"weight_ih of shape \(20, 4\).*where \(20, 3\) belongs"):
        load(network(StoredLayer(name="torn", forward=direction(arrays=wrong))))
    wrong = {"weight_ih": np.full((20, 3), np.nan), "weight_hh": np.zeros((20, 5))}
    with pytest.raises(WeightFormatError, match=r"60 weights that are not finite"):
        load(network(StoredLayer(name="torn", forward=direction(arrays=wrong))))


def test_the_table_lists_every_direction_and_what_cannot_be_read():
    refused = StoredLayer(name="gate", refused="has another activation")
    stored = StoredWeights(
        format="a format", networks=(network(BOTH, refused, prefix="a", outputs=2),), unused=("embedding",)
    )
    listed = stored.table()
    assert [row[:5] for row in listed.rows] == [
        ("a", 0, "both", "lstm", "forward"),
        ("a", 0, "both", "lstm", "backward"),
        ("a", 1, "gate", "not read", "has another activation"),
        ("a", "", "head", "linear", "read-out"),
    ]
    assert listed.title == "a format: 1 recurrent network"
    assert stored.summary().splitlines()[1:] == ["not read: 'embedding'"]
