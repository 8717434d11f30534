"""The variants of the cells against their papers' formulas: states, saved values and every gradient.

Parametrised over helpers/variant_formulas.py: a variant is tested by having its formula there.  The equations are run
in NumPy, with nothing to compile, compiled on numbers, and for some cells in the kernels.
"""

import numpy as np
import pytest
from helpers import variant_formulas
from helpers.cases import BUILT_IN, PARAMS, Case, assert_close, flat
from helpers.numpy_sweeps import NumpySweeps
from numba import njit

import gatescope as gs
from gatescope.cells.memory_gate import MemoryGate, memory_gate
from gatescope.cells.ranges import gate_ranges, output_is_bounded
from gatescope.cells.roles import ROLES
from gatescope.kernels.simd.activations import divide

REGISTERED = gs.cells.names()  # when tests are collected: those that tests register come later
VARIANTS = tuple(variant_formulas.FORMULAS)
SIZES = [5, 17]


def case_of(cell, H, **options):
    return Case(cell, **{"T": 5, "B": 2, "I": 2, "H": H, "scale": 2.0} | options)


def by_numpy(case, dtype="float64"):
    """Return states, saved values and gradients by the cell's own equations."""
    cell = gs.cells.get(case.cell)
    sweeps = NumpySweeps(cell, case.params, dtype)
    states, saved = sweeps.forward(case.inputs, case.initial_state)
    gradients = sweeps.backward(case.inputs, states, saved, case.output_adjoint, case.final_adjoint)
    for name in PARAMS:  # as `backprop` does with what a gate does not have
        gradients[name][np.repeat(cell.lacks(name), case.params.hidden_size)] = 0
    return states, saved, gradients


def check(case, results, tolerance, gradients=variant_formulas.by_complex_step):
    states, saved, actual = results
    expected_states, expected_saved = variant_formulas.forward(case)
    assert_close(states, expected_states, tolerance, "states")
    assert_close(saved, expected_saved, tolerance, "saved")
    for name, expected in gradients(case).items():
        assert_close(actual[name], expected, tolerance, name)


def test_every_cell_has_a_formula_of_its_own():
    assert sorted(REGISTERED) == sorted([*BUILT_IN, *VARIANTS])


@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("cell", VARIANTS)
def test_states_and_all_gradients(cell, H):
    case = case_of(cell, H)
    check(case, by_numpy(case), 1e-12)


@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("cell", VARIANTS)
def test_float32(cell, H):
    case = case_of(cell, H, dtype="float32")
    states, saved, gradients = by_numpy(case, "float32")
    assert {array.dtype for array in (states, saved, *gradients.values())} == {np.dtype(np.float32)}
    check(case, (states, saved, gradients), 1e-4)


@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("cell", VARIANTS)
def test_gradients_are_those_of_autograd(cell, H):
    pytest.importorskip("torch")
    case = case_of(cell, H, seed=1)
    check(case, by_numpy(case), 1e-12, variant_formulas.by_autograd)


@pytest.mark.slow  # half a second a cell
@pytest.mark.parametrize("cell", [cell for cell in VARIANTS if not gs.cells.get(cell).prepared])
def test_the_equations_compile(cell):
    """As the kernels compile them, but on numbers: a cell differs from others in these two functions alone."""
    assert callable(divide)  # importing its module makes the activations known to Numba
    known = gs.cells.get(cell)
    rng = np.random.default_rng(0)
    wx, rh = (tuple(rng.standard_normal(len(known.gates))) for _ in range(2))
    states, adjoint = (tuple(rng.uniform(0.5, 1.5, len(known.states))) for _ in range(2))
    new, saved = known.step(wx, rh, states)
    compiled = njit(known.step)(wx, rh, states)
    assert_close(np.concatenate(compiled), np.concatenate((new, saved)), 1e-14, "step")
    expected = np.concatenate(known.step_vjp(saved, states, new, adjoint))
    actual = np.concatenate(njit(known.step_vjp)(saved, states, new, adjoint))
    assert_close(actual, expected, 1e-14, "step_vjp")


@pytest.mark.slow  # kernels of its own
@pytest.mark.parametrize("cell", ["slstm", "lstm_peephole", "min_gru"])
def test_compiled(cell):
    """Most states, most gates, and weights that are not there; gates of two phases in test_two_phases.py."""
    case = case_of(cell, 5, B=3)
    trace = case.run()
    check(case, (trace.states, trace.gates, flat(case.backprop(trace))), 1e-12)


# ---- what is found from the equations ----

GATE, SIGNED = (0.0, 1.0), (-1.0, 1.0)
LSTM = MemoryGate(name="f", state=1, saved=1, sign=1, sigmoid=True, input_gate="i")


def coupled(gate, state, saved, *, sign=1, sigmoid=True):
    return MemoryGate(name=gate, state=state, saved=saved, sign=sign, sigmoid=sigmoid, coupled=True)


