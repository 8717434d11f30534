"""What cannot be clamped, of the cells that there are and of a user's."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.cases import Case, random_params

import gatescope as gs
from gatescope.cells.activations import relu, sigmoid, zero
from gatescope.errors import DtypeError, GatescopeError, ShapeError, UnknownNameError, ValueRangeError

NAN = math.nan


# ---- cells of a user ----


def registered(cell):
    """Return a user's cell, known as long as the fixture lives."""
    gs.cells.register(cell)
    yield cell.NAME
    gs.cells.registry._CELLS.pop(cell.NAME, None)


def user_cell(name, step, gates=("a",)):
    def step_vjp(saved, states, new_states, adjoint):
        return (adjoint[0],) * len(gates), (adjoint[0],) * len(gates), (zero(adjoint[0]),)

    return SimpleNamespace(NAME=name, GATES=gates, STATES=("h",), SAVED=("a",), step=step, step_vjp=step_vjp)


@pytest.fixture
def rectified():
    def step(wx, rh, states):
        a = relu(wx[0] + rh[0])
        return (a * states[0],), (a,)

    yield from registered(user_cell("rectified_test", step))


def test_a_gate_of_another_range(rectified):
    params = random_params(rectified, input_size=1, hidden_size=3, dtype="float32")
    assert gs.clamp(params, {"a": [0.0, 3.7, 1000.5]}).bias_ih.tolist() == [0, np.float32(3.7), 1000.5]
    with pytest.raises(
        ValueRangeError, match=r"-0\.5, but the gate 'a' of 'rectified_test' takes values from 0 to"
    ):
        gs.clamp(params, {"a": -0.5})


@pytest.fixture
def jumping():
    def step(wx, rh, states):
        a = np.where(wx[0] + rh[0] > 0.3, np.ones_like(wx[0]), np.zeros_like(wx[0]))
        return (a * states[0],), (a,)

    yield from registered(user_cell("jumping_test", step))


def test_a_gate_that_jumps(jumping):
    params = random_params(jumping, input_size=1, hidden_size=2)
    assert (gs.clamp(params, {"a": [0, 1]}).bias_ih > 0.3).tolist() == [False, True]
    with pytest.raises(ValueRangeError, match=r"0\.25, which the gate 'a' of 'jumping_test' does not take"):
        gs.clamp(params, {"a": 0.25})


@pytest.fixture
def peephole():
    def step(wx, rh, states):
        a = sigmoid(wx[0] + rh[0] + states[0])
        return (a * states[0],), (a,)

    yield from registered(user_cell("peephole_test", step))


def test_a_gate_that_depends_on_more_than_its_pre_activation(peephole):
    params = random_params(peephole, input_size=1, hidden_size=2)
    with pytest.raises(ValueRangeError, match="'a', but in 'peephole_test' its value depends on more"):
        gs.clamp(params, {"a": 0.5})


# ---- errors ----


