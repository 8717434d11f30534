"""connectivity: against backprop, products of Jacobians and lines that are known; far below the smallest float."""

import importlib
import math

import naive
import numpy as np
import pytest
from helpers.cases import ONE, Case
from helpers.leaky import Leaky
from helpers.linear_networks import orthogonal, weights

import gatescope as gs
from gatescope.datatypes.connectivity import Connectivity
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.measurements import connectivity_sweep
from gatescope.measurements.connectivity import connectivity

CELLS = (*ONE, pytest.param("leaky_test", marks=pytest.mark.slow))
module = importlib.import_module(
    "gatescope.measurements.connectivity"
)  # the package gives its function that name


@pytest.fixture(autouse=True)
def leaky():
    """Register the cell by the tests, not on import: others are parametrised over the registry at collection."""
    return gs.cells.register(Leaky)


def log(value):
    with np.errstate(divide="ignore"):
        return np.log(value)


def by_backprop(case, unit=None):
    """(T, T, B): one backprop for every output and unit."""
    T, B, _ = case.inputs.shape
    H = case.params.hidden_size
    trace = case.run()
    squares = np.full((T, T, B), np.nan)
    for t in range(T):
        squares[t, : t + 1] = 0
        for u in range(H) if unit is None else [unit]:
            seed = np.zeros((T, B, H))
            seed[t, :, u] = 1
            squares[t, : t + 1] += (
                gs.backprop(case.params, trace, output_adjoint=seed).inputs[: t + 1] ** 2
            ).sum(axis=-1)
    return log(squares) / 2


def assert_same(measured, expected, tolerance):
    assert measured.shape == expected.shape
    for kind in (np.isnan, np.isneginf):
        np.testing.assert_array_equal(kind(measured), kind(expected))
    some = np.isfinite(expected)
    assert some.any()
    np.testing.assert_allclose(measured[some], expected[some], rtol=0, atol=tolerance)


@pytest.mark.parametrize("inputs", [2, 6])  # few: by scalar products; many: by a product
@pytest.mark.parametrize("cell", CELLS)
def test_against_backprop(cell, inputs):
    case = Case(cell, T=10, B=3, I=inputs, H=5, scale=1.5)
    conn = connectivity(case.params, case.inputs, initial_state=case.initial_state)
    assert (conn.cell, conn.norm) == (cell, "frobenius")
    assert conn.target_step.tolist() == conn.source_step.tolist() == list(range(10))
    assert_same(conn.log_norm, by_backprop(case), 1e-12)
    for unit in (0, 4):
        one = connectivity(case.params, case.inputs, norm="unit", unit=unit, initial_state=case.initial_state)
        assert_same(one.log_norm, by_backprop(case, unit), 1e-12)


@pytest.mark.parametrize("cell", ONE)
def test_against_products_of_jacobians(cell):
    """The derivative d h_t / d s_t'+1 by the complex step, times d s_t'+1 / d x_t' by the complex step."""
    T = 6
    case = Case(cell, T=T, B=1, I=3, H=5, scale=1.5)
    states, _ = naive.forward(cell, case.params, case.inputs)
    m = naive.Matrices(cell, case.params)
    size = states[0, 0].size
    columns = []
    for t in range(T):
        moved = []
        for k in range(3):
            x = case.inputs[t, 0].astype(complex)
            x[k] += 1e-100j
            moved.append(naive.step(cell, m, x, states[t, 0])[0].imag.ravel() / 1e-100)
        columns.append(np.array(moved).T)
    expected = np.full((T, T, 1), np.nan)
    for t in range(T):
        carried = np.eye(size)[:5]
        for s in range(t, -1, -1):
            expected[t, s] = log(np.linalg.norm(carried @ columns[s]))
            carried = carried @ naive.jacobian(cell, case.params, case.inputs[s, 0], states[s, 0])
    assert_same(connectivity(case.params, case.inputs).log_norm, expected, 1e-12)


def test_float32():
    case = Case("lstm", T=20, B=1, I=6, H=5, dtype="float32")
    conn = connectivity(case.params, case.inputs)
    exact = Case("lstm", T=20, B=1, I=6, H=5)
    for name, value in case.params.arrays().items():
        getattr(exact.params, name)[:] = value
    exact.inputs[:] = case.inputs
    # 20 steps of a dozen roundings of 6e-8 each, on values of which some cancel.
    assert_same(conn.log_norm, connectivity(exact.params, exact.inputs).log_norm, 1e-4)


