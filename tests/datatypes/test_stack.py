"""Stacks: layers in one direction or both, with or without a read-out; saved, loaded, made of a vector."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import random_params

import gatescope as gs
from gatescope.errors import FileFormatError, GatescopeError, ShapeError, ValueRangeError


def both(inputs=3, units=5, merge="concatenate", cell="gru"):
    backward = random_params(cell, input_size=inputs, hidden_size=units, seed=1)
    return gs.Bidirectional(
        forward=random_params("gru", input_size=inputs, hidden_size=units),
        backward=dataclasses.replace(backward, reverse=True),
        merge=merge,
    )


@pytest.fixture
def stack():
    top = random_params("lstm", input_size=10, hidden_size=4)
    return gs.Stack(layers=(both(cell="lstm"), top), readout_weight=np.ones((2, 4)), readout_bias=np.zeros(2))


def test_sizes(stack):
    assert (stack.input_size, stack.output_size, stack.cells) == (3, 2, ("gru+lstm", "lstm"))
    assert gs.Stack(layers=stack.layers).output_size == 4
    assert gs.Stack(layers=stack.layers[:1]).output_size == 10
    assert both(merge="sum").output_size == 5
    assert stack.count() == sum(layer.count() for layer in stack.layers) + 10
    assert [row[0] for row in stack.table().rows] == [
        "layer 0 forward",
        "layer 0 backward",
        "layer 1",
        "read-out",
    ]
    assert [row[:2] for row in stack.layers[0].table().rows] == [("forward", "gru"), ("backward", "lstm")]


def test_saved_and_loaded(stack, tmp_path):
    for model in (stack, stack.layers[0], gs.Stack(layers=stack.layers)):
        gs.save(tmp_path / "model.npz", model)
        assert gs.load(tmp_path / "model.npz") == model


def test_a_file_whose_layer_is_another_result_is_refused(stack, tmp_path):
    inside = gs.Stack(layers=stack.layers)
    torn = dataclasses.replace(inside)
    object.__setattr__(torn, "layers", (inside,))
    gs.save(tmp_path / "model.npz", torn)
    with pytest.raises(FileFormatError, match=r"damaged"):
        gs.load(tmp_path / "model.npz")


def test_a_vector_and_back(stack):
    names = list(stack.weights())
    assert names[:2] == ["layers.0.forward.weight_ih", "layers.0.forward.weight_hh"]
    assert names[4] == "layers.0.backward.weight_ih"
    assert names[8:10] == ["layers.1.weight_ih", "layers.1.weight_hh"]
    assert names[12:] == ["readout_weight", "readout_bias"]
    assert stack.with_flat(stack.flat()) == stack
    doubled = stack.with_flat(2 * stack.flat())
    np.testing.assert_array_equal(doubled.layers[0].backward.bias_hh, 2 * stack.layers[0].backward.bias_hh)
    assert stack.astype("float32").dtype == np.float32
    assert stack.astype("float32").readout_bias.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merge": "mul"}, "merge='mul'"),
        ({"backward": both().forward}, r"backward\.reverse=False must be True of the backward direction"),
        ({"backward": both(4).backward}, "backward has 4 inputs, and `forward` 3"),
        ({"backward": both(3, 4).backward, "merge": "sum"}, "backward has 4 units, and `forward` 5"),
        ({"forward": 1}, "forward is an int; give Params"),
    ],
)
def test_directions_that_do_not_fit(change, message):
    with pytest.raises(GatescopeError, match=message):
        dataclasses.replace(both(), **change)


def test_layers_and_read_outs_that_do_not_fit(stack):
    with pytest.raises(ShapeError, match=r"layers\[1\] takes 10 inputs, but layers\[0\] gives 5"):
        gs.Stack(layers=(both(merge="sum"), stack.layers[1]))
    with pytest.raises(GatescopeError, match=r"readout_bias is a NoneType; give a NumPy array"):
        gs.Stack(layers=stack.layers, readout_weight=np.ones((2, 4)))
    with pytest.raises(ShapeError, match=r"readout_weight has shape \(2, 3\)"):
        dataclasses.replace(stack, readout_weight=np.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"readout_bias has shape \(\)"):
        gs.Stack(layers=stack.layers, readout_weight=np.ones((1, 4)), readout_bias=np.zeros(()))
    with pytest.raises(ShapeError, match=r"heads are there without a read-out"):
        gs.Stack(layers=stack.layers, heads=(gs.Head("y", 2),))


def test_what_cannot_be_trained_says_why(stack):
    batch = gs.Batch(inputs=np.zeros((9, 1, 3)), targets=np.zeros((9, 1, 2)))
    upper = dataclasses.replace(stack, layers=stack.layers[1:])
    batch = gs.Batch(inputs=np.zeros((9, 1, 10)), targets=np.zeros((9, 1, 2)))
    with pytest.raises(ValueRangeError, match=r"does not say how its outputs are judged"):
        gs.train(upper, batch)
    with pytest.raises(ValueRangeError, match=r"has no read-out"):
        gs.evaluate(gs.Stack(layers=upper.layers), batch)


@pytest.mark.parametrize(("name", "value"), [("dtype", "float32"), ("batch_first", "True")])
def test_directions_that_differ_are_refused(name, value):
    layer = both()
    changes = {"batch_first": dataclasses.replace(layer.backward, batch_first=True)}
    backward = changes.get(name, layer.backward.astype("float32"))
    with pytest.raises(ValueRangeError, match=rf"backward\.{name} is {value}, and that of `forward` "):
        dataclasses.replace(layer, backward=backward)
