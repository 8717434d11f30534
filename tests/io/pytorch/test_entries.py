"""Entries that are not what they seem: reparametrized matrices, two copies, what is not used, and layers below."""

import sys

import numpy as np
import pytest
from helpers.weights import load_torch

import gatescope as gs
from gatescope.errors import AccuracyWarning, WeightFormatError
from gatescope.io.weights import open_weights

RNG = np.random.default_rng(0)
NAMES = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}


def entries(prefix="", **more):
    return {prefix + name: RNG.normal(size=shape) for name, shape in NAMES.items()} | more


def module(kind="LSTM", *sizes, **options):
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(torch.nn, kind)(*(sizes or (3, 5)), **options).double()


def without(source, name):
    return {key: value for key, value in source.items() if key != name}


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_copies_the_trained_one_counts_in_whatever_order(order):
    raw = RNG.normal(size=(20, 5))
    both = entries(weight_hh_l0_raw=raw)
    both = dict([*both.items()][::order])
    params = load_torch(both)
    np.testing.assert_array_equal(params.weight_hh, raw)
    assert params.provenance["unused"] == ["weight_hh_l0"]
    np.testing.assert_array_equal(load_torch(without(both, "weight_hh_l0")).weight_hh, raw)


def test_a_wrapper_around_a_module_is_one_network():
    raw = RNG.normal(size=(20, 5))
    source = entries("0.module.") | {"0.weight_hh_l0_raw": raw}
    params = load_torch(source)
    assert params.provenance["prefix"] == "0.module."
    np.testing.assert_array_equal(params.weight_hh, raw)


