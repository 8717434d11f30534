"""Held gates: at their value at every step, and no gradient through them."""

import dataclasses
import math
from types import SimpleNamespace

import naive
import numpy as np
import pytest
from helpers.cases import BUILT_IN, PARAMS, Case, assert_close, flat, random_params
from helpers.leaky import Leaky
from helpers.numpy_sweeps import NumpySweeps

import gatescope as gs
from gatescope.cells.activations import sigmoid, tanh
from gatescope.recurrence.clamping import clamp_metadata, clamp_values, fixed_rows

NAN = math.nan
GATES = [(cell, gate) for cell in BUILT_IN for gate in gs.cells.get(cell).gates if gate in naive.SAVED[cell]]
EXACT = {"sigmoid": (0.0, 0.5, 1.0), "tanh": (-1.0, 0.0, 1.0)}
BETWEEN = {"sigmoid": (0.02, 0.9, 0.999), "tanh": (-0.7, 1e-30, 0.999)}


def curve(gate):
    return "tanh" if gate in ("g", "n") else "sigmoid"


@pytest.fixture
def leaky():
    gs.cells.register(Leaky)  # its own tests need it too, so it stays


# ---- the values ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cell", "gate"), GATES)
def test_a_clamped_gate_keeps_its_value(cell, gate, dtype):
    """Weights ten times as large as usual would move the gate all over its range."""
    case = Case(cell, T=12, scale=10, dtype=dtype)
    free = case.run().gate(gate)
    assert np.ptp(free) > 0.5
    for value in EXACT[curve(gate)]:
        trace = case.run(clamp={gate: value})
        np.testing.assert_array_equal(trace.gate(gate), np.full_like(free, value))
        assert np.isfinite(trace.states).all()
    for value in BETWEEN[curve(gate)]:
        # 3 units in the last place of the activation, and up to 4 by the rounding of a pre-activation of -3.9
        trace = case.run(clamp={gate: value})
        constant = np.full_like(free, value)
        np.testing.assert_array_max_ulp(trace.gate(gate), constant, maxulp=7)
        assert np.unique(trace.gate(gate)).size == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_reference_is_within_a_unit_in_the_last_place(dtype):
    """The cell's own equations in NumPy, at the bias that was found."""
    values = np.linspace(0.5, 1, 33, dtype=dtype)
    params = gs.clamp(random_params("lstm", input_size=1, hidden_size=33, dtype=dtype), {"f": values})
    np.testing.assert_array_max_ulp(sigmoid(params.gate("f")["bias_ih"]), values, maxulp=1)
    values = np.linspace(-1, 1, 33, dtype=dtype)
    params = gs.clamp(random_params("gru", input_size=1, hidden_size=33, dtype=dtype), {"n": values})
    np.testing.assert_array_max_ulp(tanh(params.gate("n")["bias_ih"]), values, maxulp=1)
    for name in ("weight_ih", "weight_hh", "bias_hh"):
        assert not params.gate("n")[name].any()
        assert params.gate("z")[name].all()


def test_a_padded_sequence_has_its_gates_clamped_to_its_end():
    trace = Case("lstm").run([7, 0, 3], clamp={"f": 1.0})
    np.testing.assert_array_equal(trace.gate("f"), np.repeat(trace.mask[..., None], 5, axis=2).astype(float))


# ---- the states and the gradients ----


def by_hand(params, gate, value):
    """Weights with a gate at a value, made with the inverse of its activation."""
    weights = {name: array.copy() for name, array in params.arrays().items()}
    rows = params.gate_names.index(gate) * params.hidden_size + np.arange(params.hidden_size)
    with np.errstate(divide="ignore"):
        x = np.arctanh(value) if curve(gate) == "tanh" else np.log(value) - np.log1p(-value)
    for array in weights.values():
        array[rows] = 0
    weights["bias_ih"][rows] = np.clip(x, -800, 800)
    return SimpleNamespace(**weights), rows


