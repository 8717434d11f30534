"""The equations themselves, run as NumPy: derivatives by the complex step, the oracle, dtypes and literals.

Parametrised over the registry: a new cell is tested by being there.  Its states are compared with the oracle's of
tests/naive.py, those of a variant by test_variants.py.
"""

import ast
import inspect
import textwrap

import naive
import numpy as np
import pytest
from helpers.cases import BUILT_IN, Case, random_params

from gatescope import cells
from gatescope.cells import activations

NAMES = cells.names()
UNITS = 200
# d/dx f(x) = Im f(x + i TINY) / TINY has no truncation error: TINY's square vanishes beside any float.
TINY = 1e-100
# Relative to the largest derivative; a product of five rounded factors is off by 6e-16 or so.
TOLERANCE = 1e-14


def draw(count, seed, dtype=np.float64, scale=2.0):
    rng = np.random.default_rng(seed)
    return tuple((scale * rng.standard_normal(UNITS)).astype(dtype) for _ in range(count))


def nudged(groups, group, index):
    """Return the groups of arguments, one of them moved by the complex step."""
    moved = [list(values) for values in groups]
    moved[group][index] = moved[group][index] + 1j * TINY
    return [tuple(values) for values in moved]


def complex_step(function, groups, group, index):
    """Return the derivative by groups[group][index]: the cells are elementwise, so one evaluation gives all units."""
    return np.imag(function(*nudged(groups, group, index))) / TINY


def check(function, groups, derivatives, what):
    for group, values in enumerate(derivatives):
        assert len(values) == len(groups[group])
        for index, value in enumerate(values):
            expected = complex_step(function, groups, group, index)
            scale = max(np.abs(expected).max(), np.finfo(float).tiny)
            error = np.abs(value - expected).max() / scale
            assert error <= TOLERANCE, f"{what}: argument {group}, entry {index}: relative error {error:.3g}"


def arguments(cell, dtype=np.float64):
    """wx, rh of all gates and the states."""
    gates = len(cell.gates)
    return draw(gates, 1, dtype), draw(gates, 2, dtype), draw(len(cell.states), 3, dtype, scale=1.0)


@pytest.mark.parametrize("name", NAMES)
def test_step_vjp_by_complex_step(name):
    cell = cells.get(name)
    wx, rh, states = arguments(cell)
    groups = [wx[cell.prepared :], rh[cell.prepared :], states]
    if cell.prepared:
        groups.append(cell.prepare(wx[: cell.prepared], rh[: cell.prepared], states))
    adjoint = draw(len(cell.states), 4)

    def weighted(*args):
        new_states, _ = cell.step(*args)
        return sum(a * s for a, s in zip(adjoint, new_states, strict=True))

    new_states, saved = cell.step(*groups)
    assert len(saved) == len(cell.saved)
    assert len(new_states) == len(cell.states)
    # step's derivative with respect to the state leaves the state's way through rh out, and so does step_vjp.
    derivatives = cell.step_vjp(saved, states, new_states, adjoint)
    assert len(derivatives) == len(groups)
    check(weighted, groups, derivatives, f"{name}.step_vjp")


@pytest.mark.parametrize("name", [name for name in NAMES if cells.get(name).prepared])
def test_prepare_vjp_by_complex_step(name):
    cell = cells.get(name)
    wx, rh, states = arguments(cell)
    first = slice(0, cell.prepared)
    rest = slice(cell.prepared, None)
    groups = [wx[first], rh[first], states]
    d_prepared = draw(cell.prepared, 5)
    (d_operand,) = draw(1, 6)

    def weighted(*args):
        prepared = cell.prepare(*args)
        value = d_operand * cell.operand(prepared, args[2])
        return value + sum(d * p for d, p in zip(d_prepared, prepared, strict=True))

    prepared = cell.prepare(*groups)
    assert len(prepared) == cell.prepared
    _, saved = cell.step(wx[rest], rh[rest], states, prepared)
    derivatives = cell.prepare_vjp(saved, states, d_operand, d_prepared)
    check(weighted, groups, derivatives, f"{name}.prepare_vjp")


