"""ONNX models: what is refused by name, how nodes start, nodes in branches and functions, other sources."""

import sys

import numpy as np
import pytest
from helpers.stored_networks import loaded, only_network, outputs_of

from gatescope.errors import MissingPackageError, WeightFormatError
from gatescope.io.onnx.networks import read_onnx

onnx = pytest.importorskip("onnx")
helper = onnx.helper
made_by = pytest.importorskip("helpers.onnx_models")  # imports onnx

inputs_for = made_by.inputs_for
of_one_direction = made_by.of_one_direction
one_of = made_by.one_of


def with_input(op, index, value=None, *, units=5, **attributes):
    """Return a model of a node, one of whose further inputs is an initializer, or an input of the graph."""
    arrays = made_by.weights(op, units=units)
    more = [""] * (index - 4) + ["extra"]
    initializers = arrays if value is None else {**arrays, "extra": value}
    inputs = ("X", "extra") if value is None else ("X",)
    node = made_by.node(op, arrays, more=more, **attributes)
    return made_by.model([node], initializers, inputs=inputs)


REFUSED = {
    "clip": (made_by.one_node("LSTM", clip=3.0), "clips what its gates are given at 3"),
    "hard sigmoid": (
        made_by.one_node("GRU", activations=["HardSigmoid", "Tanh"]),
        "has activations hardsigmoid, tanh; the cell here has sigmoid, tanh",
    ),
    "softsign": (made_by.one_node("RNN", activations=["Softsign"]), "has activations softsign"),
    "too few activations": (
        made_by.one_node("RNN", directions=2, direction="bidirectional", activations=["Tanh"]),
        "has activations tanh",
    ),
    "alpha": (made_by.one_node("RNN", activation_alpha=[0.5]), "has activation_alpha"),
    "beta": (made_by.one_node("LSTM", activation_beta=[0.5]), "has activation_beta"),
    "coupled peepholes": (
        with_input("LSTM", 7, np.ones((1, 15), np.float32), input_forget=1),
        "couples its input and forget gates and has peepholes",
    ),
    "given peepholes": (
        with_input("LSTM", 7),
        "has weights P ('extra') that are no stored numbers: it is an input of the graph",
    ),
    "few peepholes": (with_input("LSTM", 7, np.ones((1, 10), np.float32)), "has P of shape 1, 10"),
    "direction": (made_by.one_node("LSTM", direction="sideways"), "has direction 'sideways'"),
    "hidden size": (made_by.one_node("LSTM", hidden_size=4), "has W of shape 1, 20, 3"),
    "negative": (made_by.one_node("LSTM", hidden_size=-5), "does not fit"),
    "another cell": (made_by.one_node("LSTM", directions=2), "does not fit 1 direction of hidden_size 5"),
    "integers": (
        made_by.model(
            [made_by.node("RNN", made_by.weights("RNN"))],
            {k: np.ones_like(v, np.int64) for k, v in made_by.weights("RNN").items()},
        ),
        "of int64: give a model that is not quantized",
    ),
    "bytes": (
        made_by.model(
            [made_by.node("RNN", made_by.weights("RNN"))],
            {k: np.ones_like(v, np.int8) for k, v in made_by.weights("RNN").items()},
        ),
        "it is stored as int8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_cell_does_is_refused_by_name(case):
    model, reason = REFUSED[case]
    (layer,) = only_network(read_onnx(model)).layers
    assert layer.forward is None
    assert layer.backward is None
    assert reason in layer.refused
    assert layer.name in ("lstm", "gru", "rnn")


def test_peepholes_of_zeros_are_none():
    (layer,) = only_network(read_onnx(with_input("LSTM", 7, np.zeros((1, 15), np.float32)))).layers
    assert not layer.refused


def test_a_projection_as_pytorch_exports_it_is_refused():
    """hidden_size 2 by proj_size, W of four gates of 2, R of another width: ONNX Runtime fails on it too."""
    arrays = {"W": np.ones((1, 8, 3), np.float32), "R": np.ones((1, 8, 2), np.float32)}
    arrays["R"] = np.ones((1, 16, 2), np.float32)
    model = made_by.model([made_by.node("LSTM", arrays, hidden_size=2)], arrays)
    assert "proj_size" in only_network(read_onnx(model)).layers[0].refused


def test_a_projection_that_shows_in_its_states_alone_is_refused():
    """As PyTorch 2.13 writes proj_size=2 of five units: W, R and B fit hidden_size 2, and the memory has five units."""
    model = with_input("LSTM", 6, np.zeros((1, 3, 5), np.float32), units=2)
    assert (
        "starts from states of 5 units, and its hidden_size is 2"
        in only_network(read_onnx(model)).layers[0].refused
    )


@pytest.mark.parametrize("op", ["Mul", "QuantizeLinear", "Expand"])
def test_computed_weights_are_refused(op):
    arrays = made_by.weights("LSTM")
    initializers = {"W0": arrays["W"], "R": arrays["R"], "B": arrays["B"], "by": np.ones(1, np.float32)}
    nodes = [helper.make_node(op, ["W0", "by"], ["W"], name="scaled"), made_by.node("LSTM", arrays)]
    (layer,) = only_network(read_onnx(made_by.model(nodes, initializers))).layers
    assert f"it is computed by {op} (node 'scaled')" in layer.refused


def test_weights_that_the_graph_is_given_are_refused():
    arrays = made_by.weights("LSTM")
    model = made_by.model([made_by.node("LSTM", arrays)], {k: arrays[k] for k in "RB"}, inputs=("X", "W"))
    assert "is an input of the graph" in only_network(read_onnx(model)).layers[0].refused


def test_a_quantized_node_is_named():
    node = helper.make_node("DynamicQuantizeLSTM", ["X", "W", "R"], ["Y"], domain="com.microsoft", name="q")
    (layer,) = only_network(read_onnx(made_by.model([node], {"W": np.ones((1, 3, 20), np.int8)}))).layers
    assert "quantized" in layer.refused


def test_layers_that_do_not_fit_are_refused():
    arrays = {f"a.{k}": v for k, v in made_by.weights("LSTM").items()}
    arrays |= {f"b.{k}": v for k, v in made_by.weights("LSTM", 4).items()}
    nodes = [
        made_by.node("LSTM", made_by.weights("LSTM"), prefix="a.", outputs=["Y0"]),
        *of_one_direction("Y0", "X1"),
        made_by.node("LSTM", made_by.weights("LSTM", 4), prefix="b.", x="X1"),
    ]
    layers = only_network(read_onnx(made_by.model(nodes, {**arrays, "one": np.array([1])}))).layers
    assert layers[1].refused == "takes 4 inputs, but 'a.lstm' gives 5"


@pytest.mark.parametrize(
    ("model", "note"),
    [
        (with_input("LSTM", 4, np.array([3, 2, 1], np.int32)), "lengths of its sequences"),
        (with_input("GRU", 5), "is given the states that it starts from; zeros are assumed"),
        (with_input("GRU", 5, np.ones((1, 3, 5), np.float32)), "starts from states that are not zero"),
        (with_input("LSTM", 6, np.ones((1, 3, 5), np.float32)), "starts from states that are not zero"),
        (with_input("LSTM", 6, np.zeros((1, 3, 5), np.float32)), None),
    ],
    ids=["lengths", "given", "state", "memory", "zeros"],
)
def test_how_a_node_starts_is_said(model, note):
    stored = read_onnx(model)
    assert (stored.notes == ()) if note is None else (note in stored.notes[0] and len(stored.notes) == 1)
    assert stored.unused == ()


@pytest.mark.parametrize(
    ("op", "attributes", "notes"),
    [("Expand", {}, 0), ("ConstantOfShape", {}, 0), ("RandomNormalLike", {}, 1)],
)
def test_computed_states_are_followed_as_far_as_they_are_zero(op, attributes, notes):
    model = with_input("GRU", 5, np.zeros((1, 1, 5), np.float32))
    model.graph.initializer[-1].name = "before"
    model.graph.node.insert(0, helper.make_node(op, ["before"], ["extra"], **attributes))
    assert len(read_onnx(model).notes) == notes


def branch(nodes, name):
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info("Z", 1, None)])


