"""Weights from one vector into the kernels' layouts, and gradients from their layouts into one vector.

A layout moves numbers and pads with zeros, nothing else.  So it is found once, by laying out the numbers' positions,
and every later change of the weights is a single gather.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.aligned import aligned_zeros, line_starts

Each = Callable[[Callable[[int], None], int], None]

_IN_ORDER = 8  # groups: the most that blocks make, whose sums keep the order that stored trainings have
_PART_BYTES = 1 << 20  # of sums, which a thread adds up at a time


class Packing:
    """Arrays that are gathered from one vector.

    Parameters
    ----------
    pieces : sequence of (P,) int64
        For every array the positions of its numbers in the vector, counted from 1; 0 is a number that stays 0.
    dtype : dtype

    Attributes
    ----------
    arrays : tuple of (P,)
        The arrays; each starts on a cache line.
    """

    def __init__(self, pieces: Sequence[Array], dtype: np.dtype[Any]) -> None:
        starts = line_starts([piece.size for piece in pieces], dtype.itemsize)
        self._from = np.zeros(starts[-1], np.intp)
        for piece, start in zip(pieces, starts[:-1], strict=True):
            self._from[start : start + piece.size] = piece.reshape(-1)
        self._flat = aligned_zeros(starts[-1], dtype)
        self.arrays = tuple(
            self._flat[start : start + piece.size] for piece, start in zip(pieces, starts[:-1], strict=True)
        )

    def gather(self, vector: Array) -> None:
        """Fill `arrays` from `vector` (1 + N,), whose first number is 0."""
        # "raise" would take a copy first.
        np.take(vector, self._from, out=self._flat, mode="clip")


class SumLayout:
    """How the sums that a kernel adds gradients to lie in a vector: one after another, each from a cache line on.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Of the arrays.
    dtype : dtype

    Attributes
    ----------
    starts : (arrays,) int64
    size : int
        Numbers of the vector.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> None:
        self._shapes, self._sizes = shapes, [math.prod(shape) for shape in shapes]
        starts = line_starts(self._sizes, dtype.itemsize)
        self.starts, self.size = np.array(starts[:-1], np.int64), starts[-1]

    def views(self, vector: Array) -> tuple[Array, ...]:
        """Return the arrays in a vector (N,)."""
        ends = zip(self.starts.tolist(), self._sizes, self._shapes, strict=True)
        return tuple(vector[start : start + size].reshape(shape) for start, size, shape in ends)


def add_up(table: Array, each: Each) -> None:
    """Add the rows (groups, N) up into the first: up to eight in order, more in pairs, whose sums are added in pairs.

    `each` does work(0), ..., work(count - 1), on threads as it likes: the order of additions is the same.
    """
    count, size = table.shape
    parts = max(1, table.nbytes // _PART_BYTES) if count > 1 else 0

    def add(part: int) -> None:
        columns = table[:, size * part // parts : size * (part + 1) // parts]
        if count <= _IN_ORDER:
            for row in columns[1:]:
                columns[0] += row
            return
        step = 1
        while step < count:
            second = columns[step :: 2 * step]
            columns[:: 2 * step][: len(second)] += second
            step *= 2

    each(add, parts)


class Sums:
    """The sums that the kernels add gradients to, and the way from there into one vector.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Of the arrays of one group of sequences.
    unpack : callable
        Takes such arrays and returns the gradients, in the order of the vector.
    groups : int
    dtype : dtype

    Attributes
    ----------
    table : (groups, N) array
        A vector for each group.
    starts : (arrays,) int64
        Where the arrays begin in a vector.
    groups : list of tuple of array
        The arrays of each group.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        unpack: Callable[[tuple[Array, ...]], Sequence[Array]],
        groups: int,
        dtype: np.dtype[Any],
    ) -> None:
        layout = SumLayout(shapes, dtype)
        self.table, self.starts = aligned_zeros((groups, layout.size), dtype), layout.starts
        self.groups = [layout.views(vector) for vector in self.table]
        positions = layout.views(np.arange(layout.size))
        self._from = np.concatenate([gradient.reshape(-1) for gradient in unpack(positions)])

    def clear(self) -> None:
        """Set all sums to 0."""
        self.table.fill(0)

    def scatter(self, out: Array, each: Each) -> None:
        """Add the groups up and write the gradients into `out` (N,); `each`: see `add_up`."""
        add_up(self.table, each)
        np.take(self.table[0], self._from, out=out, mode="clip")
