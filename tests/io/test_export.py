"""Weights in other frameworks' names and orders: run there, they give the same numbers."""

import dataclasses
import warnings

import numpy as np
import pytest
from helpers.cases import random_params
from safetensors import safe_open
from safetensors.numpy import save_file

import gatescope as gs
from gatescope.errors import WeightFormatError

RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((20, 4, 3)).astype(np.float32)


def layer(cell, inputs=3, units=5, *, reverse=False, seed=0, dtype="float32"):
    params = random_params(cell, input_size=inputs, hidden_size=units, dtype=dtype, seed=seed)
    return dataclasses.replace(params, reverse=reverse)


def both(cell, inputs=3, units=5, merge="concatenate", other=None):
    backward = layer(other or cell, inputs, units, reverse=True, seed=1)
    return gs.Bidirectional(forward=layer(cell, inputs, units), backward=backward, merge=merge)


def stack(*layers, outputs=2):
    width = gs.Stack(layers=layers).output_size
    arrays = {
        "readout_weight": RNG.standard_normal((outputs, width)),
        "readout_bias": RNG.standard_normal(outputs),
    }
    return gs.Stack(layers=layers, **{name: value.astype(np.float32) for name, value in arrays.items()})


def outputs_of(model, inputs=INPUTS):
    from gatescope.recurrence.layers import outputs_of_layers

    layers = model.layers if isinstance(model, gs.Stack) else [model]
    values = outputs_of_layers(layers, inputs)
    if getattr(model, "readout_weight", None) is None:
        return values
    return values @ model.readout_weight.T + model.readout_bias


