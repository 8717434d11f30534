"""What PyTorch's recurrent modules receive: on it the kernels give PyTorch's outputs; the model stays as it was."""

import random

import numpy as np
import pytest

import gatescope as gs

torch = pytest.importorskip("torch")
nn = torch.nn
packed = nn.utils.rnn

LENGTHS = [4, 9, 6]  # not in order


def made(kind, *sizes, dtype=torch.float64, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(nn, kind)(*(sizes or (3, 5)), **options).to(dtype)


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


class Model(nn.Module):
    """An embedding, a recurrent module, and whatever `between` makes of what is between them."""

    def __init__(self, rnn, between=lambda values: values):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.embedding = nn.Embedding(20, 3).to(next(rnn.parameters()).dtype)
        self.rnn, self.between = rnn, between

    def forward(self, tokens, *state):
        return self.rnn(self.between(self.embedding(tokens)), *state)


def outputs_of(network):
    """Return outputs (T, B, H) of a captured network, from its weights and arguments alone."""
    return gs.run(network.model, **network.arguments).outputs


# Sixteen roundings of float32: PyTorch sums in an order that the processor's vectors decide, and twenty steps of two
# layers add to it.
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layers_behind_an_embedding(kind, both, dtype, close):
    rnn = made(kind, dtype=dtype, num_layers=2, bidirectional=both, batch_first=True)
    model = Model(rnn, nn.Dropout(0.5)).train()
    tokens = torch.arange(60).reshape(3, 20) % 20
    captured = gs.capture(model, tokens)
    network = captured["rnn"]
    assert network.inputs.shape == (20, 3, 3)
    assert network.inputs.dtype == np.dtype(str(dtype).removeprefix("torch."))
    expected = model.eval()(tokens)[0].detach().numpy().swapaxes(0, 1)
    np.testing.assert_allclose(outputs_of(network), expected, rtol=0, atol=close)


@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("in_order", [False, True], ids=["as they come", "sorted"])
def test_packed_sequences(both, in_order):
    rnn = made("LSTM", bidirectional=both, num_layers=2, batch_first=True)
    lengths = sorted(LENGTHS, reverse=True) if in_order else LENGTHS

    def pack(values):
        return packed.pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=in_order)

    model = Model(rnn, pack)
    tokens = torch.arange(27).reshape(3, 9) % 20
    network = gs.capture(model, tokens)["rnn"]
    np.testing.assert_array_equal(network.lengths, lengths)
    expected = packed.pad_packed_sequence(model(tokens)[0])[0].detach().numpy()
    np.testing.assert_allclose(outputs_of(network), expected, rtol=0, atol=1e-12)


def test_initial_states_of_packed_sequences_go_with_their_sequences():
    rnn = made("LSTM")
    state = numbers(1, 3, 5), numbers(1, 3, 5, seed=1)
    inputs = packed.pack_padded_sequence(numbers(9, 3, 3), LENGTHS, enforce_sorted=False)
    network = gs.capture(rnn, inputs, hx=state)[""]
    trace = gs.run(network.model, **network.arguments)
    outputs, final = rnn(inputs, state)
    np.testing.assert_allclose(
        trace.outputs[trace.mask],
        packed.pad_packed_sequence(outputs)[0].detach().numpy()[trace.mask],
        rtol=0,
        atol=1e-12,
    )
    np.testing.assert_allclose(trace.final_state[:, 1], final[1][0].detach().numpy(), rtol=0, atol=1e-12)


def test_initial_states_of_layers_and_directions():
    rnn = made("LSTM", num_layers=2, bidirectional=True)
    inputs, state = numbers(9, 3, 3), (numbers(4, 3, 5), numbers(4, 3, 5, seed=1))
    network = gs.capture(rnn, inputs, state)[""]
    states = network.arguments["initial_state"]
    assert tuple(states) == ("layers.0.forward", "layers.0.backward", "layers.1.forward", "layers.1.backward")
    for k, values in enumerate(states.values()):
        np.testing.assert_array_equal(values.swapaxes(0, 1), np.stack([part[k] for part in state]))
    expected = rnn(inputs, state)[0].detach().numpy()
    np.testing.assert_allclose(outputs_of(network), expected, rtol=0, atol=1e-12)


def test_one_sequence_without_an_axis_for_it():
    for kind in ("GRU", "GRUCell"):
        rnn = made(kind)
        inputs, state = numbers(9, 3), numbers(1, 5)
        one = gs.capture(rnn, inputs, state) if kind == "GRU" else gs.capture(rnn, inputs[0], state[0])
        assert one[""].inputs.shape == ((9, 1, 3) if kind == "GRU" else (1, 1, 3))
        expected = rnn(inputs, state)[0] if kind == "GRU" else rnn(inputs[0], state[0])[None]
        np.testing.assert_allclose(outputs_of(one[""])[:, 0], expected.detach().numpy(), rtol=0, atol=1e-12)


