"""What is extreme of the recorded values of a run on the CPU."""

from __future__ import annotations

import numpy as np

from gatescope.datatypes import Array


def extremes_of(array: Array) -> Array:
    """Return the largest and the smallest magnitudes (2, K, H) of an array (T, B, K, H); of none 0 and infinity."""
    from gatescope.kernels.cpu.loops.extremes import extremes

    steps, batch, *kinds = array.shape
    ends = np.zeros((2, *kinds), array.dtype)
    ends[1] = np.inf
    columns = ends[0].size
    extremes(np.ascontiguousarray(array).reshape(steps * batch, columns), ends.reshape(2, columns))
    return ends
