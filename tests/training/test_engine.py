"""The engine: losses, gradients, segments, masks, threads, memory."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from helpers.engine_cases import HEADS, make_batch, make_stack

import gatescope as gs
from gatescope.datatypes import Head
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.kernels.cpu.loops.subnormals import FLUSHES
from gatescope.training.arrays import Data, as_data
from gatescope.training.dropout import Dropout, masks
from gatescope.training.engine import Engine

ALL = Dropout(inputs=0.2, between=0.3, outputs=0.1, recurrent=0.25)
DROPPED = ("lstm", "lstm")  # kernels with recurrent masks are compiled for each cell: at every run for one


def make_engine(stack, data, **options):
    return Engine(stack, steps=data.inputs.shape[0], sequences=data.inputs.shape[1], **options)


def losses_of(outputs, batch, mask):
    """Return the heads' losses, written once more from their definitions."""
    losses, output, column = [], 0, 0
    for head in batch.heads:
        y = outputs[..., output : output + head.size][mask]
        target = batch.targets[..., column : column + head.columns][mask]
        if head.loss == "mse":
            losses.append(((y - target) ** 2).mean())
        elif head.loss == "cross_entropy":
            log_p = y - np.log(np.exp(y).sum(axis=1, keepdims=True))
            losses.append(-log_p[np.arange(len(y)), target[:, 0].astype(int)].mean())
        else:
            p = 1 / (1 + np.exp(-y))
            losses.append(-np.where(target == 1, np.log(p), np.log(1 - p)).sum(axis=1).mean())
        output, column = output + head.size, column + head.columns
    return np.array(losses)


def test_losses_are_those_of_the_definitions():
    stack, batch = make_stack(), make_batch()
    data = as_data(batch, stack)
    trace = gs.run(stack.layers[0], batch.inputs, lengths=batch.lengths)
    trace = gs.run(stack.layers[1], trace.outputs, lengths=batch.lengths)
    outputs = trace.outputs @ stack.readout_weight.T + stack.readout_bias
    mask = data.mask.astype(bool)
    engine = make_engine(stack, data)
    score = engine.evaluate(data)
    np.testing.assert_allclose(score.head_loss, losses_of(outputs, batch, mask), rtol=1e-12)
    assert score.loss == pytest.approx(score.head_loss @ [1, 0.5, 1], rel=1e-15)
    assert score.count == mask.sum() == (batch.mask & (np.arange(37)[:, None] < batch.lengths)).sum()
    classes = outputs[..., 3:7].argmax(-1)[mask] == batch.targets[..., 3][mask]
    notes = (outputs[..., 7:] > 0)[mask] == (batch.targets[..., 4:] == 1)[mask]
    assert score.accuracy == pytest.approx((classes.sum() + notes.sum()) / (classes.size + notes.size))
    assert engine.back(data, 0).loss == pytest.approx(score.loss, rel=1e-14)
    np.testing.assert_allclose(engine.predict(data.inputs, data.lengths), outputs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("cells", "dropout"),
    [
        (("lstm", "gru"), Dropout()),
        (DROPPED, ALL),
        pytest.param(("lstm_bridge_from_c", "gru_reset_before"), ALL, marks=pytest.mark.slow),
    ],
    ids=["whole", "dropout", "dropout of others"],
)
@pytest.mark.parametrize("memory", [1 << 30, 0], ids=["kept", "checkpoints"])
def test_gradient_is_the_slope_of_the_loss(cells, dropout, memory):
    stack, batch = make_stack(cells), make_batch()
    data = as_data(batch, stack)
    engine = make_engine(stack, data, dropout=dropout, memory=memory)
    engine.back(data, 3)
    gradient, theta = engine.gradient.copy(), engine.theta.copy()
    rng, small = np.random.default_rng(0), 1e-6
    for begin, end in (*engine.sizes, (0, theta.size)):
        way = np.zeros_like(theta)
        way[begin:end] = rng.standard_normal(end - begin)
        ends = []
        for sign in (1, -1):
            engine.theta[:] = theta + sign * small * way
            ends.append(engine.back(data, 3).loss)
        # Differences of 1e-6 of a loss near 9: rounding leaves 2e-9, curvature 1e-12.
        assert (ends[0] - ends[1]) / (2 * small) == pytest.approx(gradient @ way, abs=2e-8)


