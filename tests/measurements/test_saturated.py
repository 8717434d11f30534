"""Derivatives of saturated units: every measurement has the digits that a rounded activation has lost."""

import dataclasses
import math

import numpy as np
import pytest
from helpers import high_precision
from helpers.cases import BUILT_IN, ONE, random_params
from helpers.wound import Wound
from scipy.optimize import brentq

import gatescope as gs
from gatescope.cells.linear_cell import Coefficients, linear_cell
from gatescope.cells.linearization import linearize
from gatescope.cells.margins import Activation, activation_rows, complement, tanh
from gatescope.errors import AccuracyWarning
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.extremes import extremes_of
from gatescope.measurements.flow_record import FlowRecord
from gatescope.measurements.step_jacobian import jacobians_of, step_jacobians
from gatescope.recurrence.exact_steps import ACCURACY, ExactSteps, linearized, lost_digits

SATURABLE = [name for name in BUILT_IN if any(map(any, activation_rows(gs.cells.get(name))))]


def log_slope(x):
    """Return ln of the derivative of tanh at x."""
    return -2 * math.log(math.cosh(x)) if abs(x) < 300 else 2 * (math.log(2) - abs(x))


def one_unit(bias, dtype="float64"):
    """Return an RNN of one unit, h' = tanh(h + bias)."""
    zero, one = np.zeros((1, 1), dtype), np.ones((1, 1), dtype)
    biases = {"bias_ih": np.array([bias], dtype), "bias_hh": np.zeros(1, dtype)}
    return gs.Params(cell="rnn", weight_ih=zero, weight_hh=one, **biases)


def idle_lstm(dtype="float64"):
    """Return an LSTM of one unit without weights or biases: with its forget gate at 1 its cell state stays."""
    arrays = {"weight_ih": (4, 1), "weight_hh": (4, 1), "bias_ih": (4,), "bias_hh": (4,)}
    return gs.Params(cell="lstm", **{name: np.zeros(shape, dtype) for name, shape in arrays.items()})


def idle(cell, biases, dtype="float64"):
    """Return a network of one unit whose only weights are biases of some gates."""
    gates = gs.cells.get(cell).gates
    params = gs.init(cell, input_size=1, hidden_size=1, dtype=dtype)
    for array in params.arrays().values():
        array[:] = 0
    for gate, bias in biases.items():
        params.bias_ih[gates.index(gate)] = bias
    return params


def remembering(c, dtype="float64"):
    """Return arguments of a measurement of an LSTM whose cell state is c at every step, and o = 1/2."""
    return {"initial_state": np.array([[[0], [c]]], dtype), "clamp": {"f": 1.0}}


# ---- one unit, whose derivative is known ----

