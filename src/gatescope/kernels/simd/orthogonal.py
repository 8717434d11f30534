"""Rows made orthonormal, block by block, on the one register-tiled product: what exponents are read from.

    V = R Q        V, Q: (M, N) rows, R lower triangular, its diagonal above 0

Block Gram-Schmidt: a block of rows is freed of all earlier rows by two products, then of itself by the modified
Gram-Schmidt process.  Where a row loses more than nine tenths of its length, rounding has left a part of the others
in it, and the block is done a second time: "twice is enough" (Giraud, Langou, Rozloznik and van den Eshof 2005;
Barlow and Smoktunowicz 2013).  Everything is float64, and every row is padded with zeros to whole vectors.
"""

import math

import numpy as np
from numba.extending import register_jitable

from gatescope.kernels.simd.load_store import load, store, transposed
from gatescope.kernels.simd.product import dot, dots, product
from gatescope.kernels.simd.vector import constant, host_lanes

LANES = host_lanes(np.dtype(np.float64))
EPS = float(np.finfo(np.float64).eps)
RESOLVED = 1e-13  # a sine above which a row's length has three digits
BLOCK = 8  # rows of a block; a whole number of vectors
TILE = 4  # rows of a tile of two vectors, half a block: all eight would not fit 16 registers
_LEAST_LEFT = 1e-3  # of a row's length, below which it is done again
_PASSES = 4
_LEAST, _MOST = 1e-200, 1e200  # of a square that has all its digits
_NOTHING = 1e-15  # of a row is rounding


