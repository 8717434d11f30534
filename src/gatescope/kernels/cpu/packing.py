"""Weights from one vector into the kernels' layouts, and gradients from their layouts into one vector.

A layout moves numbers and pads with zeros, nothing else.  So it is found once, by laying out the numbers' positions,
and every later change of the weights is a single gather.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cache_line import CACHE_LINE
from gatescope.kernels.cpu.aligned import aligned_zeros


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
        line = CACHE_LINE // dtype.itemsize
        sizes = [-(-piece.size // line) * line for piece in pieces]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        self._from = np.zeros(starts[-1], np.intp)
        for piece, start in zip(pieces, starts[:-1], strict=True):
            self._from[start : start + piece.size] = piece.reshape(-1)
        self._flat = aligned_zeros(int(starts[-1]), dtype)
        self.arrays = tuple(
            self._flat[start : start + piece.size] for piece, start in zip(pieces, starts[:-1], strict=True)
        )

    def gather(self, vector: Array) -> None:
        """Fill `arrays` from `vector` (1 + N,), whose first number is 0."""
        # "raise" would take a copy first.
        np.take(vector, self._from, out=self._flat, mode="clip")


class Sums:
    """The sums that the kernels add gradients to, and the way from there into one vector.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Of the arrays of one block of sequences.
    unpack : callable
        Takes such arrays and returns the gradients, in the order of the vector.
    blocks : int
    dtype : dtype

    Attributes
    ----------
    blocks : list of tuple of array
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        unpack: Callable[[tuple[Array, ...]], Sequence[Array]],
        blocks: int,
        dtype: np.dtype[Any],
    ) -> None:
        line = CACHE_LINE // dtype.itemsize
        sizes = [int(np.prod(shape)) for shape in shapes]
        starts = np.concatenate([[0], np.cumsum([-(-size // line) * line for size in sizes])])

        def views(flat: Array) -> tuple[Array, ...]:
            return tuple(
                flat[start : start + size].reshape(shape)
                for start, size, shape in zip(starts[:-1], sizes, shapes, strict=True)
            )

        self._flats = [aligned_zeros(int(starts[-1]), dtype) for _ in range(blocks)]
        self.blocks = [views(flat) for flat in self._flats]
        positions = views(np.arange(starts[-1]))
        self._from = np.concatenate([gradient.reshape(-1) for gradient in unpack(positions)])

    def clear(self) -> None:
        """Set all sums to 0."""
        for flat in self._flats:
            flat.fill(0)

    def scatter(self, out: Array) -> None:
        """Add the blocks up, in order, and write the gradients into `out` (N,)."""
        total = self._flats[0]
        for other in self._flats[1:]:
            np.add(total, other, out=total)
        np.take(total, self._from, out=out, mode="clip")