INPUTS = np.zeros((20, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("bias", "expected"), [(15, -30.61371), (18, -36.61371), (300, -600.61371)])
def test_a_saturated_tanh(bias, expected):
    # From the second step on h is 1, so that the pre-activation is one more than the bias.
    assert log_slope(bias + 1) == pytest.approx(expected, abs=1e-5)
    value, params = log_slope(bias + 1), one_unit(bias)
    spectrum = gs.jacobian_spectrum(params, INPUTS, lags=[1, 2])
    assert spectrum.log_singular[:, 0, 0] == pytest.approx([value, 2 * value], rel=1e-9)
    flow = gs.gradient_flow(params, INPUTS, norm="unit", max_lag=3)
    assert flow.log_norm[:, 0] == pytest.approx([0, value, 2 * value, 3 * value], rel=1e-9)
    exponents = gs.lyapunov_spectrum(params, INPUTS, transient=2, checks=False).exponents
    assert exponents[0, 0] == pytest.approx(value, rel=1e-9)
    paths = gs.gradient_paths(params, INPUTS, norm="unit", max_lag=2)
    assert paths.total_log_norm[:, 0] == pytest.approx([0, value, 2 * value], rel=1e-9)
    wide = gs.Params(**{**params.arrays(), "cell": "rnn", "weight_ih": np.ones((1, 1))})
    conn = gs.connectivity(wide, INPUTS, target_steps=[19])
    assert conn.log_norm[0, 17:, 0] == pytest.approx([3 * value, 2 * value, value], rel=1e-9)
    assert gs.half_life(params, INPUTS, transient=2).exponent_rate[0] == pytest.approx(-value, rel=1e-9)


@pytest.mark.parametrize("of", ["joint", "h"])
@pytest.mark.parametrize(
    ("c", "dtype", "expected"),
    [
        (7.5, "float32", -14.30685),
        (8.5, "float32", -16.30685),
        (30, "float64", -59.30685),
        (300, "float64", None),
    ],
)
def test_a_large_cell_state(c, dtype, expected, of):
    value = math.log(0.5) + log_slope(c)
    if expected is not None:
        assert value == pytest.approx(expected, abs=1e-5)
    keywords = {"lags": [1, 5, 19], **remembering(c, dtype)}
    flow = gs.gradient_flow(idle_lstm(dtype), INPUTS, of=of, wrt="c", norm="unit", **keywords)
    assert flow.log_norm[:, 0] == pytest.approx([value] * 3, abs=ACCURACY[dtype])
    spectrum = gs.jacobian_spectrum(idle_lstm(dtype), INPUTS, of="h", wrt="c", **keywords)
    assert spectrum.log_singular[:, 0, 0] == pytest.approx([value] * 3, abs=ACCURACY[dtype])


def test_with_its_forget_gate_open_an_lstm_has_a_gradient_of_0_only_where_it_is_0():
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
    inputs = np.ones((300, 1))
    assert np.abs(gs.run(params, inputs, clamp={"f": 1.0}).c).max() > 100  # tanh(c) is 1, rounded
    flow = gs.gradient_flow(params, inputs, wrt="c", norm="spectral", clamp={"f": 1.0}, lags=[1, 100, 299])
    assert np.isfinite(flow.log_norm).all()


def test_what_no_float_holds_is_said():
    with pytest.warns(AccuracyWarning, match=r"100\.0 % of the activations.*below what float64 can tell"):
        flow = gs.gradient_flow(one_unit(400), INPUTS, norm="unit", max_lag=2)
    assert flow.log_norm[1, 0] == -np.inf
    biases = {"bias_ih": np.array([400.0, 0.0]), "bias_hh": np.zeros(2)}
    half = gs.Params(cell="rnn", weight_ih=np.zeros((2, 1)), weight_hh=np.eye(2), **biases)
    with pytest.warns(AccuracyWarning, match=r"of 50\.0 % of the activations"):
        gs.gradient_flow(half, INPUTS, max_lag=2)
    with pytest.warns(AccuracyWarning, match=r"100\.0 % of the activations.*below what float64 can tell"):
        gs.gradient_flow(one_unit(400, "float32"), INPUTS, norm="unit", max_lag=2)
    with pytest.warns(AccuracyWarning, match="below what float64 can tell"):
        gs.lyapunov_spectrum(one_unit(400), INPUTS, checks=False)


def test_a_gate_that_is_shut_further_than_float64_can_tell_is_said():
    shut = idle("lstm", {"f": -800})
    shut.weight_ih[:] = 1  # a gate that depends on its input is not clamped
    with pytest.warns(AccuracyWarning, match="below what float64 can tell"):
        flow = gs.gradient_flow(shut, INPUTS, of="c", wrt="c", norm="unit", max_lag=2)
    assert flow.log_norm[1, 0] == -np.inf


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_product_below_what_float64_can_tell_is_said(dtype):
    # o = e^-400 and tanh'(c), about 4 e^-500, are float64 numbers, and their product is none.
    with pytest.warns(AccuracyWarning, match="products of derivatives .* below what float64 can tell"):
        flow = gs.gradient_flow(
            idle("lstm", {"o": -400}, dtype),
            INPUTS,
            wrt="c",
            norm="unit",
            lags=[1],
            **remembering(250, dtype),
        )
    assert flow.log_norm[0, 0] == -np.inf


# ---- derivatives that are too small for float32 ----


def recomputed(result):
    return result.provenance["dtype"], result.provenance.get("recomputed")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bias", [34, 50, 300])
def test_a_tanh_saturated_beyond_float32(bias):
    value, params = log_slope(bias + 1), one_unit(bias, "float32")
    flow = gs.gradient_flow(params, INPUTS, norm="unit", max_lag=3)
    assert flow.log_norm[:, 0] == pytest.approx([0, value, 2 * value, 3 * value], rel=1e-9)
    assert recomputed(flow) == ("float64", "in float64")
    paths = gs.gradient_paths(params, INPUTS, norm="unit", max_lag=2)
    assert paths.total_log_norm[:, 0] == pytest.approx([0, value, 2 * value], rel=1e-9)
    wide = gs.Params(**{**params.arrays(), "cell": "rnn", "weight_ih": np.ones((1, 1), "float32")})
    conn = gs.connectivity(wide, INPUTS, target_steps=[19])
    assert conn.log_norm[0, 17:, 0] == pytest.approx([3 * value, 2 * value, value], rel=1e-9)
    life = gs.half_life(params, INPUTS, transient=2)
    assert life.adjoint_rate[0] == pytest.approx(-value, rel=1e-9)
    assert recomputed(life) == ("float32", "in float64")


@pytest.mark.filterwarnings("error")
def test_what_float32_can_tell_is_measured_in_float32():
    assert recomputed(gs.gradient_flow(one_unit(30, "float32"), INPUTS)) == ("float32", None)
    clamped = gs.gradient_flow(idle_lstm("float32"), INPUTS, of="c", wrt="c", clamp={"f": 0.0}, max_lag=2)
    assert recomputed(clamped) == ("float32", None)
    assert clamped.log_norm[1, 0] == -np.inf


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("cell", "gate", "state"), [("lstm", "f", "c"), ("gru", "z", "h")])
def test_a_gate_shut_beyond_float32(cell, gate, state):
    params = idle(cell, {gate: -120}, "float32")
    assert gs.run(params, INPUTS).gate(gate).max() == 0
    keywords = {"of": state, "wrt": state, "norm": "unit", "max_lag": 2}
    flow = gs.gradient_flow(params, INPUTS, **keywords)
    assert flow.log_norm[:, 0] == pytest.approx([0, -120, -240], rel=1e-12)
    assert flow == gs.gradient_flow(params.astype("float64"), INPUTS, **keywords)
    assert gs.half_life(params, INPUTS, transient=2).gate_rate[0] == pytest.approx([120], rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_product_of_derivatives_beyond_float32():
    # Each of o = e^-40 and tanh'(c), about 4 e^-60, is a float32, and their product is e^-98.6.
    params = idle("lstm", {"o": -40}, "float32")
    keywords = {"wrt": "c", "norm": "unit", "lags": [1], **remembering(30, "float32")}
    flow = gs.gradient_flow(params, INPUTS, **keywords)
    assert flow.log_norm[0, 0] == pytest.approx(-40 + log_slope(30), rel=1e-9)


@pytest.mark.filterwarnings("error")
def test_one_saturated_unit_of_five():
    params = random_params("rnn", input_size=1, hidden_size=5, dtype="float32")
    params.bias_ih[2] = 50
    recurrent = params.weight_hh.astype("float64")
    flow = gs.gradient_flow(params, INPUTS, norm="unit", unit=2, lags=[1])
    h = gs.run(params.astype("float64"), INPUTS).h[-2, 0]
    before = recurrent[2] @ h + np.float64(params.bias_ih[2]) + np.float64(params.bias_hh[2])
    expected = log_slope(before) + np.log(np.linalg.norm(recurrent[2]))
    assert flow.log_norm[0, 0] == pytest.approx(expected, rel=1e-9)
    for norm in ("random", "spectral"):
        whole = gs.gradient_flow(params, INPUTS, norm=norm, max_lag=5)
        assert whole == gs.gradient_flow(params.astype("float64"), INPUTS, norm=norm, max_lag=5)


def test_an_interrupted_call_in_float64_is_resumed_there(tmp_path, monkeypatch):
    path, calls = tmp_path / "state", []

    def interrupted(*_):
        calls.append(len(calls))
        raise KeyboardInterrupt

    keywords = {"norm": "unit", "max_lag": 2, "resume": path}
    with monkeypatch.context() as patch:
        patch.setattr(FlowRecord, "piece", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gs.gradient_flow(one_unit(50, "float32"), INPUTS, **keywords)
    assert [file.name for file in tmp_path.iterdir()] == ["state.float64"]
    flow = gs.gradient_flow(one_unit(50, "float32"), INPUTS, **keywords)
    assert flow.log_norm[1, 0] == pytest.approx(log_slope(51), rel=1e-9)
    assert not list(tmp_path.iterdir())


# ---- against high precision ----


def saturated(seed, dtype="float64"):
    """Return a network of two or three units, of weights as large as 1.5 to 7, and inputs."""
    cell, units, scale = BUILT_IN[seed % 5], 2 + seed % 2, 1.5 + 5.5 * (seed % 20) / 19
    sizes = {"input_size": 1, "hidden_size": units, "seed": seed, "dtype": dtype}
    params = random_params(cell, scale=scale * np.sqrt(units), **sizes)
    return params, np.random.default_rng(seed).standard_normal((4, 1)).astype(dtype)


@pytest.mark.parametrize(
    "seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 100))]
)
def test_derivatives_against_high_precision(seed):
    params, inputs = saturated(seed)
    states = high_precision.run(params, inputs)
    last = high_precision.jacobian(params, inputs[-1], states[-2])
    expected = high_precision.log_norm(last[0])
    flow = gs.gradient_flow(params, inputs, norm="unit", unit=0, wrt="joint", lags=[1])
    assert flow.log_norm[0, 0] == pytest.approx(expected, abs=1e-9)
    trace = gs.run(params, inputs)
    exact = ExactSteps(params).steps(trace.inputs, trace.states, trace.gates)
    jacobian = step_jacobians(params, trace.states[3:4, 0], trace.states[4:, 0], exact[3:, 0])[0]
    _, linear = linearized(params, inputs[-1:], trace.states[3:4, 0])
    reference = last.astype(np.float64)
    for ours in (jacobian, jacobians_of(params, linear)[0]):
        assert np.abs(ours - reference).max(axis=1) == pytest.approx(0, abs=1e-9 * np.abs(reference).max())


@pytest.mark.parametrize(
    "seed", [15, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (*range(10, 15), *range(16, 20)))]
)
def test_float32_against_high_precision(seed):
    params, inputs = saturated(seed, "float32")
    state = gs.run(params, inputs).states[-2, 0]
    expected = high_precision.log_norm(
        high_precision.jacobian(params, inputs[-1], high_precision.exact(state))[0]
    )
    flow = gs.gradient_flow(params, inputs, norm="unit", unit=0, wrt="joint", lags=[1])
    assert flow.log_norm[0, 0] == pytest.approx(expected, abs=ACCURACY["float32"])


# ---- other measurements ----


@pytest.mark.parametrize("bias", [0.1, 15, 300])
def test_a_fixed_point_of_saturated_units(bias):
    (point,) = gs.fixed_points(one_unit(bias), [0.0], starts=6).eigenvalues
    h = brentq(lambda h: math.tanh(h + bias) - h, 0, 1)
    assert np.log(np.abs(point)) == pytest.approx([log_slope(h + bias)], rel=1e-9)


def test_a_phase_diagram_of_saturated_units():
    # One unit under a large weight w of its own, in a state near -1 or 1: it stays there if w > 0, and else changes.
    diagram = gs.phase_diagram("rnn", gain=[400], hidden_size=1, inputs=np.zeros((100, 1)), transient=20)
    w = gs.init("rnn", input_size=1, hidden_size=1, scheme="gaussian", dtype="float64").weight_hh[0, 0] * 400
    expected = math.log(abs(w)) + log_slope(w)
    assert expected < -40
    assert diagram.exponent[0, 0, 0] == pytest.approx(expected, rel=1e-9)
    assert diagram.decay_rate[0, 0, 0] == pytest.approx(-expected, rel=1e-9)


# ---- the parts ----


@pytest.mark.parametrize("cell", [*SATURABLE, pytest.param(Wound.NAME, marks=pytest.mark.slow)])
def test_the_kernel_is_the_equations_in_numpy(cell, monkeypatch):
    gs.cells.register(Wound)
    params = random_params(cell, input_size=2, hidden_size=11, scale=8)
    inputs = np.random.default_rng(0).standard_normal((150, 1, 2))
    trace, linear = gs.run(params, inputs), linear_cell(gs.cells.get(cell))
    arrays = trace.inputs, trace.states, trace.gates
    exact = ExactSteps(params)
    rows = exact.steps(*arrays)
    assert isinstance(rows, Coefficients)
    ours = linear.linear(rows.reshape(-1, *rows.shape[2:]))
    _, reference = linearized(params, inputs.reshape(150, 2), trace.states[:-1].reshape(150, -1, 11))
    for field in dataclasses.fields(reference):
        one, other = (getattr(each, field.name) for each in (ours, reference))
        # A sum that is 1e-16 off, relatively to 40, moves the margin by so much.
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15 * np.abs(other).max(initial=0))
    monkeypatch.setattr(sweeps, "_THREAD_WORK", 0)
    threaded = ExactSteps(params, threads=3)
    np.testing.assert_array_equal(threaded.steps(*arrays), rows)
    assert (threaded.lost, threaded.seen) == (exact.lost, exact.seen)


