"""Files of Keras: what is said of layers, what is assumed, what is refused by name."""

import numpy as np
import pytest

from gatescope.errors import (
    UnknownNameError,
    ValueRangeError,
    WeightFormatError,
)
from gatescope.io.keras.networks import read_keras
from gatescope.io.keras.trees import snake_case

pytest.importorskip("h5py")
from helpers import keras_files as files
from helpers.keras_files import inbound, keras_2, one_lstm, only_layer, read_archive, read_weights


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def test_what_a_file_says(path):
    layer = one_lstm(path)
    assert (layer.name, layer.refused, layer.backward) == ("lstm", "", None)
    assert (layer.forward.cell, layer.forward.assumed, layer.forward.dtype) == ("lstm", "", "float32")
    weights = layer.forward.load()
    arrays = files.weights_of("lstm")
    np.testing.assert_array_equal(weights["weight_ih"], arrays["0"].T)
    np.testing.assert_array_equal(weights["weight_hh"], arrays["1"].T)
    np.testing.assert_array_equal(weights["bias_ih"], arrays["2"])
    assert "bias_hh" not in weights
    assert all(value.flags.c_contiguous for value in weights.values())


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("activation", "relu", "'relu'"),
        ("activation", None, "'linear'"),
        ("recurrent_activation", "hard_sigmoid", "'hard_sigmoid'"),
        (
            "activation",
            {"module": "builtins", "class_name": "function", "config": "tanh", "registered_name": "function"},
            r"'tanh \(a function of its own\)'",
        ),
        ("activation", ["tanh"], "['tanh']"),
    ],
)
def test_activations_that_no_cell_has(path, option, value, shown):
    refused = one_lstm(path, **{option: value}).refused
    assert refused.startswith(f"has {option} ")
    assert shown.replace("\\", "").strip("'") in refused


@pytest.mark.parametrize(("activation", "cell"), [("tanh", "rnn"), ("relu", "rnn_relu"), ("sigmoid", None)])
def test_a_simple_rnn(path, activation, cell):
    layers = {"simple_rnn": ("a", files.recurrent("simple_rnn"))}
    said = files.config(("SimpleRNN", {"name": "a", "activation": activation}))
    layer = only_layer(read_archive(path, layers, said))
    if cell is None:
        assert layer.refused == "has activation 'sigmoid'; of a SimpleRNN, 'tanh' and 'relu' are read"
    else:
        assert layer.forward.cell == cell
        assert layer.forward.assumed == ""


def test_what_weights_alone_do_not_say(path):
    layers = {"simple_rnn": ("a", files.recurrent("simple_rnn"))}
    stored = read_weights(path, layers)
    assert "tanh is assumed (give nonlinearity='relu'" in only_layer(stored).forward.assumed
    assert stored.format == "Keras .weights.h5"
    assert len(stored.notes) == 1
    for nonlinearity, cell in (("tanh", "rnn"), ("relu", "rnn_relu")):
        stored = read_keras(path, nonlinearity=nonlinearity)
        assert (only_layer(stored).forward.cell, only_layer(stored).forward.assumed) == (cell, "")
        assert stored.notes == ()
    layers = {"gru": ("a", files.recurrent("gru", bias=False))}
    assert "reset_after=True is assumed" in only_layer(read_weights(path, layers)).forward.assumed
    layer = only_layer(read_keras(path, reset_after=False))
    assert layer.forward.cell == "gru_reset_before"
    assert "reset_after" not in layer.forward.assumed


def test_arguments_that_contradict_or_serve_nothing(path):
    layers = {"gru": ("a", files.recurrent("gru"))}
    read_weights(path, layers, reset_after=True)
    with pytest.raises(
        ValueRangeError, match="reset_after=False is not the source's own, True; leave it out"
    ):
        read_keras(path, reset_after=False)
    with pytest.raises(
        ValueRangeError, match="nonlinearity='tanh' has no effect for a source without a SimpleRNN"
    ):
        read_keras(path, nonlinearity="tanh")
    with pytest.raises(UnknownNameError, match="nonlinearity='sin' is not known"):
        read_keras(path, nonlinearity="sin")
    with pytest.raises(WeightFormatError, match=r"source is of type dict; pass a \.keras or \.h5 file"):
        read_keras({})


