"""train(): what an epoch is, which numbers it reports, and that they are the same bits every time."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from helpers.leaky import Leaky
from helpers.train_cases import (
    LENGTHS,
    SEQUENCES,
    STEPS,
    fresh,
    make_batch,
    make_params,
    make_stack,
    record,
    same,
    score,
    train,
)

import gatescope as gs
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.training import train as loop
from gatescope.training.arrays import as_data
from gatescope.training.clipping import Clip
from gatescope.training.dropout import Dropout
from gatescope.training.engine import Engine
from gatescope.training.evaluation import constant_loss
from gatescope.training.optimizers import SGD, Adam

# ---- an epoch ----


def test_updates_are_those_of_its_parts():
    """Three full-batch updates by hand: gradient, clip, Adam."""
    batch = make_batch()
    run = train(data=batch, epochs=3, lr=0.05, clip_norm=0.3, snapshot_every=1)
    engine = Engine(run.at(0), steps=STEPS, sequences=SEQUENCES)
    adam = Adam()
    state = adam.state(engine.theta.size, "float32")
    for k in range(3):
        computed = engine.back(as_data(batch, run.at(0)), k)
        norm, clipped = Clip(norm=0.3).apply(engine.gradient)
        adam.update(engine.theta, engine.gradient, state, k + 1, 0.05)
        np.testing.assert_array_equal(run.snapshots[k + 1], engine.theta)
        assert run.history.loss[k] == pytest.approx(computed.loss, rel=1e-15)  # summed and divided again
        assert (run.history.gradient_norm[k], run.history.clipped[k]) == (norm, clipped)
    assert run.history.clipped.any()
    np.testing.assert_array_equal(run.model.flat(), engine.theta)


def test_loss_falls_and_the_history_is_whole():
    run = train(epochs=60, lr=0.02, batch_size=3, validation=make_batch(1), validate_every=20, probe_every=30)
    history = run.history
    assert history.loss[-1] < 0.3 * history.loss[0]
    np.testing.assert_array_equal(history.epoch, np.arange(1, 61))
    np.testing.assert_array_equal(history.updates, 3 * np.arange(1, 61))  # 3, 3 and 1 sequences
    np.testing.assert_array_equal(history.validation_epoch, [20, 40, 60])
    np.testing.assert_array_equal(history.probe_epoch, [0, 30, 60])
    np.testing.assert_array_equal(history.learning_rate, 0.02)
    np.testing.assert_allclose(history.head_loss[:, 0], history.loss, rtol=1e-12)
    assert (history.largest_gradient_norm >= history.gradient_norm).all()
    assert history.seconds.shape == (60,)
    assert (history.seconds > 0).all()
    assert np.isnan(history.accuracy).all()  # a mean squared error is neither right nor wrong
    assert run.status == gs.Status.FINISHED
    assert run.message == "finished: 60 epochs, 180 updates"
    assert history.validation_loss[-1] == score(run.model, make_batch(1)).loss


def test_the_model_given_is_not_changed():
    params, state = make_params(), np.random.get_state()[1].copy()  # noqa: NPY002 - the state nobody may touch
    before = {name: value.copy() for name, value in params.arrays().items()}
    run = train(params, epochs=2)
    for name, value in params.arrays().items():
        np.testing.assert_array_equal(value, before[name])
    assert not np.array_equal(run.model.layers[0].weight_hh, params.weight_hh)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_a_pass_takes_every_sequence_once_in_an_order_of_its_own(monkeypatch):
    calls = record(monkeypatch)
    batch = make_batch()
    train(data=batch, epochs=2, batch_size=3, seed=4)
    assert [call[0] for call in calls] == list(range(6))
    orders = []
    for epoch in (calls[:3], calls[3:]):
        order = []
        for _, inputs, lengths, *_ in epoch:
            assert inputs.shape[0] == max(lengths)  # cut to the longest
            for b, length in enumerate(lengths):
                (sequence,) = [
                    k
                    for k in range(SEQUENCES)
                    if np.array_equal(inputs[:, b], batch.inputs[: len(inputs), k].astype("float32"))
                ]
                assert length == LENGTHS[sequence]
                order.append(sequence)
        assert sorted(order) == list(range(SEQUENCES))
        orders.append(order)
    assert orders[0] != orders[1]
    calls.clear()
    train(data=batch, epochs=1, batch_size=3, seed=5)
    assert [len(call[2]) for call in calls] == [3, 3, 1]
    assert not np.array_equal(calls[0][1], batch.inputs[:, orders[0][:3]].astype("float32"))


def test_losses_are_weighted_by_the_steps_that_counted():
    """A learning rate that changes nothing: the epoch's loss is that of all the data at once."""
    parts, whole = (train(epochs=1, lr=1e-30, batch_size=size) for size in (3, None))
    assert parts.history.loss[0] == pytest.approx(whole.history.loss[0], rel=1e-6)  # float32 kernels
    assert whole.history.loss[0] == pytest.approx(score(whole.model, make_batch()).loss, rel=1e-12)