def test_coefficients_are_there_until_others_take_their_slot():
    params = one_unit(15)
    trace = gs.run(params, INPUTS)
    exact = ExactSteps(params)
    arrays = trace.inputs, trace.states, trace.gates
    first, second = exact.steps(*arrays), exact.steps(*arrays, slot=1)
    assert not np.shares_memory(first, second)
    again = exact.steps(trace.inputs[:5], trace.states[:6], trace.gates[:5])
    assert np.shares_memory(first, again)
    assert exact.bytes(20, 1, slots=2) - exact.bytes(20, 1) == first.nbytes


def test_a_product_of_activations_has_a_margin():
    y = tanh(np.array([-20.0, -0.5, 0.0, 0.5, 20.0]))
    slope = complement(y * y)
    assert slope == pytest.approx(np.exp([log_slope(x) for x in (-20, -0.5, 0, 0.5, 20)]), rel=1e-14)
    assert isinstance(-y, Activation)
    assert (2 - y) == pytest.approx(2 - y.value)
    assert complement(y)[0] == 2


@pytest.mark.parametrize("cell", [*BUILT_IN, "mgu", "lstm_bridge_from_c"])
def test_a_linear_cell_has_the_derivatives_of_its_cell(cell):
    equations, linear = gs.cells.get(cell), linear_cell(gs.cells.get(cell))
    rng = np.random.default_rng(0)
    K, S, G, P = len(equations.saved), len(equations.states), len(equations.gates), equations.prepared
    saved, old, new = rng.uniform(0.1, 0.9, (K, 7)), *rng.uniform(0.1, 0.9, (2, S, 7))
    derivatives = linearize(equations, saved, old, new)
    rows = np.stack([getattr(derivatives, field)[index] for field, index in linear.entries])
    again = linear.linear(np.moveaxis(rows, 0, -2))
    for name in ("direct", "rh", "wx", "operand_state", "operand_rh", "operand_wx"):
        np.testing.assert_array_equal(getattr(again, name), getattr(derivatives, name), name)
    adjoint = tuple(rng.standard_normal((S, 7)))
    ours = linear.cell.step_vjp(tuple(rows), None, None, adjoint)
    if not P:
        theirs = equations.step_vjp(tuple(saved), tuple(old), tuple(new), adjoint)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(np.array(one), np.array(other), rtol=1e-14, atol=1e-300)
        return
    operand = rng.standard_normal(7)
    whole = linear.cell.prepare_vjp(tuple(rows), None, operand, ours[3])
    _, d_rh, back, prepared = equations.step_vjp(tuple(saved), tuple(old), tuple(new), adjoint)
    _, first, more = equations.prepare_vjp(tuple(saved), tuple(old), operand, prepared)
    np.testing.assert_allclose(ours[1], d_rh, rtol=1e-14)
    np.testing.assert_allclose(whole[1], first, rtol=1e-12)
    for s in range(S):
        np.testing.assert_allclose(ours[2][s] + whole[2][s], back[s] + more[s], rtol=1e-12)
    assert len(first) == P < G


@pytest.mark.parametrize("cell", ONE)
def test_where_nothing_is_saturated_nothing_is_computed(cell):
    params = random_params(cell, input_size=1, hidden_size=5)
    trace = gs.run(params, np.ones((8, 1)))
    assert not lost_digits(gs.cells.get(cell), extremes_of(trace.states[1:]), extremes_of(trace.gates))
    assert ExactSteps(params).steps(trace.inputs, trace.states, trace.gates) is trace.gates
