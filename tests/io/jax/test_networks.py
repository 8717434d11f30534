"""Trees of JAX weights: the cells of Flax, Haiku and Equinox, and what a tree does not say."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.jax_trees import dense, lstm, normal, simple
from helpers.stored_networks import only_network, outputs_of

from gatescope.errors import (
    UnknownNameError,
    ValueRangeError,
    WeightFormatError,
)
from gatescope.io.jax.networks import read_jax

FOLDER = Path(__file__).parents[2] / "golden" / "weights"
GOLDEN = sorted(path for path in FOLDER.glob("jax_*") if path.suffix != ".npz" or path.stem.endswith(".tree"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_files_that_the_frameworks_wrote(path):
    if path.suffix == ".msgpack":
        pytest.importorskip("msgpack")
    with np.load(FOLDER / f"{path.name.split('.')[0]}.npz") as golden:
        network = only_network(read_jax(path))
        assert [layer.forward.cell for layer in network.layers] == golden["cells"].tolist()
        assert (network.readout is not None) == golden["readout"]
        inputs, expected = golden["inputs"], golden["outputs"]
        outputs = outputs_of(network, inputs)
        assert outputs.dtype == expected.dtype
        tolerance = 1e-6 if expected.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "path", [path for path in GOLDEN if path.suffix != ".eqx"], ids=lambda path: path.stem
)
def test_the_same_tree_live(path):
    if path.suffix == ".msgpack":
        msgpack = pytest.importorskip("msgpack")

        def array(code, payload):
            shape, dtype, data = msgpack.unpackb(payload)
            return np.frombuffer(data, dtype).reshape(shape) if code == 1 else None

        tree = msgpack.unpackb(path.read_bytes(), ext_hook=array)
    else:
        with np.load(path) as archive:
            tree = {}
            for name in archive:
                *folders, last = name.split("/")
                branch = tree
                for folder in folders:
                    branch = branch.setdefault(folder, {})
                branch[last] = archive[name]
    live, filed = read_jax(tree), read_jax(path)
    assert live.unused == filed.unused
    for one, other in zip(only_network(live).layers, only_network(filed).layers, strict=True):
        weights = other.forward.load()
        for name, value in one.forward.load().items():
            np.testing.assert_array_equal(value, weights[name])


@pytest.mark.slow
def test_modules_and_states_of_the_frameworks_themselves():
    nnx, eqx = pytest.importorskip("flax.nnx"), pytest.importorskip("equinox")
    import jax

    cell = nnx.OptimizedLSTMCell(3, 5, rngs=nnx.Rngs(0))
    for tree in (nnx.state(cell), nnx.to_pure_dict(nnx.state(cell))):
        part = only_network(read_jax(tree)).layers[0].forward
        assert (part.cell, part.input_size, part.hidden_size, part.dtype) == ("lstm", 3, 5, "float32")
        np.testing.assert_array_equal(part.load()["weight_hh"].T, cell.dense_h.kernel[...])
    module = eqx.nn.GRUCell(3, 5, key=jax.random.key(0))
    weights = only_network(read_jax({"cells": [module]})).layers[0].forward.load()
    np.testing.assert_array_equal(weights["weight_ih"], module.weight_ih)
    np.testing.assert_array_equal(weights["bias_hh"][10:], module.bias_n)


@dataclasses.dataclass
class Module:
    """A cell with the fields of Equinox's."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias: np.ndarray | None = None
    bias_n: np.ndarray | None = None
    hidden_size: int = 5


@pytest.mark.parametrize(("blocks", "cell"), [(4, "lstm"), (3, "gru")])
def test_a_dataclass_with_the_fields_of_equinox(blocks, cell):
    bare = Module(normal(5 * blocks, 3), normal(5 * blocks, 5))
    (layer,) = only_network(read_jax(bare)).layers
    assert (layer.name, layer.forward.cell, layer.forward.input_size) == ("cell", cell, 3)
    assert set(layer.forward.load()) == {"weight_ih", "weight_hh"}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_precisions(dtype):
    part = only_network(read_jax(lstm(dtype=dtype))).layers[0].forward
    assert part.dtype == dtype
    assert part.load()["weight_ih"].dtype == ("float64" if dtype == "float64" else "float32")