@pytest.mark.parametrize("stateful", [False, True])
def test_windows(monkeypatch, stateful):
    calls = record(monkeypatch)
    batch = make_batch(sequences=6, lengths=None)
    run = train(make_stack(), batch, epochs=2, batch_size=3, bptt_steps=5, stateful=stateful)
    windows = [(0, 5), (5, 10), (10, 12)]
    for number, begin in enumerate(range(0, len(calls), 3)):
        part = calls[begin : begin + 3]
        assert [call[3:5] for call in part] == windows
        assert [call[5] for call in part] == [False, stateful, stateful]
        assert [call[0] for call in part] == [3 * number, 3 * number + 1, 3 * number + 2]
    assert len(calls) == 12
    assert run.history.updates[-1] == 12


def test_a_stateful_window_starts_where_the_last_one_ended():
    """With a learning rate that changes nothing, windows lose nothing but gradients if the state is carried."""
    whole, carried, cut = (
        train(epochs=1, lr=1e-30, **options).history.loss[0]
        for options in ({}, {"bptt_steps": 4, "stateful": True}, {"bptt_steps": 4})
    )
    assert carried == pytest.approx(whole, rel=1e-6)  # float32 kernels
    assert abs(cut - whole) > 1e-3 * whole


def test_windows_in_which_nothing_counts_make_no_update(monkeypatch):
    calls = record(monkeypatch)
    run = train(epochs=3, bptt_steps=5, at="last", data=make_batch(lengths=None))
    assert len(calls) == 9
    assert run.history.updates[-1] == 3
    assert np.isfinite(run.history.loss).all()


def test_fresh_data(monkeypatch):
    calls, seeds = record(monkeypatch), []

    def maker(seed):
        seeds.append(seed)
        return fresh(seed)

    run = train(data=maker, epochs=3, updates_per_epoch=2)
    assert len(set(seeds)) == 6
    assert run.history.updates.tolist() == [2, 4, 6]
    for call, seed in zip(calls, seeds, strict=True):
        np.testing.assert_array_equal(call[1], fresh(seed).inputs.astype("float32"))
    other = train(data=fresh, epochs=2, updates_per_epoch=3)
    np.testing.assert_array_equal(other.model.flat(), run.model.flat())
    assert not np.array_equal(train(data=fresh, epochs=6, seed=1).model.flat(), run.model.flat())


def test_fresh_data_keeps_its_shape():
    grown = iter([3, 3, 4])
    with pytest.raises(ShapeError, match=r"inputs of shape \(12, 4, 2\) for batch 2, but of \(12, 3, 2\)"):
        train(data=lambda seed: fresh(seed, sequences=next(grown)), epochs=5)


def test_fresh_data_must_be_a_batch():
    with pytest.raises(DtypeError, match=r"data\(seed=\d+\) is a tuple"):
        train(data=lambda seed: (1, 2))


# Two products with adjoints of their own, two phases, and a cell that a user adds; the plain RNNs take the LSTM's way.
@pytest.mark.parametrize("cell", ["gru", "gru_reset_before", "leaky_test"])
@pytest.mark.slow
def test_other_cells_learn(cell):
    gs.cells.register(Leaky)
    run = train(make_params(cell, dtype="float64"), epochs=200, lr=0.03, probe_every=100)
    assert run.history.loss[-1] < 0.7 * run.history.loss[0]
    assert np.isfinite(run.history.saturation[..., 0, :]).all()


