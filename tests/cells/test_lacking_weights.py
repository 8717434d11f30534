"""Gates that do not have all weights: what is 0 is drawn as 0, checked, never trained and not counted."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import PARAMS, Case, random_params
from helpers.leaky import Leaky
from helpers.train_cases import make_batch, train

import gatescope as gs
from gatescope.errors import ValueRangeError
from gatescope.recurrence.schemes import SCHEMES
from gatescope.training import Adam, Engine, Optimizer
from gatescope.training.arrays import as_data

CELLS = ("lstm_peephole", "leaky_constant", "min_gru")
TRAINED = ("lstm_peephole", "min_gru")  # a bias alone, no recurrent rows at all
LACKS = {
    "lstm_peephole": {"weight_ih": "pi pf po", "weight_hh": "pi pf po", "bias_ih": "", "bias_hh": "pi pf po"},
    "leaky_constant": {"weight_ih": "a", "weight_hh": "a", "bias_ih": "", "bias_hh": "a"},
    "min_gru": {"weight_ih": "", "weight_hh": "z n", "bias_ih": "", "bias_hh": "z n"},
}


def lacking(params):
    """Yield each gate's rows that are not there: array, gate, numbers."""
    for name, gates in LACKS[params.cell].items():
        for gate in gates.split():
            yield name, gate, params.gate(gate)[name]


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_says_which_weights_its_gates_lack(cell):
    equations = gs.cells.get(cell)
    for name in PARAMS:
        lacks = dict(zip(equations.gates, equations.lacks(name), strict=True))
        assert lacks == {gate: gate in LACKS[cell][name].split() for gate in equations.gates}
    assert not any(map(any, map(gs.cells.get("lstm").lacks, PARAMS)))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_not_there_is_drawn_as_0_and_the_rest_is_drawn(cell, scheme):
    params = gs.init(cell, input_size=3, hidden_size=4, seed=1, scheme=scheme)
    absent = {(name, gate) for name, gate, rows in lacking(params) if not rows.any()}
    assert len(absent) == len(list(lacking(params)))
    for name in ("weight_ih", "weight_hh"):
        there = [gate for gate in params.gate_names if (name, gate) not in absent]
        drawn = [params.gate(gate)[name] for gate in there]
        if (scheme, name) == ("identity", "weight_hh"):
            drawn = [weights.diagonal() for weights in drawn]
        assert all((weights != 0).all() for weights in drawn)


def test_the_columns_of_keras_are_orthogonal_over_the_gates_that_are_there():
    weight = gs.init("lstm_peephole", input_size=3, hidden_size=4, scheme="keras", dtype="float64").weight_hh
    np.testing.assert_allclose(weight.T @ weight, np.eye(4), atol=1e-14)
    weight = gs.init("leaky_constant", input_size=3, hidden_size=4, scheme="keras", dtype="float64").weight_ih
    assert np.abs(weight).max() <= np.sqrt(6 / (3 + 4))


@pytest.mark.parametrize("scheme", ["keras", "gaussian(1.5)", "orthogonal", "chrono(50)"])
def test_peepholes_begin_at_0_unless_all_biases_are_drawn(scheme):
    params = gs.init("lstm_peephole", input_size=3, hidden_size=4, scheme=scheme)
    assert not params.bias_ih[16:].any()
    assert gs.init("lstm_peephole", input_size=3, hidden_size=4).bias_ih[16:].all()


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        ("lstm_peephole", 4 * 5 * (2 + 5 + 2) + 3 * 5),  # an LSTM's, and three numbers a unit
        ("leaky_constant", 5 * (2 + 5 + 2) + 5),
        ("min_gru", 2 * 5 * (2 + 1)),
    ],
)
def test_only_what_is_there_is_counted(cell, count):
    params = random_params(cell, input_size=2, hidden_size=5)
    assert params.count() == count
    stack = gs.init_stack(cell, input_size=2, hidden_size=5, heads=[gs.Head("y", 1)])
    assert stack.count() == count + 6
    assert stack.size == stack.flat().size == params.size + 6
    assert stack.with_flat(stack.flat()) == stack


@pytest.mark.parametrize("cell", CELLS)
def test_numbers_that_may_not_be_there_are_refused_by_name(cell):
    params = gs.init(cell, input_size=2, hidden_size=5)
    for name, gate, _ in lacking(params):
        arrays = {key: value.copy() for key, value in params.arrays().items()}
        wrong = dataclasses.replace(params, **arrays)
        wrong.gate(gate)[name][-1] = 0.5
        for use in (
            lambda wrong=wrong: gs.run(wrong, np.zeros((3, 2))),
            lambda wrong=wrong: gs.half_life(wrong, np.zeros((30, 2))),
            lambda wrong=wrong: train(wrong, epochs=1),
        ):
            with pytest.raises(
                ValueRangeError, match=f"{name} has numbers other than 0 in the rows of '{gate}'"
            ):
                use()


class Drifting(Optimizer):
    """Moves every weight, whatever its gradient is."""

    def apply(self, theta, gradient, state, step, lr):
        theta -= theta.dtype.type(lr) * (gradient + 1)


