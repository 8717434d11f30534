"""Training of stacks whose layers go both ways, or backward: against the slow oracle, and PyTorch; what is refused."""

import dataclasses
import tracemalloc
import warnings

import naive
import numpy as np
import pytest
from helpers.model_cases import HEADS, assert_vectors_close, make_batch
from helpers.stack_cases import naive_run, random_stack, random_states
from helpers.train_cases import make_batch as make_sums

import gatescope as gs
from gatescope.datatypes.stack import directions
from gatescope.datatypes.trace import turned
from gatescope.errors import InputWarning, ShapeError, ValueRangeError
from gatescope.training import Dropout, Engine, as_data, masks
from gatescope.training.arrays import warn_of_answers_ahead
from gatescope.training.monitor import probe_on

# As in test_against_torch.py.
LOSS = 1e-12
GRADIENT = 1e-11

LSTM = ("lstm 5 | lstm 5", "lstm 5 | lstm 5")
MIXED = ("gru 5 | gru 5", "gru 5", "| gru 5")
ALL = Dropout(inputs=0.2, between=0.3, outputs=0.1, recurrent=0.25)


def make_stack(*layers, heads=HEADS, **options):
    stack = random_stack(*layers, outputs=sum(head.size for head in heads), **options)
    return dataclasses.replace(stack, heads=heads)


def engine_of(stack, batch, **options):
    steps, sequences = batch.inputs.shape[:2]
    return Engine(stack, steps=steps, sequences=sequences, **options)


def zeros(stack, batch):
    return {name: 0 * state for name, state in random_states(stack, batch.inputs.shape[1]).items()}


def losses_and_slopes(batch, y):
    """Return the heads' losses of outputs (T, B, O), and the derivatives of what is trained on by these."""
    counted = batch.mask & (np.arange(len(y))[:, None] < batch.lengths)
    losses, slopes, output, column = [], np.zeros_like(y), 0, 0
    for head in batch.heads:
        part = y[..., output : output + head.size][counted]
        target = batch.targets[..., column : column + head.columns][counted]
        if head.loss == "mse":
            losses.append(((part - target) ** 2).mean())
            slope = 2 * (part - target) / head.size
        elif head.loss == "cross_entropy":
            p, right = np.exp(part) / np.exp(part).sum(axis=1, keepdims=True), target[:, 0].astype(int)
            losses.append(-np.log(p[np.arange(len(p)), right]).mean())
            slope = p - np.eye(head.size)[right]
        else:
            p = 1 / (1 + np.exp(-part))
            losses.append(-np.where(target == 1, np.log(p), np.log(1 - p)).sum(axis=1).mean())
            slope = p - target
        slopes[counted, output : output + head.size] = head.weight * slope / counted.sum()
        output, column = output + head.size, column + head.columns
    return np.array(losses), slopes


def naive_gradient(stack, batch):
    """Return the heads' losses and the gradient (N,), one sequence and one step at a time."""
    lengths, states = batch.lengths, zeros(stack, batch)
    runs, y = naive_run(stack, batch.inputs, states, lengths)
    features = naive_run(gs.Stack(layers=stack.layers), batch.inputs, states, lengths)[1]
    losses, slopes = losses_and_slopes(batch, y)
    gradient = {
        "readout_weight": np.einsum("tbo,tbh->oh", slopes, features),
        "readout_bias": slopes.sum(axis=(0, 1)),
    }
    adjoint = slopes @ stack.readout_weight
    for number, layer in reversed(list(enumerate(stack.layers))):
        below, first = 0, 0
        for way, name in stack.prefixes(number).items():
            params = directions(layer)[way]
            part = adjoint[..., first : first + params.hidden_size]
            if getattr(layer, "merge", "sum") == "concatenate":
                first += params.hidden_size
            part = turned(part, lengths) if params.reverse else part
            back = naive.backward(params.cell, params, runs[name][0], part, lengths=lengths)
            gradient |= {f"{name}.{key}": value for key, value in back.items()}
            below = below + (turned(back["inputs"], lengths) if params.reverse else back["inputs"])
        adjoint = below
    return losses, np.concatenate([gradient[name].reshape(-1) for name in stack.weights()])


