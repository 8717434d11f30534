"""A watch over modules of PyTorch that are trained, compiled, moved, frozen and spoiled while it looks."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.integrations import watch as watching

torch = pytest.importorskip("torch")
nn = torch.nn
TOKENS = torch.arange(120).reshape(4, 30) % 9


@pytest.fixture(autouse=True)
def _a_slow_loop(monkeypatch):
    """Let a second of the loop pass between any two looks at the clock: every reading is affordable."""
    seconds = iter(range(10**9))
    monkeypatch.setattr(watching, "perf_counter", lambda: float(next(seconds)))
    monkeypatch.setattr(watching.Budget, "steps", lambda budget: budget._most)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding, self.lstm = nn.Embedding(9, 3), nn.LSTM(3, 5, 2, batch_first=True)
            self.head = nn.Linear(5, 9)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0])


def train(model, watch, steps, inputs=TOKENS):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = model(inputs)
        torch.nn.functional.cross_entropy(outputs.flatten(0, 1), inputs.flatten()).backward()
        optimizer.step()
        watch.step()


def expected(model):
    """Return the decay rate of each layer, by the capture and the measurements."""
    network = gs.capture(model, TOKENS)["lstm"]
    stack = network.model.astype("float64")
    trace = gs.run(stack, **network.arguments)
    fits = [
        gs.gradient_flow(params, trace[name].inputs, of="joint", wrt="joint").decay_rate()
        for name, params in stack.directions().items()
    ]
    return [fit.value[fit.is_rate].mean() for fit in fits]


def test_readings_are_of_the_weights_as_they_are_and_change_nothing():
    models = Model(), Model()
    watch = gs.watch(models[0], inputs=TOKENS, every=2)
    assert watch.history.layers == ("lstm.layers.0", "lstm.layers.1")
    train(models[0], watch, 4)
    train(models[1], gs.watch(models[1], inputs=TOKENS, every=100), 4)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    history = watch.history
    assert history.step.tolist() == [0, 2, 4]
    np.testing.assert_allclose(history.decay_rate[2], expected(models[0]), rtol=1e-12, atol=0)
    np.testing.assert_allclose(history.decay_rate[0], expected(Model()), rtol=1e-12, atol=0)
    assert not any(each._forward_hooks or each._backward_hooks for each in models[0].modules())


def test_a_compiled_model_is_not_compiled_again():
    counters = pytest.importorskip("torch._dynamo.utils").counters
    plain, model = Model(), Model()
    compiled = torch.compile(model, backend="eager")
    train(compiled, gs.watch(compiled, inputs=TOKENS, every=100), 1)
    graphs = counters["stats"]["unique_graphs"]
    watch = gs.watch(compiled, inputs=TOKENS, every=1)
    train(compiled, watch, 3)
    assert counters["stats"]["unique_graphs"] == graphs
    train(plain, gs.watch(plain, inputs=TOKENS), 4)
    np.testing.assert_allclose(watch.history.decay_rate[-1], expected(plain), rtol=1e-5, atol=0)


def test_moved_and_frozen_modules_are_read_all_the_same():
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 4, 3))).float()
    rnn = nn.LSTM(3, 5)
    watch = gs.watch(rnn, inputs=inputs, every=1)
    rnn.requires_grad_(False)
    watch.step()
    rnn.double()
    watch.step()
    rnn.bfloat16()
    watch.step()
    rnn.to("meta")  # where there are no numbers
    with pytest.warns(gs.AccuracyWarning, match="could not read all layers after 4 steps"):
        watch.step()
    watch.step()
    rnn.to_empty(device="cpu").float()
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.fill_(0.1)
    watch.step()
    history = watch.history
    assert history.layers == ("lstm",)
    np.testing.assert_array_equal(history.decay_rate[1], history.decay_rate[0])
    np.testing.assert_allclose(history.decay_rate[2], history.decay_rate[0], rtol=1e-4)
    np.testing.assert_allclose(history.decay_rate[3], history.decay_rate[0], rtol=0.05)
    assert [bool(failure) for failure in history.failures] == [False] * 4 + [True] * 2 + [False]


def test_weights_that_are_not_finite():
    model = Model()
    watch = gs.watch(model, inputs=TOKENS, every=1)
    with torch.no_grad():
        model.lstm.weight_hh_l1[3, 2] = torch.nan
    with pytest.warns(gs.AccuracyWarning, match="not finite"):
        watch.step()
    with torch.no_grad():
        model.lstm.weight_hh_l1[3, 2] = 0
        model.embedding.weight[:] = torch.inf
    watch.step()
    with torch.no_grad():
        model.embedding.weight[:] = 0.5
    watch.step()
    failures = watch.history.failures
    assert [bool(failure) for failure in failures] == [False, True, True, False]
    assert "inputs" in failures[2]


def test_several_arguments_by_place_and_by_name():
    inputs, state = torch.zeros(30, 2, 3), torch.zeros(1, 2, 5)
    by_place = gs.watch(nn.GRU(3, 5), inputs=(inputs, state)).history
    by_name = gs.watch(nn.GRU(3, 5), inputs={"input": inputs, "hx": state}).history
    packed = nn.utils.rnn.pack_sequence([torch.zeros(30, 3), torch.zeros(25, 3)])
    of_packed = gs.watch(nn.GRU(3, 5), inputs=packed).history
    assert by_place.probe_steps.tolist() == by_name.probe_steps.tolist() == [30]
    assert of_packed.probe_steps.tolist() == [25]
