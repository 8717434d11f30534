"""Runs are what `train` gives, are made once, and are files that appear whole or not at all."""

import dataclasses
import functools
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import FileFormatError, ValueRangeError
from gatescope.experiments.executors import Processes
from gatescope.experiments.seeds import runs as module
from gatescope.experiments.seeds import store as store_module
from gatescope.experiments.seeds.data import run_data
from gatescope.experiments.seeds.runs import _in_turn, make_arm, make_runs, own_first
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.store import RunStore
from gatescope.experiments.seeds.training import counted_to, initial_model, make_run

SPEC = RunSpec(
    task="adding",
    arguments={"steps": 6, "sequences": 3},
    cell="lstm",
    hidden_size=5,
    lr=0.02,
    updates=40,
    dtype="float64",
)
FIXED = SPEC.with_(examples=7, batch_size=3)


def too_late(*_args, **_kwargs):
    raise AssertionError("something was trained")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    make_runs([SPEC, SPEC.with_(seed=1)], path)
    return path


def test_a_run_is_what_train_gives():
    run = make_run(SPEC)
    data = run_data(SPEC)
    model = gs.init_stack("lstm", hidden_size=5, heads=data.test, seed=0, dtype="float64")
    same = gs.train(
        model,
        functools.partial(gs.tasks.adding, steps=6, sequences=3, dtype="float64"),
        lr=0.02,
        epochs=4,
        updates_per_epoch=10,
        validation=data.validation,
    )
    np.testing.assert_array_equal(run.validation_loss, same.history.validation_loss)
    assert run.validation_update.tolist() == [10, 20, 30, 40]
    assert run.model == same.best
    assert run.test_loss == gs.evaluate(same.best, data.test).loss
    assert run.final_test_loss == gs.evaluate(same.model, data.test).loss
    assert (run.reached, run.updates, run.status) == (False, 40, "finished")
    assert np.isnan(run.final_train_loss)
    assert run.validation_loss[-1] < run.validation_loss[0]


def test_updates_to_the_target():
    free = make_run(SPEC)
    losses = free.validation_loss
    last = int(losses.argmin())
    assert last > 0
    target = float(losses[: last + 1].mean() + losses[last]) / 2
    first = int(np.argmax(losses < target))
    run = make_run(SPEC.with_(target_loss=target))
    assert (run.reached, run.updates) == (True, free.validation_update[first])
    np.testing.assert_array_equal(run.validation_loss, losses[: first + 1])
    assert run.outcome() == f"reached after {run.updates} updates"
    never = make_run(SPEC.with_(target_loss=1e-9))
    assert (never.reached, never.updates) == (False, 40)
    assert "not reached" in never.summary()


def test_a_training_set_that_stays_the_same():
    run = make_run(FIXED)
    data = run_data(FIXED)
    assert data.train.inputs.shape == (6, 7, 2)
    # Passes of 3 updates: 13 of them would be 39, one in 3 is judged, and what comes after the last that is would be
    # for nothing.
    assert run.validation_update.tolist() == [9, 18, 27, 36]
    assert run.final_train_loss == pytest.approx(
        gs.evaluate(run_of(FIXED, data).model, data.train).loss, rel=1e-12
    )


def run_of(spec, data):
    return gs.train(initial_model(spec, data.test), data.train, lr=spec.lr, epochs=12, batch_size=3)


