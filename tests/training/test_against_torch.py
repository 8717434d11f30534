"""Whole models against PyTorch's autograd, optimizers and clipping, live, in float64.

`torch_model` holds the model in PyTorch.  Errors are relative to the largest element of each tensor.
"""

import numpy as np
import pytest
from helpers.cases import FEW
from helpers.model_cases import COUNTED, assert_vectors_close, make_batch, make_stack

import gatescope as gs
from gatescope.training import workspace
from gatescope.training.arrays import as_data
from gatescope.training.clipping import Clip
from gatescope.training.dropout import Dropout, masks
from gatescope.training.engine import Engine
from gatescope.training.optimizers import SGD, Adam, RMSprop

torch = pytest.importorskip("torch")
from helpers import torch_model  # noqa: E402 - it imports torch

# Both sum the same terms in other orders: some hundred roundings of 1.1e-16.
LOSS = 1e-12
GRADIENT = 1e-11
# Ten updates divide by the root of a running mean square, which magnifies roundings of small gradients.
WEIGHTS = 1e-9

DEEP = (("lstm", "gru", "rnn"), (5, 17, 5))
TWO = (("gru_reset_before", "lstm"), (5, 5))


def counted_of(batch):
    """(T, B) bool: the steps that count, none of them past a sequence's end."""
    return batch.mask & (np.arange(len(batch.mask))[:, None] < batch.lengths)


def by_torch(stack, batch, masks=None):
    """Loss, the heads' losses, and the gradient (N,), by autograd."""
    weights = torch_model.leaves(stack)
    states = torch_model.zero_states(stack, batch.inputs.shape[1])
    y, _ = torch_model.outputs(stack.cells, weights, batch.inputs, states, masks)
    counted = counted_of(batch)
    loss = torch_model.loss(stack.heads, y, batch.targets, counted)
    loss.backward()
    heads = torch_model.head_losses(stack.heads, y, batch.targets, counted)
    return float(loss.detach()), [float(value.detach()) for value in heads], torch_model.gradients(weights)


def engine_of(stack, batch, **keywords):
    steps, sequences = batch.inputs.shape[:2]
    return Engine(stack, steps=steps, sequences=sequences, **keywords)


def torch_masks(stack, shape, dropout, seed, update):
    """Return the masks of an update of so many steps and sequences, where anything is dropped."""
    steps, sequences = shape
    sizes = [layer.hidden_size for layer in stack.layers]

    def draw(location, size, layer):
        probability = getattr(dropout, location)
        shape = (sequences, size) if location == "recurrent" else (steps, sequences, size)
        common = {"seed": seed, "update": update, "location": location, "layer": layer, "dtype": "float64"}
        return masks(probability, shape, **common) if probability else None

    return torch_model.Masks(
        inputs=draw("inputs", stack.input_size, 0),
        between=tuple(draw("between", size, k + 1) for k, size in enumerate(sizes[:-1])),
        outputs=draw("outputs", sizes[-1], len(sizes)),
        recurrent=tuple(draw("recurrent", size, k) for k, size in enumerate(sizes)),
    )


def check(stack, batch, dropout=None, **keywords):
    """Loss and gradient of an engine against autograd's."""
    seed, update = 3, 2
    drop = {"dropout": dropout, "seed": seed} if dropout else {}
    engine = engine_of(stack, batch, **drop, **keywords)
    score = engine.back(as_data(batch, stack), update)
    masked = torch_masks(stack, batch.mask.shape, dropout, seed, update) if dropout else None
    loss, heads, gradient = by_torch(stack, batch, masked)
    assert score.count == counted_of(batch).sum()
    np.testing.assert_allclose(score.loss, loss, rtol=LOSS)
    np.testing.assert_allclose(score.head_loss, heads, rtol=LOSS)
    assert_vectors_close(stack, engine.gradient, gradient, GRADIENT)


def test_the_oracle_is_torchs_own_layers():
    stack, batch = make_stack(*DEEP), make_batch("every", lengths=None)
    weights = torch_model.leaves(stack)
    states = torch_model.zero_states(stack, batch.inputs.shape[1])
    ours, _ = torch_model.outputs(stack.cells, weights, batch.inputs, states)
    theirs = torch_model.outputs_by_layers(stack, weights, batch.inputs)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("counted", COUNTED)
def test_gradients_of_a_deep_model(counted):
    check(make_stack(*DEEP), make_batch(counted))