@pytest.mark.parametrize(
    ("layers", "merge"),
    [(LSTM, "concatenate"), (MIXED, "sum"), (("lstm 5", "gru 5 | lstm 5"), "concatenate")],
    ids=["lstm", "mixed", "both ways on top"],
)
def test_gradients_are_the_oracles(layers, merge):
    stack, batch = make_stack(*layers, merge=merge), make_batch("masked")
    engine, data = engine_of(stack, batch), as_data(batch, make_stack(*layers, merge=merge))
    score = engine.back(data, 0)
    losses, gradient = naive_gradient(stack, batch)
    np.testing.assert_allclose(score.head_loss, losses, rtol=LOSS)
    assert score.loss == pytest.approx(losses @ [head.weight for head in HEADS], rel=LOSS)
    assert_vectors_close(stack, engine.gradient, gradient, GRADIENT)
    assert engine.evaluate(data).loss == score.loss
    single = engine_of(stack.astype("float32"), batch)
    single.back(as_data(batch, stack.astype("float32")), 0)
    assert_vectors_close(stack, single.gradient, gradient, 1e-5)


@pytest.mark.parametrize("counted", ["every", "masked"])
def test_gradients_are_those_of_torchs_lstm(counted):
    torch = pytest.importorskip("torch")
    from helpers import torch_model

    stack, batch = make_stack(*LSTM), make_batch(counted)
    lstm = torch.nn.LSTM(2, 5, num_layers=2, bidirectional=True).double()
    weights = {name.removeprefix("rnn."): torch.tensor(value) for name, value in gs.to_torch(stack).items()}
    readout = [weights.pop(f"readout.{name}").requires_grad_() for name in ("weight", "bias")]
    lstm.load_state_dict(weights)
    lengths = torch.tensor(batch.lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(batch.inputs), lengths, enforce_sorted=False
    )
    features, _ = torch.nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], total_length=len(batch.inputs))
    loss = torch_model.loss(
        stack.heads, torch.nn.functional.linear(features, *readout), batch.targets, batch.mask
    )
    loss.backward()
    engine = engine_of(stack, batch)
    assert engine.back(as_data(batch, stack), 0).loss == pytest.approx(float(loss.detach()), rel=LOSS)
    # Both order the weights by layer, direction and name.
    gradient = np.concatenate([value.grad.numpy().reshape(-1) for value in (*lstm.parameters(), *readout)])
    assert_vectors_close(stack, engine.gradient, gradient, GRADIENT)


def test_gradients_are_those_of_torchs_gru_in_a_mixed_stack():
    torch = pytest.importorskip("torch")
    from helpers import torch_model

    stack, batch = make_stack(*MIXED, merge="sum"), make_batch("masked")
    weights, steps = torch_model.leaves(stack), np.arange(len(batch.inputs))[:, None]
    other = torch.tensor(np.where(steps < batch.lengths, batch.lengths - 1 - steps, steps))[:, :, None]
    x = torch.tensor(batch.inputs)
    for number, layer in enumerate(stack.layers):
        outputs = []
        for way, name in stack.prefixes(number).items():
            gru = torch.nn.GRU(layer.input_size, 5).double()
            named = {f"{key}_l0": weights[f"{name}.{key}"] for key in torch_model.PARAMS}
            back = way == "backward"
            taken = torch.gather(x, 0, other.expand_as(x)) if back else x
            h, _ = torch.func.functional_call(gru, named, (taken,))
            outputs.append(torch.gather(h, 0, other.expand_as(h)) if back else h)
        x = sum(outputs)
    y = torch.nn.functional.linear(x, weights["readout_weight"], weights["readout_bias"])
    loss = torch_model.loss(stack.heads, y, batch.targets, batch.mask)
    loss.backward()
    engine = engine_of(stack, batch)
    assert engine.back(as_data(batch, stack), 0).loss == pytest.approx(float(loss.detach()), rel=LOSS)
    assert_vectors_close(stack, engine.gradient, torch_model.gradients(weights), GRADIENT)