@pytest.mark.parametrize(
    ("examples", "batch_size", "updates"), [(7, 3, 10), (9, 2, 10), (10, 1, 10), (4, 4, 40)]
)
def test_no_training_set_exceeds_the_budget(examples, batch_size, updates):
    run = make_run(SPEC.with_(examples=examples, batch_size=batch_size, updates=updates))
    passed = -(-examples // batch_size)
    assert run.validation_update[-1] <= updates
    assert updates - run.validation_update[-1] < max(10, passed)
    assert run.updates == updates


def test_a_budget_that_does_not_last_for_a_pass():
    with pytest.raises(
        ValueRangeError, match="fewer than a pass over the training set of 11 sequences takes, 11"
    ):
        make_run(SPEC.with_(examples=11, batch_size=1, updates=10))


def test_what_was_lost_while_training():
    run = make_run(SPEC)
    model = initial_model(SPEC, run_data(SPEC).test)
    maker = functools.partial(gs.tasks.adding, steps=6, sequences=3, dtype="float64")
    same = gs.train(model, maker, lr=0.02, epochs=40)
    np.testing.assert_allclose(run.training_loss, same.history.loss.reshape(4, 10).mean(1), rtol=1e-12)
    assert run.first_training_loss == pytest.approx(same.history.loss[0], rel=1e-12)
    fixed = make_run(FIXED)
    whole = run_data(FIXED).train
    model = initial_model(FIXED, whole)
    assert fixed.first_training_loss == gs.evaluate(model, whole).loss
    same = gs.train(model, whole, lr=0.02, epochs=12, batch_size=3)
    np.testing.assert_allclose(fixed.training_loss, same.history.loss.reshape(4, 3).mean(1), rtol=1e-12)
    clamped = make_run(FIXED.with_(clamp={"f": 1.0}))
    assert clamped.first_training_loss == gs.evaluate(gs.clamp(model, {"f": 1.0}), whole).loss


def test_windows_and_schedules_are_those_of_train():
    spec = SPEC.with_(task="flip_flop", arguments={"steps": 6, "sequences": 3}, schedule="cosine", updates=20)
    spec = spec.with_(window=2, stateful=True)
    run = make_run(spec)
    data = run_data(spec)
    same = gs.train(
        initial_model(spec, data.test),
        functools.partial(gs.tasks.flip_flop, steps=6, sequences=3, dtype="float64"),
        lr=0.02,
        schedule="cosine",
        bptt_steps=2,
        stateful=True,
        epochs=2,
        updates_per_epoch=10,
        validation=data.validation,
    )
    assert run.validation_update.tolist() == [10, 20]  # minibatches, of three updates each
    assert same.history.updates.tolist() == [30, 60]
    np.testing.assert_array_equal(run.validation_loss, same.history.validation_loss)


def test_a_run_that_diverges_has_numbers():
    run = make_run(SPEC.with_(optimizer="sgd", lr=1e200, clip_norm=None))
    assert len(run.training_loss) == len(run.validation_loss)
    assert (run.status, run.reached, run.updates) == ("diverged", False, 40)
    assert run.best_validation_loss == np.inf
    assert np.isfinite(run.test_loss)


def test_every_cell_has_the_same_data():
    mine, other = (run_data(SPEC.with_(cell=cell, hidden_size=n)) for cell, n in (("lstm", 5), ("gru", 9)))
    assert mine.validation == other.validation
    assert mine.test == other.test
    assert mine.train(seed=3) == other.train(seed=3)
    assert run_data(SPEC.with_(seed=1)).test != mine.test
    assert not np.array_equal(mine.test.inputs[:, :200], mine.validation.inputs)


def test_biased_training_data_are_judged_by_unbiased_ones():
    spec = SPEC.with_(training_arguments={"steps": 4}, examples=7)
    plain, biased = run_data(SPEC.with_(examples=7)), run_data(spec)
    assert (biased.validation, biased.test) == (plain.validation, plain.test)
    assert biased.train.inputs.shape[0] == 4
    assert run_data(spec.with_(examples=None)).train(seed=3) == gs.tasks.adding(
        steps=4, sequences=3, seed=3, dtype="float64"
    )


def test_noise_is_where_it_should_be():
    clean, noisy = (run_data(SPEC.with_(examples=2000, label_noise=p)) for p in (0.0, 0.2))
    assert noisy.test == clean.test
    assert noisy.validation == clean.validation
    assert np.std((noisy.train.targets - clean.train.targets)[-1]) == pytest.approx(0.2, rel=0.05)
    moved = run_data(SPEC.with_(examples=2000, input_noise=0.3))
    for name in ("train", "validation", "test"):
        change = getattr(moved, name).inputs - getattr(clean, name).inputs
        assert np.std(change) == pytest.approx(0.3, rel=0.05)
    assert moved.train.targets.tolist() == clean.train.targets.tolist()
    fresh = run_data(SPEC.with_(input_noise=0.3)).train
    assert fresh(seed=1) == fresh(seed=1)
    assert fresh(seed=1) != fresh(seed=2)


def test_noisy_classes_become_others():
    spec = RunSpec(task="temporal_order", cell="lstm", hidden_size=5, lr=0.01, updates=10, examples=4000)
    clean, noisy = (run_data(spec.with_(label_noise=p)).train for p in (0.0, 0.4))
    differ = noisy.targets[noisy.mask] != clean.targets[clean.mask]
    assert differ.mean() == pytest.approx(0.4, abs=0.03)
    assert set(np.unique(noisy.targets)) <= set(range(clean.heads[0].size))
    counting = spec.with_(task="counting", arguments={})
    bits = run_data(counting.with_(label_noise=0.1)).train
    assert set(np.unique(bits.targets)) == {0, 1}


def test_the_initial_model():
    plain, changed = (
        initial_model(SPEC.with_(layers=2, **fields), run_data(SPEC).test)
        for fields in ({}, {"biases": {"f": 2.0}})
    )
    for before, after in zip(plain.layers, changed.layers, strict=True):
        np.testing.assert_array_equal(after.gate("f")["bias_ih"], before.gate("f")["bias_ih"] + 2)
        np.testing.assert_array_equal(after.gate("g")["weight_hh"], before.gate("g")["weight_hh"])


def test_a_clamped_gate_stays_clamped():
    run = make_run(SPEC.with_(clamp={"f": 1.0}, weight_noise=0.01))
    batch = run_data(SPEC).test
    trace = gs.run(run.model, batch.inputs[:, :4])["layers.0"]
    assert (trace.gate("f") == 1).all()
    assert run.model.layers[0].gate("i")["weight_hh"].any()


def test_counting_goes_as_far_as_all_smaller_ones(monkeypatch):
    spec = RunSpec(task="counting", cell="lstm", hidden_size=5, lr=0.01, updates=10, dtype="float64")
    model = initial_model(spec, run_data(spec).test)
    faults = {60, 70}

    def accepted(_outputs, batch):
        return np.array([n not in faults for n in batch.provenance["numbers"]])

    monkeypatch.setattr("gatescope.experiments.seeds.training.counting_accepted", accepted)
    monkeypatch.setattr("gatescope.experiments.seeds.training.COUNTED", 100)
    assert counted_to(model, spec) == 59
    faults.clear()
    assert counted_to(model, spec) == 100
    faults.add(1)
    assert counted_to(model, spec) == 0


def test_a_run_is_made_once(folder, monkeypatch):
    monkeypatch.setattr(store_module, "make_run", too_late)
    first, second, again = make_runs([SPEC, SPEC.with_(seed=1), SPEC], folder)
    assert first == again != second
    assert (first.seed, second.seed) == (0, 1)
    with pytest.raises(AssertionError, match="was trained"):
        make_runs([SPEC.with_(seed=2)], folder)


def test_a_run_named_twice_is_made_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(store_module, "make_run", lambda spec: calls.append(spec) or make_run(spec))
    make_runs([SPEC.with_(updates=10), SPEC.with_(updates=10)], tmp_path)
    assert len(calls) == 1


def test_other_code_makes_other_runs(folder, monkeypatch):
    store = RunStore(folder)
    assert store.get(SPEC) is not None
    monkeypatch.setattr("gatescope.experiments.seeds.store.code_fingerprint", lambda *_: "other")
    assert store.get(SPEC) is None


def test_stopped_it_goes_on_with_the_rest(tmp_path, monkeypatch):
    short = [SPEC.with_(seed=seed, updates=10) for seed in range(3)]
    whole = make_runs(short, tmp_path / "whole")
    calls = []

    def stopping(spec):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(spec)
        return make_run(spec)

    monkeypatch.setattr(store_module, "make_run", stopping)
    with pytest.raises(KeyboardInterrupt) as stop:
        make_runs(short, tmp_path / "stopped")
    assert "the same call resumes from there" in stop.value.__notes__[0]
    assert len(list((tmp_path / "stopped").iterdir())) == 2
    calls.clear()
    assert make_runs(short, tmp_path / "stopped") == whole
    assert calls == short[2:]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "foreign", "renamed", "folder"])