@pytest.mark.parametrize("rho", [0.9, 1.1])
def test_a_linear_network(rho):
    """At 0 tanh has slope 1: d h_t / d x_t' = (rho Q)^(t - t') W, to lags where its norm is e^-10,536 or e^9,531."""
    T, size = 100_000, 4
    params = weights("rnn", weight_hh=rho * orthogonal(size, 7), weight_ih=np.full((size, 1), 0.25))
    conn = connectivity(
        params, np.zeros((T, 1)), target_steps=[5, 50_000, T - 1], source_steps=[0, 5, 49_999, T - 1]
    )
    lag = conn.lag()
    expected = np.where(lag >= 0, lag * math.log(rho) + math.log(0.5), np.nan)
    # Q is orthogonal to its rounding alone, which costs as much at every step.
    np.testing.assert_allclose(conn.log_norm[:, :, 0], expected, rtol=1e-13, atol=1e-14)
    lags, mean = conn.lag_profile()
    assert lags[0] == 0
    np.testing.assert_allclose(mean[:, 0], lags * math.log(rho) + math.log(0.5), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("cell", ["lstm", "rnn"])  # h reaches what comes after through its weights alone
def test_a_row_is_a_gradient_flow(cell):
    """Where inputs enter by the recurrent weights, d h_t / d inputs[t'] is d h_t / d h_t', past all underflow."""
    T = 3000
    case = Case(cell, T=T, B=1, I=5, H=5, scale=0.5)
    case.params.weight_ih[:] = case.params.weight_hh
    conn = connectivity(
        case.params, case.inputs, target_steps=[T - 1], source_steps=np.arange(T), norm="random", seed=4
    )
    flow = gs.gradient_flow(case.params, case.inputs, norm="random", seed=4)
    assert flow.log_norm[-1, 0] < -745
    np.testing.assert_allclose(conn.row(T - 1)[::-1], flow.log_norm[1:], rtol=0, atol=1e-10)


def test_an_lstm_without_recurrent_weights_decays_by_its_forget_gates():
    T = 20_000
    case = Case("lstm", T=T, B=1, I=1, H=1)
    case.params.weight_hh[:] = 0
    case.params.bias_ih[1] -= 2.0
    conn = connectivity(
        case.params, case.inputs, target_steps=[T - 1], source_steps=np.arange(T), norm="unit"
    )
    trace = gs.run(case.params, case.inputs)
    i, f, g, o = (trace.gate(name)[:, 0, 0] for name in "ifgo")
    w_i, w_f, w_g, _ = case.params.weight_ih[:, 0]
    c, before = trace.c[1:, 0, 0], trace.c[:-1, 0, 0]
    through = w_i * i * (1 - i) * g + w_f * f * (1 - f) * before + w_g * (1 - g**2) * i  # d c_t / d x_t
    after = np.append(np.cumsum(np.log(f[:0:-1]))[::-1], 0)
    expected = math.log(o[-1] * (1 - math.tanh(c[-1]) ** 2)) + after + np.log(np.abs(through))
    assert expected[0] < -10_000
    np.testing.assert_allclose(conn.row(T - 1)[:-1, 0], expected[:-1], rtol=1e-10, atol=1e-9)


def test_sequences_threads_targets_and_pieces_do_not_mix(monkeypatch):
    case = Case("lstm", T=40, B=3, I=2, H=5)
    whole = connectivity(case.params, case.inputs, threads=1)
    alone = connectivity(
        case.params, case.inputs[:, 1], target_steps=[0, 17, 39], source_steps=[3, 17, 18], threads=2
    )
    np.testing.assert_array_equal(alone.log_norm[:, :, 0], whole.log_norm[[0, 17, 39]][:, [3, 17, 18], 1])
    monkeypatch.setattr(CpuDevice, "piece", lambda *sizes: 7)
    monkeypatch.setattr("gatescope.kernels.cpu.adjoints._BLOCK_BYTES", 5000)  # a block of a few directions
    monkeypatch.setattr("gatescope.kernels.cpu.sweeps._THREAD_WORK", 0)
    monkeypatch.setattr(connectivity_sweep, "_NORM_BYTES", 10_000)
    monkeypatch.setattr(connectivity_sweep, "_CARRIED_BYTES", 5000)
    for threads in (1, 3):
        again = connectivity(case.params, case.inputs, threads=threads)
        np.testing.assert_array_equal(again.log_norm, whole.log_norm)


def test_default_steps(monkeypatch):
    case = Case("rnn", T=1000, B=1, I=1, H=1)
    whole = connectivity(case.params, case.inputs, norm="unit")
    assert (whole.target_step.size, whole.source_step.size) == (200, 1000)
    assert whole.target_step[-1] == 999
    assert set(np.diff(whole.target_step)) == {4, 5}
    monkeypatch.setattr(module, "_SOURCES", 100)
    some = connectivity(case.params, case.inputs, norm="unit", target_steps=[0, 500])
    assert some.source_step.size == 100
    assert some.source_step[-1] == 500
    spaced = connectivity(case.params, case.inputs, norm="unit", target_steps=[0, 500], source_steps="log")
    distances = 500 - spaced.source_step[::-1]
    assert distances[:5].tolist() == [0, 1, 2, 3, 4]
    assert distances[-1] == 500
    assert 60 <= distances.size <= 100
    step = int(whole.target_step[57])
    one = connectivity(
        case.params, case.inputs, target_steps=[step], source_steps=np.arange(1000), norm="unit"
    )
    assert_same(whole.row(step), one.row(step), 0)


def test_a_target_before_all_sources():
    case = Case("lstm", T=20, B=1, I=2, H=5)
    conn = connectivity(case.params, case.inputs, target_steps=[2, 10], source_steps=[5, 15])
    np.testing.assert_array_equal(np.isnan(conn.log_norm[:, :, 0]), [[True, True], [False, True]])
    assert np.isnan(connectivity(case.params, case.inputs, target_steps=[2], source_steps=[5]).log_norm).all()


def test_it_is_saved_and_loaded(tmp_path):
    case = Case("rnn", T=20, B=1, I=2, H=5)
    conn = connectivity(case.params, case.inputs)
    conn.save(tmp_path / "conn.npz")
    assert Connectivity.load(tmp_path / "conn.npz") == conn


def test_what_does_not_fit():
    case = Case("lstm", T=20, B=1, I=2, H=5)
    conn = connectivity(case.params, case.inputs, norm="unit", target_steps=[4, 9])
    for keywords, error, message in [
        (
            {"norm": "spectral"},
            UnknownNameError,
            "norm='spectral' is not known; choose from frobenius, random",
        ),
        ({"target_steps": [0, 20]}, ValueRangeError, r"target_steps=\[0, 20\] must ascend and lie in 0..19"),
        ({"source_steps": [3, 3]}, ValueRangeError, r"source_steps=\[3, 3\] must ascend"),
        ({"target_steps": np.zeros(0, int)}, ShapeError, r"target_steps has shape \(0,\)"),
        ({"target_steps": [1.5]}, DtypeError, "target_steps has dtype float64; give whole numbers"),
        ({"source_steps": "odd"}, UnknownNameError, "source_steps='odd' is not known; choose from even, log"),
        ({"norm": "unit", "unit": 5}, ValueRangeError, "unit=5"),
    ]:
        with pytest.raises(error, match=message):
            connectivity(case.params, case.inputs, **keywords)
    with pytest.raises(ValueRangeError, match=r"step=5 is not among the target steps; the nearest is 4"):
        conn.row(5)


@pytest.mark.slow  # compiles kernels of its own
def test_clamps_and_generators():
    case, clamp = Case("lstm", T=6, B=1, I=2, H=5), {"i": 0.0, "f": 1.0, "o": 1.0}  # nothing gets in
    conn = connectivity(case.params, iter(case.inputs[:, 0]), clamp=clamp)
    assert np.isneginf(conn.log_norm[conn.lag() >= 0]).all()
    assert conn.provenance["clamp"] == clamp
    assert connectivity(case.params, iter(case.inputs[:, 0])) == connectivity(case.params, case.inputs)
