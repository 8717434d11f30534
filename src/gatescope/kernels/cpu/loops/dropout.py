"""Dropout without stored masks: whether a number is dropped follows from a key and from its index alone.

The bits come from the counter-based generator SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014): bits(n) = mix(key + n * golden ratio).  So the backward sweep draws the forward sweep's mask
again, and no order of threads matters.
"""

from functools import cache

import numpy as np
from numba import njit

from gatescope.kernels.cpu.loops.compiling import compiled

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


@njit(inline="always")
def _bits(key, index):
    z = key + np.uint64(index) * GOLDEN
    z = (z ^ (z >> SHIFTS[0])) * MIX_1
    z = (z ^ (z >> SHIFTS[1])) * MIX_2
    return z ^ (z >> SHIFTS[2])


@cache
def make_dropout():
    """Make the kernels that copy outputs with a mask, and that draw a mask for all steps."""

    @compiled
    def copy(source, offsets, out, span, size, key, threshold, scales):
        # source: flat; offsets: where the first sequence's first step begins, from step to step, from sequence to
        #         sequence; out (steps, B, H)
        # span: first sequence, last, number of the first step, steps; size: sequences of the whole batch
        # threshold: of 2^64, below it a number is dropped; scales: factors of the others and of what is dropped
        begin, end, first, steps = span
        base, by_step, by_sequence = offsets
        H = out.shape[2]
        for s in range(steps):
            for n in range(begin, end):
                at, number = base + s * by_step + (n - begin) * by_sequence, ((first + s) * size + n) * H
                if threshold == 0:
                    for u in range(H):
                        out[s, n, u] = source[at + u]
                else:
                    for u in range(H):
                        drop = _bits(key, number + u) < threshold
                        out[s, n, u] = source[at + u] * (scales[1] if drop else scales[0])

    @compiled
    def draw(out, size, row, units, key, threshold, scales):
        # out [size][row], of whose rows the first `units` numbers are used
        for n in range(size):
            for u in range(units):
                drop = _bits(key, n * units + u) < threshold
                out[n * row + u] = scales[1] if drop else scales[0]

    return copy, draw