def test_dropout_multiplies_inputs_and_outputs_of_both_directions():
    """The loss of an update beside that of runs between which the masks are applied."""
    stack, batch = make_stack("lstm 5 | lstm 5", "lstm 5"), make_batch("masked")
    drop = dataclasses.replace(ALL, recurrent=0.0)
    score = engine_of(stack, batch, dropout=drop, seed=3).back(as_data(batch, stack), 2)
    x, steps, sequences = batch.inputs, *batch.mask.shape
    for k, (layer, size, location) in enumerate(
        zip((*stack.layers, None), (2, 10, 5), ("inputs", "between", "outputs"), strict=True)
    ):
        shape = steps, sequences, size
        common = {"seed": 3, "update": 2, "location": location, "layer": k, "dtype": "float64"}
        x = x * masks(getattr(drop, location), shape, **common)
        if layer is not None:
            x = gs.run(gs.Stack(layers=(layer,)), x, lengths=batch.lengths).outputs
    losses, _ = losses_and_slopes(batch, x @ stack.readout_weight.T + stack.readout_bias)
    np.testing.assert_allclose(score.head_loss, losses, rtol=LOSS)


@pytest.mark.slow
def test_gradient_with_all_dropout_and_noise_is_the_slope_of_the_loss_for_any_threads(monkeypatch):
    monkeypatch.setattr("gatescope.training.engine._THREAD_WORK", 0)
    stack = make_stack("lstm 5 | lstm 5", "| lstm 5")
    batch = make_batch("masked", sequences=40, lengths=np.arange(40) % 12 + 1)
    data, options = as_data(batch, stack), {"dropout": ALL, "weight_noise": 0.1, "seed": 3}
    runs = []
    for threads in (1, 2, 5):
        engine = engine_of(stack, batch, threads=threads, **options)
        if threads == 5:  # nothing depends on what was done before
            engine.back(as_data(make_batch("every", steps=5, lengths=None), stack), 9)
            engine.evaluate(data)
        runs.append((engine.back(data, 1).loss, engine.gradient.tobytes()))
        engine.close()
    assert runs[0] == runs[1] == runs[2]
    engine = engine_of(stack, batch, **options)
    engine.back(data, 1)
    gradient, theta = engine.gradient.copy(), engine.theta.copy()
    rng, small = np.random.default_rng(0), 1e-6
    for begin, end in engine.sizes:
        way = np.zeros_like(theta)
        way[begin:end] = rng.standard_normal(end - begin)
        ends = []
        for sign in (1, -1):
            engine.theta[:] = theta + sign * small * way
            ends.append(engine.back(data, 1).loss)
        # As in test_engine.py.
        assert (ends[0] - ends[1]) / (2 * small) == pytest.approx(gradient @ way, abs=2e-8)


def test_predictions_are_the_outputs_of_a_run():
    stack, batch = make_stack("lstm 5 | lstm 5", "| lstm 5"), make_batch("every")
    outputs = gs.predict(stack, batch.inputs, lengths=batch.lengths)
    trace = gs.run(stack, batch.inputs, lengths=batch.lengths)
    within = np.arange(12)[:, None] < batch.lengths
    np.testing.assert_allclose(outputs[within], trace.outputs[within], rtol=0, atol=1e-13)
    past = trace["layers.1"].outputs[0] @ stack.readout_weight.T + stack.readout_bias
    np.testing.assert_allclose(outputs[11, 1:], past[1:], rtol=0, atol=1e-13)
    assert gs.evaluate(stack, batch).head_loss == pytest.approx(
        losses_and_slopes(batch, outputs)[0], rel=LOSS
    )


SUMS = (gs.Head("y", 1),)


def small_stack(*layers):
    return make_stack(*layers, heads=SUMS, dtype="float32")


