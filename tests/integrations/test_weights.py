"""Weights that are read and run in their framework too: how far the outputs lie apart, and when that cannot be told."""

import argparse
import dataclasses
import sys

import numpy as np
import pytest
from helpers.cases import random_params
from helpers.weights import entries, in_several_files, linear
from safetensors.numpy import save_file

import gatescope as gs
from gatescope.errors import MissingPackageError, ValueRangeError, WeightFormatError
from gatescope.integrations import verify
from gatescope.integrations.verify import compared


def verified(source, **options):
    return gs.load_weights(source, verify=True, **options).provenance["verified"]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("ending", ["pt", "safetensors", "npz"])
def test_files_as_pytorch_reads_them(cell, ending, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    weights = entries(cell, 3, 5, layers=2, both=True, prefix="net.rnn.") | linear("head", 10)
    path = tmp_path / f"model.{ending}"
    if ending == "pt":
        states = {name: torch.from_numpy(value) for name, value in weights.items()}
        torch.save({"model": states, "epoch": 3}, path)
    elif ending == "npz":
        np.savez(path, **weights)
    else:
        save_file(weights, path)
    options = {"nonlinearity": "relu"} if cell == "rnn" else {}
    seen = verified(path, **options)
    assert seen["difference"] < 1e-12 * max(1, seen["largest"])
    assert (seen["outputs"], seen["dtype"]) == (20 * 3 * 10, "float64")
    printed = capsys.readouterr().out
    assert printed.startswith(f"model.{ending}: 600 outputs ")
    assert f"in float64 differ from those of PyTorch {torch.__version__} by " in printed


def test_live_modules_run_themselves():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    model = torch.nn.ModuleDict(
        {
            "rnn": torch.nn.GRU(3, 5, 2, bidirectional=True, batch_first=True, dropout=0.5),
            "head": torch.nn.Linear(10, 2),
        }
    )
    state = torch.random.get_rng_state()
    seen = verified(model, batch_first=True)
    assert seen["difference"] < 1e-6
    assert seen["by"] == f"PyTorch {torch.__version__}"
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model["rnn"].batch_first
    assert model["rnn"].training
    cells = torch.nn.ModuleList([torch.nn.LSTMCell(3, 5), torch.nn.LSTMCell(5, 4, bias=False)]).double()
    assert verified(cells)["difference"] < 1e-12
    torch.nn.utils.parametrizations.weight_norm(model["rnn"], "weight_hh_l0")
    assert verified(model, batch_first=True)["difference"] < 1e-6


def test_one_layer_is_asked_for_and_the_whole_network_verified():
    pytest.importorskip("torch")
    weights = entries("lstm", layers=2)
    params = gs.load_weights(weights, layers=1, verify=True)
    assert params.provenance["verified"]["difference"] < 1e-12
    assert params == gs.load_weights(weights, layers=1)


def test_weights_that_compute_something_else_are_warned_of(monkeypatch):
    pytest.importorskip("torch")
    whole = verify.Opened.whole
    monkeypatch.setattr(
        verify.Opened,
        "whole",
        lambda self: [dataclasses.replace(p, bias_ih=p.bias_ih + 1) for p in whole(self)],
    )
    with pytest.warns(gs.AccuracyWarning, match="more than rounding: what was read computes something else"):
        assert verified(entries("gru"))["difference"] > 1e-2


def test_checkpoints_with_what_scripts_put_beside_the_weights(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pt"
    state = torch.nn.LSTM(3, 5, dtype=torch.float64).state_dict()
    others = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.5), "epoch": 3}
    torch.save([{"model": state, **others}, None], path)
    assert verified(path)["difference"] < 1e-12


def test_several_files(tmp_path):
    torch = pytest.importorskip("torch")
    state = {f"rnn.{name}": value for name, value in torch.nn.GRU(3, 5, 2).bfloat16().state_dict().items()}
    index = in_several_files(tmp_path, {name: value.float().numpy() for name, value in state.items()})
    assert verified(index)["difference"] < 1e-6


@pytest.mark.parametrize("kind", ["module", "jit"])
def test_whole_modules(kind, tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.LSTM(3, 5))
    path = tmp_path / "model.pt"
    if kind == "jit":
        torch.jit.script(module).save(path)
        assert verified(path)["difference"] < 1e-6
    else:
        torch.save(module, path)
        with pytest.raises(
            WeightFormatError, match=r"PyTorch opens it only by running what is in it.*live module"
        ):
            verified(path)


@pytest.mark.parametrize(
    ("package", "advice"), [("torch", "pip install torch"), ("onnxruntime", "pip install onnxruntime")]
)
def test_a_framework_that_is_missing(package, advice, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    source = entries("gru")
    if package == "onnxruntime":
        pytest.importorskip("onnx")
        source = pytest.importorskip("helpers.onnx_models").one_of("gru")
    with pytest.raises(
        MissingPackageError, match=f"cannot be imported .*; pip install {package}, or leave `verify` out"
    ):
        verified(source)


def test_what_keras_itself_lacks_is_named(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    keras_files = pytest.importorskip("helpers.keras_files")
    keras_files.one_lstm(tmp_path / "model.keras")
    (tmp_path / "keras.py").write_text("import jax\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setitem(sys.modules, "jax", None)
    advice = "pip install jax, or name another backend with KERAS_BACKEND, or leave `verify` out"
    with pytest.raises(MissingPackageError, match=f"Keras, which is to run the source, cannot .*; {advice}"):
        verified(tmp_path / "model.keras")


def test_other_shapes_and_what_is_not_finite_are_infinitely_far():
    for there in (np.zeros((3, 2)), np.full((2, 2), np.nan), np.full((2, 2), np.inf)):
        assert not compared("x", np.zeros((2, 2)), there).alike
    assert compared("x", np.zeros((2, 2)), np.full((2, 2), 1e-12)).alike


def test_files_of_gatescope_and_flags(tmp_path):
    random_params("gru", input_size=3, hidden_size=5).save(tmp_path / "own.npz")
    with pytest.raises(ValueRangeError, match="verify=True has no effect for a file of gatescope"):
        gs.load_weights(tmp_path / "own.npz", verify=True)
    with pytest.raises(ValueRangeError, match=r"^verify="):
        gs.load_weights(entries("gru"), verify="yes")