def test_nodes_in_branches_and_loops_are_found():
    arrays = made_by.weights("LSTM")
    inner = made_by.node("LSTM", arrays, outputs=["Z"])
    deep = helper.make_node(
        "If",
        ["choice"],
        ["Z"],
        name="inner",
        then_branch=branch([inner], "a"),
        else_branch=branch([helper.make_node("Identity", ["X"], ["Z"])], "b"),
    )
    outer = helper.make_node(
        "If",
        ["choice"],
        ["Y"],
        name="outer",
        then_branch=branch([deep], "c"),
        else_branch=branch([deep], "d"),
    )
    stored = read_onnx(made_by.model([outer], {**arrays, "choice": np.array(True)}))
    assert [network.prefix for network in stored.networks] == ["lstm", "lstm#2"]
    assert stored.notes == ("'lstm' stands inside If 'inner', and is taken for a layer by itself",)
    assert not any(network.layers[0].refused for network in stored.networks)


def function(name, nodes, inputs, outputs, attributes=()):
    return helper.make_function(
        "own", name, inputs, outputs, nodes, [helper.make_opsetid("", 17)], list(attributes)
    )


def test_nodes_in_functions_are_found_with_what_they_are_called_with():
    pytest.importorskip("onnxruntime")
    arrays = [made_by.weights("LSTM", 3), made_by.weights("LSTM", 5, seed=1)]
    body = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=5)
    way = onnx.AttributeProto(name="direction", type=onnx.AttributeProto.STRING, ref_attr_name="way")
    body.attribute.append(way)
    squeezed = [
        helper.make_node("Constant", [], ["one"], value=onnx.numpy_helper.from_array(np.array([1]))),
        helper.make_node("Squeeze", ["y", "one"], ["z"]),
    ]
    layer = function("layer", [body, *squeezed], ["x", "w", "r", "b"], ["z"], ["way"])
    nodes = [
        helper.make_node("layer", ["X", "W0", "R0", "B0"], ["X1"], domain="own", way="forward"),
        helper.make_node("layer", ["X1", "W1", "R1"], ["Y"], domain="own", way="reverse"),
    ]
    initializers = {f"{name}{k}": array for k in (0, 1) for name, array in arrays[k].items()}
    model = made_by.model(nodes, initializers, functions=[layer])
    stored = read_onnx(model)
    lower, upper = only_network(stored).layers
    assert (lower.backward, upper.forward) == (None, None)
    assert stored.unused == ("B1",)
    np.testing.assert_allclose(
        outputs_of(only_network(stored), inputs_for()),
        made_by.by_runtime(model, inputs_for()),
        rtol=0,
        atol=1e-6,
    )


def test_a_graph_without_recurrent_nodes_says_what_to_do():
    model = made_by.model([helper.make_node("Tanh", ["X"], ["Y"])], {})
    with pytest.raises(WeightFormatError, match=r"no LSTM, GRU or RNN node .*'Tanh'.*dynamo=False"):
        read_onnx(model)


def test_a_message_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match=r"gatescope\[onnx\]"):
        read_onnx("model.onnx")


@pytest.mark.parametrize("source", [3, None, b"model.onnx", {"W": 1}])
def test_other_sources_are_refused(source):
    with pytest.raises(WeightFormatError, match="is of type"):
        read_onnx(source)


def test_loading_gives_arrays_of_ones_own():
    model = one_of("lstm")
    (layer,) = only_network(read_onnx(model)).layers
    layer.forward.load()["weight_hh"][:] = 0
    assert loaded(layer.forward).weight_hh.any()