def test_files_that_are_not_that_run_are_refused(damage, folder, tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    path = store.path(SPEC)
    good = RunStore(folder).path(SPEC).read_bytes()
    if damage == "folder":
        path.mkdir()
    elif damage == "foreign":
        gs.init("lstm", input_size=1, hidden_size=5).save(path)
    else:
        other = RunStore(folder).path(SPEC.with_(seed=1)).read_bytes()
        path.write_bytes({"cut": good[:-200], "empty": b"", "text": b"runs", "renamed": other}[damage])
    monkeypatch.setattr(store_module, "make_run", too_late)
    with pytest.raises(FileFormatError, match="delete it, and the same call makes that run anew"):
        make_runs([SPEC.with_(seed=5), SPEC], tmp_path)


def test_an_arm_has_a_run_a_seed(folder, tmp_path):
    arm = make_arm("lstm", SPEC, range(2), folder)
    assert arm.seeds.tolist() == [0, 1]
    arm.save(tmp_path / "arm.npz")
    assert gs.load(tmp_path / "arm.npz") == arm
    assert [row[0] for row in arm.table().rows] == [0, 1]
    assert arm.summary().startswith("lstm: 2 runs\nmedian test loss")
    with pytest.raises(gs.ValueRangeError, match="differ in more than their seeds"):
        dataclasses.replace(arm, runs=(arm.runs[0], dataclasses.replace(arm.runs[1], code="other")))
    with pytest.raises(gs.ValueRangeError, match="have a seed twice"):
        dataclasses.replace(arm, runs=arm.runs[:1] * 2)


def test_runs_that_workers_wrote_elsewhere_are_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "make_and_store", lambda spec, store: None)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(gs.ValueRangeError, match="executor wrote its runs elsewhere"),
    ):
        make_runs([SPEC], tmp_path, executor=pool)