def roll(cell, weights, inputs, state):
    """Return the cell's own equations in a plain loop: (states (T+1, S, H), kept (T, K, H))."""
    count = len(cell.gates)
    W, R = np.split(weights.weight_ih, count), np.split(weights.weight_hh, count)
    b, d = np.split(weights.bias_ih, count), np.split(weights.bias_hh, count)
    states, all_saved = [tuple(state)], []
    first, rest = range(cell.prepared), range(cell.prepared, count)
    for x in inputs:
        old = states[-1]
        if cell.prepared:
            wx = tuple(W[k] @ x + b[k] for k in first)
            prepared = cell.prepare(wx, tuple(R[k] @ old[0] + d[k] for k in first), old)
            operand, more = cell.operand(prepared, old), (prepared,)
        else:
            operand, more = old[0], ()
        wx = tuple(W[k] @ x + b[k] for k in rest)
        new, saved = cell.step(wx, tuple(R[k] @ operand + d[k] for k in rest), old, *more)
        states.append(new)
        all_saved.append(saved)
    return np.array(states), np.array(all_saved)


@pytest.mark.parametrize("name", BUILT_IN)
def test_step_agrees_with_the_oracle(name):
    case = Case(name, T=25, B=1, I=3, H=6, scale=2.0)
    cell = cells.get(name)
    states, saved = roll(cell, case.params, case.inputs[:, 0], case.initial_state[0])
    expected_states, expected_gates = naive.forward(name, case.params, case.inputs, case.initial_state)
    # Absolute, on values of order 1: some roundings a step.
    np.testing.assert_allclose(states, expected_states[:, 0], rtol=0, atol=1e-13)
    assert cell.saved == tuple(expected_gates)
    for k, gate in enumerate(cell.saved):
        np.testing.assert_allclose(saved[:, k], expected_gates[gate][:, 0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_equations_keep_the_dtype(name, dtype):
    cell = cells.get(name)
    wx, rh, states = arguments(cell, dtype)
    adjoint = draw(len(cell.states), 4, dtype)
    more, results = (), []
    if cell.prepared:
        prepared = cell.prepare(wx[: cell.prepared], rh[: cell.prepared], states)
        results += [*prepared, cell.operand(prepared, states)]
        more = (prepared,)
    new_states, saved = cell.step(wx[cell.prepared :], rh[cell.prepared :], states, *more)
    derivatives = cell.step_vjp(saved, states, new_states, adjoint)
    results += [*new_states, *saved, *(value for group in derivatives for value in group)]
    if cell.prepared:
        derivatives = cell.prepare_vjp(saved, states, adjoint[0], derivatives[3])
        results += [value for group in derivatives for value in group]
    assert {np.asarray(value).dtype for value in results} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", NAMES)
def test_equations_hold_no_number(name):
    """A literal such as 1.0 or 0.5 would turn a float32 kernel into a float64 one; indices are allowed."""
    cell = cells.get(name)
    functions = [cell.step, cell.step_vjp, cell.prepare, cell.operand, cell.prepare_vjp]
    for function in filter(None, functions):
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        indices = {
            id(leaf)
            for node in ast.walk(tree)
            if isinstance(node, ast.Subscript)
            for leaf in ast.walk(node.slice)
        }
        literals = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, int | float | complex)
            and id(node) not in indices
        ]
        assert literals == [], f"{name}.{function.__name__} holds {literals}"


@pytest.mark.parametrize("name", BUILT_IN)
def test_weights_have_the_registered_gates(name):
    params = random_params(name, input_size=2, hidden_size=3)
    assert params.gate_names == cells.get(name).gates
    assert params.weight_hh.shape == (3 * naive.GATES[name], 3)
    assert cells.get(name).states == naive.STATES[name]


def test_sigmoid_neither_overflows_nor_loses_small_values():
    x = np.array([-1000.0, -700.0, -40.0, 0.0, 40.0, 700.0, 1000.0])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = activations.sigmoid(x)
    np.testing.assert_array_equal(y[[0, 3, 5, 6]], [0.0, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(y[[1, 2]], np.exp(x[[1, 2]]), rtol=1e-15)