def test_a_gru_whose_bias_and_words_contradict(path):
    layers = {"gru": ("a", files.recurrent("gru"))}
    said = files.config(
        ("GRU", {"name": "a", "activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": False})
    )
    assert only_layer(read_archive(path, layers, said)).refused.startswith(
        "says reset_after=False, and has a bias"
    )


def test_weights_of_a_sequential_are_taken_in_their_order(path):
    layers = {
        "embedding": ("words", {"vars/0": np.ones((7, 2), np.float32)}),
        "lstm": ("lower", files.recurrent("lstm")),
        "dropout": ("dropout", {}),
        "gru": ("upper", files.recurrent("gru", inputs=3)),
        "dense": ("head", {"vars/0": np.ones((3, 4), np.float32), "vars/1": np.arange(4, dtype=np.float32)}),
    }
    stored = read_weights(path, layers)
    (network,) = stored.networks
    assert [layer.name for layer in network.layers] == ["lower", "upper"]
    assert "and 'lower', which it fits, is assumed to" in network.layers[1].forward.assumed
    assert stored.unused == ("words",)
    weight, bias = network.readout.load()
    assert (network.readout.name, weight.shape, list(bias)) == ("head", (4, 3), [0, 1, 2, 3])
    assert any("The activation of 'head' is not said" in note for note in stored.notes)
    # What joins branches, or sizes that fit another order as well: each layer by itself.
    for name, root in (("add", "functional"), ("unknown", "functional")):
        stored = read_weights(path, {**layers, name: (name, {})}, root=root)
        assert [network.prefix for network in stored.networks] == ["lower", "upper"]
    same = {**layers, "lstm": ("lower", files.recurrent("lstm", inputs=3))}
    assert len(read_weights(path, same, root="functional").networks) == 2
    assert len(read_weights(path, same, root="sequential").networks) == 1


@pytest.mark.parametrize(("between", "networks"), [("Dropout", 1), ("LayerNormalization", 2), ("Dense", 2)])
def test_what_lies_between_layers(path, between, networks):
    layers = {
        "lstm": ("lower", files.recurrent("lstm")),
        snake_case(between): ("between", {}),
        "lstm_1": ("upper", files.recurrent("lstm", inputs=3)),
    }
    said = files.config(files.lstm("lower"), (between, {"name": "between"}), files.lstm("upper"))
    assert len(read_archive(path, layers, said).networks) == networks


@pytest.mark.parametrize(
    ("activation", "readout", "note"),
    [("linear", True, False), ("softmax", True, True), ("sigmoid", True, True), ("relu", False, False)],
)
def test_a_dense_after_the_last(path, activation, readout, note):
    layers = {
        "lstm": ("lstm", files.recurrent("lstm")),
        "dense": ("head", {"vars/0": np.ones((3, 4), np.float32)}),
    }
    stored = read_archive(
        path, layers, files.config(files.lstm(), ("Dense", {"name": "head", "activation": activation}))
    )
    (network,) = stored.networks
    assert (network.readout is not None) == readout
    assert (stored.notes != ()) == note
    assert (stored.unused == ("head",)) == (not readout)
    if readout:
        np.testing.assert_array_equal(network.readout.load()[1], np.zeros(4))