def test_heads_and_accuracy():
    batch = make_batch()
    heads = (gs.Head("sum", 1), gs.Head("sign", 2, "cross_entropy", 0.5))
    signs = (batch.targets > 0).astype(float)
    both = gs.Batch(
        inputs=batch.inputs,
        targets=np.concatenate([batch.targets, signs], axis=2),
        mask=batch.mask,
        lengths=batch.lengths,
        heads=heads,
    )
    run = train(data=both, epochs=80, lr=0.03, validation=both)
    history = run.history
    np.testing.assert_allclose(history.head_loss @ [1, 0.5], history.loss, rtol=1e-12)
    assert history.accuracy[0] < 0.8 < history.accuracy[-1] <= 1
    assert history.validation_accuracy[-1] == score(run.model, both).accuracy


def test_schedule_and_clipping():
    run = train(epochs=4, lr=0.1, schedule="step(2, 0.5)", clip_norm=None)
    np.testing.assert_allclose(run.history.learning_rate, [0.1, 0.1, 0.05, 0.05], rtol=1e-15)
    assert not run.history.clipped.any()
    seen = []
    train(epochs=2, batch_size=3, schedule=lambda update, updates: seen.append((update, updates)) or 1.0)
    assert seen == [(k, 6) for k in range(6)]
    free = train(epochs=1, lr=1.0, optimizer=SGD(), clip_norm=None)
    step = train(epochs=0).model.flat() - free.model.flat()
    for option, expected in (
        ({"clip_norm": 0.01}, np.linalg.norm),
        ({"clip_norm": None, "clip_value": 0.01}, lambda g: np.abs(g).max()),
    ):
        limited = train(epochs=1, lr=1.0, optimizer=SGD(), **option)
        moved = train(epochs=0).model.flat() - limited.model.flat()
        # 1e-3: steps of 0.01 are differences of weights of size 1 in float32.
        assert expected(moved) == pytest.approx(0.01, rel=1e-3)
        assert expected(step) > 0.02
        assert limited.history.gradient_norm[0] == free.history.gradient_norm[0]
        assert limited.history.clipped[0] == 1
    tensor = train(epochs=1, lr=1.0, optimizer=SGD(), clip_norm=None, clip_tensor_norm=0.01)
    before = train(epochs=0).model.weights()
    for name, value in tensor.model.weights().items():
        assert np.linalg.norm(before[name] - value) < 0.0101


def test_validation_that_is_made():
    """Once, from a seed of its own."""
    seeds = []
    run = train(data=fresh, validation=lambda seed: seeds.append(seed) or fresh(seed), epochs=3)
    assert len(seeds) == 1
    assert run.history.validation_loss[-1] == score(run.model, fresh(seeds[0])).loss
    train(data=lambda seed: seeds.append(seed) or fresh(seed), epochs=3)
    assert len(set(seeds)) == 4


def test_validation_in_pieces(monkeypatch):
    """The same loss as of all sequences at once, but for the order of its sums."""
    whole = train(epochs=2, validation=make_batch(1))
    monkeypatch.setattr(loop, "_VALIDATED_TOGETHER", 1)
    parts = train(epochs=2, batch_size=3, lr=1e-3, validation=make_batch(1))
    computed = score(parts.model, make_batch(1))
    assert parts.history.validation_loss[-1] == pytest.approx(computed.loss, rel=1e-6)  # float32 kernels
    assert whole.history.validation_loss[-1] == score(whole.model, make_batch(1)).loss


# ---- the same bits ----


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 3, "bptt_steps": 5, "stateful": True, "optimizer": "rmsprop"},
        {"dropout": Dropout(inputs=0.1, outputs=0.1), "weight_noise": 0.05},
        pytest.param({"dropout": Dropout(recurrent=0.2)}, marks=pytest.mark.slow),  # kernels of its own
    ],
    ids=["plain", "windows", "dropout", "recurrent"],
)
def test_same_bits_every_time(options):
    run, again = (train(epochs=4, validation=make_batch(1), **options) for _ in range(2))
    assert same(run, again)
    assert not same(run, train(epochs=4, validation=make_batch(1), **{**options, "lr": 0.002}))


def test_same_bits_for_any_number_of_threads():
    batch = make_batch(steps=400, sequences=37, lengths=None)  # enough work for the threads to be used
    runs = [train(data=batch, epochs=3, lr=0.01, probe_every=1, threads=threads) for threads in (1, 2, 3)]
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])