@pytest.mark.parametrize("counted", COUNTED)
def test_gradients_of_two_phases_under_an_lstm(counted):
    check(make_stack(*TWO), make_batch(counted))


# Bytes for a window's states and gates: all steps are kept, or each segment is computed again from its checkpoint.
MEMORY = pytest.mark.parametrize("memory", [1 << 30, 1], ids=["kept", "recomputed"])


@pytest.fixture
def segments(monkeypatch):
    """Segments of 64 steps, the shortest there are, so that sequences need not be long to have several."""
    monkeypatch.setattr(workspace, "_SEGMENT_BYTES", 1)
    return 64


def long_batch(segments):
    """Sequences that end in the third, the first and the second segment."""
    return make_batch("masked", steps=2 * segments + 9, lengths=(2 * segments + 9, 7, segments + 1))


@MEMORY
@pytest.mark.parametrize("cell", FEW)
def test_gradients_of_one_layer_over_several_segments(cell, memory, segments):
    check(make_stack((cell,), (5,), scale=0.9), long_batch(segments), memory=memory)


@MEMORY
def test_gradients_of_a_deep_model_over_several_segments(memory, segments):
    check(make_stack(*DEEP), long_batch(segments), memory=memory)


@pytest.mark.parametrize("at", ["last", "every"])
def test_targets_are_taken_where_they_are_asked_for(at):
    """`at` stands above the batch's own mask."""
    stack, batch = make_stack(*TWO), make_batch("masked")
    engine = engine_of(stack, batch)
    engine.back(as_data(batch, stack, at=at), 0)
    gradient = by_torch(stack, make_batch(at))[2]
    assert_vectors_close(stack, engine.gradient, gradient, GRADIENT)


EVERYWHERE = Dropout(inputs=0.2, between=0.3, outputs=0.25, recurrent=0.4)


@pytest.mark.parametrize(
    "location", ["inputs", "between", "outputs", pytest.param("recurrent", marks=pytest.mark.slow)]
)
def test_gradients_with_dropout_in_one_location(location):
    stack, batch = make_stack(*DEEP), make_batch("masked")
    dropout = Dropout(**{location: 0.4})
    check(stack, batch, dropout)
    changed = engine_of(stack, batch, dropout=dropout, seed=3).back(as_data(batch, stack), 2).loss
    assert abs(changed - by_torch(stack, batch)[0]) > 1e-6, "dropout makes a difference"


@pytest.mark.slow
@pytest.mark.parametrize("counted", COUNTED)
@pytest.mark.parametrize("model", [DEEP, TWO], ids=["deep", "two phases"])
def test_gradients_with_dropout_everywhere(model, counted):
    check(make_stack(*model), make_batch(counted), EVERYWHERE)


@pytest.mark.slow
@MEMORY
@pytest.mark.parametrize("model", [DEEP, TWO], ids=["deep", "two phases"])
def test_segments_get_their_own_steps_masks(model, memory, segments):
    check(make_stack(*model), long_batch(segments), EVERYWHERE, memory=memory)


def test_predictions_are_torchs():
    stack, batch = make_stack(*DEEP), make_batch("every")
    engine = engine_of(stack, batch)
    outputs = engine.predict(batch.inputs, batch.lengths)
    weights = torch_model.leaves(stack)
    expected, _ = torch_model.outputs(stack.cells, weights, batch.inputs, torch_model.zero_states(stack, 3))
    within = counted_of(batch)
    np.testing.assert_allclose(outputs[within], expected.detach().numpy()[within], rtol=0, atol=1e-13)


# ---- updates ----

OPTIMISERS = {
    "adam": (Adam(), 1e-2, lambda weights: torch.optim.Adam(weights, lr=1e-2)),
    "rmsprop": (
        RMSprop(alpha=0.99, eps=1e-8),
        1e-3,
        lambda weights: torch.optim.RMSprop(weights, lr=1e-3, alpha=0.99, eps=1e-8),
    ),
    "sgd with momentum": (
        SGD(momentum=0.9),
        1e-1,
        lambda weights: torch.optim.SGD(weights, lr=1e-1, momentum=0.9),
    ),
    "sgd with nesterov": (
        SGD(momentum=0.9, nesterov=True),
        3e-2,
        lambda weights: torch.optim.SGD(weights, lr=3e-2, momentum=0.9, nesterov=True),
    ),
}
CLIP = 0.3


