"""One-step Jacobians: against the complex step, against PyTorch's autograd over 50 steps, and their parts."""

from pathlib import Path
from types import SimpleNamespace

import naive
import numpy as np
import pytest
from helpers.cases import ONE, PARAMS, Case, assert_close, random_params
from helpers.leaky import Leaky, by_hand
from helpers.wound import Wound
from helpers.wound import by_hand as wound_step

import gatescope as gs
from gatescope.cells.linearization import direct_factors, linearize
from gatescope.cells.registry import get
from gatescope.measurements import step_jacobian

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "jacobians").glob("*.npz"))
TINY = 1e-100  # the complex step's: its square vanishes beside any float


@pytest.fixture
def wound():
    yield gs.cells.register(Wound)
    gs.cells.registry._CELLS.pop(Wound.NAME)


@pytest.fixture
def leaky():
    yield gs.cells.register(Leaky)
    gs.cells.registry._CELLS.pop(Leaky.NAME)


def stepped(cell, **sizes):
    """Return a case with its first step: states and new states (B, S, H), kept (B, K, H)."""
    case = Case(cell, T=1, **sizes)
    new_states, saved = step_jacobian.advance(case.params, case.inputs[0], case.initial_state)
    return case, new_states, saved


def input_jacobians(params, states, new_states, saved):
    """Return the Jacobian d new_state / d input (N, S*H, I) of each step, from the same coefficients."""
    cell = get(params.cell)
    linear = linearize(cell, saved, states, new_states)
    count, S, H = np.shape(states)
    P = cell.prepared
    W, R = (step_jacobian._blocks(w, len(cell.gates)) for w in (params.weight_ih, params.weight_hh))
    result = np.zeros((count, S, H, params.input_size))
    for s in range(S):
        result[:, s] = step_jacobian._weighted(linear.wx[:, s], W)
        if P:
            result[:, s] += step_jacobian._weighted(linear.rh[:, s, P:], R[P:]) @ step_jacobian._weighted(
                linear.operand_wx, W[:P]
            )
    return result.reshape(count, S * H, params.input_size)


def by_complex_step(function, x):
    """Jacobian d function / d x, both flattened."""
    columns = []
    for j in range(x.size):
        moved = x.astype(complex).ravel()
        moved[j] += 1j * TINY
        columns.append(function(moved.reshape(x.shape)).imag.ravel() / TINY)
    return np.array(columns).T


@pytest.mark.parametrize("sizes", [{"B": 3, "I": 2, "H": 5}, {"B": 1, "I": 1, "H": 1}], ids=["some", "one"])
@pytest.mark.parametrize("cell", ONE)
def test_against_the_complex_step(cell, sizes):
    case, new_states, saved = stepped(cell, **sizes)
    arguments = case.params, case.initial_state, new_states, saved
    jacobians, by_input = step_jacobian.step_jacobians(*arguments), input_jacobians(*arguments)
    matrices = naive.Matrices(cell, case.params)
    for b, (x, state) in enumerate(zip(case.inputs[0], case.initial_state, strict=True)):
        assert_close(jacobians[b], naive.jacobian(cell, case.params, x, state), 1e-13, f"state {b}")
        expected = by_complex_step(lambda x, s=state: naive.step(cell, matrices, x, s)[0], x)
        assert_close(by_input[b], expected, 1e-13, f"input {b}")


def test_a_cell_of_the_users(leaky):
    case, new_states, saved = stepped("leaky_test", B=3, I=2, H=5)
    weights = case.params.arrays()
    arguments = case.params, case.initial_state, new_states, saved
    jacobians, by_input = step_jacobian.step_jacobians(*arguments), input_jacobians(*arguments)
    for b, (x, state) in enumerate(zip(case.inputs[0], case.initial_state, strict=True)):
        assert_close(new_states[b], by_hand(weights, x[None], state[0]), 1e-14)
        expected = by_complex_step(lambda s, x=x: by_hand(weights, x[None], s), state[0])
        assert_close(jacobians[b], expected, 1e-13)
        expected = by_complex_step(lambda x, s=state: by_hand(weights, x[None], s[0]), x)
        assert_close(by_input[b], expected, 1e-13)
    np.testing.assert_array_equal(
        direct_factors(leaky, saved, case.initial_state, new_states)[:, 0], saved[:, 0]
    )