def test_segments_and_checkpoints_give_the_gradient_of_one_piece(monkeypatch):
    stack, batch = make_stack(DROPPED), make_batch(steps=300)
    data = as_data(batch, stack)
    losses = []
    for size, memory in ((1 << 30, 1 << 30), (1, 1 << 30), (1, 0)):
        monkeypatch.setattr("gatescope.training.workspace._SEGMENT_BYTES", size)
        engine = make_engine(stack, data, dropout=ALL, memory=memory)
        score = engine.back(data, 1)
        losses.append((score.loss, engine.gradient.copy(), engine.evaluate(data).loss))
    for loss, gradient, whole in losses[1:]:
        assert loss == pytest.approx(losses[0][0], rel=1e-14)
        assert whole == pytest.approx(losses[0][2], rel=1e-14)
        np.testing.assert_allclose(gradient, losses[0][1], rtol=0, atol=1e-12 * abs(losses[0][1]).max())


@pytest.mark.parametrize(
    ("sequences", "memory"),
    [(40, 1 << 30), (140, 1 << 30), (140, 0)],
    ids=["few", "many", "many, states not kept"],
)
def test_bits_do_not_depend_on_threads_or_on_what_was_done_before(sequences, memory, monkeypatch):
    monkeypatch.setattr("gatescope.training.engine._THREAD_WORK", 0)
    stack, batch = make_stack(DROPPED), make_batch(sequences=sequences)
    data = as_data(batch, stack)
    runs = []
    for threads in (1, 2, 5):
        engine = make_engine(stack, data, threads=threads, dropout=ALL, weight_noise=0.1, memory=memory)
        if threads == 5:
            engine.back(data, 9, begin=3, end=11)
            engine.evaluate(data)
        score = engine.back(data, 1)
        runs.append((score.loss, engine.gradient.tobytes()))
        engine.close()
    assert runs[0] == runs[1] == runs[2]


def test_what_is_only_evaluated_has_nothing_of_the_way_back():
    stack, batch = make_stack(("lstm",), (6,), heads=HEADS[:1]), make_batch(sequences=140, heads=HEADS[:1])
    data = as_data(batch, stack)
    engine = make_engine(stack, data, learns=False)
    engine.evaluate(data)
    (layer,) = engine._layers
    assert (len(layer._ready), len(layer._ready_back)) == (1, 0)
    engine.back(data, 0)
    engine.evaluate(data)
    assert (len(layer._ready), len(layer._ready_back)) == (2, 1)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_gradients_of_many_sequences_are_the_sums_of_those_of_few(cell):
    """140 sequences are in 18 groups, whose gradients are added in pairs; 70 are in blocks, one after another."""
    stack, batch = (
        make_stack((cell,), (6,), heads=HEADS[:1]),
        make_batch(sequences=140, heads=HEADS[:1], full=True),
    )
    data = as_data(batch, stack)
    engine = make_engine(stack, data, threads=2)
    whole = engine.back(data, 0)
    gradient, parts = engine.gradient.copy(), []
    for half in (slice(0, 70), slice(70, 140)):
        some = Data(*(np.ascontiguousarray(a[:, half]) for a in data[:3]), data.lengths[half].copy())
        parts.append((engine.back(some, 0).loss, engine.gradient.copy()))
    assert whole.loss == pytest.approx((parts[0][0] + parts[1][0]) / 2, rel=1e-14)
    expected = (parts[0][1] + parts[1][1]) / 2
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-14 * np.abs(expected).max())


def test_masks_are_those_that_the_function_tells():
    """With inputs of 1, a linear read-out of the inputs alone shows the mask."""
    head = (Head("y", 1),)
    stack, batch = make_stack(("rnn",), (4,), heads=head), make_batch(heads=head, full=True)
    data = as_data(batch, stack)
    engine = make_engine(stack, data, dropout=Dropout(outputs=0.4), seed=3)
    engine.theta[:] = 0
    engine.theta[-1] = 1.0  # the outputs are 1, whatever is dropped
    engine.theta[slice(*engine.sizes[2])] = 0.5  # h = tanh 0.5 everywhere
    engine.back(data, 8)
    slope = 2 * (1 - batch.targets) / batch.targets.size
    mask = masks(0.4, (37, 5, 4), seed=3, update=8, location="outputs", layer=1, dtype="float64")
    expected = (slope * mask * np.tanh(0.5)).sum(axis=(0, 1))
    np.testing.assert_allclose(engine.gradient[slice(*engine.sizes[4])], expected, rtol=1e-12)
    share = masks(0.3, (1000, 100), seed=0, update=0, location="recurrent")
    # Three standard deviations of a mean of 100,000 draws.
    assert abs((share == 0).mean() - 0.3) < 3 * np.sqrt(0.21 / 1e5)
    assert set(np.unique(share)) == {np.float32(0), np.float32(1 / 0.7)}


def test_every_update_location_and_layer_has_its_own_mask():
    common = {"seed": 1, "update": 2, "location": "between", "layer": 1}
    first = masks(0.5, (50, 4, 3), **common)
    for change in ({"seed": 2}, {"update": 3}, {"location": "outputs"}, {"layer": 2}):
        other = masks(0.5, (50, 4, 3), **{**common, **change})
        assert 0.3 < (first == other).mean() < 0.7
    assert (first[0] != first[1]).any()