@pytest.mark.parametrize(
    ("between", "above", "readout"),
    [
        ([], [("Dense", {"name": "two", "activation": "linear"})], False),
        ([("Activation", {"name": "a", "activation": "relu"})], [("Dense", {"name": "two"})], False),
        ([("Dropout", {"name": "d"})], [("Dense", {"name": "two", "activation": "linear"})], False),
        ([("Activation", {"name": "a", "activation": "relu"})], [], False),
        ([("Dropout", {"name": "d"}), ("Activation", {"name": "a", "activation": "softmax"})], [], True),
    ],
)
def test_the_first_layer_of_a_perceptron_is_no_readout(path, between, above, readout):
    layers = {
        "lstm": ("lstm", files.recurrent("lstm")),
        "dense": ("one", {"vars/0": np.ones((3, 4), np.float32)}),
        "dense_1": ("two", {"vars/0": np.ones((4, 2), np.float32)}),
    }
    first = ("Dense", {"name": "one", "activation": "linear"})
    said = files.config(files.lstm(), first, *between, *above)
    stored = read_archive(path, layers if above else {k: layers[k] for k in ("lstm", "dense")}, said)
    assert (stored.networks[0].readout is not None) == readout
    assert stored.unused == (() if readout else ("one", "two") if above else ("one",))


@pytest.mark.parametrize("followed", [False, True])
def test_a_dense_inside_a_model_that_others_follow_is_no_readout(path, followed):
    arrays = {"dense/vars/0": np.ones((3, 4), np.float32)}
    arrays |= {f"lstm/{name}": value for name, value in files.recurrent("lstm").items()}
    layers = {"sequential": ("body", {f"layers/{name}": value for name, value in arrays.items()})}
    layers["dense"] = ("two", {"vars/0": np.ones((4, 2), np.float32)})
    inner = files.config(files.lstm(), ("Dense", {"name": "one", "activation": "linear"}))["config"]["layers"]
    body = ("Sequential", {"name": "body", "layers": inner}, inbound("entry"))
    two = ("Dense", {"name": "two", "activation": "linear"}, inbound("body"))
    said = files.config(body, *([two] if followed else []), kind="Functional")
    stored = read_archive(path, layers if followed else {"sequential": layers["sequential"]}, said)
    assert (stored.networks[0].readout is None) == followed


def test_a_dense_below_others_is_no_readout_of_weights_alone(path):
    """It may have any activation, or be one of several that take the outputs."""
    layers = {
        "lstm": ("lstm", files.recurrent("lstm")),
        "dense": ("one", {"vars/0": np.ones((3, 4), np.float32)}),
        "dense_1": ("two", {"vars/0": np.ones((4, 2), np.float32)}),
    }
    stored = read_weights(path, layers)
    assert stored.networks[0].readout is None
    assert stored.unused == ("one", "two")


def test_a_sequential_in_a_sequential_is_one_network(path):
    inner = files.config(("InputLayer", {"name": "entry"}), files.lstm("lower"), files.lstm("upper"))
    lstms = {
        "lstm": ("lower", files.recurrent("lstm")),
        "lstm_1": ("upper", files.recurrent("lstm", inputs=3)),
    }
    body = {
        f"layers/{group}/{path}": value
        for group, (_, arrays) in lstms.items()
        for path, value in arrays.items()
    }
    layers = {
        "sequential": ("body", body),
        "gru": ("top", files.recurrent("gru", inputs=3)),
        "dense": ("head", {"vars/0": np.ones((3, 4), np.float32)}),
    }
    said = files.config(
        ("Sequential", {"name": "body", "layers": inner["config"]["layers"]}),
        ("GRU", {"name": "top"}),
        ("Dense", {"name": "head"}),
    )
    (network,) = read_archive(path, layers, said).networks
    assert [layer.name for layer in network.layers] == ["body/lower", "body/upper", "top"]
    assert network.readout.name == "head"