def test_stopped_and_resumed_training_has_the_same_bits(tmp_path, monkeypatch):
    """With minibatches of sequences of several lengths; a probe has a column a direction."""
    stack, batch = small_stack("lstm 5 | lstm 5", "lstm 5"), make_sums()
    options = {
        "batch_size": 3, "lr": 0.02, "weight_noise": 0.01, "validation": make_sums(1), "probe_every": 2,
        "dropout": Dropout(inputs=0.1, between=0.1, outputs=0.1), "epochs": 3, "threads": 1,
    }  # fmt: skip
    whole = gs.train(stack, batch, **options)
    assert whole.history.half_life.shape == (2, 3)
    assert whole.history.probe_gates == (("i", "f", "g", "o"),) * 3
    assert (whole.model.flat() != stack.flat()).all()

    class Stop(Exception):
        pass

    real, calls = Engine.back, []

    def back(self, *rest, **more):
        calls.append(0)
        if len(calls) == 5:
            raise Stop
        return real(self, *rest, **more)

    path = tmp_path / "run.npz"
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "back", back)
        with pytest.raises(Stop):
            gs.train(stack, batch, checkpoint=path, checkpoint_seconds=0, **options)
    resumed = gs.train(stack, batch, checkpoint=path, **options)
    assert resumed == whole
    resumed.save(tmp_path / "saved.npz")
    assert gs.load(tmp_path / "saved.npz") == whole
    assert whole.summary().startswith("lstm 5 and lstm 5 backward + lstm 5: finished: 3 epochs, 9 updates")
    assert (
        "layer 0 backward, half-life at the last probe: the window of 9 steps is too short" in whole.summary()
    )
    same_weights = dataclasses.replace(
        stack, layers=(stack.layers[0], dataclasses.replace(stack.layers[1], reverse=True))
    )
    with pytest.raises(ValueRangeError, match=r"backward_directions` \(layers\.0\.backward there"):
        gs.train(same_weights, batch, checkpoint=path, **options)


def test_probes_measure_each_direction_on_what_it_gets():
    stack, batch = (
        small_stack("lstm 5 | lstm 5", "lstm 5"),
        make_sums(steps=40, lengths=(40, 20, 30, 40, 1, 25, 40)),
    )
    rates, lives, saturation, doubts = probe_on(as_data(batch, stack), 1)(stack)
    inputs = batch.inputs[:30, [0, 2, 3, 6]].astype("float32")  # as in test_monitor.py
    outputs = gs.run(gs.Stack(layers=stack.layers[:1]), inputs).outputs
    for k, (params, x) in enumerate(zip(stack.directions().values(), (inputs, inputs, outputs), strict=True)):
        flow = gs.gradient_flow(params, x, of="joint", wrt="joint")
        assert rates[k] == flow.decay_rate().value.mean()
    np.testing.assert_array_equal(lives, np.log(2) / rates)
    assert saturation.shape == (3, 4, 2)
    assert doubts == ("",) * 3


def next_input(seed=0):
    """Return noise, of which the next value is asked for at every step that has one."""
    x = np.random.default_rng(seed).standard_normal((20, 20, 1))
    mask = np.arange(20)[:, None] < np.full(20, 19)
    return gs.Batch(inputs=x, targets=np.roll(x, -1, axis=0), mask=mask, name="next")


def test_what_comes_next_is_learned_by_a_backward_direction_alone(recwarn):
    """And that it is the next input which the model was asked for is warned of."""
    batch, other = next_input(), next_input(1)
    losses = []
    for both in (False, True):
        assert not recwarn
        stack = gs.init_stack("lstm", hidden_size=5, heads=batch, bidirectional=both, seed=0, dtype="float64")
        run = gs.train(stack, batch, lr=0.03, epochs=300, threads=1)
        losses.append(gs.evaluate(run.model, other).loss)
    variance = np.square(other.targets[:19]).mean()
    assert losses[0] > 0.9 * variance, "nothing in noise says what comes next"
    assert losses[1] < 0.02 * variance
    assert [str(warning.message) for warning in recwarn] == [
        "the targets of head 'y' are inputs of the next step, and layers.0.backward takes that step first: the model "
        "can read what it is to predict; train a forward model to predict"
    ]