def test_looking_on_disturbs_nothing():
    options = {
        "epochs": 5,
        "batch_size": 3,
        "dropout": Dropout(inputs=0.2),
        "bptt_steps": 5,
        "stateful": True,
    }
    plain = train(**options)
    watched = train(**options, probe_every=2, snapshot_every=1, validation=make_batch(2))
    np.testing.assert_array_equal(plain.model.flat(), watched.model.flat())
    np.testing.assert_array_equal(plain.history.loss, watched.history.loss)


def test_snapshots_and_saving(tmp_path):
    run = train(epochs=5, snapshot_every=2, validation=make_batch(1))
    assert run.snapshot_epoch.tolist() == [0, 2, 4, 5]
    np.testing.assert_array_equal(run.at(5).flat(), run.model.flat())
    np.testing.assert_array_equal(run.at(2).flat(), train(epochs=2).model.flat())
    assert train(epochs=4, snapshot_every=2).snapshot_epoch.tolist() == [0, 2, 4]
    run.save(tmp_path / "run.npz")
    assert gs.load(tmp_path / "run.npz") == run
    with pytest.raises(ValueRangeError, match=r"epoch=3 has no snapshot \(there are: 0, 2, 4, 5\)"):
        run.at(3)


def test_a_run_presents_itself():
    run = train(epochs=12, validation=make_batch(1), validate_every=2)
    title, losses, best = run.summary().splitlines()
    assert title == "lstm 5: finished: 12 epochs, 12 updates"
    assert losses.startswith(
        f"training loss {run.history.loss[0]:.4g} to {run.history.loss[-1]:.4g}, validation"
    )
    assert best.startswith(f"best after epoch {run.best_epoch}; ")
    assert str(run) == "; ".join((title, losses, best))
    table = run.table()
    assert [row[0] for row in (table.rows[0], table.rows[-1])] == [1, 12]
    assert [row[2] is None for row in table.rows] == [row[0] % 2 == 1 for row in table.rows]
    assert title in run._repr_html_()
    assert train(epochs=0).table().rows == []


def test_a_run_says_whether_it_beat_the_baseline():
    """The adding problem's is the variance of the sum of two numbers, 1/6, which always answering 1 has."""
    batch = make_batch()
    assert "the task states no baseline" in train(epochs=1).summary()
    judged = dataclasses.replace(batch, baseline=1e-9, baseline_of="always answering 1")
    run, validated = train(data=judged, epochs=2), train(epochs=2, validation=judged)
    for name, losses, one in (
        ("training", run.history.loss, run), ("validation", validated.history.validation_loss, validated),
    ):  # fmt: skip
        text = f"the least {name} loss, {losses.min():.4g}, does not beat the task's baseline, 1.000 × 10^−9"
        assert text in str(one)
        assert str(one).endswith("(always answering 1)")


def test_a_baseline_that_these_data_beat_by_chance_is_not_what_counts():
    """Of 50 sums of two numbers the best constant may have 0.115, where the baseline is 1/6."""
    batch = make_batch()
    constant = constant_loss(batch)
    above = dataclasses.replace(batch, baseline=1e9, baseline_of="always answering 1")
    run = train(data=above, epochs=2)
    assert run.constant_loss == constant
    verdict = "beats" if run.history.loss.min() < constant else "does not beat"
    assert f"{verdict} the best constant answer for these data, {constant:.4g}" in str(run)
    assert "(the task's baseline is 1.000 × 10^9: always answering 1)" in str(run)
    learned = dataclasses.replace(run, constant_loss=2 * float(run.history.loss.min()))
    assert ", by 50.0 % (the task's" in str(learned)
    assert train(data=fresh, epochs=1, updates_per_epoch=1).constant_loss is None


def test_no_memory_is_taken_after_the_first_epochs():
    """The schedule is asked at every update, so it sees how much there is."""
    batch = make_batch(steps=2000, lengths=None)
    piece = 2000 * 3 * 2 * 4  # the inputs of a minibatch: less than any other array that has steps
    now = []

    def watch(update, updates):
        current, peak = tracemalloc.get_traced_memory()
        now.append((current, peak))
        tracemalloc.reset_peak()
        return 1.0

    tracemalloc.start()
    try:
        train(data=batch, epochs=8, batch_size=3, schedule=watch, validation=batch)
    finally:
        tracemalloc.stop()
    assert len(now) == 24
    begin = now[6][0]  # the third epoch's first update
    assert max(current for current, _ in now[6:]) - begin < piece / 4
    assert max(peak for _, peak in now[7:]) - begin < piece / 2