def scratch_size(count: int, width: int) -> int:
    """Return the floats of the scratch that `orthogonalize` needs for `count` rows of `width` padded columns."""
    padded = -(-count // BLOCK) * BLOCK
    return padded * width + BLOCK * padded + padded + 2 * BLOCK


@register_jitable
def orthogonalize(rows, base, count, shape, scratch, logs, at):
    """Make `count` rows from rows[base] on orthonormal; write the logs of R's diagonal to logs[at:].

    shape: (states, units of each, padded units of each); a row is states * padded units wide, and an unused
    vector lies between two rows, which keeps them out of each other's cache sets.
    Returns the smallest sine of an angle between a row and the span of those before it; 0 if rounding is all that is
    left of a row, and -1 if one is 0 or infinite.  Such a row gets -inf (or inf), and another direction in its place.
    """
    width = shape[0] * shape[2]
    padded = (count + BLOCK - 1) // BLOCK * BLOCK
    panel, coefficients = 0, padded * width
    zeros = coefficients + BLOCK * padded
    lengths = zeros + padded
    for k in range(padded):
        scratch[zeros + k] = 0.0
    smallest = 1.0
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        for i in range(size):
            start = base + (first + i) * (width + LANES)
            square = dot(rows, start, rows, start, width // LANES, LANES)
            logs[at + first + i] = 0.0
            scratch[lengths + i] = math.sqrt(square)
            if not (square > _LEAST and square < _MOST):
                logs[at + first + i] = _rescale(rows, start, shape, first + i)
                scratch[lengths + i] = 1.0
                if math.isinf(logs[at + first + i]):
                    smallest = -1.0
        sine = 1.0
        for turn in range(_PASSES):
            if first > 0:
                _project(rows, base, first, size, width, scratch, panel, coefficients, zeros)
            least = _within(rows, base, first, size, shape, scratch, lengths, logs, at)
            if turn < 2:
                sine *= least
            if least > _LEAST_LEFT:
                break
            for i in range(size):
                scratch[lengths + i] = 1.0
        smallest = min(smallest, sine)
        if first + BLOCK < count:
            _transpose(rows, base, first, width, scratch, panel)
    return smallest


@register_jitable
def _rescale(rows, start, shape, number):
    """Give a row whose square is no normal number the length 1; return the log of the length it had."""
    width = shape[0] * shape[2]
    peak = 0.0
    for k in range(width):
        if math.isnan(rows[start + k]):
            return math.nan
        peak = max(peak, abs(rows[start + k]))
    if peak == 0.0 or peak == math.inf:
        _replace(rows, start, shape, number)
        return -math.inf if peak == 0.0 else math.inf
    total = 0.0
    for k in range(width):
        rows[start + k] /= peak
        total += rows[start + k] ** 2
    _multiply(rows, start, width, 1.0 / math.sqrt(total))
    return math.log(peak) + 0.5 * math.log(total)


@register_jitable
def _replace(rows, start, shape, number):
    """Make a row a unit vector in no special direction: the fractional parts of multiples of the golden ratio."""
    width = shape[0] * shape[2]
    for state in range(shape[0]):
        for unit in range(shape[2]):
            k = state * shape[2] + unit
            turn = (number + 1.0) * (k + 1.0) * 0.6180339887498949
            turn -= math.floor(turn) + 0.5
            rows[start + k] = turn if unit < shape[1] else 0.0
    length = math.sqrt(dot(rows, start, rows, start, width // LANES, LANES))
    _multiply(rows, start, width, 1.0 / length)


@register_jitable
def _multiply(rows, start, width, factor):
    for k in range(0, width, LANES):
        value = load(rows, start + k, LANES, 1, LANES)[0]
        store(rows, start + k, LANES, (value * constant(value, factor),))


@register_jitable
def _subtract(rows, start, other, width, factor):
    """Compute rows[start] -= factor * rows[other]."""
    for k in range(0, width, LANES):
        value = load(rows, start + k, LANES, 1, LANES)[0]
        value = value - load(rows, other + k, LANES, 1, LANES)[0] * constant(value, factor)
        store(rows, start + k, LANES, (value,))


@register_jitable
def _project(rows, base, first, size, width, scratch, panel, coefficients, zeros):
    """Free a block of the `first` orthonormal rows before it."""
    pitch = width + LANES
    start = base + first * pitch
    pairs = first // LANES // 2 * 2
    product(
        (scratch, coefficients, first),
        (scratch, zeros, 0),
        (scratch, panel, LANES, width * LANES),
        (rows, start, pitch, 1),
        (size, pairs, width),
        (TILE, 2, 1, 1, LANES),
    )
    product(
        (scratch, coefficients + pairs * LANES, first),
        (scratch, zeros, 0),
        (scratch, panel + pairs * width * LANES, LANES, width * LANES),
        (rows, start, pitch, 1),
        (size, first // LANES - pairs, width),
        (TILE, 1, 1, 2, LANES),
    )
    for k in range(0, size * first, LANES):
        value = load(scratch, coefficients + k, LANES, 1, LANES)[0]
        store(scratch, coefficients + k, LANES, (-value,))
    pairs = width // LANES // 2 * 2
    product(
        (rows, start, pitch),
        (rows, start, pitch),
        (rows, base, pitch, LANES),
        (scratch, coefficients, first, 1),
        (size, pairs, first),
        (TILE, 2, 1, 1, LANES),
    )
    product(
        (rows, start + pairs * LANES, pitch),
        (rows, start + pairs * LANES, pitch),
        (rows, base + pairs * LANES, pitch, LANES),
        (scratch, coefficients, first, 1),
        (size, width // LANES - pairs, first),
        (TILE, 1, 1, 1, LANES),
    )


@register_jitable
def _within(rows, base, first, size, shape, scratch, lengths, logs, at):
    """Make a block orthonormal in itself; return the least fraction of its length that a row keeps."""
    width = shape[0] * shape[2]
    pitch = width + LANES
    start = base + first * pitch
    least, overlaps = 1.0, lengths + BLOCK
    for i in range(size):
        row = start + i * pitch
        square = dot(rows, row, rows, row, width // LANES, LANES)
        left = math.sqrt(square) / scratch[lengths + i]
        least = min(least, left)
        if left > _NOTHING:
            logs[at + first + i] += 0.5 * math.log(square)
        else:
            least = 0.0
            logs[at + first + i] = -math.inf
            _replace(rows, row, shape, first + i)
            square = 1.0
        scratch[lengths + i] = 1.0 / math.sqrt(square)
        # Rows keep their lengths till the end, so that nothing waits for a root.
        if size == BLOCK:
            dots(scratch, overlaps, rows, row, rows, start, pitch, width // LANES, BLOCK, LANES)
        else:
            for other in range(i + 1, size):
                after = start + other * pitch
                scratch[overlaps + other] = dot(rows, row, rows, after, width // LANES, LANES)
        inverse = 1.0 / square
        for other in range(i + 1, size):
            _subtract(rows, start + other * pitch, row, width, scratch[overlaps + other] * inverse)
    for i in range(size):
        _multiply(rows, start + i * pitch, width, scratch[lengths + i])
    return least


@register_jitable
def _transpose(rows, base, first, width, scratch, panel):
    """Keep a finished block as columns too: a panel whose vectors run over rows."""
    pitch = width + LANES
    for group in range(first, first + BLOCK, LANES):
        for k in range(0, width, LANES):
            square = transposed(rows, base + group * pitch + k, pitch, LANES)
            store(scratch, panel + group * width + k * LANES, LANES, square)
