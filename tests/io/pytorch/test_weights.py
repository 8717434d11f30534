"""PyTorch's weights: every way in, every cell, and errors that name the entry and what to do."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.weights import load_torch
from safetensors.numpy import save_file

import gatescope as gs
from gatescope import cells
from gatescope.errors import DtypeError, FileFormatError, UnknownNameError, ValueRangeError, WeightFormatError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*tanh is assumed"
)  # test_pytorch_entries.py tests the warning
BLOCKS = {"rnn": 1, "gru": 3, "lstm": 4}
FIELDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def state_dict(
    cell="lstm", inputs=3, units=5, *, layers=1, prefix="", backward=False, bias=True, dtype="float32"
):
    """Entries named and shaped as PyTorch names and shapes them."""
    rng = np.random.default_rng(0)
    rows = BLOCKS[cell] * units
    weights = {}
    for layer in range(layers):
        width = inputs if layer == 0 else units * (2 if backward else 1)
        for direction in ("", "_reverse") if backward else ("",):
            shapes = {"weight_ih": (rows, width), "weight_hh": (rows, units)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for kind, shape in shapes.items():
                weights[f"{prefix}{kind}_l{layer}{direction}"] = rng.normal(size=shape).astype(dtype)
    return weights


def assert_entries(params, entries, suffix="_l0", prefix=""):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(params, field), entries[f"{prefix}{field}{suffix}"])
        assert getattr(params, field).flags.c_contiguous


@pytest.mark.parametrize("cell", BLOCKS)
@pytest.mark.parametrize("kind", ["mapping", "safetensors", "npz"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_cell_from_every_source(tmp_path, cell, kind, dtype):
    entries = state_dict(cell, dtype=dtype)
    source = entries
    if kind != "mapping":
        source = tmp_path / f"model.{kind}"
        save_file(entries, source) if kind == "safetensors" else np.savez(source, **entries)
    params = load_torch(source)
    assert params.cell == cell
    assert params.gate_names == cells.get(cell).gates
    assert (params.input_size, params.hidden_size, params.dtype) == (3, 5, dtype)
    assert_entries(params, entries)
    assert params.provenance["layer"] == 0
    if kind != "mapping":
        assert params.provenance["source"] == source.name
        assert params.provenance["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert load_torch(str(source) if kind != "mapping" else source).cell == cell


def test_the_weights_are_copied():
    entries = state_dict()
    params = load_torch(entries)
    entries["weight_hh_l0"][:] = 0
    assert params.weight_hh.any()


def test_other_layouts_are_made_contiguous():
    entries = state_dict(dtype=">f4")
    entries["weight_hh_l0"] = np.asfortranarray(entries["weight_hh_l0"])
    params = load_torch(entries)
    assert params.dtype == np.float32
    assert_entries(params, entries)


@pytest.mark.parametrize("prefix", ["encoder.lstm.", "module.", "_orig_mod.net.0."])
def test_the_prefix_is_found(prefix):
    entries = state_dict(prefix=prefix) | {"head.weight": np.zeros((2, 5)), "step": np.int64(3)}
    params = load_torch(entries)
    assert_entries(params, entries, prefix=prefix)
    assert params.provenance["prefix"] == prefix


def test_several_prefixes_ask_for_one():
    entries = state_dict(prefix="encoder.") | state_dict("gru", prefix="decoder.gru.")
    with pytest.raises(
        WeightFormatError,
        match=r"2 recurrent networks; choose one with `prefix`: 'encoder\.', 'decoder\.gru\.'",
    ):
        load_torch(entries)
    assert load_torch(entries, prefix="encoder.").cell == "lstm"
    assert load_torch(entries, prefix="decoder.gru").cell == "gru"
    with pytest.raises(
        WeightFormatError, match=r"source has no `prefix` 'gru'; it has 'decoder\.gru\.', 'enc"
    ):
        load_torch(entries, prefix="gru")


def test_layers_and_directions():
    entries = state_dict("gru", layers=2, backward=True)
    for layer in range(2):
        assert_entries(load_torch(entries, layer=layer), entries, f"_l{layer}")
        assert_entries(load_torch(entries, layer=layer, reverse=True), entries, f"_l{layer}_reverse")
    assert load_torch(entries, layer=np.int64(1)).input_size == 10
    with pytest.raises(ValueRangeError, match="layers=2 must be a whole number from -2 to 1"):
        load_torch(entries, layer=2)
    with pytest.raises(WeightFormatError, match=r"no backward direction in layer 0, .*; leave `reverse` out"):
        load_torch(state_dict(), reverse=True)


def test_layers_that_are_no_numbers():
    for layer in (0.5, "0", True):
        with pytest.raises(ValueRangeError, match=r"layers=.* must be a whole number"):
            load_torch(state_dict(), layer=layer)


def test_missing_biases_become_zeros():
    params = load_torch(state_dict("gru", bias=False, dtype="float64"))
    for bias in (params.bias_ih, params.bias_hh):
        assert bias.shape == (15,)
        assert bias.dtype == np.float64
        assert not bias.any()


@pytest.mark.parametrize(("nonlinearity", "cell"), [(None, "rnn"), ("tanh", "rnn"), ("relu", "rnn_relu")])
def test_the_nonlinearity_of_an_rnn(nonlinearity, cell):
    assert load_torch(state_dict("rnn"), nonlinearity=nonlinearity).cell == cell


def test_an_unknown_nonlinearity():
    with pytest.raises(UnknownNameError, match="nonlinearity='gelu' is not known; choose from tanh, relu"):
        load_torch(state_dict("rnn"), nonlinearity="gelu")


def test_float16_becomes_float32(tmp_path):
    entries = state_dict(dtype="float16")
    save_file(entries, tmp_path / "a.safetensors")
    for source in (entries, tmp_path / "a.safetensors"):
        params = load_torch(source)
        assert params.dtype == np.float32
        assert_entries(params, entries)


def test_dtype_converts():
    entries = state_dict()
    assert_entries(load_torch(entries, dtype="float64"), entries)
    assert load_torch(entries, dtype=np.float64).dtype == np.float64
    assert load_torch(state_dict(dtype="float64"), dtype="float32").dtype == np.float32
    with pytest.raises(DtypeError, match="dtype='float16' is not one the cells compute in"):
        load_torch(entries, dtype="float16")


def test_mixed_precisions_take_the_wider():
    entries = state_dict() | {"bias_ih_l0": np.zeros(20), "bias_hh_l0": np.zeros(20, np.float16)}
    params = load_torch(entries)
    assert {getattr(params, field).dtype for field in FIELDS} == {np.dtype(np.float64)}


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "complex64", "longdouble"])
def test_entries_that_are_no_floats(dtype):
    entries = state_dict()
    entries["weight_hh_l0"] = entries["weight_hh_l0"].astype(dtype)
    name = entries["weight_hh_l0"].dtype
    with pytest.raises(WeightFormatError, match=rf"holds 'weight_hh_l0' of dtype {name}.*convert it"):
        load_torch(entries)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weight_hh_l0": np.zeros((10, 5))},
            r"holds 'weight_hh_l0' of shape \(10, 5\), which must be \(H, H\)",
        ),
        ({"weight_hh_l0": np.zeros((21, 5))}, r"holds 'weight_hh_l0' of shape \(21, 5\)"),
        ({"weight_hh_l0": np.zeros((20, 0))}, r"holds 'weight_hh_l0' of shape \(20, 0\)"),
        ({"weight_hh_l0": np.zeros((0, 5))}, r"holds 'weight_hh_l0' of shape \(0, 5\)"),
        ({"weight_hh_l0": np.zeros(100)}, r"holds 'weight_hh_l0' of shape \(100,\)"),
        ({"weight_hh_l0": np.zeros((1, 20, 5))}, r"holds 'weight_hh_l0' of shape \(1, 20, 5\)"),
        ({"weight_ih_l0": np.zeros((15, 3))}, r"'weight_ih_l0' .*shape \(15, 3\), which must be \(20, I\)"),
        ({"weight_ih_l0": np.zeros((20, 0))}, r"'weight_ih_l0' .*shape \(20, 0\), .*I >= 1"),
        ({"weight_ih_l0": np.zeros(20)}, r"'weight_ih_l0' .*shape \(20,\)"),
        ({"bias_ih_l0": np.zeros(19)}, r"'bias_ih_l0' .*shape \(19,\), which must be \(20,\)"),
        ({"bias_hh_l0": np.zeros((20, 1))}, r"'bias_hh_l0' .*shape \(20, 1\), which must be \(20,\)"),
        ({"weight_hr_l0": np.zeros((2, 5))}, r"holds 'weight_hr_l0', a projection \(proj_size > 0\)"),
        ({"weight_hh_l0": "text"}, r"holds 'weight_hh_l0' of dtype <U4"),
        ({"weight_hh_l0": [[1.0], [1.0, 2.0]]}, r"holds 'weight_hh_l0', which is no array of numbers"),
        ({"weight_hh_l0": None}, r"holds 'weight_hh_l0' of dtype object"),
    ],
)
def test_wrong_entries(changes, message):
    with pytest.raises(WeightFormatError, match=message):
        load_torch(state_dict() | changes)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(field, value):
    entries = state_dict()
    entries[f"{field}_l0"][2] = value
    with pytest.raises(WeightFormatError, match=rf"holds '{field}_l0' with \d weights.*first {value} at \[2"):
        load_torch(entries)


def test_weights_that_overflow_in_float32():
    entries = state_dict(dtype="float64")
    entries["bias_ih_l0"][7] = 1e39
    with pytest.raises(
        WeightFormatError, match=r"not finite in float32, the first 1e\+39 at \[7\]; use `dtype`='float64'"
    ):
        load_torch(entries, dtype="float32")
    assert load_torch(entries).bias_ih[7] == 1e39


@pytest.mark.parametrize("missing", ["weight_ih_l0", "weight_hh_l0"])
def test_half_a_layer(missing):
    entries = state_dict()
    del entries[missing]
    with pytest.raises(WeightFormatError, match=f"has no entry '{missing}', which layer 0 needs"):
        load_torch(entries)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, r"source is dict without arrays"),
        (
            {f"conv{k}.weight": 0 for k in range(20)},
            r"source is dict without arrays",
        ),
        ({"weight_hh_l": 0, "my_weight_hh_l0_raw": 0, 3: 0}, r"none of its 3 entries"),
        (
            {"epoch": 3, "model": {"weight_hh_l0": 0}},
            r"has no entry 'model\.weight_ih_l0', which layer 0 needs",
        ),
        (3, r"source is an int; give a state_dict, checkpoint or module of PyTorch"),
        (None, r"source is a NoneType"),
        (np.zeros(3), r"source is a ndarray"),
    ],
)
def test_sources_without_a_layer(source, message):
    with pytest.raises(WeightFormatError, match=message):
        load_torch(source)


def test_other_files(tmp_path):
    with pytest.raises(FileFormatError, match=r"a\.safetensors.*no such file"):
        load_torch(tmp_path / "a.safetensors")
    (tmp_path / "a.h5").touch()
    with pytest.raises(
        WeightFormatError,
        match=r"a\.h5.* is damaged: it does not begin as such files do",
    ):
        load_torch(tmp_path / "a.h5")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(FileFormatError, match="is a folder"):
        load_torch(tmp_path / "folder.safetensors")
    np.savez(tmp_path / "a.npz", weight_hh_l0=np.array([None]))
    with pytest.raises(FileFormatError, match="pickled Python objects, which are never loaded"):
        load_torch(tmp_path / "a.npz")


def test_torch_is_not_imported(tmp_path):
    save_file(state_dict(), tmp_path / "a.safetensors")
    code = (
        "import sys\n"
        "from helpers.weights import load_torch\n"
        "load_torch(sys.argv[1])\n"
        "sys.exit('torch' in sys.modules or 'ml_dtypes' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.safetensors")], env=environment, check=False
    )
    assert done.returncode == 0


def module(kind, **kwargs):
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(torch.nn, kind)(3, 5, **kwargs)


def numpy_run(params, inputs):
    """Return the cell's own equations on these weights: (T, B, I) -> (T, B, H)."""
    cell = cells.get(params.cell)
    states = tuple(np.zeros((inputs.shape[1], params.hidden_size)) for _ in cell.states)
    outputs = []
    for x in inputs:
        wx = np.split(x @ params.weight_ih.T + params.bias_ih, len(params.gate_names), axis=1)
        rh = np.split(states[0] @ params.weight_hh.T + params.bias_hh, len(params.gate_names), axis=1)
        states, _ = cell.step(wx, rh, states)
        outputs.append(states[0])
    return np.array(outputs)