@pytest.mark.parametrize(
    ("forms", "tool"),
    [
        (("weight_hh_l0_g", "weight_hh_l0_v"), "weight norm.*remove_weight_norm"),
        (("weight_hh_l0_orig", "weight_hh_l0_u", "weight_hh_l0_v"), "spectral norm.*remove_spectral_norm"),
        (("weight_hh_l0_orig", "weight_hh_l0_mask"), r"pruning.*prune\.remove"),
        (("parametrizations.weight_hh_l0.original",), "a parametrization.*remove_parametrizations"),
        (
            ("parametrizations.weight_hh_l0.original0", "parametrizations.weight_hh_l0.original1"),
            "a parametrization.*remove_parametrizations",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "net.lstm."])
def test_what_a_weight_is_made_of_is_explained(prefix, forms, tool):
    source = without(entries(prefix), f"{prefix}weight_hh_l0")
    source |= {prefix + name: np.ones((20, 5)) for name in forms}
    with pytest.raises(WeightFormatError, match=rf"what {tool}") as caught:
        load_torch(source)
    assert "give the live module" in str(caught.value)
    assert prefix + forms[0] in str(caught.value)
    assert len(str(caught.value)) < 500
    source[f"{prefix}weight_hh_l0"] = np.ones((20, 5))
    with pytest.raises(WeightFormatError, match=r"holds a weight twice, as .*does not say which counts"):
        load_torch(source)


@pytest.mark.parametrize("how", ["weight norm", "spectral norm", "orthogonal", "old weight norm", "pruning"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_of_a_live_module_the_attribute_counts(how):
    live = module()
    torch, prune = sys.modules["torch"], pytest.importorskip("torch.nn.utils.prune")
    {
        "weight norm": lambda: torch.nn.utils.parametrizations.weight_norm(live, "weight_hh_l0"),
        "spectral norm": lambda: torch.nn.utils.parametrizations.spectral_norm(live, "weight_hh_l0"),
        "orthogonal": lambda: torch.nn.utils.parametrizations.orthogonal(live, "weight_hh_l0"),
        "old weight norm": lambda: torch.nn.utils.weight_norm(live, "weight_hh_l0"),
        "pruning": lambda: prune.random_unstructured(live, "weight_hh_l0", amount=0.5),
    }[how]()
    live.eval()
    inputs = np.random.default_rng(1).normal(size=(20, 2, 3))
    with torch.no_grad():
        expected = live(torch.from_numpy(inputs))[0].numpy()
    model = torch.nn.ModuleDict({"encoder": live})
    for source in (live, model):
        np.testing.assert_allclose(
            gs.run(load_torch(source), inputs).outputs, expected, rtol=1e-12, atol=1e-14
        )
    assert "unused" not in load_torch(live).provenance
    with pytest.raises(WeightFormatError, match="give the live module, whose attribute is the weight"):
        load_torch(live.state_dict())


def test_what_is_not_used_is_listed_once():
    second = {name.replace("l0", "l1"): np.ones((20, 5)) for name in ("weight_ih_l0", "weight_hh_l0")}
    back = {f"{name}_reverse": np.ones(shape) for name, shape in NAMES.items()}
    source = entries() | second | back | {"head.weight": np.ones((2, 5)), "other.weight": np.ones(7)}
    assert load_torch(source).provenance["unused"] == [
        "other.weight"
    ]  # the head is the read-out of the whole
    assert "unused" not in load_torch(entries()).provenance


@pytest.mark.parametrize("name", ["weight_ci_l0", "h0"])
def test_what_the_layer_computes_with_and_no_cell_has_is_reported(name, recwarn):
    with pytest.warns(AccuracyWarning, match=rf"the mapping: '{name}' among the weights of"):
        load_torch(entries(**{name: np.ones((20,))}))
    load_torch(entries("net.") | {"head.weight": np.ones((2, 5)), "h0": np.ones(5)})
    assert not recwarn.list


def test_an_rnn_that_does_not_say_its_nonlinearity_warns(recwarn):
    source = {"weight_ih_l0": np.ones((5, 3)), "weight_hh_l0": np.ones((5, 5))}
    with pytest.warns(AccuracyWarning, match="tanh is assumed; give nonlinearity='relu'"):
        assert load_torch(source).cell == "rnn"
    for nonlinearity, cell in (("tanh", "rnn"), ("relu", "rnn_relu")):
        assert load_torch(source, nonlinearity=nonlinearity).cell == cell
    load_torch(entries())
    assert not recwarn.list


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_live_rnn_says_it(nonlinearity, recwarn):
    load_torch(module("RNN", nonlinearity=nonlinearity))
    assert not [w for w in recwarn.list if w.category is AccuracyWarning]


def test_a_batch_first_module_is_asked_about():
    live = module("GRU", 4, 5, batch_first=True)
    torch = sys.modules["torch"]
    x = np.random.default_rng(1).normal(size=(3, 10, 4))
    with torch.no_grad():
        expected = live(torch.from_numpy(x))[0].numpy()
    asking = load_torch(live)
    assert asking.batch_first is None
    for call in (gs.run, gs.gradient_flow, gs.half_life, gs.lyapunov_spectrum):
        with pytest.raises(
            gs.ShapeError, match=r"inputs has shape \(3, 10, 4\), but the module.*swapaxes\(0, 1\)"
        ):
            call(asking, x)
    one = gs.run(asking, x[0]).outputs  # two axes are one sequence
    np.testing.assert_allclose(one[:, 0], expected[0], rtol=1e-12, atol=1e-14)
    for params, inputs in (
        (load_torch(live, batch_first=True), x),
        (load_torch(live, batch_first=False), x.swapaxes(0, 1)),
    ):
        outputs = gs.run(params, inputs).outputs
        np.testing.assert_allclose(outputs.swapaxes(0, 1), expected, rtol=1e-12, atol=1e-14)
    assert load_torch(module()).batch_first is False


def test_batch_first_holds_everywhere(tmp_path):
    params = load_torch(entries(), batch_first=True)
    x = RNG.normal(size=(3, 40, 3))
    np.save(tmp_path / "x.npy", x)
    expected = gs.gradient_flow(load_torch(entries(), batch_first=False).astype("float64"), x.swapaxes(0, 1))
    assert expected.log_norm.shape == (41, 3)
    of_memmap = gs.gradient_flow(params, np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert of_memmap == gs.gradient_flow(params, x)
    assert of_memmap.log_norm.shape == (41, 3)
    assert gs.compare({"a": params}, x, timing_runs=1)["a"].trace.inputs.shape == (40, 3, 3)
    params.save(tmp_path / "a.npz")
    assert gs.load(tmp_path / "a.npz").batch_first is True


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [20, 7]])
def test_an_upper_layer_gets_what_it_gets_in_its_network(bidirectional, lengths):
    from gatescope.recurrence.layers import outputs_of_layers

    live = module("LSTM", 3, 5, num_layers=3, bidirectional=bidirectional)
    torch = sys.modules["torch"]
    x = np.random.default_rng(1).normal(size=(20, 2, 3))
    rnn, given = torch.nn.utils.rnn, torch.from_numpy(x)
    with torch.no_grad():
        if lengths is None:
            expected = live(given)[0].numpy()
        else:
            expected = rnn.pad_packed_sequence(live(rnn.pack_padded_sequence(given, lengths))[0])[0].numpy()
    inputs = outputs_of_layers(open_weights(live).below(2), x, lengths=lengths)
    for reverse in (False, True)[: 1 + bidirectional]:
        trace = gs.run(load_torch(live, layer=2, reverse=reverse), inputs, lengths=lengths)
        half = expected[..., 5:] if reverse else expected[..., :5]
        np.testing.assert_allclose(trace.outputs[trace.mask], half[trace.mask], rtol=1e-12, atol=1e-14)


def test_layers_that_do_not_fit_each_other():
    source = entries() | {"weight_ih_l1": np.ones((20, 7)), "weight_hh_l1": np.ones((20, 5))}
    with pytest.raises(
        WeightFormatError, match="layer 'l1' that takes 7 inputs, but the layer below gives 5"
    ):
        open_weights(source).direction(1, reverse=False)


def test_a_packed_sequence_says_what_to_give():
    torch = pytest.importorskip("torch")
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.zeros(20, 2, 3), [20, 7])
    for call in (gs.run, gs.gradient_flow):
        with pytest.raises(
            gs.DtypeError, match=r"inputs is a PackedSequence; give the two that .*pad_packed_sequence"
        ):
            call(load_torch(entries()), packed)
