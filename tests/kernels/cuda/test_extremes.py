"""The largest and smallest magnitudes of an array: against NumPy, and as machine code."""

import numpy as np
import pytest
from numba import types

from gatescope.kernels.cuda.extremes import extremes_of, make_extremes


@pytest.mark.parametrize("width", [1, 3, 33])
def test_equal_numpy(gpu, width):
    values = np.random.default_rng(width).standard_normal((2, 1, 3, width))
    values[1, 0, 2, -1], values[0, 0, 1, 0] = -9, 0
    expected = np.abs(values).max(axis=(0, 1, 3)), np.abs(values).min(axis=(0, 1, 3))
    np.testing.assert_array_equal(extremes_of(gpu, gpu.to_device(values)), expected)


def test_what_is_no_number_is_left_out(gpu):
    values = np.full((1, 1, 2, 5), np.nan, np.float32)
    values[0, 0, 0, 1:4] = -3, np.nan, 2  # the first of a row is none
    extremes = extremes_of(gpu, gpu.to_device(values))
    np.testing.assert_array_equal(extremes, [[3, 0], [2, np.inf]])
    assert extremes.dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_machine_code(build, dtype):
    flat, pair = getattr(types, dtype)[::1], types.UniTuple(types.int64, 2)
    built = build(make_extremes(dtype, 32), types.void(flat, flat, flat, pair), (9, 0))
    assert (built.stack, built.spills) == (0, 0), built.log
    if dtype == "float32":
        assert built.f64 == 0
