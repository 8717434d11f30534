"""Ingredients of log-norms: against NumPy in float64, at the ends of the range, and as machine code."""

import numpy as np
import pytest
from numba import types

from gatescope.errors import DtypeError, ShapeError
from gatescope.kernels.cuda import norms

DTYPES = ["float32", "float64"]
# Roundings: width / lanes squares, five additions of lanes; ln is taken in float64.  Squares of what lies far below the
# largest may vanish, which changes nothing at this precision.
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def measure(gpu, values):
    """Peak and total of values (rows, width), with elements after them that must not be touched or used."""
    rows, width = values.shape
    if gpu.name == "cudasim" and rows * width > 40:
        pytest.skip("takes too long in Numba's simulator")
    padded = np.full(values.size + 5, np.nan, values.dtype)
    padded[: values.size] = values.ravel()
    outs = [gpu.to_device(np.full(rows + 2, -7, values.dtype)) for _ in range(2)]
    norms.row_norms(gpu, gpu.to_device(padded), *outs, rows=rows, width=width)
    peak, total = map(gpu.to_host, outs)
    for out in (peak, total):
        assert (out[-2:] == -7).all()
    return peak[:-2], total[:-2]


def log_norms(gpu, values, exponents=0):
    peak, total = (np.asarray(a).reshape(-1, 1, 1) for a in measure(gpu, values))
    return norms.log_norms(peak, total, np.full(peak.shape[:2], exponents)).ravel()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (5, 3), (9, 16), (3, 33), (7, 70)])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_numpy(gpu, dtype, rows, width, seed):
    values = np.random.default_rng(seed).standard_normal((rows, width)).astype(dtype)
    expected = np.log(np.linalg.norm(values.astype(np.float64), axis=1)) + 70 * np.log(2)
    np.testing.assert_allclose(log_norms(gpu, values, 70), expected, rtol=0, atol=TOLERANCE[dtype] * 50)
    peak, _ = measure(gpu, values)
    np.testing.assert_array_equal(peak, np.abs(values).max(axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_range_without_overflow_or_underflow(gpu, dtype):
    info = np.finfo(dtype)
    scales = [info.max / 4, info.tiny, info.smallest_subnormal * 4, 1e-30, 1e30]
    values = np.array([[3 * s, 4 * s, 0] for s in np.array(scales) / 4], dtype)
    wide = values.astype(np.longdouble)  # which has room for the squares
    expected = (np.log((wide**2).sum(axis=1)) / 2).astype(np.float64)
    np.testing.assert_allclose(log_norms(gpu, values), expected, rtol=0, atol=100 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [2, 40])
def test_zero_infinity_and_nan(gpu, dtype, width):
    values = np.zeros((6, width), dtype)
    values[1, -1], values[2, 0], values[3, 0], values[5] = np.inf, np.nan, -np.inf, 1
    values[3, -1] = np.nan
    peak, total = measure(gpu, values)
    np.testing.assert_array_equal(peak, [0, np.inf, np.nan, np.nan, 0, 1])
    np.testing.assert_array_equal(np.isnan(total), np.isnan(peak))
    actual = log_norms(gpu, values, -9)
    expected = [-np.inf, np.inf, np.nan, np.nan, -np.inf, np.log(width) / 2 - 9 * np.log(2)]
    np.testing.assert_allclose(actual, expected, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_exponents_far_beyond_float64():
    actual = norms.log_norms(
        np.ones((1, 2, 1), "float32"), np.full((1, 2, 1), 0.25, "float32"), [[10**9, -(10**9)]]
    )
    np.testing.assert_allclose(actual.ravel(), [1e9 * np.log(2), -1e9 * np.log(2)], rtol=1e-15)


def test_errors_say_what_is_wrong(gpu):
    a, b = gpu.zeros((6,), np.float32), gpu.zeros((6,), np.float64)
    with pytest.raises(DtypeError, match="peak has dtype float64 where values have float32"):
        norms.row_norms(gpu, a, b, a, rows=2, width=3)
    with pytest.raises(ShapeError, match="values has 6 elements"):
        norms.row_norms(gpu, a, a, a, rows=2, width=4)
    with pytest.raises(ShapeError, match=r"\(steps, B\)"):
        norms.log_norms(np.ones((2, 3, 1)), np.ones((2, 3, 1)), np.ones((2, 3, 1)))


@pytest.mark.parametrize("cc", [(7, 5), (8, 0), (9, 0), (10, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lanes", [1, 32])
def test_machine_code(build, cc, dtype, lanes):
    flat, pair = getattr(types, dtype)[::1], types.UniTuple(types.int64, 2)
    built = build(norms.make_norms(dtype, lanes), types.void(flat, flat, flat, pair), cc)
    assert (built.stack, built.spills) == (0, 0), built.log
    assert built.registers <= 64, f"{built.registers} registers"
    if dtype == "float32":
        assert built.f64 == 0