def test_windows_carry_the_state():
    stack, batch = make_stack(), make_batch(full=True)
    data = as_data(batch, stack)
    engine = make_engine(stack, data)
    whole = engine.evaluate(data).head_loss
    first = engine.back(data, 0, begin=0, end=20)
    carried = engine.carried
    second = engine.back(data, 1, begin=20, end=37, carry=True)
    np.testing.assert_allclose((20 * first.head_loss + 17 * second.head_loss) / 37, whole, rtol=1e-12)
    after = engine.gradient.copy()
    engine.carried = carried
    assert engine.back(data, 1, begin=20, end=37, carry=True).loss == second.loss
    np.testing.assert_array_equal(engine.gradient, after)
    assert engine.back(data, 1, begin=20, end=37).loss != second.loss


def test_a_window_without_targets_has_no_gradient():
    stack, batch = make_stack(), make_batch()
    batch.mask[:10] = False
    engine = make_engine(stack, data := as_data(batch, stack))
    score = engine.back(data, 0, begin=0, end=10)
    assert score.count == 0
    assert score.loss == 0
    assert not engine.gradient.any()


def test_noise_is_that_of_its_update():
    stack, batch = make_stack(), make_batch()
    data = as_data(batch, stack)
    engine = make_engine(stack, data, weight_noise=0.1, seed=4)
    still = make_engine(stack, data)
    first, other, again = (engine.back(data, update).loss for update in (1, 2, 1))
    assert first == again != other
    assert engine.evaluate(data).loss == still.evaluate(data).loss != first
    np.testing.assert_array_equal(engine.theta, still.theta)


def test_no_memory_is_taken_after_the_first_updates():
    stack, batch = make_stack(DROPPED), make_batch(steps=200, sequences=40)
    data = as_data(batch, stack)
    engine = make_engine(stack, data, dropout=ALL, weight_noise=0.1)
    for update in range(3):
        engine.back(data, update)
    tracemalloc.start()
    try:
        for update in range(3, 6):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            engine.back(data, update)
            _, peak = tracemalloc.get_traced_memory()
            # Python's own small objects; the states of a window alone are 1.5 MB.
            assert peak - before < 20_000
    finally:
        tracemalloc.stop()


def test_one_step_and_one_sequence():
    stack = make_stack(("lstm",), (5,), dtype="float32")
    batch = make_batch(steps=1, sequences=1, full=True)
    data = as_data(batch, stack)
    engine = make_engine(stack, data)
    assert np.isfinite(engine.back(data, 0).loss)
    assert engine.gradient.dtype == np.float32
    assert engine.gradient.any()


def test_carried_states_have_to_fit():
    stack = make_stack()
    data = as_data(make_batch(), stack)
    engine = make_engine(stack, data)
    with pytest.raises(ShapeError, match="multiple"):
        engine.carried = np.zeros(5)
    with pytest.raises(ShapeError, match="window"):
        engine.back(data, 0, begin=3, end=9, carry=True)


def test_evaluate_and_predict_are_public():
    stack, batch = make_stack(), make_batch()
    data = as_data(batch, stack)
    engine = make_engine(stack, data)
    assert gs.evaluate(stack, batch).loss == engine.evaluate(data).loss
    np.testing.assert_array_equal(
        gs.predict(stack, batch.inputs, lengths=batch.lengths), engine.predict(data.inputs, data.lengths)
    )
    assert len(HEADS) == 3


def test_odd_windows_and_data_are_refused():
    stack = make_stack()
    data = as_data(make_batch(), stack)
    engine = make_engine(stack, data)
    for begin, end in ((0, 100), (-5, 37), (7, 7), (9, 3)):
        with pytest.raises(ValueRangeError, match="must be a whole number from"):
            engine.back(data, 0, begin=begin, end=end)
    for name, array in (("inputs", data.inputs[..., :2]), ("targets", data.targets[..., :0])):
        with pytest.raises(ShapeError, match=name):
            engine.back(data._replace(**{name: array}), 0)
        with pytest.raises(ShapeError, match=name):
            engine.evaluate(data._replace(**{name: array}))
    with pytest.raises(DtypeError, match="inputs has dtype float32"):
        engine.back(data._replace(inputs=data.inputs.astype("float32")), 0)
    with pytest.raises(ShapeError, match="inputs"):
        engine.predict(data.inputs[..., :2], data.lengths)
    for name in data._fields:  # of the same numbers, in other places of the memory
        array = np.repeat(getattr(data, name), 2, axis=-1)[..., ::2]
        with pytest.raises(DtypeError, match=f"{name} is not C-contiguous; give numpy.ascontiguousarray"):
            engine.evaluate(data._replace(**{name: array}))