def updated(stack, batch, optimizer, lr, *, updates, window=None, **keywords):
    """Weights (N,) after so many updates of an engine, and how many gradients were clipped."""
    engine, data = engine_of(stack, batch, **keywords), as_data(batch, stack)
    state = optimizer.state(engine.theta.size, engine.theta.dtype)
    clip, clipped = Clip(norm=CLIP), 0
    steps = len(batch.inputs)
    length = window or steps
    begins = range(0, steps, length)
    for update in range(updates):
        begin = begins[update % len(begins)]
        engine.back(data, update, begin=begin, end=min(begin + length, steps), carry=begin > 0)
        clipped += clip.apply(engine.gradient, engine.sizes)[1]
        optimizer.update(engine.theta, engine.gradient, state, update + 1, lr)
    return np.array(engine.theta), clipped


def torch_data(batch):
    return batch.inputs, batch.targets, counted_of(batch)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_ten_updates_with_clipping(name):
    ours, lr, theirs = OPTIMISERS[name]
    stack, batch = make_stack(*DEEP), make_batch("masked")
    weights, clipped = updated(stack, batch, ours, lr, updates=10)
    expected = torch_model.train(stack, torch_data(batch), theirs, updates=10, clip_norm=CLIP)
    assert clipped == 10, "a test of clipping that clips nothing shows nothing"
    assert np.abs(expected - stack.flat()).max() > lr * 0.05, "and weights that stay where they are neither"
    assert_vectors_close(stack, weights, expected, WEIGHTS)


def test_truncated_windows_carry_the_state():
    stack, batch = make_stack(*DEEP), make_batch("every", lengths=None)
    _, lr, theirs = OPTIMISERS["adam"]
    weights, _ = updated(stack, batch, Adam(), lr, updates=10, window=5)
    expected = torch_model.train(stack, torch_data(batch), theirs, updates=10, clip_norm=CLIP, window=5)
    assert_vectors_close(stack, weights, expected, WEIGHTS)
    whole, _ = updated(stack, batch, Adam(), lr, updates=10)
    assert np.abs(whole - weights).max() > 1e-4, "windows make a difference"


@pytest.mark.slow
def test_windows_with_dropout():
    stack, batch = make_stack(*DEEP), make_batch("every", lengths=None, steps=10)
    _, lr, theirs = OPTIMISERS["adam"]
    weights, _ = updated(stack, batch, Adam(), lr, updates=4, window=5, dropout=EVERYWHERE, seed=3)
    drawn = lambda update: torch_masks(stack, (5, 3), EVERYWHERE, 3, update)  # noqa: E731
    expected = torch_model.train(
        stack, torch_data(batch), theirs, updates=4, clip_norm=CLIP, window=5, masks=drawn
    )
    assert_vectors_close(stack, weights, expected, WEIGHTS)


def test_train_follows_torch():
    stack, batch = make_stack(*DEEP), make_batch("masked")
    run = gs.train(stack, batch, optimizer="adam", lr=1e-2, clip_norm=CLIP, epochs=10)
    theirs = OPTIMISERS["adam"][2]
    expected = torch_model.train(stack, torch_data(batch), theirs, updates=10, clip_norm=CLIP)
    assert_vectors_close(stack, run.model.flat(), expected, WEIGHTS)
    loss, heads, gradient = by_torch(stack, batch)
    np.testing.assert_allclose(run.history.loss[0], loss, rtol=LOSS)
    np.testing.assert_allclose(run.history.head_loss[0], heads, rtol=LOSS)
    np.testing.assert_allclose(run.history.gradient_norm[0], np.linalg.norm(gradient), rtol=GRADIENT)


def test_train_carries_states_over_windows():
    """Ten windows: the state goes on through the data, and begins from zero with every pass through it."""
    stack, batch = make_stack(*DEEP), make_batch("every", lengths=None, steps=10)
    run = gs.train(
        stack, batch, optimizer="adam", lr=1e-2, clip_norm=CLIP, epochs=5, bptt_steps=5, stateful=True
    )
    theirs = OPTIMISERS["adam"][2]
    expected = torch_model.train(stack, torch_data(batch), theirs, updates=10, clip_norm=CLIP, window=5)
    assert_vectors_close(stack, run.model.flat(), expected, WEIGHTS)
