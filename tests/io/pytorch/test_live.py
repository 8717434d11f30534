"""Modules of PyTorch, live and saved: they give what PyTorch gives."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers.stored_networks import outputs_of

from gatescope.io.pytorch.networks import read_torch


def live(kind, *sizes, **options):
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(torch.nn, kind)(*(sizes or (3, 5)), **options).double()


def what_torch_puts_out(module, inputs):
    torch = sys.modules["torch"]
    values = torch.from_numpy(inputs)
    with torch.no_grad():
        if not isinstance(module, torch.nn.RNNCellBase):
            return module(values)[0].numpy()
        state, steps = None, []
        for x in values:
            state = module(x, state)
            steps.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(steps).numpy()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("saved", ["live", "whole", "state_dict", "checkpoint"])
def test_every_module_gives_what_pytorch_gives(kind, saved, tmp_path):
    options = {} if kind.endswith("Cell") else {"num_layers": 2, "bidirectional": True}
    relu = {"nonlinearity": "relu"} if kind.startswith("RNN") else {}
    rnn = live(kind, **options, **relu)
    torch = sys.modules["torch"]
    width = 10 if options else 5
    model = torch.nn.Sequential(torch.nn.Embedding(4, 3), rnn, torch.nn.Linear(width, 2)).double()
    source, start = model, ""
    if saved != "live":
        source, start = tmp_path / "a.pt", "model." if saved == "checkpoint" else ""
        content = {
            "whole": model,
            "state_dict": model.state_dict(),
            "checkpoint": {
                "model": model.state_dict(),
                "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
            },
        }
        torch.save(content[saved], source)
    says = saved in ("live", "whole")
    stored = read_torch(source, **({} if says else relu))
    (network,) = stored.networks
    assert not stored.notes
    inputs = np.random.default_rng(1).normal(size=(20, 2, 3))
    np.testing.assert_allclose(
        outputs_of(replace(network, readout=None), inputs),
        what_torch_puts_out(rnn, inputs),
        rtol=1e-12,
        atol=1e-14,
    )
    assert (network.prefix, network.readout.name) == (f"{start}1.", f"{start}2")
    np.testing.assert_array_equal(network.readout.load()[0], model[2].weight.detach().numpy())
    if says and options:
        assert network.attributes == {"batch_first": False}


def test_wrapped_and_parametrized_modules():
    rnn = live("LSTM")
    torch = sys.modules["torch"]
    inputs = np.random.default_rng(1).normal(size=(20, 2, 3))
    torch.nn.utils.parametrizations.weight_norm(rnn, "weight_hh_l0")
    expected = what_torch_puts_out(rnn, inputs)
    model = torch.nn.ModuleDict({"rnn": rnn, "head": torch.nn.Linear(5, 1)})
    for source, start in (
        (model, ""),
        (torch.nn.DataParallel(model), "module."),
        (torch.compile(model), "_orig_mod."),
    ):
        stored = read_torch(source)
        (network,) = stored.networks
        assert (network.prefix, stored.notes) == (f"{start}rnn.", ())
        np.testing.assert_allclose(
            outputs_of(replace(network, readout=None), inputs), expected, rtol=1e-12, atol=1e-14
        )
        refused = read_torch(source.state_dict()).networks[0].layers[0].refused
        assert "what a parametrization makes a weight of" in refused
    assert "(proj_size > 0)" in read_torch(live("LSTM", proj_size=2)).networks[0].layers[0].refused


def test_a_live_embedding_is_no_readout():
    rnn = live("GRU")
    torch = sys.modules["torch"]
    model = torch.nn.ModuleDict({"rnn": rnn, "next": torch.nn.Embedding(9, 5)})
    assert read_torch(model).networks[0].readout is None
    model["head"] = torch.nn.Linear(5, 9, bias=False)
    readout = read_torch(model).networks[0].readout
    assert (readout.name, readout.load()[1].tolist()) == ("head", [0.0] * 9)


def test_a_scripted_module_says_its_nonlinearity(tmp_path):
    rnn = live("RNN", nonlinearity="relu")
    torch = sys.modules["torch"]
    torch.jit.script(rnn).save(tmp_path / "a.pt")
    for source in (tmp_path / "a.pt", torch.jit.load(tmp_path / "a.pt")):
        stored = read_torch(source)
        assert stored.networks[0].layers[0].forward.cell == "rnn_relu"
        assert stored.notes == ()