class Loop(nn.Module):
    """A cell, or a module of one step a call, in a loop; after `stop` steps it begins anew."""

    def __init__(self, rnn, stop=99):
        super().__init__()
        self.rnn, self.stop = rnn, stop

    def forward(self, inputs):
        state, outputs = None, []
        for t, x in enumerate(inputs):
            state = None if t == self.stop else state
            if isinstance(self.rnn, nn.RNNCellBase):
                state = self.rnn(x, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
            else:
                output, state = self.rnn(x[None], state)
                outputs.append(output[0])
        return torch.stack(outputs)


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell", "GRUCell", "RNNCell"])
def test_a_loop_is_one_run_until_its_state_is_another(kind):
    model, inputs = Loop(made(kind), stop=6), numbers(9, 3, 3)
    first, second = gs.capture(model, inputs).networks
    assert [(one.name, one.call, one.calls) for one in (first, second)] == [("rnn", 0, 6), ("rnn", 6, 3)]
    expected = model(inputs).detach().numpy()
    outputs = np.concatenate([outputs_of(first), outputs_of(second)])
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-12)


def test_a_decoder_goes_on_from_the_encoder():
    class Decoding(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = made("GRU"), made("GRU", 5, 5)

        def forward(self, inputs):
            outputs, state = self.encoder(inputs)
            token = outputs[-1:]
            for _ in range(4):
                token, state = self.decoder(token, state)
            return token

    model, inputs = Decoding(), numbers(9, 3, 3)
    captured = gs.capture(model, inputs)
    decoder = captured["decoder"]
    assert (captured.names, decoder.calls) == (("encoder", "decoder"), 4)
    assert list(captured) == ["encoder", "decoder"]
    with pytest.raises(gs.DtypeError, match=r"give its model and what it received: one\.model, \*\*one"):
        gs.half_life(decoder, decoder.inputs)
    np.testing.assert_allclose(outputs_of(decoder)[-1], model(inputs)[0].detach(), rtol=0, atol=1e-12)


def test_wrapped_and_compiled_models_are_what_they_wrap():
    inputs = numbers(9, 3, 3)
    model = Loop(made("LSTM"))
    expected = gs.capture(model, inputs)
    partly, inside = Loop(made("LSTM")), Loop(made("LSTM"))
    partly.rnn = torch.compile(partly.rnn, backend="eager")
    inside.compile(backend="eager")
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager"), partly, inside):
        wrapped(inputs)
        assert gs.capture(wrapped, inputs) == expected


class Noisy(Model):
    """A model that draws, and fails if it is asked to."""

    fails = False

    def forward(self, tokens):
        random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002  # of all that it may draw from
        if self.fails:
            raise KeyError("tokens")
        return super().forward(tokens)


@pytest.mark.parametrize("fails", [False, True], ids=["runs", "fails"])
def test_a_model_stays_as_it_was(fails):
    model = Noisy(made("LSTM"), nn.Dropout(0.5)).train()
    model.embedding.eval()
    model.fails = fails
    tokens = torch.arange(27).reshape(9, 3) % 20
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    flags = [each.training for each in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    if fails:
        with pytest.raises(KeyError, match="tokens"):
            gs.capture(model, tokens)
    else:
        gs.capture(model, tokens)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert [each.training for each in model.modules()] == flags
    assert torch.is_grad_enabled()
    assert not any(each._forward_hooks for each in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all((parameter.grad == 1).all() for parameter in model.parameters())


def test_what_cannot_be_captured_is_named():
    inputs = numbers(9, 3, 3)
    with pytest.raises(gs.WeightFormatError, match=r"no recurrent module; give one with torch\.nn\.LSTM"):
        gs.capture(nn.Linear(3, 2).double(), inputs)
    with pytest.raises(gs.WeightFormatError, match="projection"):
        gs.capture(made("LSTM", proj_size=2), inputs, (numbers(1, 3, 2), numbers(1, 3, 5)))
    for value in (np.ones((2, 3)), None):
        with pytest.raises(
            gs.DtypeError, match=r"^batch\[0\] is a .*did not take.*torch\.as_tensor\(inputs\)"
        ):
            gs.capture(nn.Sequential(made("GRU")), value)
    scripted = torch.jit.script(nn.Sequential(made("GRU")))
    with pytest.raises(gs.WeightFormatError, match=r"0 is of TorchScript.*as it was before torch\.jit"):
        gs.capture(scripted, inputs)
    quantized = torch.ao.quantization.quantize_dynamic(nn.Sequential(made("LSTM", dtype=torch.float32)))
    with pytest.raises(gs.WeightFormatError, match=r"0 is a LSTM of torch\.ao\.nn\.quantized"):
        gs.capture(quantized, inputs.float())
    with pytest.raises(gs.DtypeError, match="give a module of PyTorch or a model of Keras"):
        gs.capture({"weight_ih_l0": 1}, inputs)

    class Doubled(nn.GRU):
        def forward(self, inputs, hx=None):
            return super().forward(2 * inputs, hx)

    with pytest.raises(gs.WeightFormatError, match=r"0 is a Doubled of .*own forward\(\) may do more"):
        gs.capture(nn.Sequential(Doubled(3, 5).double()), inputs)

    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = made("GRU"), made("GRU")

        def forward(self, inputs):
            return self.used(inputs)

    captured = gs.capture(Aside(), inputs)
    assert (captured.names, [name for name, _ in captured.left_out]) == (("used",), ["idle"])


def test_half_precision_is_captured_in_single():
    network = gs.capture(made("LSTM", dtype=torch.bfloat16), numbers(9, 3, 3).bfloat16())[""]
    assert network.inputs.dtype == network.model.dtype == np.float32