@pytest.mark.parametrize(
    ("cell", "clamp", "error", "message"),
    [
        ("lstm", {"z": 1.0}, UnknownNameError, r"clamp names 'z'.*those of 'lstm' that can are 'i', 'f', 'g', 'o'"),
        ("lstm", {3: 1.0}, UnknownNameError, "clamp names 3"),
        ("gru", {"q": 1.0}, UnknownNameError, r"clamp names 'q'.*that can are 'r', 'z', 'n'$"),
        ("rnn", {"h": 0.0}, UnknownNameError, "'rnn' saves no gates, so there is nothing to clamp"),
        ("lstm", {"f": 1.5}, ValueRangeError, r"value 1\.5, but the gate 'f' of 'lstm' takes values from 0 to 1"),
        ("lstm", {"g": {2: -1.01}}, ValueRangeError, r"-1\.01, but the gate 'g' of 'lstm' takes values from -1 to 1"),
        ("lstm", {"f": NAN}, ValueRangeError, r"clamp\['f'\] is NaN"),
        ("lstm", {"f": {1: NAN}}, ValueRangeError, r"clamp\['f'\]\[1\] is NaN"),
        ("lstm", {"f": math.inf}, ValueRangeError, r"clamp\['f'\] has an infinite value"),
        ("lstm", {"f": [NAN] * 5}, ValueRangeError, r"clamp\['f'\] clamps no unit"),
        ("lstm", {"f": {}}, ValueRangeError, r"clamp\['f'\] clamps no unit"),
        ("lstm", {"f": {5: 1.0}}, ValueRangeError, r"clamp\['f'\]: unit=5 is out of range: there are 5 units"),
        ("lstm", {"f": {-1: 1.0}}, ValueRangeError, "unit=-1 is out of range"),
        ("lstm", {"f": {True: 1.0}}, ValueRangeError, "unit=True is out of range"),
        ("lstm", {"f": {"0": 1.0}}, ValueRangeError, "unit='0' is out of range"),
        ("lstm", {"f": {0: [1.0]}}, ShapeError, r"clamp\['f'\]\[0\] has shape \(1,\)"),
        ("lstm", {"f": [1.0, 0.5]}, ShapeError, r"clamp\['f'\] has shape \(2,\).*\(5,\), which is \(H,\)"),
        ("lstm", {"f": np.ones((1, 5))}, ShapeError, r"has shape \(1, 5\)"),
        ("lstm", {"f": True}, DtypeError, r"clamp\['f'\] has dtype bool"),
        ("lstm", {"f": "open"}, DtypeError, r"clamp\['f'\] has dtype <U4; give real numbers"),
        ("lstm", {"f": None}, DtypeError, r"clamp\['f'\] has dtype object"),
        ("lstm", "f=1.0", DtypeError, r"clamp is a str; give values by the name of a gate"),
        ("lstm", np.ones((3, 5)), ShapeError, r"clamp has shape \(3, 5\), but should have \(4, 5\).*i, f, g, o"),
        ("lstm", np.full((4, 5), NAN), ValueRangeError, "clamp clamps no unit"),
        ("rnn", np.zeros((1, 5)), UnknownNameError, "'rnn' saves no gates"),
    ],
)  # fmt: skip
def test_what_cannot_be_clamped(cell, clamp, error, message):
    case = Case(cell)
    for call in (
        lambda: case.run(clamp=clamp),
        lambda: gs.gradient_flow(case.params, case.inputs, clamp=clamp),
    ):
        with pytest.raises(error, match=message):
            call()


def test_bad_weights_and_bad_traces_are_reported_first():
    with pytest.raises(GatescopeError, match="params is a dict"):
        gs.clamp({"cell": "lstm"}, {"f": 1.0})
    case = Case("gru")
    trace = case.run(clamp={"z": 1.0})
    for wrong, message in [
        (np.ones((2, 5)), r"trace\.clamp has shape \(2, 5\)"),
        ("no", r"trace\.clamp is a str"),
    ]:
        with pytest.raises(GatescopeError, match=message):
            case.backprop(dataclasses.replace(trace, clamp=wrong))


def test_weights_that_are_none_are_refused_though_nothing_is_clamped():
    params = random_params("lstm", input_size=2, hidden_size=3)
    object.__setattr__(params, "weight_ih", params.weight_ih.tolist())
    with pytest.raises(DtypeError, match="weight_ih is a list"):
        gs.clamp(params, None)


def test_a_gate_of_no_layer():
    stack = gs.init_stack("lstm", input_size=2, hidden_size=3, heads=[gs.Head("y", 1)], seed=0)
    message = r"^clamp='z' is a gate of no layer that can be clamped; those that can are 'i', 'f', 'g', 'o'$"
    with pytest.raises(UnknownNameError, match=message):
        gs.run(stack, np.ones((9, 1, 2)), clamp={"z": 1.0})