@pytest.mark.slow  # compiles the training kernels of two cells
@pytest.mark.parametrize("cell", TRAINED)
def test_zeros_stay_0_in_training(cell):
    """By an optimizer that moves everything, with noise on the weights; and what is there is trained."""
    params = gs.init(cell, input_size=2, hidden_size=5, seed=0)
    run = train(params, optimizer=Drifting(), weight_noise=0.1, epochs=3, lr=0.01)
    trained = run.model.layers[0]
    assert not any(rows.any() for _, _, rows in lacking(trained))
    absent = {(name, gate) for name, gate, _ in lacking(trained)}
    for gate in trained.gate_names:
        for name, rows in trained.gate(gate).items():
            assert (name, gate) in absent or (rows != params.gate(gate)[name]).all()
    assert run.count() == run.model.count() == params.count() + 6
    decayed = train(params, optimizer=Adam(weight_decay=0.1, decoupled=True), epochs=3).model.layers[0]
    assert not any(rows.any() for _, _, rows in lacking(decayed))


@pytest.mark.slow  # shares the kernels of the test above
def test_a_peephole_lstm_learns_adding():
    """T = 20: far below 1/6, the loss of always answering 1, after 300 updates."""
    batch = gs.tasks.adding(steps=20, sequences=50, seed=0)
    stack = gs.init_stack("lstm_peephole", hidden_size=5, heads=batch, seed=0)
    run = gs.train(stack, batch, lr=0.02, epochs=300)
    assert not any(rows.any() for _, _, rows in lacking(run.model.layers[0]))
    assert run.history.loss[-1] < 0.02
    peepholes = run.model.layers[0].bias_ih[20:]
    assert (peepholes != stack.layers[0].bias_ih[20:]).all()


@pytest.mark.slow  # shares the kernels of the tests above
@pytest.mark.parametrize("cell", TRAINED)
def test_the_engine_has_the_gradient_of_backprop(cell):
    params = gs.init(cell, input_size=2, hidden_size=5, seed=0)
    stack = train(params, epochs=0).model
    data = as_data(make_batch(), stack)
    engine = Engine(stack, steps=12, sequences=7)
    engine.back(data, 0)
    gradients = stack.with_flat(engine.gradient).layers[0]
    assert not any(rows.any() for _, _, rows in lacking(gradients))
    trace = gs.run(params, data.inputs, lengths=data.lengths)
    wrong = np.where(data.mask[:, :, None], trace.outputs @ stack.readout_weight.T + stack.readout_bias, 0)
    wrong -= np.where(data.mask[:, :, None], data.targets, 0)
    adjoint = 2 * wrong * stack.readout_weight / data.mask.sum()
    expected = gs.backprop(params, trace, output_adjoint=adjoint.astype("float32")).params
    assert not any(rows.any() for _, _, rows in lacking(expected))
    for name, value in expected.arrays().items():
        # float32: sums over 58 steps in another order
        np.testing.assert_allclose(
            getattr(gradients, name), value, rtol=0, atol=2e-6 * np.abs(value).max() + 1e-30
        )


# ---- the registry ----


def declared(weights, name="declared_test"):
    return type("Declared", (Leaky,), {"NAME": name, "WEIGHTS": weights})


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({"z": "b"}, r"WEIGHTS='z' is no gate of the cell; its gates are a, n"),
        ({"a": "w"}, r"WEIGHTS\['a'\]='w' must be some of the letters x"),
        ({"a": ""}, r"WEIGHTS\['a'\]='' must be"),
        ({"a": "xx"}, r"WEIGHTS\['a'\]='xx' must be"),
        ({"a": 3}, r"WEIGHTS\['a'\]=3 must be"),
    ],
)
def test_what_a_cell_may_not_declare(weights, match):
    with pytest.raises(ValueRangeError, match=match):
        gs.cells.register(declared(weights))
    assert "declared_test" not in gs.cells.names()


def test_a_gate_without_bias():
    cell = gs.cells.register(declared({"a": "x", "n": "xh"}))
    try:
        assert cell.lacks("bias_ih") == cell.lacks("bias_hh") == (True, True)
        assert cell.lacks("weight_hh") == (True, False)
        params = gs.init("declared_test", input_size=3, hidden_size=4)
        assert not params.bias_ih.any()
        assert params.count() == 4 * (3 + 3 + 4)
    finally:
        gs.cells.registry._CELLS.pop("declared_test")


@pytest.mark.slow  # shares kernels with test_variants.py
def test_gradients_of_what_is_not_there_are_0():
    """MinGRU's own equations give none anyway; those of a peephole LSTM do."""
    case = Case("lstm_peephole", T=5, B=3, I=2, H=5)
    assert not any(rows.any() for _, _, rows in lacking(case.params))
    gradients = case.backprop(case.run()).params
    assert not any(rows.any() for _, _, rows in lacking(gradients))
    assert all((gradients.gate(gate)["bias_ih"] != 0).all() for gate in gradients.gate_names)