def test_bits_do_not_depend_on_the_steps_seen_first():
    stack, batch = make_stack(), make_batch(steps=70, sequences=3, full=True)
    data = as_data(batch, stack)
    gradients = []
    for windows in ((), ((0, 5),), ((0, 70), (3, 9))):
        engine = Engine(stack, steps=5, sequences=2)
        for begin, end in windows:
            engine.back(data, 0, begin=begin, end=end)
        engine.back(data, 0)
        gradients.append(engine.gradient.tobytes())
    assert gradients[0] == gradients[1] == gradients[2]


def test_recurrent_masks_hold_for_all_windows():
    stack = make_stack(DROPPED)
    data = as_data(make_batch(full=True), stack)
    engine = make_engine(stack, data, dropout=Dropout(recurrent=0.5))
    whole = engine.back(data, 4).head_loss
    parts = [
        engine.back(data, 4 + k, begin=begin, end=end, carry=k > 0, first=4)
        for k, (begin, end) in enumerate(((0, 20), (20, 37)))
    ]
    total = (20 * parts[0].head_loss + 17 * parts[1].head_loss) / 37
    np.testing.assert_allclose(total, whole, rtol=1e-12)
    engine.back(data, 4, begin=0, end=20)
    assert (engine.back(data, 5, begin=20, end=37, carry=True).head_loss != parts[1].head_loss).all()


FADED = 320  # steps over which a factor of 0.1 a step leaves a subnormal number, in float64


def make_fading(sequences=40):
    """Return a model that forgets, and data: the first step alone has the second input, the last one the target."""
    head = (Head("y", 1),)
    stack = make_stack(("rnn",), (4,), inputs=2, heads=head)
    layer = dataclasses.replace(stack.layers[0], weight_hh=0.1 * np.eye(4))
    inputs = np.zeros((FADED, sequences, 2))
    inputs[:, :, 0] = np.random.default_rng(0).uniform(-0.1, 0.1, (FADED, sequences))
    inputs[0, :, 1] = 1
    last = np.arange(FADED)[:, None] == np.full(sequences, FADED - 1)
    lengths, targets = np.full(sequences, FADED), np.ones((FADED, sequences, 1))
    batch = gs.Batch(inputs=inputs, targets=targets, mask=last, lengths=lengths, heads=head)
    return dataclasses.replace(stack, layers=(layer,)), batch


@pytest.mark.skipif(not FLUSHES, reason="not a processor that can be told to")
def test_subnormal_adjoints_count_as_zero_and_others_keep_their_bits(monkeypatch):
    stack, batch = make_fading()
    data = as_data(batch, stack)
    monkeypatch.setattr("gatescope.training.engine._THREAD_WORK", 0)
    gradients = []
    for threads in (1, 2, 5):
        engine = make_engine(stack, data, threads=threads)
        engine.back(data, 0)
        gradients.append(engine.gradient.copy())
        engine.close()
    monkeypatch.setattr("gatescope.training.engine.flush_subnormals", lambda: lambda work: work)
    engine = make_engine(stack, data)
    engine.back(data, 0)
    faded = np.zeros(engine.theta.size, bool)
    faded[1:8:2] = True  # of weight_ih (4, 2), those of the second input
    tiny = np.finfo(float).tiny
    assert (np.abs(engine.gradient[faded]) < tiny).all()
    assert engine.gradient[faded].any()
    for gradient in gradients:
        assert not gradient[faded].any()
        assert gradient[~faded].tobytes() == engine.gradient[~faded].tobytes()
    trace = gs.run(stack.layers[0], batch.inputs)
    adjoint = np.zeros_like(trace.outputs)
    adjoint[-1] = 1
    column = gs.backprop(stack.layers[0], trace, output_adjoint=adjoint).params.weight_ih[:, 1]
    assert (np.abs(column) < tiny).all()
    assert column.any()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_compute_with_subnormal_numbers_when_a_sweep_is_over(threads, monkeypatch):
    monkeypatch.setattr("gatescope.training.engine._THREAD_WORK", 0)
    stack, batch = make_fading()
    data = as_data(batch, stack)
    engine = make_engine(stack, data, threads=threads)
    products = []

    def multiply(index):
        products.append(np.float64(1e-300) * np.float64(1e-10))

    engine.back(data, 0)
    engine.evaluate(data)
    engine._workers.each(multiply, 8)

    def fail(*arguments):
        multiply(0)
        raise RuntimeError("within")

    monkeypatch.setattr(engine._sweep, "learn", fail)
    with pytest.raises(RuntimeError, match="within"):
        engine.back(data, 0)
    within = products[8:]
    del products[8:]
    engine._workers.each(multiply, 8)
    assert 0 not in products
    assert not FLUSHES or set(within) == {0}
    engine.close()