# Their gates may add up to more than 1, or the candidate is linear, and an sLSTM's first step may be 0 / 0.
UNBOUNDED = ("janet", "gru_uncoupled", "min_gru", "lstm_linear_output", "slstm")
LINEAR = {"lstm_linear_input": "g", "min_gru": "n"}
RANGES = {"a": GATE, "r": GATE, "z": GATE, "i": GATE, "f": GATE, "o": GATE, "n": SIGNED, "g": SIGNED}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("leaky", coupled("a", 0, 0, sign=-1)),
        ("janet", coupled("f", 0, 0)),
        ("mgu", coupled("f", 0, 0, sign=-1)),
        ("gru_uncoupled", MemoryGate(name="z", state=0, saved=1, sign=1, sigmoid=True, input_gate="i")),
        ("lstm_coupled", coupled("f", 1, 0)),
        ("lstm_linear_input", LSTM),
        ("lstm_linear_output", LSTM),
        ("lstm_as_printed", MemoryGate()),
        ("lstm_bridge", coupled("z", 1, 0, sign=-1)),
        ("lstm_bridge_from_c", coupled("z", 0, 0, sign=-1)),
        ("slstm", coupled("f", 3, 1, sigmoid=False)),
    ],
)
def test_the_gate_that_holds_the_memory(cell, expected):
    assert memory_gate(gs.cells.get(cell)) == expected


@pytest.mark.parametrize("cell", VARIANTS)
def test_ranges_and_roles(cell):
    known = gs.cells.get(cell)
    ranges = dict(zip(known.saved, gate_ranges(known), strict=True))
    expected = {name: RANGES.get(name) for name in known.saved}
    if cell in LINEAR:
        expected[LINEAR[cell]] = None
    assert ranges == expected
    assert output_is_bounded(known) == (cell not in UNBOUNDED)
    assert {name for name in (*known.gates, *known.states, *known.saved) if len(name) == 1} <= set(ROLES)


@pytest.mark.parametrize("scheme", ["pytorch", "keras", "orthogonal", "chrono(50)", "gaussian(0.9)"])
@pytest.mark.parametrize("cell", VARIANTS)
def test_initial_weights(cell, scheme):
    """A memory gate gets its bias by what it holds: that of 1 - a, below 0."""
    sizes = {"input_size": 2, "hidden_size": 40, "seed": 0, "dtype": "float64"}
    memory = memory_gate(gs.cells.get(cell))
    if scheme.startswith("chrono") and not memory.sigmoid:
        with pytest.raises(gs.errors.ValueRangeError, match="needs a gate that holds the memory"):
            gs.init(cell, scheme=scheme, **sizes)
        return
    params = gs.init(cell, scheme=scheme, **sizes)
    if scheme.startswith("chrono"):
        bias = memory.sign * params.gate(memory.name)["bias_ih"]
        assert 0 <= bias.min() < 1.5 < 3 < bias.max() <= np.log(49)


# ---- measured ----


@pytest.mark.slow  # kernels of its own
def test_gradients_that_flow_back():
    case = case_of("slstm", 5, T=40, B=3)
    keywords = {"initial_state": case.initial_state, "wrt": "joint", "max_lag": 12}
    flow = gs.gradient_flow(case.params, case.inputs, of="h", norm="unit", unit=1, **keywords)
    trace = case.run()
    for lag in (1, 4, 12):
        expected = jacobian_row(case, trace, lag, unit=1)
        np.testing.assert_allclose(flow.log_norm[lag], expected, rtol=1e-10, atol=1e-10)
    paths = gs.gradient_paths(case.params, case.inputs, of="joint", **keywords)
    np.testing.assert_allclose(paths.fraction.sum(axis=1), 1, rtol=0, atol=1e-10)


@pytest.mark.slow  # kernels of its own
def test_what_a_leak_leaves_is_its_half_life():
    """Without recurrent weights the estimates by the gate and by the exponent are those of 1 - a."""
    case = case_of("leaky", 5, T=200, B=3)
    case.params.weight_hh[:] = 0
    life = gs.half_life(case.params, case.inputs, transient=20)
    rate = -np.log(1 - case.run().gate("a")[20:]).mean(axis=0)
    np.testing.assert_allclose(life.gate_rate, rate, rtol=1e-9)
    # A tangent needs some steps to turn to the slowest unit.
    np.testing.assert_allclose(life.exponent_rate, rate.min(axis=1), rtol=0.05)
    assert "of 1 - a" in life.sequence(0).summary()


def jacobian_row(case, trace, lag, unit):
    """Return ln || d h_T[unit] / d s_(T-lag) || of each sequence, by the complex step of the formula."""
    start, S, H = len(case.inputs) - lag, trace.states.shape[2], case.params.hidden_size
    size = S * H
    arrays = variant_formulas.arguments(case)
    state = np.repeat(trace.states[start].reshape(-1, 1, size), size, axis=1).astype(complex)
    state[:, np.arange(size), np.arange(size)] += 1j * variant_formulas.TINY
    arrays |= {
        "inputs": arrays["inputs"][start:],
        "initial_state": state.reshape(len(state), size, S, H),
    }
    states, _ = variant_formulas.run(case.cell, arrays)
    row = states[-1]["h"][..., unit].imag / variant_formulas.TINY
    return np.log(np.linalg.norm(row, axis=1))