def test_loading_gives_arrays_of_ones_own():
    tree = {"weight_ih": normal(20, 3), "weight_hh": normal(20, 5), "bias": normal(20)}
    part = only_network(read_jax(tree)).layers[0].forward
    for array in part.load().values():
        array[:] = 0
    assert all(array.any() for array in tree.values())


def test_what_a_simple_cell_squashes_with_is_asked_for():
    stored = read_jax(simple())
    part = only_network(stored).layers[0].forward
    assert part.cell == "rnn"
    assert "residual=True" in stored.notes[0]
    assert "tanh is assumed; give nonlinearity=" in part.assumed
    for nonlinearity, cell in (("tanh", "rnn"), ("relu", "rnn_relu")):
        part = only_network(read_jax(simple(), nonlinearity=nonlinearity)).layers[0].forward
        assert (part.cell, part.assumed) == (cell, "")
    with pytest.raises(ValueRangeError, match="nonlinearity='relu'"):
        read_jax(lstm(), nonlinearity="relu")
    with pytest.raises(UnknownNameError, match="choose from tanh, relu"):
        read_jax(simple(), nonlinearity="gelu")


REFUSED = {
    "minimal": ({name: dense(3, 5) for name in ("if", "in", "hf", "hn")}, "minimal gated unit"),
    "convolution": ({name: {"kernel": normal(3, 3, 3, 20)} for name in ("ih", "hh")}, "ConvLSTMCell"),
    "units": (lstm() | {"hg": dense(4, 4)}, "which do not fit each other"),
    "inputs": (lstm() | {"ig": dense(4, 5, bias=False)}, "which do not fit each other"),
    "bias": (lstm() | {"hg": {"kernel": normal(5, 5), "bias": normal(4)}}, "which do not fit each other"),
    "blocks": ({"dense_i": dense(3, 10), "dense_h": dense(5, 10)}, "shapes (3, 10) and (5, 10)"),
    "rank": ({"dense_i": {"kernel": normal(3)}, "dense_h": {"kernel": normal(5)}}, "do not fit"),
    "no axes": ({"dense_i": {"kernel": normal()}, "dense_h": {"kernel": normal()}}, "do not fit"),
    "empty": ({"dense_i": dense(0, 20), "dense_h": dense(5, 20)}, "do not fit"),
    "no units": ({"dense_i": dense(3, 0), "dense_h": dense(0, 0)}, "do not fit"),
    "haiku gru": ({"w_i": normal(3, 15), "w_h": normal(5, 12), "b": normal(15)}, "do not fit"),
    "haiku lstm": ({"lstm/linear": {"w": normal(5, 20), "b": normal(20)}}, "do not fit"),
    "haiku rnn": (
        {"vanilla_rnn/linear": {"w": normal(3, 5)}, "vanilla_rnn/linear_1": {"w": normal(5, 4)}},
        "do not fit",
    ),
    "equinox": ({"weight_ih": normal(20, 3), "weight_hh": normal(10, 5)}, "do not fit"),
    "equinox gru": (
        {"weight_ih": normal(15, 3), "weight_hh": normal(15, 5), "bias_n": normal(15)},
        "do not fit",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_cell_here_is_refused_by_name(case):
    tree, reason = REFUSED[case]
    (layer,) = only_network(read_jax({"net": tree})).layers
    assert (layer.forward, layer.backward) == (None, None)
    assert reason in layer.refused


@pytest.mark.parametrize(
    "tree",
    [
        {"Dense_0": dense(3, 5)},
        {
            "enc/linear": {"w": normal(8, 20), "b": normal(20)}
        },  # an LSTM of Haiku with a name that does not say so
        {"mlp/linear": {"w": normal(3, 5)}, "mlp/linear_1": {"w": normal(5, 5)}},
        {
            name: normal(20, 5) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        },  # PyTorch's LSTMCell
    ],
    ids=["dense", "haiku lstm", "mlp", "torch"],
)
def test_what_cannot_be_told_is_not_guessed(tree):
    with pytest.raises(WeightFormatError, match="has no recurrent cell"):
        read_jax(tree)


@pytest.mark.parametrize(
    "names", [("LSTMCell_0", "LSTMCell_1"), ("layers_9", "layers_10"), ("lstm", "lstm_1")]
)
def test_numbered_cells_whose_sizes_fit_are_layers(names):
    stored = read_jax({names[1]: lstm(5, 6), names[0]: lstm(3, 5), "Dense_0": dense(6, 2)})
    network = only_network(stored)
    assert [layer.name for layer in network.layers] == [*names]
    assert (network.readout.name, network.readout.output_size, stored.unused) == ("Dense_0", 2, ())
    assert "does not say what feeds what" in stored.notes[0]


@pytest.mark.parametrize("sizes", [(3, 6), (6, 3)])
def test_numbered_cells_whose_sizes_do_not_fit_are_networks(sizes):
    stored = read_jax({"LSTMCell_0": lstm(3, 5), "LSTMCell_1": lstm(*sizes)})
    assert [network.prefix for network in stored.networks] == ["LSTMCell_0", "LSTMCell_1"]
    assert stored.notes == ()


def test_cells_of_other_names_are_networks():
    stored = read_jax({"encoder": lstm(), "decoder": {"cell": lstm(5)}, "head": dense(5, 2)})
    assert [network.prefix for network in stored.networks] == ["encoder", "decoder/cell"]
    assert stored.unused == ("head/kernel", "head/bias")
    assert all(network.readout is None for network in stored.networks)


def test_both_directions():
    tree = {"backward_rnn": {"cell": simple(3, 4)}, "forward_rnn": {"cell": lstm(3, 5)}}
    (layer,) = only_network(read_jax({"net": tree})).layers
    assert (layer.name, layer.merge) == ("net", "concatenate")
    assert (layer.forward.cell, layer.backward.cell) == ("lstm", "rnn")
    assert (layer.forward.hidden_size, layer.backward.hidden_size) == (5, 4)
    refused = {name: dense(3, 4) for name in ("if", "in", "hf", "hn")}  # of another cell
    for forward in ({}, {"forward_rnn": {"cell": refused}}):
        stored = read_jax({"net": forward | {"backward_rnn": {"cell": lstm(3, 5)}}})
        layer = stored.networks[-1].layers[0]
        assert (layer.forward, layer.backward.cell) == (None, "lstm")


@pytest.mark.parametrize(
    ("others", "there"),
    [
        ({"head": dense(5, 2)}, True),
        ({"head": {"weight": normal(2, 5)}}, True),
        ({"head": dense(5, 3)}, False),  # may as well make the inputs
        ({"head": dense(4, 2)}, False),
        ({"head": dense(5, 2), "norm": {"scale": normal(5)}}, False),
        ({"head": dense(5, 2) | {"more": normal(2)}}, False),
        ({"head": {"kernel": normal(5, 2), "bias": normal(3)}}, False),
    ],
)
def test_a_readout_is_the_only_linear_layer_beside_the_cell(others, there):
    stored = read_jax({"cell": lstm(), **others})
    assert (only_network(stored).readout is not None) == there
    assert (stored.unused == ()) == there
    if there:
        weight, bias = only_network(stored).readout.load()
        assert (weight.shape, bias.shape) == ((2, 5), (2,))


def test_an_optimizer_keeps_no_cells():
    tree = {"opt_state": {"0": {"mu": lstm()}}, "cell": lstm(), "step": np.int32(3)}
    stored = read_jax(tree)
    assert len(stored.networks) == 1
    assert stored.unused == ("opt_state",)
    assert len(read_jax({"params": lstm(), "mu": lstm()}).networks) == 1


@pytest.mark.parametrize("source", [None, 3, {}, [], {"a": 1.0}, {"a": "text"}, {"a": np.arange(3)}, Module])
def test_what_has_no_arrays_is_refused(source):
    with pytest.raises(WeightFormatError, match="without arrays"):
        read_jax(source)


def test_a_tree_within_itself_ends():
    tree = {}
    tree["again"] = tree
    with pytest.raises(WeightFormatError, match="too large or too deep"):
        read_jax(tree)
    tree = lstm()
    for _ in range(17):
        tree = {"a": tree, "b": tree}
    with pytest.raises(WeightFormatError, match="too large or too deep"):
        read_jax(tree)
