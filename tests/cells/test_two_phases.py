"""Cells of two phases, whose first phase may read any state: all of its derivatives count, whatever is computed."""

import naive
import numpy as np
import pytest
from helpers import variant_formulas, wound
from helpers.cases import Case, assert_close, flat, random_params

import gatescope as gs
from gatescope.cells.linearization import linearize
from gatescope.measurements.step_jacobian import stack_jacobians, step_jacobians

BRIDGE = "lstm_bridge_from_c"  # its second phase's product is that of its second state
TINY = 1e-100  # the complex step's: its square vanishes beside any float
STEPS, UNITS = 40, 5
SIZE = 2 * UNITS


def stepped(params, x, states):
    """Return the states (..., S*H) after a step of a variant's formula, complex ones too, from states (..., S, H)."""
    cell = gs.cells.get(params.cell)
    weights = variant_formulas.Weights(cell.gates, params.arrays())
    old = {name: states[..., k, :] for k, name in enumerate(cell.states)}
    new, _ = variant_formulas.FORMULAS[params.cell](weights, x, old)
    return np.concatenate([new[name] for name in cell.states], axis=-1)


def derivatives(function, point):
    """Return d function / d point by the complex step, (..., size of the point); the function takes many at once."""
    moved = point.ravel() + TINY * 1j * np.eye(point.size)
    return function(moved.reshape(-1, *point.shape)).imag.T / TINY


def jacobian(params, x, state):
    return derivatives(lambda states: stepped(params, x, states), state)


# ---- in NumPy, with nothing to compile; the equations' gradients are in test_variants.py ----


@pytest.mark.parametrize("cell", ["mgu", BRIDGE])
def test_jacobians_of_steps(cell):
    case = Case(cell, T=1, B=3, I=2, H=UNITS, scale=1.5)
    states, saved = variant_formulas.forward(case)
    actual = step_jacobians(case.params, states[0], states[1], saved[0])
    for b, x in enumerate(case.inputs[0]):
        assert_close(actual[b], jacobian(case.params, x, states[0, b]), 1e-13, f"sequence {b}")


def test_jacobians_of_a_closed_loop():
    """Of the joint state of the bridge below an LSTM whose outputs are the next inputs."""
    lower, upper = (
        random_params(cell, input_size=5, hidden_size=5, seed=k) for k, cell in enumerate((BRIDGE, "lstm"))
    )
    rng = np.random.default_rng(0)
    feedback, old = rng.standard_normal((5, 5)), rng.uniform(-1, 1, (2, 2, 5))

    def step(states):
        x = feedback @ states[1, 0]
        below = stepped(lower, x, states[0]).reshape(2, 5)
        above, gates = naive.step("lstm", naive.Matrices("lstm", upper), below[0], states[1])
        return np.stack([below, above]), gates

    new, gates = step(old)
    weights = variant_formulas.Weights(("z", "o", "g"), lower.arrays())
    names = {"c": old[0, 0], "h": old[0, 1]}
    _, values = variant_formulas.FORMULAS[BRIDGE](weights, feedback @ old[1, 0], names)
    saved = [np.stack([*each.values()])[None] for each in (values, gates)]
    actual = stack_jacobians([lower, upper], old[:, None], new[:, None], saved, feedback)[0]
    expected = derivatives(lambda many: np.array([step(each)[0].ravel() for each in many]), old)
    assert_close(actual, expected, 1e-13)


def test_who_reads_other_states():
    reading = {name for name in gs.cells.names() if gs.cells.get(name).reads_others}
    assert BRIDGE in reading
    assert not reading & {"rnn", "rnn_relu", "lstm", "gru", "gru_reset_before", "mgu"}


def test_the_operand_by_each_state():
    saved, old, new = np.random.default_rng(0).uniform(0.1, 0.9, (3, 3, 4))
    by_state = linearize(gs.cells.get(BRIDGE), saved, old[:2], new[:2]).operand_state
    np.testing.assert_array_equal(by_state, [np.zeros(4), np.ones(4)])


# ---- compiled ----


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "dtype"), [(BRIDGE, "float64"), ("mgu", "float32")])
def test_run_and_backprop(cell, dtype):
    """Without the derivatives by the second state the bridge's gradients are 35 % off or more."""
    case = Case(cell, T=7, B=1, I=2, H=UNITS, scale=1.5, dtype=dtype)
    # float32: 7 steps of sums of 5 and 15 terms, at 6e-8 a rounding.
    tolerance = 1e-12 if dtype == "float64" else 5e-6
    trace = case.run()
    states, saved = variant_formulas.forward(case)
    assert_close(trace.states, states, tolerance, "states")
    assert_close(trace.gates, saved, tolerance, "gates")
    actual = flat(case.backprop(trace))
    for name, gradient in variant_formulas.by_complex_step(case).items():
        assert_close(actual[name], gradient, tolerance, name)


@pytest.fixture(scope="module")
def products():
    """Return a case of the bridge, its Jacobians (T, 10, 10) by the complex step, and its states."""
    case = Case(BRIDGE, T=STEPS, B=1, I=2, H=UNITS, scale=1.5)
    states, _ = variant_formulas.forward(case)
    pairs = zip(case.inputs[:, 0], states[:-1, 0], strict=True)
    return case, np.array([jacobian(case.params, x, state) for x, state in pairs]), states


