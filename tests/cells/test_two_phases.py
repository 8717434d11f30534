"""Cells of two phases, one of which reads another state first than the one that feeds back: whole gradients."""

import naive
import numpy as np
import pytest
from helpers import complex_step
from helpers.cases import Case, assert_close, flat, random_params
from helpers.numpy_sweeps import NumpySweeps

import gatescope as gs
from gatescope.cells.linearization import linearize
from gatescope.measurements.step_jacobian import stack_jacobians, step_jacobians

BRIDGE = "lstm_bridge_from_c"
CELLS = ["mgu", BRIDGE]


def case_of(cell, **options):
    return Case(cell, **{"T": 7, "B": 3, "I": 2, "H": 5, "scale": 1.5} | options)


def by_torch(case):
    """Return the states and the gradients of a case by PyTorch's autograd, of equations of its own."""
    torch = pytest.importorskip("torch")
    arrays = case.params.arrays() | {"inputs": case.inputs, "initial_state": case.initial_state}
    leaves = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in arrays.items()
    }
    count = len(gs.cells.get(case.cell).gates)
    W, R, b, d = (leaves[name].chunk(count) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

    def linear(k, x, entering):
        return torch.nn.functional.linear(x, W[k], b[k]) + torch.nn.functional.linear(entering, R[k], d[k])

    states, loss = [leaves["initial_state"].unbind(1)], 0
    for x, seed in zip(leaves["inputs"], torch.tensor(case.output_adjoint), strict=True):
        if case.cell == "mgu":
            (h,) = states[-1]
            f = torch.sigmoid(linear(0, x, h))
            states.append((torch.lerp(h, torch.tanh(linear(1, x, f * h)), f),))
        else:
            c, h = states[-1]
            z, o = (torch.sigmoid(linear(k, x, c)) for k in (0, 1))
            c = torch.lerp(c, torch.tanh(linear(2, x, h)), z)
            states.append((c, o * c))
        loss = loss + (states[-1][0] * seed).sum()
    loss = loss + (torch.stack(states[-1], 1) * torch.tensor(case.final_adjoint)).sum()
    loss.backward()
    values = torch.stack([torch.stack(each, 1) for each in states]).detach().numpy()
    return values, {name: leaf.grad.numpy() for name, leaf in leaves.items()}


# ---- in NumPy, with nothing to compile ----


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_the_equations(cell):
    """By the complex step, entry by entry; without the d_states beyond the first the bridge's are 35 % off or more."""
    case = case_of(cell)
    sweeps = NumpySweeps(gs.cells.get(cell), case.params)
    states, saved = sweeps.forward(case.inputs, case.initial_state)
    expected = naive.forward(cell, case.params, case.inputs, case.initial_state)
    assert_close(states, expected[0], 1e-14, "states")
    assert_close(saved, np.stack([*expected[1].values()], axis=2), 1e-14, "saved")
    actual = sweeps.backward(case.inputs, states, saved, case.output_adjoint, case.final_adjoint)
    for name, gradient in complex_step.gradients(case).items():
        assert_close(actual[name], gradient, 1e-13, name)


@pytest.mark.parametrize("cell", CELLS)
def test_jacobians_of_steps(cell):
    case = case_of(cell, T=1)
    states, saved = naive.forward(cell, case.params, case.inputs, case.initial_state)
    values = np.stack([*saved.values()], axis=2)[0]
    actual = step_jacobians(case.params, states[0], states[1], values)
    for b, x in enumerate(case.inputs[0]):
        assert_close(actual[b], naive.jacobian(cell, case.params, x, states[0, b]), 1e-13, f"sequence {b}")


def test_jacobians_of_a_closed_loop():
    """Of the joint state of the bridge below an LSTM whose outputs are the next inputs."""
    layers = [
        random_params(cell, input_size=5, hidden_size=5, seed=k) for k, cell in enumerate((BRIDGE, "lstm"))
    ]
    matrices = [naive.Matrices(params.cell, params) for params in layers]
    rng = np.random.default_rng(0)
    feedback, joint = rng.standard_normal((5, 5)), rng.uniform(-1, 1, (2, 2, 5))

    def step(states):
        x, new, saved = feedback @ states[1, 0], [], []
        for params, m, state in zip(layers, matrices, states, strict=True):
            after, gates = naive.step(params.cell, m, x, state)
            x, new, saved = after[0], [*new, after], [*saved, np.stack([*gates.values()])]
        return np.stack(new), saved

    new, saved = step(joint)
    actual = stack_jacobians(
        layers, joint[:, None], new[:, None], [values[None] for values in saved], feedback
    )[0]
    moved = joint.ravel() + 1e-100j * np.eye(20)
    expected = np.array([step(each.reshape(2, 2, 5))[0].imag.ravel() / 1e-100 for each in moved]).T
    assert_close(actual, expected, 1e-13)


def test_who_reads_other_states():
    reading = {name for name in gs.cells.names() if gs.cells.get(name).reads_others}
    assert BRIDGE in reading
    assert not reading & {"rnn", "rnn_relu", "lstm", "gru", "gru_reset_before", "mgu"}


def test_the_operand_by_each_state():
    cell = gs.cells.get(BRIDGE)
    saved, old, new = np.random.default_rng(0).uniform(0.1, 0.9, (3, 3, 4))
    by_state = linearize(cell, saved, old[:2], new[:2]).operand_state
    np.testing.assert_array_equal(by_state, [np.zeros(4), np.ones(4)])


@pytest.mark.parametrize("cell", CELLS)
def test_the_oracle_is_what_torch_derives(cell):
    case = case_of(cell)
    states, expected = by_torch(case)
    assert_close(
        naive.forward(cell, case.params, case.inputs, case.initial_state)[0], states, 1e-14, "states"
    )
    for name, gradient in complex_step.gradients(case).items():
        assert_close(gradient, expected[name], 1e-13, name)


# ---- compiled ----


@pytest.mark.parametrize(
    ("cell", "dtype"), [(BRIDGE, "float64"), pytest.param("mgu", "float32", marks=pytest.mark.slow)]
)
def test_run_and_backprop(cell, dtype):
    case = case_of(cell, B=1, dtype=dtype)
    # float32: 7 steps of sums of 5 and 15 terms, at 6e-8 a rounding.
    tolerance = 1e-12 if dtype == "float64" else 5e-6
    trace = case.run()
    states, _ = naive.forward(cell, case.params, case.inputs, case.initial_state)
    assert_close(trace.states, states, tolerance, "states")
    actual = flat(case.backprop(trace))
    for name, gradient in complex_step.gradients(case).items():
        assert_close(actual[name], gradient, tolerance, name)


STEPS, SIZE = 40, 10


@pytest.fixture(scope="module")
def products():
    """Return a case of the bridge, its Jacobians (T, 10, 10) by the complex step, and its states."""
    case = Case(BRIDGE, T=STEPS, B=1, I=2, H=5, scale=1.5)
    states, _ = naive.forward(BRIDGE, case.params, case.inputs, case.initial_state)
    pairs = zip(case.inputs[:, 0], states[:-1, 0], strict=True)
    return case, np.array([naive.jacobian(BRIDGE, case.params, x, state) for x, state in pairs]), states


@pytest.mark.slow  # compiles kernels of its own, as those below
def test_flow_and_singular_values_are_those_of_products(products):
    case, jacobians, _ = products
    lags = [0, 1, 2, 10, STEPS]
    product, by_lag = np.eye(SIZE), [np.eye(SIZE)]
    for jacobian in jacobians[::-1]:
        product = product @ jacobian
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
def test_exponents_are_those_of_products(products):
    case, jacobians, _ = products
    spectrum = gs.lyapunov_spectrum(
        case.params, case.inputs, initial_state=case.initial_state, transient=20, qr_every=1
    )
    q, logs = np.random.default_rng(0).standard_normal((SIZE, SIZE)).T, []
    for jacobian in jacobians:
        q, r = np.linalg.qr(jacobian @ q)
        logs.append(np.log(np.abs(np.diag(r))))
    expected = np.sort(np.mean(logs[20:], axis=0))[::-1]
    np.testing.assert_allclose(spectrum.exponents[0], expected, rtol=0, atol=1e-9)
    assert spectrum.log_det[0] == pytest.approx(spectrum.log_det_sum[0], abs=1e-9)


@pytest.mark.slow
def test_connectivity_is_that_of_products(products):
    case, jacobians, states = products
    m, columns = naive.Matrices(BRIDGE, case.params), []
    for t, x in enumerate(case.inputs[:, 0]):
        moved = x + 1e-100j * np.eye(2)
        by_input = [naive.step(BRIDGE, m, each, states[t, 0])[0].imag.ravel() / 1e-100 for each in moved]
        columns.append(np.array(by_input).T)
    carried, expected = np.eye(SIZE)[3], []  # of c, which is put out
    for t in range(STEPS - 1, -1, -1):
        expected.append(np.log(np.linalg.norm(carried @ columns[t])))
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
            step, by_gate = held_apart(case, case.inputs[t, 0], states[t, 0])
            assert_close(step + by_gate.sum(0), jacobians[t], 1e-14)
            parts = parts @ jacobians[t] + direct @ by_gate
            direct = direct @ step


def held_apart(case, x, state):
    """Return a step's Jacobian with all gates' recurrent products held, and what each adds that is let go."""

    def only(active):
        m = naive.Matrices(BRIDGE, case.params)
        for g, entering in enumerate((state[0], state[0], state[1])):
            if g != active:
                m.d[g], m.R[g] = m.d[g] + m.R[g] @ entering, np.zeros((5, 5))
        moved = state.ravel() + 1e-100j * np.eye(SIZE)
        return (
            np.array([naive.step(BRIDGE, m, x, each.reshape(2, 5))[0].imag.ravel() for each in moved]).T
            / 1e-100
        )

    step = only(None)
    return step, np.array([only(g) - step for g in range(3)])
