"""Adjoints carried back in the log domain: against NumPy, over more powers of two than a float has."""

import math
from itertools import pairwise

import numpy as np
import pytest
from helpers import gpu_sweeps as sweeps
from helpers.cases import assert_close
from helpers.gpu_sweeps import CELLS, Sweeps, force
from helpers.launch_plans import LAUNCH_PLANS, emulated

# ln-norms are sums of thousands; float32 norms differ by the roundings of each of the 24 steps.
LN = {"float64": 1e-10, "float32": 1e-4}


@pytest.fixture
def gpu():
    """Return the emulator.  Directions are rescaled with shuffles, which Numba's simulator does not have."""
    with emulated() as gpu:
        yield gpu


def directions_of(work, M=2, scale=0, seed=3):
    B, H = work.shape[1], work.shape[3]
    shape = (B, M, len(work.cell.states), H)
    return np.ldexp(np.random.default_rng(seed).standard_normal(shape), scale).astype(work.dtype)


def trace_of(work, steep=False):
    """Return a run's states and gates; steep: positive states of a cell without gates, which relu lets pass."""
    if not steep:
        trace = work.expected_trace()
        return trace.states, trace.gates
    T, B, _, H = work.shape
    return np.ones((T + 1, B, 1, H), work.dtype), np.empty((T, B, 0, H), work.dtype)


def both(work, directions, trace=None, cuts=(), record=True):
    """Log-norms and matrices of the GPU's sweeps and of NumPy's, over pieces that end at `cuts`."""
    states, gates = trace or trace_of(work)
    edges = [len(states) - 1, *cuts, 0]
    actual = []
    for adjoints in (work.adjoints(directions), work.expected_adjoints(directions)):
        norms = [adjoints.back(states, gates, start, stop, record=record) for stop, start in pairwise(edges)]
        actual.append((norms, adjoints.matrices()))
    return actual


def assert_norms(actual, expected, tolerance):
    actual, expected = np.concatenate(actual), np.concatenate(expected)
    assert actual.shape == expected.shape
    nothing = np.isneginf(expected)
    np.testing.assert_array_equal(np.isneginf(actual), nothing)
    difference = np.abs(np.where(nothing, 0, actual) - np.where(nothing, 0, expected))
    assert difference.max() <= tolerance, difference.max()