def test_workers_begin_with_one_of_each_kernel_and_then_with_the_longest(tmp_path, monkeypatch):
    lstm, gru, long = SPEC, SPEC.with_(cell="gru"), {"arguments": {"steps": 60, "sequences": 3}}
    deep = SPEC.with_(layers=2)
    specs = [
        *(gru.with_(seed=seed) for seed in range(3)),
        *(lstm.with_(seed=seed) for seed in range(2)),
        deep,
        *(lstm.with_(seed=seed, **long) for seed in range(2)),
    ]
    order = _in_turn(specs, RunStore(tmp_path))
    assert sorted(map(specs.index, order)) == list(range(len(specs)))
    kernels = [(spec.cell, spec.layers) for spec in order]
    assert kernels[:3] == [("lstm", 1), ("lstm", 2), ("gru", 1)]  # by the longest run of each
    assert order[0] == lstm.with_(seed=1)  # the shortest of them
    assert [spec.arguments["steps"] for spec in order[3:]] == [60, 60, 6, 6, 6]
    assert kernels[-1] == ("gru", 1)  # what is compiled last is needed last
    begun = []
    monkeypatch.setattr(
        module, "each", lambda _work, items, _executor: begun.extend(items) or iter_of_nothing()
    )
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueRangeError, match="not at all"):
        make_runs(specs, tmp_path, executor=pool)
    assert begun == order


def iter_of_nothing():
    yield from ()


def test_a_part_begins_with_its_own_and_makes_what_no_other_has(folder, tmp_path, monkeypatch):
    made = RunStore(folder).get(SPEC)
    specs, calls = [SPEC.with_(seed=seed) for seed in range(5)], []
    store = RunStore(tmp_path)

    def make(spec):
        calls.append(spec.seed)
        if spec.seed == 3:  # another process has made this one meanwhile
            store.put(specs[2], dataclasses.replace(made, spec=specs[2].plain()))
        return dataclasses.replace(made, spec=spec.plain())

    monkeypatch.setattr(store_module, "make_run", make)
    runs = make_runs(specs, tmp_path, part="2/2")
    assert calls == [1, 3, 0, 4]
    assert [run.seed for run in runs] == [0, 1, 2, 3, 4]