@pytest.mark.parametrize("end", ["saturated", "between"])
@pytest.mark.parametrize(("cell", "gate"), GATES)
def test_like_the_oracle_with_such_weights(cell, gate, end):
    value = 1.0 if end == "saturated" else 0.3
    case = Case(cell)
    weights, rows = by_hand(case.params, gate, value)
    trace = case.run([7, 2, 5], clamp={gate: value})
    arguments = {"initial_state": case.initial_state, "lengths": [7, 2, 5]}
    states, gates = naive.forward(cell, weights, case.inputs, **arguments)
    assert_close(trace.states, states, 1e-13, "states")
    for name, expected in gates.items():
        assert_close(trace.gate(name), expected, 1e-13, name)
    expected = naive.backward(
        cell, weights, case.inputs, case.output_adjoint, case.final_adjoint, **arguments
    )
    for name in PARAMS:
        expected[name][rows] = 0
    for name, actual in flat(case.backprop(trace)).items():
        assert_close(actual, expected[name], 1e-12, name)


def loss(case, params, inputs, initial_state, clamp):
    trace = gs.run(params, inputs, initial_state=initial_state, clamp=clamp)
    return (case.output_adjoint * trace.outputs).sum() + (case.final_adjoint * trace.final_state).sum()


@pytest.mark.parametrize("clamped", ["all units", "some units"])
@pytest.mark.parametrize(("cell", "gate"), [*GATES, ("leaky_test", "a"), ("leaky_test", "n")])
def test_gradients_are_differences_of_the_clamped_run(leaky, cell, gate, clamped):
    """Of all weights, those of held rows too, whose differences and gradients are exactly 0."""
    case = Case(cell)
    clamp = {gate: 0.3 if clamped == "all units" else [NAN, 0.3, NAN, 0.8, 1.0]}
    trace = case.run(clamp=clamp)
    grads = flat(case.backprop(trace))
    clamped_rows = ~np.isnan(trace.clamp).reshape(-1)
    assert clamped_rows.sum() == (5 if clamped == "all units" else 3)
    rng = np.random.default_rng(3)
    arguments = case.params.arrays() | {"inputs": case.inputs, "initial_state": case.initial_state}
    for name, value in arguments.items():
        direction = rng.standard_normal(value.shape)
        if name in PARAMS:
            assert not grads[name][clamped_rows].any()
        ends = []
        for sign in (1, -1):
            moved = arguments | {name: value + sign * 1e-6 * direction}
            params = dataclasses.replace(case.params, **{key: moved[key] for key in PARAMS})
            ends.append(loss(case, params, moved["inputs"], moved["initial_state"], clamp))
        # a central difference leaves step^2 and rounding / step, both about 1e-9 of the loss's scale
        scale = np.abs(grads[name] * direction).sum()
        assert abs((ends[0] - ends[1]) / 2e-6 - (grads[name] * direction).sum()) <= 1e-7 * scale, name


def test_weights_of_clamped_rows_do_not_matter():
    case = Case("gru_reset_before")
    rows = case.params.gate("r")
    expected = case.run(clamp={"r": 0.4})
    for value in rows.values():
        value *= 100
    np.testing.assert_array_equal(case.run(clamp={"r": 0.4}).states, expected.states)


def test_an_open_lstm_keeps_its_cell_state_for_ever():
    """With f = 1 and i = 0, c_T is c_0, and d c_T / d c_0 the identity."""
    case = Case("lstm", T=300, scale=3)
    clamp = {"f": 1.0, "i": 0}
    trace = case.run(clamp=clamp)
    np.testing.assert_array_equal(trace.c, np.broadcast_to(case.initial_state[:, 1], trace.c.shape))
    adjoint = np.zeros((3, 2, 5))
    adjoint[:, 1] = np.random.default_rng(0).standard_normal((3, 5))
    grads = gs.backprop(case.params, trace, final_adjoint=adjoint)
    np.testing.assert_array_equal(grads.initial_state, adjoint)
    for name, value in flat(grads).items():
        if name in PARAMS or name == "inputs":
            assert not value.any(), name
    for norm in ("spectral", "unit", "random"):
        flow = gs.gradient_flow(case.params, case.inputs, wrt="c", of="c", norm=norm, clamp=clamp)
        # A random direction's own norm is 1 to rounding; the vector is the same at every lag.
        assert np.abs(flow.log_norm).max() <= (2e-16 if norm == "random" else 0.0)
        assert np.ptp(flow.log_norm[1:]) == 0


def test_the_cell_state_decays_as_the_clamped_forget_gate_says():
    case = Case("lstm", T=2000)
    clamp = {"f": 0.9, "i": 0.0}
    flow = gs.gradient_flow(case.params, case.inputs, wrt="c", of="c", norm="unit", clamp=clamp)
    assert_close(flow.log_norm, np.log(0.9) * flow.lag[:, None] * np.ones(3), 1e-14)
    assert_close(flow.half_life().value, np.full(3, math.log(2) / -math.log(0.9)), 1e-10)
    assert flow.provenance["clamp"] == clamp


