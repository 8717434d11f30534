"""Kernels for products of many matrices: rows carried through them, triangles multiplied, rows made orthogonal."""

import math
from functools import cache

import numpy as np
from numba.extending import register_jitable

from gatescope.kernels.cpu.loops.compiling import compiled, machinery
from gatescope.kernels.cpu.loops.intervals import begin_intervals, end_step
from gatescope.kernels.simd.load_store import load, store
from gatescope.kernels.simd.orthogonal import BLOCK, EPS, LANES, TILE, orthogonalize
from gatescope.kernels.simd.product import dot, dots, product
from gatescope.kernels.simd.vector import constant

_SWEEPS = 60
_LOST = 600  # powers of two below the largest column, at which another leaves no trace in a sum
NONE = -(1 << 60)  # the power of a column that is 0
_TOLERANCE = 4e-16  # times the square root of their size: of the cosine between two rows


@register_jitable
def _times(matrices, t, rows, old, new, count, n):
    """rows[new:] = rows[old:] @ matrices[t], whose rows are padded with zeros."""
    padded = matrices.shape[2]
    pitch, vectors, base = padded + LANES, padded // LANES, t * n * padded
    pairs = vectors // 2 * 2
    for k in range(count * pitch):
        rows[new + k] = 0.0
    product(
        (rows, new, pitch), (rows, new, pitch), (matrices, base, padded, LANES), (rows, old, pitch, 1),
        (count, pairs, n), (TILE, 2, 1, 1, LANES),
    )  # fmt: skip
    product(
        (rows, new + pairs * LANES, pitch), (rows, new + pairs * LANES, pitch),
        (matrices, base + pairs * LANES, padded, LANES), (rows, old, pitch, 1),
        (count, vectors - pairs, n), (TILE, 1, 1, 1, LANES),
    )  # fmt: skip


@cache
def make_carry():
    """Make the kernel that carries rows through matrices and keeps them orthonormal."""
    FINGERPRINT = machinery()

    @compiled
    def carry(matrices, rows, span, scratch, logs):
        # matrices (m, n, padded n); rows: three times `count` rows, the first carried; span: count, matrices between
        # orthonormalizations; logs (ceil(m / every) + 1, count): logs of R's diagonal, the last row scratch
        # Returns the smallest sine, the sum of eps / sine, and how many intervals were repeated, as `tangent` does.
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key
        count, every = span
        n, padded = matrices.shape[1], matrices.shape[2]
        half, last, flat = count * (padded + LANES), matrices.shape[0], logs.reshape(-1)
        progress = begin_intervals(rows, flat, 0, count)
        while progress[0] < last:
            _times(matrices, progress[0], rows, 0, half, count, n)
            for k in range(half):
                rows[k] = rows[half + k]
            progress = end_step(rows, 0, (0, last, count, every), (1, n, padded), scratch, flat, progress)
        return progress[5], progress[6], progress[4]

    return carry


