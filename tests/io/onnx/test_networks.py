"""ONNX models: every recurrent node, stacks as exporters write them."""

from pathlib import Path

import numpy as np
import pytest
from helpers.stored_networks import only_network, outputs_of

from gatescope.io.onnx.networks import read_onnx

onnx = pytest.importorskip("onnx")
helper = onnx.helper
made_by = pytest.importorskip("helpers.onnx_models")  # imports onnx

CELLS = made_by.CELLS
DIRECTIONS = made_by.DIRECTIONS
inputs_for = made_by.inputs_for
of_one_direction = made_by.of_one_direction
one_of = made_by.one_of
stack = made_by.stack
GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "weights").glob("*.onnx"))


def by_steps(Y):
    """Return outputs (T, D, B, H) of a node as a layer of ours gives them, (T, B, D*H)."""
    return np.concatenate([*np.moveaxis(Y, 1, 0)], axis=2)


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if cell != "rnn_relu"]
)  # the evaluator has tanh only
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_every_cell_in_every_direction_against_the_reference(cell, direction, bias):
    model = one_of(cell, direction, bias=bias, dtype="float64")
    network = only_network(read_onnx(model))
    (layer,) = network.layers
    parts = [part for part in (layer.forward, layer.backward) if part is not None]
    assert [part.cell for part in parts] == [cell] * DIRECTIONS[direction]
    assert (layer.forward is None, layer.backward is None) == (direction == "reverse", direction == "forward")
    assert ("bias_ih" in parts[0].load()) == bias
    inputs = inputs_for(dtype="float64")
    reference = by_steps(made_by.by_reference(model, inputs))
    np.testing.assert_allclose(outputs_of(network, inputs), reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_against_onnx_runtime(cell):
    pytest.importorskip("onnxruntime")
    model, inputs = one_of(cell, "bidirectional"), inputs_for()
    runtime = by_steps(made_by.by_runtime(model, inputs))
    np.testing.assert_allclose(outputs_of(only_network(read_onnx(model)), inputs), runtime, rtol=0, atol=1e-6)


def with_peepholes(bias=True):
    """Return an LSTM node of both directions with peepholes of order 1."""
    arrays = made_by.weights("LSTM", directions=2, bias=bias)
    arrays["P"] = np.random.default_rng(4).standard_normal((2, 15)).astype(np.float32)
    node = made_by.node("LSTM", arrays, more=("", "", "", "P"), direction="bidirectional")
    return made_by.model([node], arrays)


@pytest.mark.slow  # the kernel of a cell that no other test here has
@pytest.mark.parametrize("bias", [True, False])
def test_peepholes_against_onnx_runtime(bias):
    pytest.importorskip("onnxruntime")
    model, inputs = with_peepholes(bias), inputs_for()
    stored = read_onnx(model)
    (layer,) = only_network(stored).layers
    assert layer.forward.cell == layer.backward.cell == "lstm_peephole"
    assert stored.unused == ()
    runtime = by_steps(made_by.by_runtime(model, inputs))
    np.testing.assert_allclose(outputs_of(only_network(stored), inputs), runtime, rtol=0, atol=1e-6)


@pytest.mark.slow  # the kernel of a cell that no other test here has
def test_coupled_gates_against_onnx_runtime():
    """Which takes 1 - i for f, and does not look at the rows of f."""
    pytest.importorskip("onnxruntime")
    model, inputs = made_by.one_node("LSTM", input_forget=1), inputs_for()
    stored = only_network(read_onnx(model))
    assert stored.layers[0].forward.cell == "lstm_coupled"
    runtime = by_steps(made_by.by_runtime(model, inputs))
    np.testing.assert_allclose(outputs_of(stored, inputs), runtime, rtol=0, atol=1e-6)


def test_peepholes_are_those_of_the_gates():
    """ONNX has i, o and f, the cell pi, pf and po."""
    model = with_peepholes()
    P = onnx.numpy_helper.to_array(model.graph.initializer[-1])[1].reshape(3, 5)
    weights = only_network(read_onnx(model)).layers[0].backward.load()
    np.testing.assert_array_equal(weights["bias_ih"][20:].reshape(3, 5), P[[0, 2, 1]])
    assert not weights["bias_hh"][20:].any()
    assert not weights["weight_ih"][20:].any()


def test_a_direction_of_its_own_activation():
    model = made_by.one_node("RNN", directions=2, direction="bidirectional", activations=["Tanh", "relu"])
    (layer,) = only_network(read_onnx(model)).layers
    assert (layer.forward.cell, layer.backward.cell) == ("rnn", "rnn_relu")


def of_two_directions(start, end):
    """Return what PyTorch's exporters write after a bidirectional node."""
    return [
        helper.make_node("Transpose", [start], [f"{end}t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"{end}t", "merged"], [end]),
    ]


def of_halves(start, end, op="Concat"):
    """Return each direction by itself, then joined."""
    axis = {"axis": -1} if op == "Concat" else {}
    return [
        helper.make_node("Split", [start], [f"{end}0", f"{end}1"], axis=1),
        helper.make_node("Squeeze", [f"{end}0", "one"], [f"{end}s"]),
        helper.make_node("Squeeze", [f"{end}1", "one"], [f"{end}u"]),
        helper.make_node(op, [f"{end}s", f"{end}u"], [end], **axis),
    ]


def by_gather(start, end):
    return [
        helper.make_node("Gather", [start, "zeroth"], [f"{end}0"], axis=1),
        helper.make_node("Gather", [start, "second"], [f"{end}1"], axis=1),
        helper.make_node("Concat", [f"{end}0", f"{end}1"], [end], axis=2),
    ]


LINEAR = [
    helper.make_node("MatMul", ["O", "weight"], ["M"], name="head"),
    helper.make_node("Add", ["bias", "M"], ["Y"]),
]


@pytest.mark.parametrize(
    ("between", "directions"),
    [(of_one_direction, 1), (of_two_directions, 2), (of_halves, 2), (by_gather, 2)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_nodes_that_feed_each_other_are_layers_of_one_network(between, directions):
    pytest.importorskip("onnxruntime")
    model = stack(between("Y0", "X1"), directions=directions, linear=[*between("Y1", "O"), *LINEAR])
    stored = read_onnx(model)
    network = only_network(stored)
    assert [layer.name for layer in network.layers] == ["lower.lstm", "upper.lstm"]
    assert (network.prefix, network.readout.name, network.readout.output_size) == ("", "head", 2)
    assert stored.unused == ()
    np.testing.assert_allclose(
        outputs_of(network, inputs_for()), made_by.by_runtime(model, inputs_for()), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "between",
    [
        [helper.make_node("Squeeze", ["Y0", "one"], ["s"]), helper.make_node("Tanh", ["s"], ["X1"])],
        [
            helper.make_node("Squeeze", ["Y0", "one"], ["s"]),
            helper.make_node("Transpose", ["s"], ["X1"], perm=[1, 0, 2]),
        ],
        [helper.make_node("Squeeze", ["Y0", "one"], ["s"]), helper.make_node("Add", ["s", "s"], ["X1"])],
    ],
    ids=["computed", "turned", "residual"],
)
def test_what_stands_between_makes_two_networks(between):
    stored = read_onnx(stack(between, outputs=["Y1"]))
    assert [network.prefix for network in stored.networks] == ["lower.lstm", "upper.lstm"]
    assert stored.unused == ("weight", "bias")


def test_halves_in_the_wrong_order_are_no_layer():
    swapped = of_halves("Y0", "X1")
    swapped[-1].input[:] = swapped[-1].input[::-1]
    assert len(read_onnx(stack(swapped, directions=2, outputs=["Y1"])).networks) == 2


def test_two_layers_above_one_are_networks_of_their_own():
    model = stack(of_one_direction("Y0", "X1"), outputs=["Y1", "Y2"])
    model.graph.node.add().CopyFrom(model.graph.node[2])
    model.graph.node[3].name, model.graph.node[3].output[:] = "third", ["Y2", "H2", "C2"]
    stored = read_onnx(model)
    assert [network.prefix for network in stored.networks] == ["lower.lstm", "upper.lstm", "third"]
    assert "'lower.lstm' feeds 2 layers" in stored.notes[0]


@pytest.mark.parametrize("op", ["Concat", "Add"])
def test_a_forward_and_a_backward_node_are_one_layer(op):
    pytest.importorskip("onnxruntime")
    parts = {way: made_by.weights("GRU", seed=k) for k, way in enumerate(("forward", "reverse"))}
    arrays = {f"{way}.{name}": array for way, part in parts.items() for name, array in part.items()}
    arrays |= {"one": np.array([1])}
    nodes = [
        made_by.node("GRU", part, prefix=f"{way}.", outputs=[f"Y{way}"], direction=way)
        for way, part in parts.items()
    ]
    nodes += [helper.make_node("Squeeze", [f"Y{way}", "one"], [f"s{way}"]) for way in parts]
    nodes += [
        helper.make_node(op, [f"s{way}" for way in parts], ["Y"], **{"axis": 2} if op == "Concat" else {})
    ]
    model = made_by.model(nodes, arrays)
    network = only_network(read_onnx(model))
    assert network.layers[0].merge == {"Concat": "concatenate", "Add": "sum"}[op]
    np.testing.assert_allclose(
        outputs_of(network, inputs_for()), made_by.by_runtime(model, inputs_for()), rtol=0, atol=1e-6
    )


def test_directions_of_one_node_that_are_added():
    model = stack(of_one_direction("Y0", "X1"))
    lower, upper = made_by.weights("LSTM", 3, directions=2), made_by.weights("LSTM", 5)
    arrays = {f"lower.{k}": v for k, v in lower.items()} | {f"upper.{k}": v for k, v in upper.items()}
    nodes = [
        made_by.node("LSTM", lower, prefix="lower.", outputs=["Y0"], direction="bidirectional"),
        *of_halves("Y0", "X1", "Add"),
        made_by.node("LSTM", upper, prefix="upper.", x="X1"),
    ]
    model = made_by.model(nodes, {**arrays, "one": np.array([1])})
    network = only_network(read_onnx(model))
    assert [layer.merge for layer in network.layers] == ["sum", "concatenate"]


GEMM = helper.make_node("Gemm", ["O", "weight", "bias"], ["G"], name="head")


def state_of(index, taken="O"):
    """Return what picks the state of a layer, as PyTorch joins them."""
    joined = helper.make_node("Concat", ["H1", "H1b"], ["H"], axis=0)
    other = helper.make_node(
        "LSTM", ["X", *(f"lower.{name}" for name in "WRB")], ["Yb", "H1b"], hidden_size=5, name="b"
    )
    return [other, joined, helper.make_node("Gather", ["H", index], [taken], axis=0), GEMM]


LAST = helper.make_node("Gather", ["S", "last"], ["O"], axis=0)


@pytest.mark.parametrize(
    ("linear", "outputs", "there"),
    [
        ([*of_one_direction("Y1", "S"), LAST, GEMM], ["G"], True),
        ([helper.make_node("Squeeze", ["H1", "zeroth"], ["O"]), GEMM], ["G"], True),
        ([*of_one_direction("Y1", "S"), LAST, GEMM], ["G", "H1", "C1"], True),
        ([*of_one_direction("Y1", "S"), LAST, GEMM, helper.make_node("Softmax", ["G"], ["P"])], ["P"], True),
        ([*of_one_direction("Y1", "S"), LAST, GEMM, helper.make_node("Relu", ["G"], ["P"])], ["P"], False),
        (
            [*of_one_direction("Y1", "S"), LAST, GEMM, helper.make_node("MatMul", ["G", "above"], ["P"])],
            ["P"],
            False,
        ),
        (
            [
                *of_one_direction("Y1", "S"),
                LAST,
                GEMM,
                helper.make_node("Softmax", ["G"], ["A"]),
                helper.make_node("MatMul", ["A", "above"], ["P"]),
            ],
            ["P"],
            False,
        ),
        (state_of("zeroth"), ["G", "H"], True),
        (state_of("last"), ["G", "H"], False),
        ([*of_one_direction("Y1", "S"), LAST, GEMM], ["G", "S"], False),
        (
            [*of_one_direction("Y1", "S"), LAST, GEMM, helper.make_node("Neg", ["S"], ["N"])],
            ["G", "N"],
            False,
        ),
        ([*of_one_direction("Y1", "S"), helper.make_node("Tanh", ["S"], ["O"]), *LINEAR], ["Y"], False),
    ],
    ids=[
        "last step",
        "last state",
        "states go out",
        "softmax",
        "relu",
        "perceptron",
        "attention",
        "state of a layer",
        "state of another",
        "outputs go out",
        "two take them",
        "tanh",
    ],
)
def test_a_readout_is_what_alone_takes_the_outputs(linear, outputs, there):
    network = read_onnx(stack(of_one_direction("Y0", "X1"), linear=linear, outputs=outputs)).networks[0]
    assert (network.readout is not None) == there
    if there:
        weight, bias = network.readout.load()
        assert (weight.shape, bias.tolist()) == ((2, 5), [0.5, -1])


def test_weights_through_nodes_that_only_rearrange_them():
    """As PyTorch writes them without constant folding: slices of each gate, joined in ONNX's order."""
    arrays = made_by.weights("LSTM")
    plain = only_network(read_onnx(made_by.model([made_by.node("LSTM", arrays)], arrays)))
    W = arrays["W"][0].astype(np.float16)  # held as (I, 4H) in half precision
    initializers = {
        "W16": W.T.copy(),
        "R2": arrays["R"].reshape(-1),
        "R shape": np.array([0, 0, -1]),
        "R rows": np.array([1, 20, 5]),
        "Wb": arrays["B"][0, :20],
        "Rb": arrays["B"][0, 20:],
        "zeroth": np.array([0]),
        **{f"at {k}": np.array([k]) for k in (5, 10, 20)},
    }
    nodes = [
        helper.make_node("Transpose", ["W16"], ["Wt"]),
        helper.make_node("Cast", ["Wt"], ["Wf"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Slice", ["Wf", "zeroth", "at 10", "zeroth"], ["top"]),
        helper.make_node("Slice", ["Wf", "at 10", "at 20", "zeroth"], ["bottom"]),
        helper.make_node("Concat", ["top", "bottom"], ["Wc"], axis=0),
        helper.make_node("Unsqueeze", ["Wc", "zeroth"], ["W"]),
        helper.make_node("Reshape", ["R2", "R rows"], ["R3"]),
        helper.make_node("Reshape", ["R3", "R shape"], ["R4"]),
        helper.make_node("Identity", ["R4"], ["R"]),
        helper.make_node("Concat", ["Wb", "Rb"], ["b"], axis=0),
        helper.make_node("Unsqueeze", ["b", "zeroth"], ["B"]),
        made_by.node("LSTM", arrays),
    ]
    stored = read_onnx(made_by.model(nodes, initializers))
    assert stored.unused == ()
    weights, expected = only_network(stored).layers[0].forward.load(), plain.layers[0].forward.load()
    for name in ("weight_hh", "bias_ih", "bias_hh"):
        np.testing.assert_array_equal(weights[name], expected[name])
    np.testing.assert_array_equal(weights["weight_ih"], expected["weight_ih"].astype(np.float16))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("raw", [True, False])
def test_every_precision_as_bytes_and_as_numbers(dtype, raw):
    kinds = {"float16": 10, "bfloat16": 16, "float32": 1, "float64": 11}
    tensors = {}
    for name, array in made_by.weights("GRU", bias=False).items():
        if dtype == "bfloat16":
            values = (array.view(np.uint32) & 0xFFFF0000).view(np.float32)
            bits = (array.view(np.uint32) >> 16).astype(np.uint16)
        else:
            values = array.astype(dtype)
            bits = values.view(np.uint16) if dtype == "float16" else values
        tensor = onnx.TensorProto(name=name, data_type=kinds[dtype], dims=array.shape)
        if raw:
            tensor.raw_data = bits.tobytes()
        else:
            field = {"float32": "float_data", "float64": "double_data"}.get(dtype, "int32_data")
            getattr(tensor, field).extend(bits.ravel().tolist())
        tensors[name] = (tensor, values)
    arrays = {name: values for name, (_, values) in tensors.items()}
    model = made_by.model(
        [made_by.node("GRU", arrays, linear_before_reset=1)], {name: t for name, (t, _) in tensors.items()}
    )
    (layer,) = only_network(read_onnx(model)).layers
    weights = layer.forward.load()
    assert layer.forward.dtype == dtype
    assert weights["weight_ih"].dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_array_equal(np.sort(weights["weight_ih"].ravel()), np.sort(arrays["W"].ravel()))


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_batch_first_by_layout_computes_the_same(op, direction):
    count = DIRECTIONS[direction]
    attributes = {"linear_before_reset": 1} if op == "GRU" else {}
    model = made_by.one_node(
        op, directions=count, direction=direction, layout=1, dtype="float64", **attributes
    )
    inputs = inputs_for(dtype="float64")
    reference = made_by.by_reference(model, inputs.swapaxes(0, 1))  # (B, T, D, H)
    outputs = outputs_of(only_network(read_onnx(model)), inputs)
    np.testing.assert_allclose(outputs, by_steps(np.moveaxis(reference, 0, 2)), rtol=0, atol=1e-12)


def test_batch_first_by_layout_and_by_a_transpose():
    plain = one_of("lstm")
    model = made_by.one_node("LSTM", layout=1)
    networks = [only_network(read_onnx(each)) for each in (plain, model)]
    assert [network.attributes["batch_first"] for network in networks] == [False, True]
    first, second = (network.layers[0].forward.load() for network in networks)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    plain.graph.node.insert(0, helper.make_node("Transpose", ["batches"], ["X"], perm=[1, 0, 2]))
    assert only_network(read_onnx(plain)).attributes["batch_first"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_files_that_exporters_wrote(path):
    with np.load(path.with_suffix(".npz")) as golden:
        stored = read_onnx(path)
        network = only_network(stored)
        assert [layer.forward.cell for layer in network.layers] == golden["cells"].tolist()
        assert network.attributes["batch_first"] == golden["batch_first"]
        assert (network.readout is not None) == golden["readout"]
        inputs, expected = golden["inputs"], golden["outputs"]
        outputs = outputs_of(network, inputs)
        assert outputs.dtype == expected.dtype
        tolerance = 1e-6 if expected.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)