def test_a_gru_whose_update_gate_is_1_stays():
    for cell in ("gru", "gru_reset_before"):
        case = Case(cell, T=50, scale=3)
        trace = case.run(clamp={"z": 1})
        np.testing.assert_array_equal(trace.h, np.broadcast_to(case.initial_state[:, 0], trace.h.shape))
        grads = gs.backprop(case.params, trace, final_adjoint=case.final_adjoint)
        np.testing.assert_array_equal(grads.initial_state, case.final_adjoint)
        for name in (*PARAMS, "inputs"):
            assert not flat(grads)[name].any(), name


def test_gradient_flow_is_that_of_clamped_weights():
    case = Case("gru", T=40)
    clamp = {"r": {1: 0.0, 4: 1.0}}
    flow = gs.gradient_flow(case.params, case.inputs, wrt="joint", norm="spectral", clamp=clamp)
    expected = gs.gradient_flow(gs.clamp(case.params, clamp), case.inputs, wrt="joint", norm="spectral")
    assert flow == expected
    assert flow != gs.gradient_flow(case.params, case.inputs, wrt="joint", norm="spectral")


# ---- which units ----


@pytest.mark.parametrize(
    "value",
    [
        [NAN, 0.25, NAN, NAN, 1.0],
        np.array([NAN, 0.25, NAN, NAN, 1.0], np.float32),
        {1: 0.25, 4: 1.0},
        {np.int64(4): np.float32(1), 1: np.array(0.25)},
    ],
    ids=["list", "array", "mapping", "NumPy's numbers"],
)
def test_some_units(value):
    case = Case("lstm", T=20)
    free, trace = case.run(), case.run(clamp={"f": value})
    f = trace.gate("f")
    np.testing.assert_array_max_ulp(f[..., 1], np.full((20, 3), 0.25), maxulp=4)
    np.testing.assert_array_equal(f[..., 4], np.ones((20, 3)))
    for unit in (0, 2, 3):
        assert np.ptp(f[..., unit]) > 0
        np.testing.assert_array_equal(f[0, :, unit], free.gate("f")[0, :, unit])
    expected = np.full((4, 5), NAN)
    expected[1, [1, 4]] = 0.25, 1
    np.testing.assert_array_equal(trace.clamp, expected)
    assert trace.provenance["clamp"] == {"f": {"1": 0.25, "4": 1.0}}


def test_several_gates_of_a_large_layer():
    """More units than a vector has lanes, a value a unit, one sequence."""
    params = random_params("gru", input_size=1, hidden_size=17, seed=2)
    z = np.linspace(0, 1, 17)
    trace = gs.run(params, np.ones((9, 1)), clamp={"z": z, "r": 1.0})
    np.testing.assert_array_max_ulp(trace.gate("z")[:, 0], np.broadcast_to(z, (9, 17)), maxulp=7)
    assert (trace.gate("r") == 1).all()
    assert trace.provenance["clamp"]["r"] == 1.0


# ---- what the trace remembers ----


def test_the_trace_says_what_was_clamped(tmp_path):
    case = Case("lstm")
    trace = case.run(clamp={"f": 1.0, "o": {2: 0.5}})
    trace.save(tmp_path / "trace.npz")
    loaded = gs.load(tmp_path / "trace.npz")
    assert loaded == trace
    assert loaded.clamp.dtype == np.float64
    expected, actual = flat(case.backprop(trace)), flat(case.backprop(loaded))
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)
    again = case.run(clamp=trace.clamp)
    assert again == trace
    # weights that are held already are held no differently
    over = gs.clamp(case.params, trace.clamp)
    assert gs.clamp(over, {"f": 1.0, "o": {2: 0.5}}) == over
    for name, value in expected.items():
        np.testing.assert_array_equal(
            flat(
                gs.backprop(over, trace, output_adjoint=case.output_adjoint, final_adjoint=case.final_adjoint)
            )[name],
            value,
        )


