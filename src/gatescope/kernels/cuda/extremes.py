"""The largest and the smallest magnitudes of rows, so that a look at a recorded run fetches no more than these."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cuda.driver import cuda
from gatescope.kernels.cuda.primitives import magnitude, shuffle

if TYPE_CHECKING:
    from gatescope.kernels.cuda.backend import Backend

THREADS = 128


@functools.cache
def make_extremes(dtype: str, lanes: int) -> Any:
    """Make the kernel for rows of `width` values, `lanes` (a power of two up to 32) threads a row.

    most[n] = max |values[n, :]|, and least[n] = min |values[n, :]|, of values that are numbers: of none 0 and infinity.
    """
    u64, number = np.uint64, np.dtype(dtype).type
    zero, infinity = number(0), number(np.inf)
    lanes_, one, steps, rows_each = u64(lanes), u64(1), lanes.bit_length() - 1, u64(THREADS // lanes)

    def extremes(values: Any, most: Any, least: Any, sizes: Any) -> None:
        rows, width = u64(sizes[0]), u64(sizes[1])
        thread = u64(cuda.threadIdx.x)
        lane = thread % lanes_
        row = u64(cuda.blockIdx.x) * rows_each + thread // lanes_
        # A row beyond the last is the last once more: shuffles need all lanes of a warp.
        start = min(row, rows - one) * width
        largest, smallest = zero, infinity
        k = lane
        while k < width:
            size = magnitude(values[start + k])
            if size > largest:
                largest = size
            if size < smallest:
                smallest = size
            k += lanes_
        for step in range(steps):
            other = shuffle(largest, 1 << step)
            if other > largest:
                largest = other
            other = shuffle(smallest, 1 << step)
            if other < smallest:
                smallest = other
        if lane == u64(0) and row < rows:
            most[row] = largest
            least[row] = smallest

    return cuda.jit(extremes)


def extremes_of(backend: Backend, array: Any) -> Array:
    """Return the largest and the smallest magnitudes (2, K) of an array (T, B, K, H) on the device."""
    steps, batch, kinds, width = array.shape
    rows = steps * batch * kinds
    lanes = min(32, 1 << (width - 1).bit_length())
    ends = [backend.empty(rows, array.dtype) for _ in range(2)]
    grid = -(-rows // (THREADS // lanes))
    backend.launch(
        make_extremes(str(array.dtype), lanes), grid, THREADS, (array.reshape(-1), *ends, (rows, width))
    )
    most, least = (backend.to_host(end).reshape(-1, kinds) for end in ends)
    return np.stack([most.max(axis=0), least.min(axis=0)])