def assert_matrices(actual, expected, tolerance):
    """Equal but for which power of two is counted apart."""
    (matrices, powers), (other, other_powers) = actual, expected
    assert matrices.dtype == np.float64
    moved = np.ldexp(matrices, (powers - other_powers)[:, None, None, None])
    assert_close(moved, other, tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(gpu, monkeypatch, cell, dtype):
    force(monkeypatch, parts=4, sequences=2, together=2)
    work = Sweeps(gpu, cell, dtype, T=4, B=2, H=5)
    (norms, matrices), (expected, other) = both(work, directions_of(work), cuts=(2,))
    assert_norms(norms, expected, LN[dtype])
    assert_matrices(matrices, other, sweeps.TOLERANCE[dtype])


@pytest.mark.parametrize(
    "design", ["parts", "sequences", "both", "warp", "three blocks", "five blocks", "spread"]
)
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_every_design(gpu, monkeypatch, cell, design):
    force(monkeypatch, **LAUNCH_PLANS[design])
    work = Sweeps(gpu, cell, T=3, B=2, H=13)
    directions = directions_of(work, M=3, scale=-31)
    directions[0, 1] *= 2.0**62  # rows of one group are scaled each by itself
    (norms, matrices), (expected, other) = both(work, directions)
    assert_norms(norms, expected, 1e-10)
    assert_matrices(matrices, other, 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gain", [-9, 9])
@pytest.mark.parametrize("scale", [-100, 0, 100])
def test_far_beyond_the_range_of_floats(gpu, monkeypatch, dtype, gain, scale):
    """Each step multiplies by about 2^gain: after 24, 2^216, which a float32 cannot hold, from 2^scale."""
    force(monkeypatch, parts=8, blocks=2 if scale else 1, sequences=2)
    work = Sweeps(gpu, "rnn_relu", dtype, T=24, B=1, H=5, scale=2.0**gain)
    directions = directions_of(work, scale=scale)
    (norms, matrices), (expected, other) = both(work, directions, trace_of(work, steep=True), cuts=(20, 9))
    assert_norms(norms, expected, LN[dtype])
    # Every step rounds: 24 of them, each within the bound of one (4.8e-4 in float32).
    assert_matrices(matrices, other, 24 * sweeps.TOLERANCE[dtype])
    ends = np.concatenate(norms)[-1] - np.concatenate(norms)[0]
    # 23 steps' worth, in the right direction: a lost or doubled power of two would be 22 or more.
    assert (np.sign(ends) == np.sign(gain)).all()
    assert (np.abs(ends) > 23 * (abs(gain) - 3) * math.log(2)).all()
    assert (matrices[1] != 0).all()


def test_a_direction_that_is_zero_stays_so(gpu, monkeypatch):
    force(monkeypatch, parts=4, sequences=2)
    work = Sweeps(gpu, "lstm", T=3, B=2, H=5)
    directions = directions_of(work)
    directions[0, 1] = 0
    (norms, matrices), (expected, _) = both(work, directions)
    assert np.isneginf(np.concatenate(norms)[:, 0, 1]).all()
    assert np.isfinite(np.concatenate(norms)[:, 1]).all()
    assert (matrices[0][0, 1] == 0).all()
    assert_norms(norms, expected, 1e-10)


def test_a_direction_that_is_zero_hides_no_other(gpu, monkeypatch):
    """24 steps of 2^-60 are further from 1, the zero's scale, than a float64 reaches."""
    force(monkeypatch, parts=4, sequences=2)
    work = Sweeps(gpu, "rnn_relu", T=24, B=1, H=5, scale=2.0**-60)
    directions = directions_of(work)
    directions[0, 1] = 0
    (_, matrices), (_, expected) = both(work, directions, trace_of(work, steep=True))
    assert matrices[0][0, 0].any()
    assert not matrices[0][0, 1].any()
    assert_matrices(matrices, expected, 24 * sweeps.TOLERANCE["float64"])


@pytest.mark.parametrize("cell", ["lstm", "two_phases"])
def test_without_a_record_the_adjoints_are_the_same(gpu, monkeypatch, cell):
    force(monkeypatch, parts=4, sequences=2)
    work = Sweeps(gpu, cell, T=5, B=2, H=5)
    (recorded, with_record), _ = both(work, directions_of(work, scale=-40))
    (norms, without), _ = both(work, directions_of(work, scale=-40), record=False)
    assert norms == [None]
    assert recorded[0].shape == (5, 2, 2, len(work.cell.states))
    for one, other in zip(with_record, without, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_record_that_does_not_fit_is_taken_in_pieces(gpu, monkeypatch):
    force(monkeypatch, parts=4)
    work = Sweeps(gpu, "gru", T=5, B=1, H=5)
    whole, _ = both(work, directions_of(work))
    monkeypatch.setattr(
        "gatescope.kernels.cuda.adjoints._RECORD_BYTES", 2 * directions_of(work).nbytes
    )  # two steps at a time
    before = len(gpu.launches)
    pieces, _ = both(work, directions_of(work))
    names = [launch.kernel.py_func.__name__ for launch in gpu.launches[before:]]
    assert names.count("backward") == 3
    np.testing.assert_array_equal(pieces[0][0], whole[0][0])
    np.testing.assert_array_equal(pieces[1][0], whole[1][0])


@pytest.mark.parametrize("design", ["both", "three blocks"])
def test_neither_the_schedule_nor_other_directions_change_a_bit(monkeypatch, design):
    force(monkeypatch, **LAUNCH_PLANS[design])
    actual = []
    for seed in (0, 1000, 2000):
        with emulated(seed=seed, races=seed == 0) as gpu:
            work = Sweeps(gpu, "lstm", T=3, B=2, H=9)
            actual.append(both(work, directions_of(work, M=3, scale=-31))[0])
    for norms, matrices in actual[1:]:
        np.testing.assert_array_equal(norms[0], actual[0][0][0])
        np.testing.assert_array_equal(matrices[0], actual[0][1][0])
    with emulated() as gpu:
        work.gpu = gpu
        norms, _ = both(work, directions_of(work, M=3, scale=-31)[:, 1:2])[0]
    np.testing.assert_array_equal(norms[0][:, :, 0], actual[0][0][0][:, :, 1])