def test_a_trace_without_clamped_gates_is_as_before(tmp_path):
    case = Case("gru")
    trace = case.run(clamp=None)
    assert trace.clamp is None
    assert "clamp" not in trace.provenance
    assert case.run(clamp={}) == trace == case.run()
    assert gs.clamp(case.params, None) is case.params
    trace.save(tmp_path / "trace.npz")
    assert gs.load(tmp_path / "trace.npz") == trace

    # A file of the version before, which knew no such field.
    from gatescope.storage.npz import decode_json, encode_json, read_npz, write_npz

    arrays = read_npz(tmp_path / "trace.npz")
    meta = decode_json(str(arrays["gatescope_meta"][()]))
    del meta["fields"]["clamp"]
    write_npz(tmp_path / "old.npz", {**arrays, "gatescope_meta": np.array(encode_json(meta, "Trace"))})
    assert gs.load(tmp_path / "old.npz") == trace


def test_the_weights_given_are_left_alone():
    case = Case("lstm")
    before = {name: value.copy() for name, value in case.params.arrays().items()}
    case.backprop(case.run(clamp={"f": 1.0, "g": 0.1}))
    for name, value in case.params.arrays().items():
        np.testing.assert_array_equal(value, before[name])


def test_metadata_for_provenance():
    params = random_params("lstm", input_size=1, hidden_size=2)
    assert clamp_metadata(params, None) == {}
    facts = clamp_metadata(params, {"f": 1, "i": [0.5, NAN], "o": [0.1, 0.2], "g": {0: 0, 1: 0}})
    assert facts == {"clamp": {"f": 1.0, "i": {"0": 0.5}, "o": {"0": 0.1, "1": 0.2}, "g": 0.0}}


def test_spectra_say_what_was_clamped():
    params, inputs = random_params("lstm", input_size=2, hidden_size=5), np.zeros((30, 2))
    for actual in (
        gs.lyapunov_spectrum(params, inputs, k=1, clamp={"f": 0.9}, checks=False),
        gs.jacobian_spectrum(params, inputs, lags=[1, 3], clamp={"f": 0.9}),
    ):
        assert actual.provenance["clamp"] == {"f": 0.9}
        assert actual.provenance["dtype"] == "float64"


# ---- peepholes ----


def peephole_lstm(**options):
    return random_params("lstm_peephole", input_size=2, hidden_size=5, scale=3.0, **options)


@pytest.mark.parametrize("gate", ["i", "f", "o"])
@pytest.mark.parametrize("value", [1.0, 0.3])
def test_a_clamp_shuts_the_peepholes_into_the_gate_and_no_other(gate, value):
    params = peephole_lstm()
    clamped = gs.clamp(params, {gate: {1: value, 4: value}})
    for other in ("pi", "pf", "po"):
        zeros = np.flatnonzero(clamped.gate(other)["bias_ih"] == 0).tolist()
        assert zeros == ([1, 4] if other == f"p{gate}" else [])
    inputs = np.random.default_rng(0).standard_normal((6, 3, 2))
    _, saved = NumpySweeps(gs.cells.get("lstm_peephole"), clamped).forward(inputs, np.ones((3, 2, 5)))
    values = saved[:, :, "ifgo".index(gate)]
    np.testing.assert_allclose(values[..., [1, 4]], value, rtol=1e-15)
    assert np.ptp(values[..., [0, 2, 3]]) > 0.5


def test_without_peepholes_it_is_an_lstm():
    """Clamped at 1, i, f and o of both are the same, whatever the peepholes were."""
    open_gates = {"i": 1.0, "f": 1.0, "o": 1.0}
    params = peephole_lstm()
    plain = gs.Params(cell="lstm", **{name: array[:20] for name, array in params.arrays().items()})
    inputs, first = np.random.default_rng(0).standard_normal((6, 3, 2)), np.ones((3, 2, 5))
    runs = [
        NumpySweeps(gs.cells.get(one.cell), gs.clamp(one, open_gates)).forward(inputs, first)
        for one in (params, plain)
    ]
    np.testing.assert_array_equal(runs[0][0], runs[1][0])


def test_gradients_of_shut_peepholes_are_0():
    params = peephole_lstm()
    rows = fixed_rows(params, clamp_values(params, {"f": {2: 1.0}}))
    gates = dict(zip(params.gate_names, rows["bias_ih"].reshape(7, 5), strict=True))
    assert {gate: np.flatnonzero(row).tolist() for gate, row in gates.items() if row.any()} == {
        "f": [2],
        "pf": [2],
    }
