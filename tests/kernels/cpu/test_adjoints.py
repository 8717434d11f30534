"""Adjoints on the CPU: each direction on its own scale, whatever the others do; and the rows they are made of."""

import math

import numpy as np
import pytest
from helpers.cases import Case
from numba import njit

import gatescope as gs
from gatescope.kernels.cpu import adjoints, sweeps
from gatescope.kernels.simd.rows import largest, move, scale, scaled_dot
from gatescope.kernels.simd.vector import host_lanes


def adjoints_of(case, directions, threads=1, **keywords):
    plan = sweeps.plan_for(gs.cells.get(case.cell), case.params.hidden_size, case.params.dtype)
    return adjoints.Adjoints(
        plan, case.params, np.asarray(directions, case.params.dtype), threads, **keywords
    )


def diagonal(rates, T, dtype="float64"):
    """Return a relu network whose unit k decays by rates[k] a step: its adjoints are known at every lag."""
    case = Case("rnn_relu", T=T, B=1, I=1, H=len(rates), dtype=dtype)
    for weights in case.params.arrays().values():
        weights[:] = 0
    case.params.weight_hh[:] = np.diag(rates)
    states = np.ones((T + 1, 1, 1, len(rates)), dtype)  # on, so that relu's slope is 1
    return case, states, np.ones((T, 1, 0, len(rates)), dtype)


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_directions_decay_and_grow_each_on_its_own_scale(dtype):
    rates, T = [0.5, 0.25, 2.0, 1.0, 0.125, 0.5], 5000
    case, states, gates = diagonal(rates, T, dtype)
    carried = adjoints_of(case, np.eye(6)[None, :, None])
    norms = carried.back(states, gates, 0, T)
    lag = np.arange(1, T + 1)
    for unit, rate in enumerate(rates):
        # Powers of two: exact but for the product lag * ln 2, and for the logarithm, taken in the weights' precision.
        error = 1e-8 if dtype == "float32" else 0
        np.testing.assert_allclose(norms[:, 0, unit, 0], lag * math.log(rate), rtol=1e-15, atol=error)
    rows, exponents = carried.rows()
    np.testing.assert_allclose(np.log2(rows.max(axis=(2, 3))) + exponents, T * np.log2([rates]), rtol=1e-15)
    current, whole = carried.matrices()
    assert current.dtype == np.dtype(dtype)
    # One exponent a sequence, that of the greatest, beside which the others are nothing.
    np.testing.assert_array_equal(current[0, :, 0] != 0, np.diag([False, False, True, False, False, False]))
    assert np.log2(float(current.max())) + whole[0] == T


def test_matrices_bring_directions_to_one_scale():
    case, states, gates = diagonal([0.5, 0.25, 1.0], 100)
    directions = np.eye(3)[None, :, None].repeat(2, axis=0)
    directions[1] = 0
    directions[0, 2] = 0
    carried = adjoints_of(case, directions)
    states, gates = states.repeat(2, axis=1), gates.repeat(2, axis=1)
    carried.back(states, gates, 0, 100, record=False)
    current, whole = carried.matrices()
    adjoint = np.ldexp(current[0, :, 0], whole[0])
    np.testing.assert_array_equal(adjoint, np.diag([0.5**100, 0.25**100, 0.0]))
    assert not current[1].any()


def test_a_direction_that_joins_late_is_as_if_it_had_started_there():
    case = Case("lstm", T=40, B=3, I=2, H=5)
    trace = case.run()
    directions = np.random.default_rng(0).standard_normal((3, 4, 2, 5))
    late = adjoints_of(case, np.zeros_like(directions))
    assert np.isneginf(late.back(trace.states, trace.gates, 25, 40)).all()
    late.join(1, directions[:, 1:3])
    norms = late.back(trace.states, trace.gates, 0, 25)
    assert np.isneginf(norms[:, :, [0, 3]]).all()
    alone = adjoints_of(case, directions[:, 1:3])
    np.testing.assert_array_equal(norms[:, :, 1:3], alone.back(trace.states, trace.gates, 0, 25))


def test_threads_and_blocks_change_no_bit(monkeypatch):
    case = Case("gru_reset_before", T=30, B=3, I=2, H=5)
    trace = case.run()
    directions = np.random.default_rng(0).standard_normal((3, 8, 1, 5))
    one = adjoints_of(case, directions)
    expected = one.back(trace.states, trace.gates, 0, 30)
    monkeypatch.setattr(sweeps, "_THREAD_WORK", 0)
    monkeypatch.setattr(adjoints, "_BLOCK_BYTES", 2000)
    for threads in (1, 2, 5):
        many = adjoints_of(case, directions, threads)
        np.testing.assert_array_equal(many.back(trace.states, trace.gates, 0, 30), expected)
        for ours, theirs in zip(many.rows(), one.rows(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_without_a_record():
    case = Case("lstm", T=30, B=3, I=2, H=5)
    trace = case.run()
    directions = np.random.default_rng(0).standard_normal((3, 2, 2, 5))
    recorded, plain = adjoints_of(case, directions), adjoints_of(case, directions)
    recorded.back(trace.states, trace.gates, 0, 30)
    assert plain.back(trace.states, trace.gates, 0, 30, record=False) is None
    for ours, theirs in zip(plain.rows(), recorded.rows(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# ---- rows of vectors ----


@pytest.fixture(scope="module", params=["float64", "float32"])
def rows(request):
    dtype = np.dtype(request.param)
    L = host_lanes(dtype)

    @njit
    def use(array, other, stride, count, factor):
        peak = largest(array, 0, stride, count, L)
        total = scaled_dot(array, 0, factor, other, L, 2.0, count, L)
        scale(other, 0, count, factor, L)
        move(array, 0, L, stride, count, factor, L)
        return peak, total

    return use, L, dtype


def test_rows(rows):
    use, L, dtype = rows
    rng = np.random.default_rng(0)
    count = 3
    array = rng.standard_normal(8 * L).astype(dtype)
    other = rng.standard_normal(8 * L).astype(dtype)
    before, others = array.copy(), other.copy()
    peak, total = use(array, other, 2 * L, count, 0.25)
    every = np.concatenate([np.arange(2 * L * k, 2 * L * k + L) for k in range(count)])
    assert peak == np.abs(before[every]).max()
    expected = (before[: 3 * L].astype(float) * 0.25) @ (others[L : 4 * L].astype(float) * 2)
    assert total == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-13)
    np.testing.assert_array_equal(other[: 3 * L], others[: 3 * L] * dtype.type(0.25))
    np.testing.assert_array_equal(other[3 * L :], others[3 * L :])
    assert not array[every].any()
    # a quarter is exact, so that only the sum is rounded
    np.testing.assert_array_equal(array[every + L], before[every + L] + before[every] * dtype.type(0.25))
    np.testing.assert_array_equal(array[6 * L :], before[6 * L :])


@pytest.mark.parametrize("place", range(6))
def test_the_largest_is_nan_wherever_one_is(rows, place):
    use, L, dtype = rows
    for value in (math.nan, -math.inf):
        array = np.arange(1.0, 1 + 4 * L).astype(dtype)  # of which the first half counts
        array[2 * L :] = 0
        array[place * (2 * L - 1) // 5] = value
        peak, _ = use(array, np.ones(4 * L, dtype), L, 2, 1.0)
        assert math.isnan(peak) if math.isnan(value) else peak == math.inf