@pytest.mark.parametrize(
    ("kind", "kwargs", "cell"),
    [
        ("RNN", {}, "rnn"),
        ("RNN", {"nonlinearity": "relu"}, "rnn_relu"),
        ("LSTM", {}, "lstm"),
        ("GRU", {}, "gru"),
        ("GRU", {"bias": False}, "gru"),
    ],
)
def test_live_modules_give_what_pytorch_gives(kind, kwargs, cell):
    live = module(kind, **kwargs).double()
    torch = sys.modules["torch"]
    inputs = np.random.default_rng(1).normal(size=(20, 2, 3))
    with torch.no_grad():
        expected = live(torch.from_numpy(inputs))[0].numpy()
    params = load_torch(live)
    assert params.cell == cell
    assert params.provenance["source"].endswith(kind)
    np.testing.assert_allclose(numpy_run(params, inputs), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(
        load_torch(live.state_dict(), nonlinearity=kwargs.get("nonlinearity")).weight_ih, params.weight_ih
    )


def test_a_module_in_a_model_keeps_its_nonlinearity():
    live = module("RNN", nonlinearity="relu", num_layers=2)
    torch = sys.modules["torch"]
    model = torch.nn.ModuleDict({"encoder": live, "head": torch.nn.Linear(5, 1)})
    params = load_torch(model, layer=1)
    assert (params.cell, params.provenance["prefix"]) == ("rnn_relu", "encoder.")
    np.testing.assert_array_equal(params.weight_ih, live.weight_ih_l1.detach().numpy())
    with pytest.raises(ValueRangeError, match="nonlinearity='tanh' is not the module's own, 'relu'"):
        load_torch(live, nonlinearity="tanh")


def test_live_weights_are_copied():
    live = module("GRU")
    params = load_torch(live)
    before = params.weight_hh.copy()
    sys.modules["torch"].nn.init.zeros_(live.weight_hh_l0)
    np.testing.assert_array_equal(params.weight_hh, before)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_live_half_precision(dtype):
    live = module("LSTM").to(getattr(pytest.importorskip("torch"), dtype))
    params = load_torch(live)
    assert params.dtype == np.float32
    np.testing.assert_array_equal(params.weight_ih, live.weight_ih_l0.detach().float().numpy())


def test_files_that_torch_writes(tmp_path):
    live = module("LSTM", num_layers=2, bidirectional=True)
    from safetensors.torch import save_file as save_torch

    for dtype in ("float32", "bfloat16"):
        live = live.to(getattr(sys.modules["torch"], dtype))
        save_torch(live.state_dict(), tmp_path / "a.safetensors")
        weights = load_torch(tmp_path / "a.safetensors", layer=1, reverse=True)
        assert_entries(weights, {k: v.float().numpy() for k, v in live.state_dict().items()}, "_l1_reverse")


def test_live_projections_and_tensors_without_values():
    with pytest.raises(WeightFormatError, match="holds 'weight_hr_l0', a projection"):
        load_torch(module("LSTM", proj_size=2))
    with pytest.raises(WeightFormatError, match="holds 'weight_ih_l0', which is no array of numbers"):
        load_torch(module("GRU", device="meta"))
    torch = sys.modules["torch"]
    with pytest.raises(WeightFormatError, match="source has no recurrent layer"):
        load_torch(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("lengths", [None, [20, 7]])
def test_the_backward_direction_gives_what_pytorch_gives(lengths):
    live = module("GRU", bidirectional=True).double()
    torch = sys.modules["torch"]
    inputs = np.random.default_rng(1).normal(size=(20, 2, 3))
    rnn = torch.nn.utils.rnn
    with torch.no_grad():
        given = torch.from_numpy(inputs)
        if lengths is None:
            expected = live(given)[0].numpy()
        else:
            expected = rnn.pad_packed_sequence(live(rnn.pack_padded_sequence(given, lengths))[0])[0].numpy()
    for reverse, half in ((False, expected[..., :5]), (True, expected[..., 5:])):
        params = load_torch(live, reverse=reverse)
        assert params.reverse is reverse
        trace = gs.run(params, inputs, lengths=lengths)
        np.testing.assert_allclose(trace.outputs[trace.mask], half[trace.mask], rtol=1e-12, atol=1e-14)