def test_parts_begin_apart_and_each_has_all():
    specs = [SPEC.with_(seed=seed) for seed in range(7)]
    orders = [[spec.seed for spec in own_first(specs, f"{k}/3")] for k in (1, 2, 3)]
    assert orders == [[0, 3, 6, 1, 4, 2, 5], [1, 4, 2, 5, 0, 3, 6], [2, 5, 0, 3, 6, 1, 4]]
    assert own_first(specs, None) == specs
    with pytest.raises(ValueRangeError, match="is no part"):
        own_first(specs, "3/2")


@pytest.mark.slow  # two processes begin anew, which takes seconds
def test_two_processes_come_to_the_same_runs(folder, tmp_path):
    with Processes(2) as pool:
        made = make_runs([SPEC, SPEC.with_(seed=1)], tmp_path, executor=pool)
    assert made == make_runs([SPEC, SPEC.with_(seed=1)], folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in folder.iterdir())


@pytest.fixture
def digits(monkeypatch):
    """Digits of a stand-in: 40 images of each, which their first pixel tells apart."""
    classes = np.arange(400) % 10
    images = np.random.default_rng(0).integers(0, 17, (400, 8, 8)).astype(float)
    images[:, 0, 0] = classes
    package = types.ModuleType("sklearn.datasets")
    package.load_digits = lambda: types.SimpleNamespace(images=images, target=classes)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", package)
    return SPEC.with_(task="digits", arguments={}, batch_size=50, updates=30)


def test_examples_of_a_split_are_drawn_by_the_seed(digits):
    whole, few, fewer, other = (
        run_data(digits.with_(examples=n, seed=seed)) for n, seed in ((None, 0), (60, 0), (20, 0), (20, 1))
    )
    for data in (few, fewer, other):
        assert (data.validation, data.test) == (whole.validation, whole.test)
    np.testing.assert_array_equal(fewer.train.inputs, few.train.inputs[:, :20])
    assert fewer.train.targets[-1, :, 0].tolist() == few.train.targets[-1, :20, 0].tolist()
    assert other.train != fewer.train
    images = [image.tobytes() for image in few.train.inputs.transpose(1, 0, 2)]
    assert len(set(images)) == 60
    assert set(images) <= {image.tobytes() for image in whole.train.inputs.transpose(1, 0, 2)}
    # The first pixel tells the class: images and answers are still together.
    np.testing.assert_array_equal(few.train.inputs[0, :, 0] * 16, few.train.targets[-1, :, 0])
    rare = run_data(digits.with_(examples=100, training_arguments={"rare": 0.1}))
    assert np.count_nonzero(rare.train.targets[-1] >= 5) < 20
    assert rare.test == whole.test
    with pytest.raises(ValueRangeError, match=r"examples=289 must be a whole number from 1 to 288"):
        run_data(digits.with_(examples=289))


@pytest.mark.slow
def test_a_task_with_splits(digits):
    spec = digits
    data = run_data(spec)
    run = make_run(spec)
    assert [part.inputs.shape[1] for part in (data.train, data.validation, data.test)] == [288, 32, 80]
    assert run.test_answers == 80
    assert run.errors == round(run.errors) == 80 * (1 - gs.evaluate(run.model, data.test).accuracy)
    assert run.validation_update.tolist() == [6, 12, 18, 24, 30]  # a pass is of 6 updates, and 10 are not two
    assert run.final_train_loss < run.final_test_loss + 1
    assert run_data(spec.with_(cell="gru")).test == data.test
    # The split is that of the maker's default seed: what was tuned on is not tested on.
    other = run_data(spec.with_(seed=1))
    assert (other.train, other.validation, other.test) == (data.train, data.validation, data.test)
    few = run_data(spec.with_(training_arguments={"sequences": 60}))
    assert (few.train.inputs.shape[1], few.test) == (60, data.test)


def test_a_run_says_what_it_took_of_a_processor(tmp_path, monkeypatch):
    clock = iter([10.0, 12.5])
    monkeypatch.setattr("gatescope.experiments.seeds.store.process_time", lambda: next(clock))
    (run,) = make_runs([SPEC], tmp_path)
    assert run.seconds == 2.5