def test_classes_that_are_the_next_inputs_are_warned_of():
    symbols = np.random.default_rng(0).integers(0, 3, (12, 4))
    heads = [gs.Head("loudness", 1), gs.Head("next", 3, "cross_entropy")]
    targets = np.stack([np.ones((11, 4)), symbols[1:]], axis=2)
    batch = gs.Batch(
        inputs=np.eye(3)[symbols[:-1]], targets=targets, heads=heads, lengths=np.array([11, 9, 11, 5])
    )
    stack = gs.init_stack("lstm", hidden_size=5, heads=batch, bidirectional=True)
    with pytest.warns(InputWarning, match=r"^the targets of head 'next' are inputs of the next step"):
        gs.train(stack, batch, epochs=0)
    other = dataclasses.replace(batch, targets=targets[::-1].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gs.train(stack, other, epochs=0)


def test_wide_inputs_are_not_copied_to_look_for_answers():
    inputs = np.random.default_rng(0).standard_normal((200, 40, 50))
    batch = gs.Batch(inputs=inputs, targets=np.roll(inputs[:, :, 49:], -1, axis=0))
    stack = gs.init_stack("lstm", hidden_size=5, heads=batch, bidirectional=True, dtype="float64")
    data = as_data(batch, stack)
    data.mask[-1] = 0
    tracemalloc.start()
    with pytest.warns(InputWarning, match="inputs of the next step"):
        warn_of_answers_ahead(data, stack)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < inputs.nbytes / 4


def test_a_layer_of_two_directions_gets_a_read_out():
    batch = make_sums()
    stack = gs.init_stack("lstm", hidden_size=5, heads=batch, bidirectional=True, seed=4)
    run = gs.train(stack.layers[0], batch, epochs=0, seed=4)
    assert run.model.readout_weight.shape == (1, 10)
    np.testing.assert_array_equal(run.model.flat(), stack.flat())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bptt_steps": 6},
            r"bptt_steps=6 cuts sequences, and layers\.0\.backward takes them from their last step on: it would be "
            r"another model; leave it out, or give shorter sequences",
        ),
        (
            {"bptt_steps": 6, "stateful": True},
            r"stateful carries states on to later steps, and those of layers\.0\.backward come from later ones; "
            r"leave out `stateful` and `bptt_steps`",
        ),
    ],
)
def test_truncation_and_carried_states_are_refused(options, message):
    with pytest.raises(ValueRangeError, match=f"^{message}$"):
        gs.train(small_stack("lstm 5 | lstm 5"), make_sums(), **options)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"begin": 3}, r"begin=3 must be 0"),
        ({"end": 5}, r"end=5 must be 12"),
        ({"carry": True}, r"carry=True must be False"),
    ],
)
def test_an_engine_refuses_parts_of_the_steps(window, message):
    stack, batch = small_stack("lstm 5", "| lstm 5"), make_sums()
    rest = (
        r": layers\.1 takes sequences whole, from their last step on; leave it out, or give shorter sequences"
    )
    with pytest.raises(ValueRangeError, match=f"^{message}{rest}$"):
        engine_of(stack, batch).back(as_data(batch, stack), 0, **window)


def test_inputs_of_another_order_are_refused():
    stack = small_stack("lstm 5 | lstm 5")
    ways = {
        way: dataclasses.replace(one, batch_first=True) for way, one in directions(stack.layers[0]).items()
    }
    stack = dataclasses.replace(stack, layers=(gs.Bidirectional(**ways),))
    with pytest.raises(
        ValueRangeError,
        match=r"^layers\[0\]\.batch_first=True must be False: models that are trained here take \(T, B, I\); read the",
    ):
        gs.train(stack, make_sums())


def test_layers_are_drawn_both_ways_or_forward():
    options = {"input_size": 3, "hidden_size": [5, 4], "heads": SUMS, "seed": 1}
    plain = gs.init_stack(["lstm", "gru"], **options)
    two = gs.init_stack(["lstm", "gru"], bidirectional=[True, False], **options)
    assert two.layers[0].forward == plain.layers[0]
    assert two.layers[0].backward.reverse
    assert (two.layers[0].backward.weight_hh != plain.layers[0].weight_hh).all()
    assert two.layers[1].weight_ih.shape == (12, 10)
    assert gs.init_stack("lstm", bidirectional=True, **options).readout_weight.shape == (1, 8)
    with pytest.raises(
        ShapeError, match=r"^bidirectional has 1 value for 2 layers; give one for all, or one each$"
    ):
        gs.init_stack("lstm", bidirectional=[True], **options)
    with pytest.raises(ValueRangeError, match=r"^bidirectional=1 must be True or False"):
        gs.init_stack("lstm", bidirectional=1, **options)
