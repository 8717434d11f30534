"""Norms of adjoints, as the GPU computes them: the largest magnitude and a sum of squares that cannot overflow.

A GPU computes float32 many times faster than float64, and adjoints of a float32 run are float32; so each state's sum
of squares is taken in the run's own dtype, of values divided by a power of two near the largest of them, which is
exact.  The host makes logarithms of these few numbers, in float64.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import DtypeError, ShapeError
from gatescope.kernels.cuda.driver import cuda
from gatescope.kernels.cuda.primitives import exponent, magnitude, power_of_two, shuffle

if TYPE_CHECKING:
    from gatescope.kernels.cuda.backend import Backend

THREADS = 128
# Beyond these, 2^power or its inverse is no normal number; values further out still leave room for their squares.
_LIMIT = {"float32": 125, "float64": 1021}


@functools.cache
def make_norms(dtype_name: str, lanes: int) -> Any:
    """Make the kernel for rows of `width` values, `lanes` (a power of two up to 32) threads a row.

    peak[n] = max |values[n, :]|, and total[n] = the sum of squares of values[n, :] / 2^e, with 2^(e - 1) <= peak < 2^e.
    """
    dtype = np.dtype(dtype_name).type
    zero, u64 = dtype(0), np.uint64
    lanes_, one, steps = u64(lanes), u64(1), lanes.bit_length() - 1
    limit, rows_each = np.int32(_LIMIT[dtype_name]), u64(THREADS // lanes)

    def norms(values: Any, peak: Any, total: Any, sizes: Any) -> None:
        rows, width = u64(sizes[0]), u64(sizes[1])
        thread = u64(cuda.threadIdx.x)
        lane = thread % lanes_
        row = u64(cuda.blockIdx.x) * rows_each + thread // lanes_
        # A row beyond the last is the last once more: shuffles need all lanes of a warp.
        start = min(row, rows - one) * width
        largest = zero
        k = lane
        while k < width:
            size = magnitude(values[start + k])
            if size > largest:  # NaN never is; the sum will be NaN
                largest = size
            k += lanes_
        for step in range(steps):
            other = shuffle(largest, 1 << step)
            if other > largest:
                largest = other
        power = exponent(largest)
        scale = power_of_two(-min(max(power, -limit), limit), largest)
        squares = zero
        k = lane
        while k < width:
            value = values[start + k] * scale
            squares += value * value
            k += lanes_
        for step in range(steps):
            squares += shuffle(squares, 1 << step)
        if lane == u64(0) and row < rows:
            if squares != squares:
                largest = squares
            peak[row] = largest
            total[row] = squares

    return cuda.jit(norms)


def row_norms(backend: Backend, values: Any, peak: Any, total: Any, *, rows: int, width: int) -> None:
    """Compute the largest magnitude and the scaled sum of squares of rows that follow each other closely.

    For adjoints (steps, B, S, H), rows = steps * B * S and width = H.  A NaN in a row makes both NaN, else an infinity
    makes both inf; a row of zeros gives 0 and 0.  `log_norms` makes logarithms of them.

    Parameters
    ----------
    backend : Backend
    values : 1-D device array
        float32 or float64.
    peak, total : 1-D device arrays
        Of the same dtype; element n is for row n.
    rows, width : int
    """
    dtype = str(values.dtype)
    for name, array, end in (("values", values, rows * width), ("peak", peak, rows), ("total", total, rows)):
        if str(array.dtype) != dtype or dtype not in _LIMIT:
            raise DtypeError(
                f"where values have {dtype}",
                argument=name,
                seen=array.dtype,
                advice="give all in float32, or all in float64",
            )
        if end > array.size or min(rows, width - 1) < 0:
            raise ShapeError(f"has {array.size} elements; {rows} rows of {width} need {end}", argument=name)
    if rows == 0:
        return
    lanes = min(32, 1 << (width - 1).bit_length())
    grid = -(-rows // (THREADS // lanes))
    backend.launch(make_norms(dtype, lanes), grid, THREADS, (values, peak, total, (rows, width)))


def log_norms(peak: NDArray[Any], total: NDArray[Any], exponents: NDArray[Any]) -> NDArray[np.float64]:
    """Return the natural logarithm of || values * 2^exponents ||, from what `row_norms` computed.

    Parameters
    ----------
    peak, total : (steps, B, S)
        float32 or float64.
    exponents : (steps, B) int
        Powers of two that the stored values are to be multiplied by.

    Returns
    -------
    (steps, B, S) float64
        In nats: -inf for a row of zeros; inf where a value was infinite, NaN where one was NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.kernels.cuda.norms import log_norms
    >>> log_norms(np.array([[[4.0]]]), np.array([[[0.390625]]]), np.array([[-3]]))  # ln(5 / 8), of 3 and 4
    array([[[-0.47000363]]])
    """
    peak, total, exponents = np.asarray(peak), np.asarray(total), np.asarray(exponents)
    if peak.shape != total.shape or peak.shape[:-1] != exponents.shape:
        raise ShapeError(
            f"peak {peak.shape}, total {total.shape} and exponents {exponents.shape} must be "
            "(steps, B, S), the same, and (steps, B)"
        )
    limit = _LIMIT[str(peak.dtype)]
    powers = np.where(np.isfinite(peak), np.frexp(peak)[1], 0).clip(-limit, limit)
    with np.errstate(divide="ignore"):
        ingredients = 0.5 * np.log(total.astype(np.float64))
    return np.asarray(ingredients + (powers + exponents[..., None].astype(np.float64)) * np.log(2.0))
