"""Training with gates clamped: they keep their weights bit for bit, all else learns, and the run says so."""

import dataclasses

import numpy as np
import pytest
from helpers.train_cases import make_batch, make_params, make_stack, same, score, train

import gatescope as gs
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.training import SGD, Adam, Engine, Optimizer, RMSprop
from gatescope.training.arrays import as_data
from gatescope.training.dropout import add_noise


class Drifting(Optimizer):
    """Moves every weight, whatever its gradient is."""

    def apply(self, theta, gradient, state, step, lr):
        theta -= theta.dtype.type(lr) * (gradient + 1)


OPTIMIZERS = {
    "adamw": Adam(weight_decay=0.5, decoupled=True),
    "adam": Adam(weight_decay=0.5),
    "sgd": SGD(momentum=0.9, nesterov=True, weight_decay=0.5),
    "rmsprop": RMSprop(momentum=0.9, centered=True, weight_decay=0.5),
    "drifting": Drifting(),
}
CLAMP = {"f": 1.0, "i": {0: 0.3, 2: 0.0}, "g": {1: -0.5}}
NOISY = {"weight_noise": 0.1, "lr": 0.05, "epochs": 4, "snapshot_every": 2}


def rows_of(params, clamp):
    """Return which rows of the weights the clamp is of, (G*H,)."""
    rows = np.zeros((len(params.gate_names), params.hidden_size), bool)
    for gate, value in clamp.items():
        rows[params.gate_names.index(gate), [*value] if isinstance(value, dict) else slice(None)] = True
    return rows.reshape(-1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_clamped_gates_keep_their_weights_and_the_others_learn(name):
    params = make_params()
    run = train(params, optimizer=OPTIMIZERS[name], clamp=CLAMP, **NOISY)
    clamped, rows = gs.clamp(params, CLAMP), rows_of(params, CLAMP)
    for model in (run.model, run.best, run.at(0), run.at(2)):
        for array, value in model.layers[0].arrays().items():
            np.testing.assert_array_equal(value[rows], clamped.arrays()[array][rows])
    for array, value in run.model.layers[0].arrays().items():
        assert (value[~rows] != params.arrays()[array][~rows]).all(), array


def test_a_clamped_gate_has_its_value_after_training():
    run = train(clamp=CLAMP, **NOISY)
    trace = gs.run(run.model.layers[0], make_batch(3).inputs.astype("float32"))
    assert (trace.gate("f") == 1).all()
    assert (trace.gate("i")[..., 2] == 0).all()
    np.testing.assert_allclose(trace.gate("i")[..., 0], 0.3, rtol=1e-6)
    np.testing.assert_allclose(trace.gate("g")[..., 1], -0.5, rtol=1e-6)


def test_a_saturated_clamp_is_training_on_the_clamped_weights():
    """The slope of a gate at 1 is 0, so plain training leaves it where it is: the same bits without weight decay."""
    params = make_params()
    other = train(gs.clamp(params, {"f": 1.0}), epochs=5, lr=0.05)
    run = train(params, clamp={"f": 1.0}, epochs=5, lr=0.05)
    assert run.history == other.history
    assert run.model == other.model
    assert other.count() == other.model.count() == run.model.count() > run.count()


def test_the_gradient_is_that_of_the_clamped_model_and_0_in_the_clamped_rows():
    stack, batch = make_stack(), make_batch()
    data, clamp = as_data(batch, stack), {"layers.1.i": 0.3, "layers.0.f": {1: 1.0}}
    plain = Engine(gs.clamp(stack, clamp), steps=12, sequences=7)
    engine = Engine(stack, steps=12, sequences=7, clamp=clamp)
    assert engine.back(data, 0).loss == plain.back(data, 0).loss
    fixed = np.zeros(stack.size, bool)
    fixed[engine.fixed] = True
    np.testing.assert_array_equal(engine.gradient[~fixed], plain.gradient[~fixed])
    assert not engine.gradient[fixed].any()
    assert plain.gradient[fixed].any()  # a gate at 0.3 has a slope
    # Of the one unit its row of 2 + 5 + 2 numbers, of the other layer's gate 5 rows of 5 + 5 + 2.
    assert engine.fixed.size == 9 + 60


def test_an_engine_undoes_what_is_written_to_fixed_weights():
    stack, batch = make_stack(), make_batch()
    engine = Engine(stack, steps=12, sequences=7, clamp={"f": 1.0})
    clamped = gs.clamp(stack, {"f": 1.0}).flat()
    before = engine.evaluate(as_data(batch, stack))
    for use in (lambda: engine.back(as_data(batch, stack), 0), engine.stack, engine.restore_fixed):
        engine.theta[engine.fixed] += 1
        use()
        np.testing.assert_array_equal(engine.theta, clamped)
    engine.theta[engine.fixed] = np.nan
    assert engine.evaluate(as_data(batch, stack)).loss == before.loss


def test_noise_leaves_out_what_is_clamped():
    """Where all gates are clamped, nothing but the read-out is noisy."""
    stack, data = make_stack(("lstm",)), as_data(make_batch(), make_stack(("lstm",)))
    clamp = dict.fromkeys("ifgo", 0.5)
    engine = Engine(stack, steps=12, sequences=7, clamp=clamp, weight_noise=0.5)
    noisy = engine.back(data, 3).loss
    assert noisy != Engine(stack, steps=12, sequences=7, clamp=clamp).back(data, 3).loss
    free = np.setdiff1d(np.arange(stack.size), engine.fixed)
    assert free.tolist() == [*range(stack.size - 6, stack.size)]
    drawn = np.empty(stack.size, "float32")
    add_noise(drawn, engine.theta, 0.5, 0, 3)
    model = gs.clamp(stack, clamp).flat()
    model[free] = drawn[free]
    assert score(stack.with_flat(model), make_batch()).loss == pytest.approx(noisy, rel=1e-6)


def test_the_norm_that_is_clipped_leaves_out_what_is_clamped():
    clamp = {"i": 0.3}
    run = train(clamp=clamp, epochs=1)
    engine = Engine(train(clamp=clamp, epochs=0).model, steps=12, sequences=7, clamp=clamp)
    engine.back(as_data(make_batch(), engine.stack()), 0)
    norm = np.sqrt(np.square(engine.gradient, dtype=np.float64).sum())
    # the kernel adds up float32 squares in another order
    assert run.history.gradient_norm[0] == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize(
    ("clamp", "said", "fewer"),
    [
        ({"f": 1.0}, {"layers.0.f": 1.0, "layers.1.f": 1.0}, 5 * (2 + 5 + 2) + 5 * (5 + 5 + 2)),
        ({"layers.1.f": 1.0}, {"layers.1.f": 1.0}, 5 * 12),
        ({"layers.-1.i": {3: 0.5}}, {"layers.1.i": {"3": 0.5}}, 12),
        (None, {}, 0),
    ],
)
def test_the_run_says_what_was_clamped_and_counts_the_rest(clamp, said, fewer, tmp_path):
    run = train(make_stack(), clamp=clamp, epochs=1)
    assert run.clamp == said
    assert run.config["clamp"] == (said or None)
    assert run.provenance.get("clamp", {}) == said
    assert run.model.count() - run.count() == fewer
    assert ("clamped: " in run.summary()) == bool(said)
    run.check_fields("run")
    run.save(tmp_path / "run.npz")
    assert gs.load(tmp_path / "run.npz") == run


def test_a_summary_says_which_units_keep_which_value():
    run = train(clamp={"f": 1.0, "i": {0: 0.3, 2: 0.0}}, epochs=0)
    assert "clamped: layers.0.i at 0.3 (unit 0), 0 (unit 2); layers.0.f at 1" in run.summary()


def test_it_resumes_with_the_same_clamp_and_refuses_another(tmp_path):
    path, options = (
        tmp_path / "run.state",
        {"clamp": CLAMP, "optimizer": OPTIMIZERS["adamw"], "weight_noise": 0.1},
    )
    train(epochs=2, checkpoint=path, **options)
    run = train(epochs=5, checkpoint=path, **options)
    assert same(run, train(epochs=5, **options))
    before = path.read_bytes()
    for other in (None, {"f": 1.0}):
        with pytest.raises(ValueRangeError, match="is the state of a call of train with other `clamp`;"):
            train(epochs=6, checkpoint=path, **{**options, "clamp": other})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("clamp", "error", "match"),
    [
        ({"z": 1.0}, UnknownNameError, "clamp"),
        (
            {"f": 1.5},
            ValueRangeError,
            r"clamp\['f'\] has the value 1.5, but the gate 'f' of 'lstm' takes values from 0",
        ),
        ({"layers.2.f": 1.0}, UnknownNameError, "layers.2"),
    ],
)
def test_what_cannot_be_clamped_is_named(clamp, error, match):
    with pytest.raises(error, match=match):
        train(clamp=clamp, epochs=1)


def test_both_directions_of_a_layer_are_clamped():
    layer = gs.Bidirectional(
        forward=make_params(), backward=dataclasses.replace(make_params(seed=1), reverse=True)
    )
    run = train(layer, clamp={"layers.0.backward.f": 1.0}, epochs=2, lr=0.05)
    assert run.clamp == {"layers.0.backward.f": 1.0}
    ways = run.model.directions()
    assert (ways["layers.0.backward"].gate("f")["weight_hh"] == 0).all()
    assert (ways["layers.0.forward"].gate("f")["weight_hh"] != 0).all()


def test_the_loss_falls_with_a_gate_clamped():
    run = train(clamp={"o": 1.0}, epochs=60, lr=0.05)
    assert run.history.loss[-1] < run.history.loss[0] / 2
    assert score(run.model, make_batch()).loss < run.history.loss[0] / 2
