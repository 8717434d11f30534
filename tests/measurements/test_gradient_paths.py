"""gradient_paths: the parts sum to the whole adjoint, and each is what it is said to be."""

import copy
import math

import naive
import numpy as np
import pytest
from helpers.cases import ONE, Case, relative_error
from helpers.leaky import Leaky

import gatescope as gs
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.measurements.gradient_paths import gradient_paths

LEAKY = pytest.param("leaky_test", marks=pytest.mark.slow)
CELLS = (*ONE, LEAKY)


@pytest.fixture(autouse=True)
def leaky():
    """Register the cell by the tests, not on import: others are parametrised over the registry at collection."""
    return gs.cells.register(Leaky)


def of_gates(case, z, slope):
    """Return a GRU of one unit at rest, with its update gate at z and d h'/d h = slope, over any inputs."""
    recurrent = (slope - z) / (1 - z) * 2  # r = 1/2
    case.params.weight_ih[:] = 0
    case.params.bias_hh[:] = 0
    case.params.bias_ih[:] = [0, math.log(z / (1 - z)), 0]
    case.params.weight_hh[:, 0] = [0, 0, recurrent]
    return case


# ---- the sum ----


@pytest.mark.parametrize("target", ["h", "joint"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_parts_sum_to_the_adjoint(cell, target):
    case = Case(cell, T=60, B=3, I=2, H=5, scale=1.5)
    paths = gradient_paths(
        case.params, case.inputs, of=target, vectors=True, initial_state=case.initial_state
    )
    assert paths.paths == ("direct", *gs.cells.get(cell).gates)
    assert paths.vectors.shape == (61, len(paths.paths), 3, *case.initial_state.shape[1:])
    whole = np.ldexp(paths.vectors.sum(axis=1), paths.exponents[:, :, None, None])
    grads = gs.backprop(case.params, case.run(), final_adjoint=whole[0])
    adjoint = grads.adjoint[::-1]
    for lag in range(61):
        for b in range(3):
            # against the largest part, of which there may be one that another cancels
            parts = np.ldexp(paths.vectors[lag, :, b], paths.exponents[lag, b])
            assert np.abs(whole[lag, b] - adjoint[lag, b]).max() <= 1e-13 * np.abs(parts).max()
    last = adjoint[:, :, -1]  # the state that is asked for by default
    assert paths.wrt == gs.cells.get(cell).states[-1]
    with np.errstate(divide="ignore"):
        expected = np.log(np.linalg.norm(last, axis=-1))
        norms = np.log(np.linalg.norm(paths.vectors[:, :, :, -1], axis=-1))
    alive = np.isfinite(expected)
    np.testing.assert_array_equal(alive, np.isfinite(paths.total_log_norm))
    np.testing.assert_allclose(paths.total_log_norm[alive], expected[alive], rtol=0, atol=1e-12)
    some = np.isfinite(norms)
    np.testing.assert_array_equal(some, np.isfinite(paths.log_norm))
    norms = norms + paths.exponents[:, None] * math.log(2)
    np.testing.assert_allclose(paths.log_norm[some], norms[some], rtol=0, atol=1e-12)


@pytest.mark.parametrize("state", ["c", "h", "joint"])
def test_shares_are_projections_and_sum_to_one(state):
    case = Case("lstm", T=50, B=3, I=2, H=5)
    paths = gradient_paths(case.params, case.inputs, wrt=state, of="joint", vectors=True)
    block = {"h": [0], "c": [1], "joint": [0, 1]}[state]
    parts = paths.vectors[:, :, :, block].reshape(51, 5, 3, -1)
    whole = parts.sum(axis=1)
    expected = np.einsum("lpbx,lbx->lpb", parts, whole) / (whole**2).sum(axis=-1)[:, None]
    np.testing.assert_allclose(paths.fraction, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(paths.fraction.sum(axis=1), 1, rtol=0, atol=1e-11)
    np.testing.assert_allclose(paths.norm_fractions().sum(axis=1), 1, rtol=0, atol=1e-12)
    assert (paths.cancellation() > -1e-12).all()


# ---- each part, by Jacobians with all gates but one held ----


def complex_jacobian(cell, m, x, state):
    """As naive.jacobian does, but with given matrices."""
    columns = []
    for j in range(state.size):
        moved = np.array(state, complex).ravel()
        moved[j] += 1e-100j
        columns.append(naive.step(cell, m, x, moved.reshape(state.shape))[0].imag.ravel() / 1e-100)
    return np.array(columns).T


def jacobians_by_gate(cell, params, x, state):
    """D and one C_g a gate, whose sum is the step's Jacobian: other gates' R h are held at their values."""
    m = naive.Matrices(cell, params)
    _, saved = naive.step(cell, m, x, state)
    gates = gs.cells.get(cell).gates

    def only(active):
        clamped = copy.deepcopy(m)
        for g in range(len(gates)):
            if g != active:
                operand = saved["r"] * state[0] if cell == "gru_reset_before" and g == 2 else state[0]
                clamped.d[g] = m.d[g] + m.R[g] @ operand
                clamped.R[g] = np.zeros_like(m.R[g])
        return complex_jacobian(cell, clamped, x, state)

    direct = only(None)
    parts = [only(g) - direct for g in range(len(gates))]
    if cell == "gru_reset_before":  # what reaches h by way of r is behind R_n, and leaves through n
        parts[2] = complex_jacobian(cell, m, x, state) - direct - parts[0] - parts[1]
        assert np.abs(parts[0]).max() < 1e-15
    return direct, parts


@pytest.mark.parametrize("cell", ONE)
def test_every_part_is_what_leaves_through_its_gate(cell):
    case = Case(cell, T=25, B=1, I=2, H=5, scale=1.5)
    paths = gradient_paths(
        case.params, case.inputs, vectors=True, norm="unit", unit=2, initial_state=case.initial_state
    )
    states, _ = naive.forward(cell, case.params, case.inputs, case.initial_state)
    size = states[0, 0].size
    direct = np.eye(size)[2]
    parts = np.zeros((len(paths.paths) - 1, size))
    for lag in range(26):
        vectors = np.ldexp(paths.vectors[lag, :, 0].reshape(-1, size), paths.exponents[lag, 0])
        expected = np.vstack([direct, parts])
        scale = np.abs(expected).max()
        for name, one, other in zip(paths.paths, vectors, expected, strict=True):
            assert np.abs(one - other).max() <= 1e-13 * scale, (lag, name)
        if lag < 25:
            step, by_gate = jacobians_by_gate(
                cell, case.params, case.inputs[24 - lag, 0], states[24 - lag, 0]
            )
            whole = step + sum(by_gate)
            parts = np.array(
                [part @ whole + direct @ left for part, left in zip(parts, by_gate, strict=True)]
            )
            direct = direct @ step


# ---- known answers ----


@pytest.mark.parametrize(
    ("cell", "target", "gate"),
    [
        ("lstm", "c", "f"),
        ("gru", "h", "z"),
        pytest.param("leaky_test", "h", "a", marks=pytest.mark.slow),
    ],
)
def test_the_direct_path_is_the_product_of_its_gate(cell, target, gate):
    """Whatever the recurrent weights are: at lag 100,000 it is far below the smallest float."""
    T = 100_000
    case = Case(cell, T=T, B=1, I=1, H=5)
    lags = [1, 10, 1000, T]
    paths = gradient_paths(case.params, case.inputs, of=target, norm="unit", unit=3, lags=lags)
    values = gs.run(case.params, case.inputs).gate(gate)[::-1, 0, 3]
    expected = np.cumsum(np.log(values))[np.array(lags) - 1]
    assert expected[-1] < -20_000
    np.testing.assert_allclose(paths.path("direct")[0][:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize(("z", "slope"), [(0.9, 0.95), (0.9, 0.01), (0.5, 0.9), (0.5, -0.9)])
def test_a_gru_of_one_unit(z, slope):
    """The whole is slope^k, the direct path z^k, and the candidate makes up the difference."""
    T = 100_000
    case = of_gates(Case("gru", T=T, B=1, I=1, H=1), z, slope)
    lags = np.array([1, 2, 5, 100, 5000, T])
    paths = gradient_paths(case.params, case.inputs, norm="unit", lags=lags)
    # A factor that is a few 1e-16 off is off in all steps alike: against ln(slope), the smallest of which is -0.05.
    close = {"rtol": 2e-13, "atol": 1e-15}
    np.testing.assert_allclose(paths.total_log_norm[:, 0], lags * math.log(abs(slope)), **close)
    np.testing.assert_allclose(paths.path("direct")[0][:, 0], lags * math.log(z), **close)
    greater, ratio = max(z, abs(slope)), min(z, abs(slope)) / max(z, abs(slope))
    sign = np.sign(slope) ** lags
    candidate = lags * math.log(greater) + np.log(np.abs(1 - sign * ratio**lags))
    # It is a difference: of two that are nearly one, the digits before it are lost.
    np.testing.assert_allclose(paths.path("n")[0][:, 0], candidate, rtol=2e-12, atol=1e-14)
    for gate in ("r", "z"):
        assert np.isneginf(paths.path(gate)[0]).all()
    share = sign * (z / abs(slope)) ** lags.astype(float) if z < abs(slope) else None
    if share is not None:
        np.testing.assert_allclose(paths.path("direct")[1][:, 0], share, rtol=1e-9, atol=1e-300)
        np.testing.assert_allclose(paths.fraction.sum(axis=1), 1, rtol=0, atol=1e-12)
    if slope == 0.01:  # parts of 0.9^k that cancel to 0.01^k
        known = np.isfinite(paths.fraction).all(axis=(1, 2))
        assert known.tolist() == [True, True, True, False, False, False]
        np.testing.assert_allclose(paths.path("direct")[1][:3, 0], 90.0 ** lags[:3], rtol=1e-6)
        np.testing.assert_allclose(
            paths.cancellation()[3:, 0], lags[3:] * math.log(90) + math.log(2), rtol=1e-12
        )


def test_parts_that_cancel_are_said_to_and_have_norms_in_place_of_fractions():
    paths = gradient_paths(
        of_gates(Case("gru", T=40, B=1, I=1, H=1), 0.9, -0.5).params, np.zeros((40, 1)), norm="unit"
    )
    lag = np.arange(41)
    parts = 0.9**lag + abs(
        (-0.5) ** lag - 0.9**lag
    )  # of the direct path and of the candidate, the whole is (-0.5)^lag
    expected = parts > 100 * 0.5**lag
    np.testing.assert_array_equal(paths.cancels[:, 0], expected)
    assert f"the parts cancel at {expected.sum()} of 41 lags" in paths.summary()
    assert f"at lag 40 to 10^{np.log10(parts[-1] / 0.5**40):.2f} times" in paths.summary()
    rows = {int(lag): row for lag, _, *row in paths.table().texts()}
    for lag, row in rows.items():
        assert row[0].startswith(
            "norm 10^" if expected[lag] else f"{100 * (0.9 / -0.5) ** lag:.1f}".replace("-", "−")
        )
    assert rows[40][0] == f"norm 10^−{-40 * np.log10(0.9):.2f}"
    alike = gradient_paths(
        of_gates(Case("gru", T=9, B=1, I=1, H=1), 0.5, 0.6).params, np.zeros((9, 1)), norm="unit"
    )
    assert "the parts cancel" not in alike.summary()


@pytest.mark.slow  # compiles kernels of its own
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_path_that_opens_where_the_direct_path_has_long_underflowed(dtype):
    """The candidate is saturated, and lets nothing through, over the last 3,000 steps: its part starts at 2^-3000."""
    T, closed, z, slope = 3500, 3000, 0.5, 0.75
    case = of_gates(Case("gru", T=T, B=1, I=1, H=1, dtype=dtype), z, slope)
    case.params.weight_ih[2] = 1
    case.inputs[:-closed] = 0
    case.inputs[-closed:] = 1000
    paths = gradient_paths(case.params, case.inputs, norm="unit")
    lag = paths.lag
    since = np.maximum(lag - closed, 0)
    direct, whole = lag * math.log(z), (lag - since) * math.log(z) + since * math.log(slope)
    # float32: the factor 3/4 carries a few of its roundings of 6e-8, over 500 steps.
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(paths.path("direct")[0][:, 0], direct, rtol=0, atol=tolerance)
    np.testing.assert_allclose(paths.total_log_norm[:, 0], whole, rtol=0, atol=tolerance)
    candidate = paths.path("n")[0][:, 0]
    assert np.isneginf(candidate[: closed + 1]).all()
    expected = (whole + log1mexp(direct - whole))[closed + 1 :]
    np.testing.assert_allclose(candidate[closed + 1 :], expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        paths.fraction.sum(axis=1), 1, rtol=0, atol=1e-6 if dtype == "float32" else 1e-12
    )


def log1mexp(x):
    """Return the logarithm of 1 - e^x."""
    return np.log(-np.expm1(np.where(x < 0, x, -np.inf)))


@pytest.mark.parametrize(
    "cell", ["lstm", "gru_reset_before", LEAKY, pytest.param("gru", marks=pytest.mark.slow)]
)
def test_without_recurrent_weights_all_stays_on_the_direct_path(cell):
    case = Case(cell, T=2000, B=3, I=2, H=5)
    case.params.weight_hh[:] = 0
    paths = gradient_paths(case.params, case.inputs)
    assert np.isneginf(paths.log_norm[:, 1:]).all()
    alive = np.isfinite(paths.total_log_norm)
    assert alive[1:].all()
    np.testing.assert_array_equal(paths.log_norm[:, 0], paths.total_log_norm)
    assert (paths.fraction[1:, 1:] == 0).all()
    np.testing.assert_allclose(paths.fraction[1:, 0], 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("cell", ["rnn", pytest.param("rnn_relu", marks=pytest.mark.slow)])
def test_a_vanilla_network_has_no_direct_path(cell):
    case = Case(cell, T=30, B=3, I=2, H=5, scale=1.5)
    paths = gradient_paths(case.params, case.inputs)
    assert paths.path("direct")[0][0] == pytest.approx(0, abs=1e-15)
    assert np.isneginf(paths.path("direct")[0][1:]).all()
    np.testing.assert_array_equal(paths.path("h")[0][1:], paths.total_log_norm[1:])


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [
        ("lstm", "float64"),
        ("gru_reset_before", "float64"),
        pytest.param("leaky_test", "float64", marks=pytest.mark.slow),
        ("lstm", "float32"),
    ],
)
def test_the_whole_is_the_gradient_flow(cell, dtype):
    """Of the same direction, at all lags and long after everything has underflowed."""
    T = 5000
    case = Case(cell, T=T, B=1, I=2, H=5, scale=0.5, dtype=dtype)
    if cell == "rnn_relu":
        case.params.bias_ih[:] += 10.0  # all units on
    state = gs.cells.get(cell).states[-1]
    for norm in ("random", "unit"):
        keywords = {"wrt": state, "norm": norm, "seed": 3} | ({"unit": 4} if norm == "unit" else {})
        paths = gradient_paths(case.params, case.inputs, **keywords)
        flow = gs.gradient_flow(case.params, case.inputs, **keywords)
        np.testing.assert_array_equal(paths.lag, flow.lag)
        # The same operations, and powers of two: the same bits.
        np.testing.assert_array_equal(paths.total_log_norm, flow.log_norm)
    assert paths.total_log_norm[-1, 0] < -745  # ln of the smallest float64
    assert np.isfinite(paths.log_norm[2:, -1]).all()  # of the last gate, as long as the whole
    # The parts of float32 make up the float32 whole: shares of rounding apart.
    known = np.isfinite(paths.fraction).all(axis=(1, 2))
    tolerance = 1e-11 if dtype == "float64" else 5e-3
    np.testing.assert_allclose(paths.fraction.sum(axis=1)[known], 1, rtol=0, atol=tolerance)
    assert known[1:].any()


# ---- what is asked for ----


@pytest.mark.parametrize("cell", ["lstm", pytest.param("gru_reset_before", marks=pytest.mark.slow)])
def test_sequences_threads_and_lags_do_not_mix(cell):
    case = Case(cell, T=30, B=37, I=2, H=5)
    whole = gradient_paths(case.params, case.inputs, threads=1)
    again = gradient_paths(case.params, case.inputs, threads=3)
    np.testing.assert_array_equal(whole.log_norm, again.log_norm)
    np.testing.assert_array_equal(whole.fraction, again.fraction)
    alone = gradient_paths(case.params, case.inputs[:, 20], lags=[0, 7, 30], vectors=True)
    np.testing.assert_array_equal(alone.log_norm[:, :, 0], whole.log_norm[[0, 7, 30]][:, :, 20])
    np.testing.assert_array_equal(alone.fraction[:, :, 0], whole.fraction[[0, 7, 30]][:, :, 20])
    early = gradient_paths(case.params, case.inputs[:12], max_lag=5)
    same = gradient_paths(case.params, case.inputs, source_step=12, max_lag=5)
    np.testing.assert_array_equal(early.log_norm, same.log_norm)
    assert same.source_step == 12


def test_pieces_change_nothing(monkeypatch):
    case = Case("lstm", T=50, B=3, I=2, H=5)
    whole = gradient_paths(case.params, case.inputs, vectors=True, lags=[0, 1, 9, 30, 44])
    monkeypatch.setattr(CpuDevice, "piece", lambda *sizes: 7)
    pieces = gradient_paths(case.params, case.inputs, vectors=True, lags=[0, 1, 9, 30, 44])
    assert pieces == whole


def test_it_is_saved_and_loaded(tmp_path):
    case = Case("gru", T=20, B=1, I=2, H=5)
    for vectors in (False, True):
        paths = gradient_paths(case.params, case.inputs, vectors=vectors)
        paths.save(tmp_path / "paths.npz")
        assert GradientPaths.load(tmp_path / "paths.npz") == paths


def test_what_does_not_fit(monkeypatch):
    case = Case("gru", T=20, B=1, I=2, H=5)

    def measure(**keywords):
        return gradient_paths(case.params, case.inputs, **keywords)

    with pytest.raises(UnknownNameError, match=r"wrt='c' is not a state of 'gru'"):
        measure(wrt="c")
    with pytest.raises(UnknownNameError, match=r"norm='spectral' is not known; choose from random, unit"):
        measure(norm="spectral")
    with pytest.raises(ValueRangeError, match=r"max_lag=21 reaches beyond the states there are"):
        measure(max_lag=21)
    with pytest.raises(ValueRangeError, match=r"(?s)lags=\[0, 21\].*0..20"):
        measure(lags=[0, 21])
    with pytest.raises(ValueRangeError, match=r"source_step=0 is out of range"):
        measure(source_step=0)
    with pytest.raises(ValueRangeError, match=r"unit=5 is out of range: there are 5 units"):
        measure(norm="unit", unit=5)
    with pytest.raises(DtypeError, match=r"lags has dtype float64"):
        measure(lags=[0.5])
    with pytest.raises(ShapeError, match=r"inputs has shape \(20, 1, 3\)"):
        gradient_paths(case.params, np.zeros((20, 1, 3)))
    with pytest.raises(UnknownNameError, match=r"name='x' is not known; choose from direct, r, z, n"):
        measure().path("x")
    monkeypatch.setattr("gatescope.measurements.gradient_paths._VECTOR_BYTES", 1000)
    with pytest.raises(
        ValueRangeError, match=r"vectors=True would take .* for 21 lags; name fewer with `lags`"
    ):
        measure(vectors=True)


def test_many_lags_are_thinned(monkeypatch):
    monkeypatch.setattr("gatescope.measurements.gradient_paths._MOST_LAGS", 100)
    case = Case("rnn", T=1000, B=1, I=2, H=5)
    paths = gradient_paths(case.params, case.inputs)
    assert 100 <= paths.lag.size <= 400
    assert paths.lag[:10].tolist() == list(range(10))
    assert paths.lag[-1] == 1000
    assert (
        relative_error(
            paths.total_log_norm, gs.gradient_flow(case.params, case.inputs, lags=paths.lag).log_norm
        )
        == 0
    )


def test_what_if_the_forget_gate_were_open():
    """Held at 1 the direct path keeps all of the adjoint at every lag, and nothing leaves through that gate."""
    case = Case("lstm", T=3000, B=1, I=2, H=5)
    keywords = {"of": "c", "norm": "unit", "unit": 1}
    paths = gradient_paths(case.params, case.inputs, clamp={"f": 1.0}, **keywords)
    np.testing.assert_array_equal(paths.path("direct")[0], 0)
    assert np.isneginf(paths.path("f")[0]).all()
    assert np.isfinite(paths.path("g")[0][2:]).all()
    assert paths.provenance["clamp"] == {"f": 1.0}
    flow = gs.gradient_flow(case.params, case.inputs, wrt="c", clamp={"f": 1.0}, **keywords)
    np.testing.assert_array_equal(paths.total_log_norm, flow.log_norm)


def test_inputs_may_come_from_a_generator():
    case = Case("gru", T=60, B=1, I=2, H=5)
    whole = gradient_paths(case.params, case.inputs)
    assert gradient_paths(case.params, iter(case.inputs[:, 0])) == whole


def test_a_gate_inside_another_has_no_part_and_the_summary_says_so():
    case = Case("gru_reset_before", T=60, B=3, I=2, H=5, scale=1.5)
    paths = gradient_paths(case.params, case.inputs, initial_state=case.initial_state)
    assert np.isneginf(paths.path("r")[0]).all()
    assert "part r is 0: no path leaves by r first" in paths.summary()
    opening = gradient_paths.__doc__.partition("\n\n")[2][:600]
    assert 'part "r" is 0 by definition' in opening