def test_two_phases_and_two_states(wound):
    case, new_states, saved = stepped("wound_test", B=4, I=2, H=5)
    weights = case.params.arrays()
    arguments = case.params, case.initial_state, new_states, saved
    jacobians, by_input = step_jacobian.step_jacobians(*arguments), input_jacobians(*arguments)
    for b, (x, state) in enumerate(zip(case.inputs[0], case.initial_state, strict=True)):
        assert_close(new_states[b], wound_step(weights, x, state), 1e-14)
        expected = by_complex_step(lambda s, x=x: wound_step(weights, x, s), state)
        assert_close(jacobians[b], expected, 1e-13)
        expected = by_complex_step(lambda x, s=state: wound_step(weights, x, s), x)
        assert_close(by_input[b], expected, 1e-13)
    p, u, n = saved.swapaxes(0, 1)  # c goes on through p, too
    direct = direct_factors(wound, saved, case.initial_state, new_states)[:, 1]
    np.testing.assert_allclose(direct, u + n * p * (1 - p), rtol=1e-14)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_fifty_steps_against_torch(path):
    """The product of 50 Jacobians is what PyTorch's autograd gives (golden/make_jacobians.py)."""
    with np.load(path) as archive:
        made = {name: archive[name] for name in archive.files}
    problem = SimpleNamespace(**{k: v.astype(np.float64) for k, v in made.items() if v.dtype == np.float16})
    cell = path.stem
    weights = {name: getattr(problem, name) for name in PARAMS}
    params = gs.Params(cell=cell, **weights)
    trace = gs.run(params, problem.inputs, initial_state=problem.initial_state[None])
    old, new = trace.states[:-1, 0], trace.states[1:, 0]
    product = np.eye(old[0].size)
    for jacobian in step_jacobian.step_jacobians(params, old, new, trace.gates[:, 0])[-int(made["lag"]) :]:
        product = jacobian @ product
    # 50 products of a few roundings each, judged on the largest entry.
    assert_close(product, made["jacobian"], 1e-12)


def test_there_are_golden_files():
    assert {path.stem for path in GOLDEN} == {"lstm", "gru"}


@pytest.mark.parametrize("cell", ONE)
def test_advance_is_a_step_of_run(cell):
    case, new_states, saved = stepped(cell, B=3, I=2, H=5)
    trace = case.run()
    assert_close(new_states, trace.states[1], 1e-14)
    if saved.size:
        assert_close(saved, trace.gates[0], 1e-14)


@pytest.mark.parametrize("cell", ONE)
def test_the_kernels_carry_adjoints_by_these_jacobians(cell):
    case = Case(cell, T=7, B=3, I=2, H=5)
    trace = case.run()
    grads = gs.backprop(case.params, trace, final_adjoint=case.final_adjoint)
    old, new, saved = trace.states[:-1, 1], trace.states[1:, 1], trace.gates[:, 1]
    adjoint = case.final_adjoint[1].ravel()
    for t, jacobian in reversed(list(enumerate(step_jacobian.step_jacobians(case.params, old, new, saved)))):
        by_input = input_jacobians(case.params, old[t : t + 1], new[t : t + 1], saved[t : t + 1])[0]
        assert_close(adjoint @ by_input, grads.inputs[t, 1], 1e-13)
        adjoint = adjoint @ jacobian
        assert_close(adjoint, grads.adjoint[t, 1].ravel(), 1e-13)


@pytest.mark.parametrize(
    ("cell", "gates"),
    [("lstm", (None, "f")), ("gru", ("z",)), ("gru_reset_before", ("z",)), ("rnn", (None,))],
)
def test_direct_factors(cell, gates):
    """Exactly the gate that keeps the state, 0 where none does; leading axes stay as they are."""
    case = Case(cell, T=6, B=3, I=2, H=5)
    trace = case.run()
    factors = direct_factors(gs.cells.get(cell), trace.gates, trace.states[:-1], trace.states[1:])
    assert factors.shape == trace.states[1:].shape
    for s, gate in enumerate(gates):
        np.testing.assert_array_equal(factors[:, :, s], 0 if gate is None else trace.gate(gate))


@pytest.mark.parametrize("cell", ONE)
def test_float32_weights_are_computed_with_in_float64(cell):
    small = random_params(cell, input_size=2, hidden_size=5, dtype="float32")
    wide = gs.Params(cell=cell, **{k: v.astype(np.float64) for k, v in small.arrays().items()})
    rng = np.random.default_rng(3)
    states = rng.standard_normal((4, len(gs.cells.get(cell).states), 5)).astype(np.float32)
    inputs = rng.standard_normal((4, 2)).astype(np.float32)
    results = []
    for params, x, s in ((small, inputs, states), (wide, inputs.astype(float), states.astype(float))):
        new_states, saved = step_jacobian.advance(params, x, s)
        results.append((new_states, saved, step_jacobian.step_jacobians(params, s, new_states, saved)))
    for one, other in zip(*results, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)


def test_no_states_at_all():
    params = random_params("gru_reset_before", input_size=2, hidden_size=5)
    new_states, saved = step_jacobian.advance(params, np.zeros((0, 2)), np.zeros((0, 1, 5)))
    assert step_jacobian.step_jacobians(params, np.zeros((0, 1, 5)), new_states, saved).shape == (0, 5, 5)