def test_a_dense_that_shares_the_outputs_is_no_readout(path):
    layers = {
        "lstm": ("lstm", files.recurrent("lstm")),
        "dense": ("one", {"vars/0": np.ones((3, 4), np.float32)}),
        "dense_1": ("two", {"vars/0": np.ones((3, 4), np.float32)}),
    }
    dense = {"activation": "linear"}
    said = files.config(
        (*files.lstm(), inbound("entry")),
        ("Dense", {"name": "one", **dense}, inbound("lstm")),
        ("Dense", {"name": "two", **dense}, inbound("lstm")),
        kind="Functional",
    )
    stored = read_archive(path, layers, said)
    assert stored.networks[0].readout is None
    assert stored.unused == ("one", "two")


@pytest.mark.parametrize(("output", "readout"), [(0, True), (1, True), (2, False)])
def test_the_last_output_is_a_state_too(path, output, readout):
    layers = {
        "lstm": ("lstm", files.recurrent("lstm")),
        "dense": ("d", {"vars/0": np.ones((3, 4), np.float32)}),
    }
    dense = ("Dense", {"name": "d", "activation": "linear"}, inbound("lstm", output=output))
    said = files.config((*files.lstm(), inbound("entry")), dense, kind="Functional")
    assert (read_archive(path, layers, said).networks[0].readout is not None) == readout


def test_a_functional_model_in_words_of_keras_2(path):
    """Its inbound nodes are lists, and its layers have no module."""
    layers = {
        "lstm": ("lower", files.recurrent("lstm")),
        "lstm_1": ("upper", files.recurrent("lstm", inputs=3)),
    }
    said = files.config(
        (*files.lstm("lower"), {"inbound_nodes": [[["entry", 0, 0, {}]]]}),
        (*files.lstm("upper"), {"inbound_nodes": [[["lower", 0, 0, {"mask": ["entry", 0, 0]}]]]}),
        kind="Functional",
    )
    for each in said["config"]["layers"]:
        del each["module"]
    (network,) = read_archive(path, layers, said).networks
    assert [layer.name for layer in network.layers] == ["lower", "upper"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (
            ("MyLSTM", {"name": "lstm"}, {"module": "mine", "registered_name": "mine>MyLSTM"}),
            "is of class 'mine.MyLSTM'",
        ),
        (("ConvLSTM1D", {"name": "lstm"}), "is of class 'ConvLSTM1D'"),
        (
            ("RNN", {"name": "lstm", "cell": {"class_name": "MinimalCell", "module": None, "config": {}}}),
            "has a cell of class",
        ),
        (("GRU", {"name": "lstm"}), "which does not fit GRUCell"),
    ],
)
def test_layers_refused_by_name(path, spec, reason):
    layer = only_layer(read_archive(path, {"lstm": ("lstm", files.recurrent("lstm"))}, files.config(spec)))
    assert layer.refused.startswith(reason) or reason in layer.refused


def both_ways(merge="concat", **options):
    """Return the arrays of a layer of two directions, and what is said of it."""
    arrays = {
        f"{side}_layer/{name}": value
        for side in ("forward", "backward")
        for name, value in files.recurrent("lstm").items()
    }
    forward, backward = (
        {
            "class_name": "LSTM",
            "module": "keras.layers",
            "config": files.lstm(side, go_backwards=side == "b", **options)[1],
        }
        for side in "fb"
    )
    said = {"name": "both", "merge_mode": merge, "layer": forward, "backward_layer": backward}
    return arrays, ("Bidirectional", said)


@pytest.mark.parametrize("merge", ["mul", "ave", None])
def test_directions_joined_in_another_way(path, merge):
    arrays, said = both_ways(merge)
    layer = only_layer(read_archive(path, {"bidirectional": ("both", arrays)}, files.config(said)))
    assert (
        layer.refused == f"joins its directions by merge_mode {merge!r}, and only 'concat' and 'sum' are read"
    )