@cache
def make_multiply_on():
    """Make the kernel that multiplies matrices on a product, stored as a triangle and an orthogonal factor."""
    FINGERPRINT = machinery()

    @compiled
    def multiply_on(matrices, rows, triangle, powers, span, scratch, logs):
        # matrices (m, n, padded n); rows: two halves of M rows, Q in the first; span: M, n
        # triangle: its rows are the columns of T, times 2^powers (M,)
        # Returns the sum of eps / sine; infinite if rounding was all that was left of a row.
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key
        M, n = span
        pitch = matrices.shape[2] + LANES
        vectors = matrices.shape[2] // LANES
        wide = (M + LANES - 1) // LANES
        height = wide * LANES
        factor, zeros = np.zeros(M + BLOCK), np.zeros(height)
        halves = np.empty(_LOST)
        for k in range(_LOST):
            halves[k] = math.ldexp(1.0, -k)
        # The old half keeps Q M while the new one is made orthonormal, for the triangle between them.
        half = M * pitch
        rounding = 0.0
        for t in range(matrices.shape[0]):
            _times(matrices, t, rows, 0, half, M, n)
            for k in range(half):
                rows[k] = rows[half + k]
            sine = orthogonalize(rows, 0, M, (1, n, pitch - LANES), scratch, logs, 0)
            if sine >= 0.0:
                rounding += EPS / sine if sine > 0.0 else math.inf
            for j in range(M):
                # Column j of T R: the columns i >= j of T, by R_ij, the largest of them near 1.
                for i in range(j // BLOCK * BLOCK, M // BLOCK * BLOCK, BLOCK):
                    dots(factor, i, rows, j * pitch, rows, half + i * pitch, pitch, vectors, BLOCK, LANES)
                for i in range(max(j, M // BLOCK * BLOCK), M):
                    factor[i] = dot(rows, half + i * pitch, rows, j * pitch, vectors, LANES)
                factor[j] = math.exp(logs[j])
                top = NONE
                for i in range(j, M):
                    if factor[i] != 0.0 and powers[i] > NONE:
                        top = max(top, powers[i])
                longest = j
                for i in range(j, M):
                    shift = top - powers[i]
                    if factor[i] != 0.0 and 0 <= shift < _LOST:
                        factor[i] *= halves[shift]
                        longest = i
                    else:
                        factor[i] = 0.0
                fours = wide // 4 * 4
                product(
                    (triangle, j * height, 0), (zeros, 0, 0), (triangle, j * height, height, LANES), (factor, j, 0, 1),
                    (1, fours, longest + 1 - j), (1, 4, 1, 2, LANES),
                )  # fmt: skip
                product(
                    (triangle, j * height + fours * LANES, 0), (zeros, 0, 0),
                    (triangle, j * height + fours * LANES, height, LANES), (factor, j, 0, 1),
                    (1, wide - fours, longest + 1 - j), (1, 1, 1, 4, LANES),
                )  # fmt: skip
                powers[j] = top
                _level(triangle, powers, j, height)
        return rounding

    return multiply_on


@register_jitable
def _level(rows, powers, j, height):
    """Bring the largest entry of a row near 1."""
    peak = 0.0
    for k in range(height):
        peak = max(peak, abs(rows[j * height + k]))
    if peak == 0.0:
        powers[j] = NONE
        return
    shift = math.frexp(peak)[1]
    if shift != 0:
        for k in range(height):
            rows[j * height + k] = math.ldexp(rows[j * height + k], -shift)
        powers[j] += shift


@cache
def make_orthogonal_rows():
    """Make the kernel that rotates rows, each on a scale of its own, until they are orthogonal."""
    FINGERPRINT = machinery()

    @compiled
    def orthogonal_rows(rows, powers, count, height):
        # rows (count, height) times 2^powers (count,): their lengths are singular values when none is turned any more.
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key
        vectors, tolerance = height // LANES, _TOLERANCE * math.sqrt(height)
        for _ in range(_SWEEPS):
            turned = False
            for p in range(count - 1):
                for q in range(p + 1, count):
                    big, small = p, q
                    a = dot(rows, p * height, rows, p * height, vectors, LANES)
                    b = dot(rows, q * height, rows, q * height, vectors, LANES)
                    if a == 0.0 or b == 0.0:
                        continue
                    overlap = dot(rows, p * height, rows, q * height, vectors, LANES)
                    if abs(overlap) <= tolerance * math.sqrt(a) * math.sqrt(b):
                        continue
                    turned = True
                    if (powers[p] - powers[q]) * math.log(2.0) + 0.5 * (math.log(a) - math.log(b)) < 0.0:
                        big, small = q, p
                        a, b = b, a
                    shift = powers[small] - powers[big]
                    scale = math.ldexp(1.0, shift) if shift > -1100 else 0.0
                    # tan = turn * scale, and never is anything as small as scale^2 needed but where it may be lost.
                    gap = a - b * scale * scale
                    turn = (
                        2.0 * overlap / (gap + math.sqrt(gap * gap + 4.0 * overlap * overlap * scale * scale))
                    )
                    tangent = turn * scale
                    cosine = 1.0 / math.sqrt(1.0 + tangent * tangent)
                    for k in range(0, height, LANES):
                        u = load(rows, big * height + k, LANES, 1, LANES)[0]
                        v = load(rows, small * height + k, LANES, 1, LANES)[0]
                        new_u = (u + v * constant(v, tangent * scale)) * constant(u, cosine)
                        new_v = (v - u * constant(u, turn)) * constant(v, cosine)
                        store(rows, big * height + k, LANES, (new_u,))
                        store(rows, small * height + k, LANES, (new_v,))
            for j in range(count):
                if powers[j] > NONE:
                    _level(rows, powers, j, height)
            if not turned:
                return True
        return False

    return orthogonal_rows