@pytest.mark.slow  # compiles kernels of its own, as those below
def test_flow_and_singular_values_are_those_of_products(products):
    case, jacobians, _ = products
    lags = [0, 1, 2, 10, STEPS]
    product, by_lag = np.eye(SIZE), [np.eye(SIZE)]
    for each in jacobians[::-1]:
        product = product @ each
        by_lag.append(product)
    options = {"initial_state": case.initial_state, "of": "joint", "wrt": "joint", "lags": lags}
    spectrum = gs.jacobian_spectrum(case.params, case.inputs, **options)
    for row, lag in enumerate(lags):
        expected = np.log(np.linalg.svd(by_lag[lag], compute_uv=False))
        large = expected > expected[0] - 16  # NumPy's are off by 2e-16 of the largest
        np.testing.assert_allclose(spectrum.log_singular[row, 0][large], expected[large], rtol=0, atol=1e-8)
    flow = gs.gradient_flow(case.params, case.inputs, norm="unit", unit=7, **options)
    expected = [np.log(np.linalg.norm(by_lag[lag][7])) for lag in lags]  # of h of the third unit
    np.testing.assert_allclose(flow.log_norm[:, 0], expected, rtol=0, atol=1e-11)


@pytest.mark.slow
def test_exponents_are_those_of_products():
    """Of a cell whose first phase reads its second state itself, and the operand both."""
    gs.cells.register(wound.Wound)
    case = Case("wound_test", T=STEPS, B=1, I=2, H=UNITS, scale=1.5)
    spectrum = gs.lyapunov_spectrum(
        case.params, case.inputs, initial_state=case.initial_state, transient=20, qr_every=1
    )
    weights, state = case.params.arrays(), case.initial_state[0]
    q, logs = np.random.default_rng(0).standard_normal((SIZE, SIZE)).T, []
    for x in case.inputs[:, 0]:

        def step(states, x=x):
            return np.array([wound.by_hand(weights, x, each).ravel() for each in states])

        q, r = np.linalg.qr(derivatives(step, state) @ q)
        logs.append(np.log(np.abs(np.diag(r))))
        state = step(state[None]).reshape(state.shape)
    expected = np.sort(np.mean(logs[20:], axis=0))[::-1]
    np.testing.assert_allclose(spectrum.exponents[0], expected, rtol=0, atol=1e-9)
    assert spectrum.log_det[0] == pytest.approx(spectrum.log_det_sum[0], abs=1e-9)


@pytest.mark.slow
def test_connectivity_is_that_of_products(products):
    case, jacobians, states = products
    carried, expected = np.eye(SIZE)[3], []  # of c, which is put out
    for t in range(STEPS - 1, -1, -1):
        by_input = derivatives(lambda x, t=t: stepped(case.params, x, states[t, 0]), case.inputs[t, 0])
        expected.append(np.log(np.linalg.norm(carried @ by_input)))
        carried = carried @ jacobians[t]
    row = gs.connectivity(
        case.params,
        case.inputs,
        initial_state=case.initial_state,
        target_steps=[STEPS - 1],
        norm="unit",
        unit=3,
    )
    np.testing.assert_allclose(row.log_norm[0, :, 0], expected[::-1], rtol=0, atol=1e-11)


@pytest.mark.slow
def test_every_path_is_what_leaves_through_its_gate(products):
    """Each gate's part of a Jacobian: what its own recurrent weights carry, the other gates' products held."""
    case, jacobians, states = products
    paths = gs.gradient_paths(
        case.params,
        case.inputs,
        of="joint",
        wrt="joint",
        vectors=True,
        norm="unit",
        unit=7,
        initial_state=case.initial_state,
    )
    assert paths.paths == ("direct", "z", "o", "g")
    direct, parts = np.eye(SIZE)[7], np.zeros((3, SIZE))  # of h, which g alone reads
    for lag in range(STEPS + 1):
        vectors = np.ldexp(paths.vectors[lag, :, 0].reshape(-1, SIZE), paths.exponents[lag, 0])
        expected = np.vstack([direct, parts])
        for name, one, other in zip(paths.paths, vectors, expected, strict=True):
            assert np.abs(one - other).max() <= 1e-12 * np.abs(expected).max(), (lag, name)
        if lag < STEPS:
            t = STEPS - 1 - lag
            step, by_gate = held_apart(case.params, case.inputs[t, 0], states[t, 0])
            assert_close(step + by_gate.sum(0), jacobians[t], 1e-14)
            parts = parts @ jacobians[t] + direct @ by_gate
            direct = direct @ step


def held_apart(params, x, state):
    """Return a step's Jacobian with all gates' recurrent products held, and what each adds that is let go."""

    def only(active):
        arrays = {name: value.copy() for name, value in params.arrays().items()}
        R, b = arrays["weight_hh"].reshape(3, UNITS, UNITS), arrays["bias_hh"].reshape(3, UNITS)
        for g, entering in enumerate((state[0], state[0], state[1])):
            if g != active:
                b[g] += R[g] @ entering
                R[g] = 0
        return jacobian(gs.Params(cell=BRIDGE, **arrays), x, state)

    step = only(None)
    return step, np.array([only(g) - step for g in range(3)])
