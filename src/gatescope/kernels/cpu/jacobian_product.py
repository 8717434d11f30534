"""Products of many matrices whose singular values span more than any float: triangles with exponents.

    M_1 M_2 ... M_m  =  T diag(2^e) Q,        T lower triangular, Q with orthonormal rows

Each factor is multiplied on and made orthonormal again, `Q M = R Q'`, and the triangles are multiplied with each column
on a scale of its own.  The columns of such a product are graded like its singular values, and one-sided Jacobi
rotations find all of them to high relative accuracy, the smallest too (Demmel and Veselic 1992; for products:
Bojanczyk, Ewerbring, Luk and Van Dooren 1991).
"""

from __future__ import annotations

import math

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.aligned import aligned_zeros
from gatescope.kernels.cpu.layout import vectors_for
from gatescope.kernels.cpu.loops.jacobian_product import (
    NONE,
    make_carry,
    make_multiply_on,
    make_orthogonal_rows,
)
from gatescope.kernels.simd.orthogonal import LANES, scratch_size


def carry_directions(
    matrices: Array, directions: Array, every: int
) -> tuple[Array, Array, float, float, int]:
    """Multiply matrices (m, n, n) in turn on directions (M, n), which are made orthonormal every few of them.

    Returns the logs of R's diagonal, (ceil(m / every), M), the directions at the end, the smallest sine of an angle
    between one and the span of those before it, the sum of eps / sine,
    and how many intervals were repeated step by step, because a direction was lost in them.
    """
    count, size = directions.shape
    padded = _padded(matrices)
    width = padded.shape[2]
    rows = aligned_zeros((3, count, width + LANES), np.float64)
    rows[0, :, :size] = directions
    logs = np.empty((-(-len(matrices) // every) + 1, count))
    scratch = aligned_zeros(scratch_size(count, width), np.float64)
    sine, rounding, repeated = make_carry()(padded, rows.reshape(-1), (count, every), scratch, logs)
    return logs[:-1], rows[0, :, :size].copy(), float(sine), float(rounding), int(repeated)


def _padded(matrices: Array) -> Array:
    count, size, _ = matrices.shape
    padded = aligned_zeros((count, size, vectors_for(size, LANES) * LANES), np.float64)
    padded[:, :, :size] = matrices
    return padded


class JacobianProduct:
    """The product of matrices that are multiplied on from the right, one after another.

    Parameters
    ----------
    first : (M, n)
        Where to begin; the identity for the whole product, some of its rows for those of the product.

    Attributes
    ----------
    rounding : float
        About as much as rounding may have put into a logarithm; infinite if a direction was lost in it.
    diagonal : bool
        Whether all rotations came to an end.
    """

    def __init__(self, first: Array) -> None:
        self._count, self._size = first.shape
        padded = vectors_for(self._size, LANES) * LANES
        self._pitch = padded + LANES
        self._height = vectors_for(self._count, LANES) * LANES
        self._rows = aligned_zeros((2, self._count, self._pitch), np.float64)
        self._rows[0, :, : self._size] = first
        self._triangle = aligned_zeros((self._count, self._height), np.float64)
        self._triangle[np.arange(self._count), np.arange(self._count)] = 1
        self._powers = np.zeros(self._count, np.int64)
        self._scratch = aligned_zeros(scratch_size(self._count, padded), np.float64)
        self._logs = np.zeros(self._count)
        self.rounding = 0.0
        self.diagonal = True

    def multiply(self, matrices: Array) -> None:
        """Multiply (m, n, n) matrices on, in order."""
        span = (self._count, self._size)
        triangle, rows = self._triangle.reshape(-1), self._rows.reshape(-1)
        self.rounding += make_multiply_on()(
            _padded(matrices), rows, triangle, self._powers, span, self._scratch, self._logs
        )

    def log_singular_values(self, columns: slice = slice(None)) -> Array:
        """Return the logs of the singular values of some columns of the product, descending; ``-inf`` for 0.

        As many as the product has rows, or as there are columns, if they are fewer.
        """
        rows = self._rows[0, :, : self._size]
        chosen = rows[:, columns]
        if chosen.shape[1] == self._size:
            triangle, powers = self._triangle.copy(), self._powers.copy()
        else:  # one more triangle, of what the columns leave of Q
            triangle, powers = self._with(chosen)
        order = np.argsort(-powers, kind="stable")
        triangle, powers = np.ascontiguousarray(triangle[order]), powers[order].copy()
        rotated = make_orthogonal_rows()(triangle.reshape(-1), powers, self._count, self._height)
        self.diagonal = self.diagonal and bool(rotated)
        with np.errstate(divide="ignore"):
            lengths = np.log(np.linalg.norm(triangle, axis=1)) + powers * math.log(2)
        lengths[powers == NONE] = -np.inf
        return np.sort(lengths)[::-1][: min(self._count, chosen.shape[1])]

    def _with(self, chosen: Array) -> tuple[Array, Array]:
        """Return the triangle and powers of this product with the rows `chosen` (M, c) in place of Q."""
        count, width = chosen.shape
        padded = np.zeros((count, max(count, width)))
        padded[:, :width] = chosen
        r = np.linalg.qr(padded.T, mode="r")
        # chosen = r^T q^T: T diag(2^e) r^T, column by column on its own scale.
        triangle, powers = np.zeros_like(self._triangle), np.full(count, NONE, np.int64)
        known = self._powers > NONE
        for j in range(count):
            factor = np.where(known, r[j], 0.0)  # (r^T)[i, j] = r[j, i]
            used = np.flatnonzero(factor)
            if not used.size:
                continue
            mantissa, shift = np.frexp(factor[used])
            exponent = self._powers[used] + shift
            top = int(exponent.max())
            near = exponent - top > -1100
            triangle[j] = np.ldexp(mantissa[near], exponent[near] - top) @ self._triangle[used[near]]
            powers[j] = top
        return triangle, powers