MODELS = {
    "rnn": layer("rnn"),
    "rnn_relu": layer("rnn_relu"),
    "lstm": layer("lstm"),
    "gru": layer("gru"),
    "gru_reset_before": layer("gru_reset_before"),
    "a backward layer": layer("gru", reverse=True),
    "two layers": stack(layer("lstm"), layer("lstm", 5)),
    "two cells": stack(layer("lstm"), layer("gru", 5, 4)),
    "both directions": stack(both("gru"), both("gru", 10)),
    "added directions": stack(both("lstm", merge="sum"), layer("lstm", 5)),
    "different directions": stack(both("lstm", other="gru")),
    "relu on tanh": stack(layer("rnn"), layer("rnn_relu", 5, 4)),
    "peepholes": layer("lstm_peephole"),
    "coupled gates": layer("lstm_coupled"),
}
SLOW = ("peepholes", "coupled gates")  # kernels of their own
NOT_OF_PYTORCH = (
    "gru_reset_before",
    "peepholes",
    "coupled gates",
    "a backward layer",
    "added directions",
    "different directions",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS]
)
def test_onnx_runtime_gives_the_same(name, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    gs.save_weights(path, MODELS[name])
    (result,) = runtime.InferenceSession(path).run(None, {"inputs": INPUTS})
    np.testing.assert_allclose(
        result, outputs_of(MODELS[name]), atol=2e-6
    )  # float32, of values up to about 1


def test_onnx_of_float64_is_refused(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(WeightFormatError, match=r"float64.*write model.astype"):
        gs.save_weights(tmp_path / "model.onnx", layer("lstm", dtype="float64"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["rnn", "rnn_relu", "lstm", "gru", "two layers", "both directions", "two cells"]
)
def test_pytorch_gives_the_same(name):
    torch = pytest.importorskip("torch")
    model = MODELS[name]
    state = {key: torch.from_numpy(value) for key, value in gs.to_torch(model).items()}
    x = torch.from_numpy(INPUTS)
    layers = model.layers if isinstance(model, gs.Stack) else (model,)
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
    first = layers[0].forward if isinstance(layers[0], gs.Bidirectional) else layers[0]
    options = {"bidirectional": first is not layers[0]}
    if first.cell == "rnn_relu":
        options["nonlinearity"] = "relu"
    if name == "two cells":
        module = torch.nn.Module()
        module.layers = torch.nn.ModuleList([torch.nn.LSTM(3, 5), torch.nn.GRU(5, 4)])
    else:
        recurrent = kinds[first.cell.removesuffix("_relu")](3, 5, num_layers=len(layers), **options)
        module = torch.nn.Module() if isinstance(model, gs.Stack) else recurrent
        module.rnn = recurrent if module is not recurrent else None
    if isinstance(model, gs.Stack):
        module.readout = torch.nn.Linear(model.readout_weight.shape[1], 2)
    else:
        del module.rnn
    module.load_state_dict(state)
    with torch.no_grad():
        for part in module.layers if name == "two cells" else [getattr(module, "rnn", module)]:
            x = part(x)[0]
        result = module.readout(x) if isinstance(model, gs.Stack) else x
    np.testing.assert_allclose(result.numpy(), outputs_of(model), atol=2e-6)  # float32


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ending", ["npz", "safetensors", "onnx"])
def test_what_is_written_here_is_read_back_exactly_and_without_a_word(name, ending, tmp_path):
    if ending == "onnx":
        pytest.importorskip("onnx")
    path = tmp_path / f"model.{ending}"
    if ending == "safetensors" and name in NOT_OF_PYTORCH:
        pytest.skip("PyTorch has no such modules")
    gs.save_weights(path, MODELS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = gs.load_weights(path)
    assert back == MODELS[name]
    assert "notes" not in back.provenance
    if ending != "npz":
        assert gs.list_weights(path).notes == ()


def test_safetensors_say_that_they_are_pytorchs(tmp_path):
    """Hugging Face's readers refuse files that say something of themselves, and not this."""
    gs.save_weights(tmp_path / "a.safetensors", MODELS["lstm"])
    with safe_open(tmp_path / "a.safetensors", framework="np") as file:
        assert file.metadata()["format"] == "pt"


def test_metadata_of_others_say_nothing(tmp_path):
    """What gatescope did not write may mean something else by the same names."""
    arrays = {name: np.ascontiguousarray(value) for name, value in gs.to_torch(MODELS["rnn_relu"]).items()}
    for own, cell in (({}, "rnn"), ({"gatescope": "0.1.0"}, "rnn_relu")):
        save_file(arrays, tmp_path / "a.safetensors", {"nonlinearity": "relu", **own})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert gs.load_weights(tmp_path / "a.safetensors").cell == cell
        assert bool(caught) != bool(own)


@pytest.mark.parametrize("name", NOT_OF_PYTORCH)
def test_what_pytorch_has_not_is_refused(name):
    with pytest.raises(WeightFormatError, match=r"layers\[0\] .*no module of PyTorch"):
        gs.to_torch(MODELS[name])


@pytest.mark.parametrize(
    ("cell", "shapes"), [("lstm", [(3, 20), (5, 20), (20,)]), ("gru", [(3, 15), (5, 15), (2, 15)])]
)
def test_the_list_of_keras(cell, shapes):
    params = layer(cell)
    kernel, recurrent, bias = gs.to_keras(params)
    assert [kernel.shape, recurrent.shape, bias.shape] == shapes
    first = {"lstm": "i", "gru": "z"}[cell]  # Keras begins with these
    np.testing.assert_array_equal(kernel.T[:5], params.gate(first)["weight_ih"])
    np.testing.assert_array_equal(recurrent.T[:5], params.gate(first)["weight_hh"])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_tree_of_flax_holds_every_weight(cell):
    params = layer(cell)
    tree = gs.to_flax(params)
    kernels = [part["kernel"] for part in tree.values()]
    biases = [part["bias"] for part in tree.values() if "bias" in part]
    assert sum(kernel.size for kernel in kernels) == params.weight_ih.size + params.weight_hh.size
    total = float(params.bias_ih.sum() + params.bias_hh.sum())
    np.testing.assert_allclose(sum(float(bias.sum()) for bias in biases), total, rtol=1e-5)  # float32
    with pytest.raises(WeightFormatError, match=r"Flax"):
        gs.to_flax(layer("gru_reset_before"))
