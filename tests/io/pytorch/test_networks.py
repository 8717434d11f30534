"""Whole networks of PyTorch: files that PyTorch itself wrote, read-outs, what is left out and refused."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.stored_networks import loaded, outputs_of
from helpers.torch_zip import Made, tensors, write_torch
from helpers.torch_zip import module as saved_module
from helpers.weights import ROWS, entries, linear, load_torch
from safetensors.numpy import save_file

from gatescope.errors import ValueRangeError, WeightFormatError
from gatescope.io.pytorch.networks import read_torch

GOLDEN = Path(__file__).parents[2] / "golden" / "weights"
GOLDEN_FILES = {
    "torch_state_dict.pt": ("PyTorch state_dict (zip)", "rnn.", ["lstm", "lstm"], "head", 1e-6),
    "torch_parallel.pth": ("PyTorch state_dict (zip)", "module.rnn.", ["gru"], "module.head", 1e-12),
    "torch_bfloat16.bin": ("PyTorch state_dict (zip)", "", ["lstm"], None, 1e-6),
    "torch_module.pt": ("PyTorch module (zip)", "rnn.", ["rnn_relu", "rnn_relu"], "head", 1e-12),
    "torch_checkpoint.ckpt": (
        "PyTorch checkpoint (zip)",
        "state_dict._orig_mod.rnn.",
        ["gru"],
        "state_dict._orig_mod.head",
        1e-12,
    ),
    "torch_script.pt": ("TorchScript (zip)", "rnn.", ["rnn_relu"], "head", 1e-12),
    "torch_cell.pt": ("PyTorch state_dict (zip)", "cell.", ["lstm"], "out", 1e-12),
}


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_files_that_pytorch_wrote(name, tmp_path):
    text, prefix, cells, readout, tolerance = GOLDEN_FILES[name]
    with np.load(GOLDEN / "torch_outputs.npz") as golden:
        inputs, expected = golden["inputs"], golden[name]
    renamed = tmp_path / "weights"  # what counts is what is in it
    renamed.write_bytes((GOLDEN / name).read_bytes())
    stored = read_torch(renamed)
    assert stored.format == text
    assert len(stored.notes) == (name == "torch_checkpoint.ckpt")  # of the averaged copy
    (network,) = stored.networks
    assert network.prefix == prefix
    assert [layer.forward.cell for layer in network.layers] == cells
    assert all((layer.backward is not None) == (expected.shape[-1] == 10) for layer in network.layers)
    assert (network.readout and network.readout.name) == readout
    assert all(not layer.forward.assumed for layer in network.layers)
    np.testing.assert_allclose(
        outputs_of(replace(network, readout=None), inputs), expected, rtol=0, atol=tolerance
    )
    params = load_torch(renamed)
    assert params.cell == cells[0]
    assert (params.batch_first is None) == (name == "torch_module.pt")


def test_what_the_golden_files_say_besides():
    stored = read_torch(GOLDEN / "torch_checkpoint.ckpt")
    assert stored.unused == (
        "state_dict._orig_mod.embedding.weight",
        "optimizer_states",
        "ema_state_dict",
    )
    assert stored.notes == (
        "'ema_state_dict.module.rnn.' is left out: it holds an averaged copy; `prefix` chooses it",
    )
    (copied,) = read_torch(GOLDEN / "torch_checkpoint.ckpt", prefix="ema_state_dict.module.rnn").networks
    assert copied.readout.name == "ema_state_dict.module.head"
    assert read_torch(GOLDEN / "torch_module.pt").networks[0].attributes == {"batch_first": True}
    assert read_torch(GOLDEN / "torch_bfloat16.bin").networks[0].layers[0].forward.dtype == "bfloat16"
    with pytest.raises(WeightFormatError, match=r"before version 1\.6"):
        read_torch(GOLDEN / "torch_legacy.pt")
    with pytest.raises(ValueRangeError, match="nonlinearity='tanh' is not the module's own, 'relu'"):
        load_torch(GOLDEN / "torch_module.pt", nonlinearity="tanh")


def test_quantized_layers_are_refused_by_name():
    (network,) = read_torch(GOLDEN / "torch_quantized.pt").networks
    assert (network.prefix, network.layers[0].name) == ("rnn.", "rnn")
    assert "quantized weights in 'rnn.'" in network.layers[0].refused
    for call in (load_torch, lambda path: read_torch(path, prefix="rnn")):
        with pytest.raises(WeightFormatError, match=r"quantized weights in 'rnn\.'.*before it was quantized"):
            call(GOLDEN / "torch_quantized.pt")


def test_a_quantized_module_that_was_saved_whole(tmp_path):
    where, packed = "torch.ao.nn.quantized.dynamic.modules.rnn", Made("torch ScriptObject")
    values = {"0": saved_module(f"{where} PackedParameter", {}, param=packed)}
    values = saved_module("torch.nn.modules.container ModuleList", {}, values)
    rnn = saved_module(f"{where} LSTM", {}, {"_all_weight_values": values})
    cell = saved_module(f"{where} GRUCell", {}, _packed_weight_ih=packed)
    path = write_torch(tmp_path / "a.pt", saved_module("__main__ Net", {}, {"rnn": rnn, "cell": cell}))
    stored = read_torch(path)
    assert [network.prefix for network in stored.networks] == ["rnn.", "cell."]
    assert all("quantized weights" in network.layers[0].refused for network in stored.networks)
    assert not stored.unused


def sources(tmp_path, weights):
    """Return the same weights from every source that is no module, by what it is."""
    save_file(weights, tmp_path / "a")
    np.savez(tmp_path / "b.npz", **weights)
    return {
        "mapping": weights,
        "safetensors": tmp_path / "a",
        "npz": (tmp_path / "b.npz").rename(tmp_path / "b"),
        "PyTorch state_dict (zip)": write_torch(tmp_path / "c", tensors(weights)),
        "PyTorch checkpoint (zip)": write_torch(tmp_path / "d", {"epoch": 1, "model": tensors(weights)}),
        "mapping of mappings": {"epoch": 1, "model": weights},
    }


def test_every_source_gives_the_same(tmp_path):
    weights = entries(layers=2, both=True, prefix="net.lstm.") | linear("net.out", 10)
    for text, source in sources(tmp_path, weights).items():
        stored = read_torch(source)
        (network,) = stored.networks
        start = "model." if "checkpoint" in text or "of mappings" in text else ""
        assert (stored.format, network.prefix) == (text, f"{start}net.lstm.")
        assert [layer.name for layer in network.layers] == [f"{start}net.lstm_l0", f"{start}net.lstm_l1"]
        params = loaded(network.layers[1].backward, reverse=True)
        np.testing.assert_array_equal(params.weight_ih, weights["net.lstm.weight_ih_l1_reverse"])
        assert params.weight_ih.dtype == np.float64
        (doubt,) = network.doubts
        assert "net.out' is taken as a read-out of every step of both directions" in doubt
        weight, bias = network.readout.load()
        np.testing.assert_array_equal(weight, weights["net.out.weight"])
        np.testing.assert_array_equal(bias, weights["net.out.bias"])
        assert (network.readout.output_size, network.readout.input_size) == (2, 10)
        assert not [name for name in stored.unused if name != "epoch"]
        np.testing.assert_array_equal(load_torch(source, layer=1, reverse=True).weight_ih, params.weight_ih)


@pytest.mark.parametrize(
    ("others", "readout"),
    [
        (linear("out", 5), "out"),
        ({"out.weight": np.ones((3, 5))}, "out"),
        (linear("fc1", 5, 7) | linear("fc2", 7), None),  # a perceptron
        (linear("fc2", 7) | linear("fc1", 5, 7), None),
        (linear("joined", 10, 5) | linear("out", 5), None),  # takes the outputs and something else
        ({"norm.weight": np.ones(5), "norm.bias": np.ones(5)} | linear("out", 5), None),
        (linear("out", 5) | {"bn.weight": np.ones(2), "bn.running_mean": np.ones(2)}, None),
        ({"h0": np.ones(5)} | linear("out", 5), "out"),
        (linear("out", 5) | linear("apart", 9, 4), "out"),
        (linear("out", 5) | {"criterion.weight": np.ones(2), "bce.pos_weight": np.ones(2)}, "out"),
        (linear("fc1", 5, 5) | linear("fc2", 5), None),  # which of them takes the outputs?
        (linear("out", 6), None),
        ({"out.weight": np.ones((3, 5)), "out.bias": np.ones(2)}, None),
        ({"conv.weight": np.ones((3, 5, 1)), "norm.weight": np.ones(5)}, None),
        (entries(prefix="decoder.") | linear("out", 5), None),  # of the second network
        ({"decoder.embedding.weight": np.ones((9, 5))} | linear("out", 5), "out"),
        ({"out.weight": np.ones((3, 5), np.int8)}, None),
    ],
)
def test_a_readout_where_there_is_no_doubt(others, readout, tmp_path):
    weights = linear("before", 5) | entries(prefix="rnn.") | others
    for source in (
        weights,
        write_torch(tmp_path / "a.pt", tensors({k: v for k, v in weights.items() if v.dtype != "int8"})),
    ):
        network = read_torch(source).networks[0]
        assert (network.readout and network.readout.name) == readout
        assert network.doubts == ()


def test_a_readout_in_a_file_that_is_sorted_by_name(tmp_path):
    save_file(entries(prefix="rnn.") | linear("head", 5), tmp_path / "a.safetensors")
    assert read_torch(tmp_path / "a.safetensors").networks[0].readout.name == "head"
    save_file(
        entries(prefix="rnn.") | linear("head", 5) | linear("attention", 5, 5), tmp_path / "b.safetensors"
    )
    assert read_torch(tmp_path / "b.safetensors").networks[0].readout is None
    save_file(entries(prefix="a.") | entries(prefix="z.") | linear("head", 5), tmp_path / "c.safetensors")
    assert [network.readout for network in read_torch(tmp_path / "c.safetensors").networks] == [None, None]
    below = entries(units=8, prefix="cells.0.") | linear("a_head", 5)  # sorted before the layers
    save_file(below | entries(inputs=8, prefix="cells.1."), tmp_path / "d.safetensors")
    assert [each.readout.name for each in read_torch(tmp_path / "d.safetensors").networks] == ["a_head"]
    save_file(below | entries(inputs=7, prefix="cells.1."), tmp_path / "e.safetensors")
    assert [each.readout for each in read_torch(tmp_path / "e.safetensors").networks] == [None, None]


@pytest.mark.parametrize("cell", ROWS)
def test_cells_have_names_without_a_number(cell, recwarn):
    weights = entries(cell, prefix="decoder.cell.", suffix="") | linear("decoder.out", 5)
    (network,) = read_torch(weights, nonlinearity="tanh" if cell == "rnn" else None).networks
    (layer,) = network.layers
    assert (layer.name, layer.forward.cell, network.readout.name) == ("decoder.cell", cell, "decoder.out")
    params = load_torch(weights, nonlinearity="tanh" if cell == "rnn" else None)
    np.testing.assert_array_equal(params.weight_hh, weights["decoder.cell.weight_hh"])
    assert read_torch(entries(suffix="")).networks[0].layers[0].name == "cell"
    assert not recwarn.list


def test_several_networks_are_listed_and_one_is_chosen():
    weights = (
        entries(prefix="encoder.")
        | entries("gru", prefix="decoder.gru.", suffix="")
        | {"e.weight": np.ones(3)}
    )
    stored = read_torch(weights)
    assert [network.prefix for network in stored.networks] == ["encoder.", "decoder.gru."]
    assert stored.unused == ("e.weight",)
    (network,) = read_torch(weights, prefix="decoder.gru").networks
    assert network.layers[0].forward.cell == "gru"
    with pytest.raises(WeightFormatError, match=r"no `prefix` 'gru'; it has 'decoder\.gru\.', 'encoder\.'"):
        read_torch(weights, prefix="gru")


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [
        ("ema.", "an averaged copy"),
        ("ema_model.module.lstm.", "an averaged copy"),
        ("callbacks.EMA.shadow.lstm.", "an averaged copy"),
        ("optimizer.exp_avg.lstm.", "an optimizer's state"),
        ("exp_avg_sq.", "an optimizer's state"),
        ("optimizer_states.0.state.lstm.", "an optimizer's state"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_what_repeats_the_model_is_never_taken_for_it(prefix, kind, order):
    weights = entries(prefix="model.lstm.")
    repeated = {name.replace("model.lstm.", prefix): value + 1 for name, value in weights.items()}
    both = dict([*(weights | repeated).items()][::order])
    stored = read_torch(both)
    assert [network.prefix for network in stored.networks] == ["model.lstm."]
    assert stored.notes == (f"{prefix!r} is left out: it holds {kind}; `prefix` chooses it",)
    params = load_torch(both)
    np.testing.assert_array_equal(params.weight_hh, weights["model.lstm.weight_hh_l0"])
    assert params.provenance["notes"] == list(stored.notes)
    np.testing.assert_array_equal(load_torch(both, prefix=prefix).weight_hh, params.weight_hh + 1)
    assert load_torch(repeated).provenance["prefix"] == prefix  # alone it repeats nothing


def test_other_copies_are_asked_about():
    both = entries(prefix="model.lstm.") | entries(prefix="best_model.lstm.") | entries(prefix="ema.lstm.")
    with pytest.raises(
        WeightFormatError, match=r"has 2 recurrent networks; choose one with `prefix`: 'model\.lstm\.', 'best"
    ):
        load_torch(both)
    assert len(read_torch(both).networks) == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"lstm.weight_hr_l1": np.ones((2, 5))}, r"'lstm\.weight_hr_l1', a projection \(proj_size > 0\)"),
        ({"lstm.weight_hh_l1_g": np.ones((20, 1))}, "holds a weight twice"),
        ({"lstm.weight_hh_l1": np.ones((20, 4))}, r"of shape \(20, 4\)"),
        ({"lstm.weight_hh_l1": np.ones((20, 5), np.int8)}, "of dtype int8, not floating-point weights"),
        ({"lstm.weight_ih_l1": np.ones((20, 7))}, "takes 7 inputs, but the layer below gives 5"),
        ({"lstm.weight_ih_l1": None}, "holds 'lstm.weight_ih_l1' of dtype object"),
    ],
)
def test_a_layer_that_is_refused_is_listed_all_the_same(changes, why):
    (network,) = read_torch(entries(layers=2, prefix="lstm.") | changes).networks
    lower, upper = network.layers
    assert not lower.refused
    assert lower.forward.hidden_size == 5
    assert re.search(why, upper.refused)


def test_a_layer_that_is_missing():
    weights = {name: value for name, value in entries(layers=3).items() if "_l1" not in name}
    lower, upper = read_torch(weights).networks[0].layers
    assert not lower.refused
    assert upper.refused == "lies above a layer 1 that is missing; save the whole state_dict"
    far = entries() | {"weight_ih_l999999999": np.ones((20, 5)), "weight_hh_l999999999": np.ones((20, 5))}
    assert "layer 1 that is missing" in read_torch(far).networks[0].layers[1].refused


@pytest.mark.parametrize(
    "name",
    [
        "layer_norm_l0.weight",
        "layernorm_i.weight",
        "ln_hh.bias",
        "norm",
        "norm_c.weight",
        "bn_c.running_mean",
    ],
)
def test_layers_that_normalize_inside_are_refused(name):
    weights = entries(prefix="net.lstm.", suffix="") | {f"net.lstm.{name}": np.ones(20)}
    (network,) = read_torch(weights).networks
    assert "the layer normalizes what its gates are made of" in network.layers[0].refused
    with pytest.raises(WeightFormatError, match="the layer normalizes what its gates are made of"):
        load_torch(weights)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "state_dict.module."])
def test_a_norm_beside_a_layer_is_none_of_its(prefix, tmp_path):
    names = {f"{prefix}norm.weight": np.ones(5), f"{prefix}ln.weight": np.ones(5)}
    weights = entries(prefix=prefix) | names
    start = "state_dict." if prefix.startswith("state_dict.") else ""
    source = {name.removeprefix(start): value for name, value in weights.items()}
    assert load_torch({"state_dict": source} if start else source).cell == "lstm"


def test_what_no_cell_has_is_noted():
    stored = read_torch(entries(prefix="lstm.") | {"lstm.weight_ci_l0": np.ones(5)})
    assert stored.networks[0].doubts == (
        "'lstm.weight_ci_l0' among the weights of 'lstm.' are none that a cell of gatescope has: what was computed "
        "with them is left out",
    )


def test_the_nonlinearity_of_rnns():
    weights = entries("rnn", prefix="a.") | entries("lstm", prefix="b.")
    rnn, lstm = read_torch(weights).networks
    assert "tanh is assumed; give nonlinearity='relu'" in rnn.layers[0].forward.assumed
    assert not lstm.layers[0].forward.assumed
    rnn, lstm = read_torch(weights, nonlinearity="relu").networks
    assert (rnn.layers[0].forward.cell, rnn.layers[0].forward.assumed) == ("rnn_relu", "")
    with pytest.raises(ValueRangeError, match="has no RNN"):
        read_torch(entries(), nonlinearity="relu")


def test_a_module_that_was_saved_whole_says_what_it_is(tmp_path):
    weights = {name: value for name, value in entries("rnn").items()}
    rnn = saved_module("torch.nn.modules.rnn RNN", tensors(weights), mode="RNN_RELU", batch_first=False)
    (network,) = read_torch(write_torch(tmp_path / "a.pt", rnn)).networks
    assert (network.layers[0].forward.cell, network.attributes) == ("rnn_relu", {"batch_first": False})
    own = saved_module("__main__ MyLSTM", tensors(entries()))
    stored = read_torch(write_torch(tmp_path / "b.pt", saved_module("__main__ Net", {}, {"lstm": own})))
    assert stored.networks[0].doubts == (
        "'lstm.' is a MyLSTM, which may compute something else than the cells of PyTorch do",
    )


@pytest.mark.parametrize(("suffix", "rest"), [("", ""), ("_l{}", ""), ("_l{}", "module.")])
def test_modules_in_a_list_are_one_network(suffix, rest):
    """As cells are stacked by hand, and the LSTMs of AWD-LSTM in their wrappers."""
    sizes = (3, 8, 4, 6)
    parts = [
        entries(inputs=sizes[k], units=sizes[k + 1], prefix=f"net.rnns.{k}.{rest}", suffix=suffix)
        for k in range(3)
    ]
    weights = {name: value for part in parts for name, value in part.items()} | linear("out", 6)
    for prefix in (None, "net.rnns", "net.rnns."):
        stored = read_torch(weights, prefix=prefix)
        (network,) = stored.networks
        assert network.prefix == "net.rnns."
        assert [layer.forward.hidden_size for layer in network.layers] == [8, 4, 6]
        assert [layer.name.startswith(f"net.rnns.{k}") for k, layer in enumerate(network.layers)] == [
            True
        ] * 3
        assert network.readout.name == "out"
        assert "are taken for layers that feed each other" in stored.notes[0]
        assert not stored.unused
    (one,) = read_torch(weights, prefix=f"net.rnns.1.{rest}").networks
    assert (len(one.layers), one.layers[0].forward.input_size) == (1, 8)


def test_modules_in_a_list_that_do_not_fit_are_several():
    beside = entries(prefix="rnns.0.") | entries(prefix="rnns.1.")  # 3 -> 5 twice
    assert [network.prefix for network in read_torch(beside).networks] == ["rnns.0.", "rnns.1."]
    gap = entries(prefix="rnns.0.") | entries(inputs=5, prefix="rnns.2.")
    assert len(read_torch(gap).networks) == 2
    deep = entries(prefix="rnns.0.", layers=2) | entries(inputs=5, prefix="rnns.1.")
    assert len(read_torch(deep).networks) == 2


def test_names_that_are_made_to_take_long():
    dots, norms = "." * 2**21 + "weight_hh_l0", "lstm." + "norm_" * 2**18 + "\n"
    with pytest.raises(WeightFormatError, match="has no recurrent layer"):
        read_torch({dots: np.ones((5, 5))})
    stored = read_torch(entries(prefix="lstm.") | {dots: np.ones(1), norms: np.ones(1)})
    assert len(stored.networks) == 1


def test_too_many_networks_and_layers():
    small = {"weight_ih": np.ones((4, 1)), "weight_hh": np.ones((4, 1))}
    many = {f"n{k}.{name}": value for k in range(300) for name, value in small.items()}
    with pytest.raises(WeightFormatError, match="has 300 recurrent networks; choose one"):
        read_torch(many)
    assert len(read_torch(many, prefix="n7").networks) == 1
    deep = {f"{name}_l{k}": value for k in range(300) for name, value in small.items()}
    with pytest.raises(WeightFormatError, match="has 300 layers behind ''; give 256 at most"):
        read_torch(deep)