@pytest.mark.parametrize("whole", [False, True])
def test_a_dense_after_the_last_outputs_of_both_directions_is_no_readout(path, whole):
    """The backward direction's last output is of the first step, so that no step has what it takes."""
    arrays, said = both_ways(return_sequences=whole)
    layers = {
        "bidirectional": ("both", arrays),
        "dense": ("head", {"vars/0": np.ones((6, 4), np.float32)}),
    }
    dense = "Dense", {"name": "head", "activation": "linear"}
    stored = read_archive(path, layers, files.config(said, dense))
    assert (stored.networks[0].readout is not None) == whole
    assert stored.unused == (() if whole else ("head",))
    assert ["not of one step" in note for note in stored.notes] == [True] * (not whole)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("0", np.ones((2, 13), np.float32), r"has a kernel of shape (2, 13), which must be (I, 12)"),
        (
            "1",
            np.ones((3, 13), np.float32),
            r"has a recurrent_kernel of shape (3, 13), which must be (H, G*H)",
        ),
        ("1", np.ones(12, np.float32), r"has a recurrent_kernel of shape (12,)"),
        ("2", np.ones(13, np.float32), r"has a bias of shape (13,), which must be (12,)"),
        ("0", np.ones((2, 12), np.int8), r"has a kernel of whole numbers"),
    ],
)
def test_shapes_that_do_not_fit(path, name, value, reason):
    arrays = {**files.recurrent("lstm"), f"cell/vars/{name}": value}
    layer = only_layer(read_archive(path, {"lstm": ("lstm", arrays)}, files.config(files.lstm())))
    assert layer.refused.startswith(reason)


def test_a_weight_that_is_not_finite(path):
    arrays = files.recurrent("lstm")
    arrays["cell/vars/1"][0, 0] = np.nan
    layer = only_layer(read_archive(path, {"lstm": ("lstm", arrays)}, files.config(files.lstm())))
    with pytest.raises(WeightFormatError, match="with 1 numbers that are not finite"):
        layer.forward.load()


def test_layers_without_weights(path):
    layer = only_layer(read_archive(path, {"dense": ("d", {})}, files.config(files.lstm())))
    assert layer.refused.startswith("has no weights in the source")


def test_an_older_file_without_attributes_of_names(path):
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in files.weights_of("lstm").items():
            file[f"_layer_checkpoint_dependencies/lstm/cell/vars/{name}"] = value
    layer = only_layer(read_keras(path))
    assert (layer.name, layer.forward.cell) == ("lstm", "lstm")
    assert "which cell it has" not in layer.forward.assumed


@pytest.mark.parametrize("top", ["model_weights", ""])
@pytest.mark.parametrize("said", [True, False])
def test_files_of_keras_2(path, top, said):
    arrays = files.weights_of("lstm")
    kinds = dict(zip(("kernel:0", "recurrent_kernel:0", "bias:0"), arrays.values(), strict=True))
    names = {f"lstm/lstm/lstm_cell/{name}": value for name, value in kinds.items()}
    names["dense/dense/kernel:0"] = np.ones((3, 4), np.float32)
    spec = files.config(files.lstm(), ("Dense", {"name": "dense", "activation": "linear"}))
    stored = read_keras(keras_2(path, names, spec if said else None, top))
    (network,) = stored.networks
    assert stored.format == "Keras 2.15.0 .h5"
    assert network.layers[0].forward.cell == "lstm"
    assert bool(network.layers[0].forward.assumed) != said
    assert (network.readout is not None) == said
    np.testing.assert_array_equal(network.layers[0].forward.load()["weight_hh"], arrays["1"].T)


def test_hard_sigmoid_of_an_older_keras(path):
    arrays = files.weights_of("lstm").values()
    names = {
        f"a/a/{name}:0": value
        for name, value in zip(("kernel", "recurrent_kernel", "bias"), arrays, strict=True)
    }
    said = files.config(files.lstm("a", recurrent_activation="hard_sigmoid"))
    refused = only_layer(read_keras(keras_2(path, names, said))).refused
    assert (
        refused
        == "has recurrent_activation 'hard_sigmoid', which no cell of gatescope has: it must be 'sigmoid'"
    )
