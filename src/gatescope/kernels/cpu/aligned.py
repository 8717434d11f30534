"""Arrays for the kernels: they start on a cache line, and large ones are recycled.

A run of 40 x 20,000 steps records hundreds of megabytes.  Fresh memory of that size costs as much time as the run: the
system clears every page first.  So the memory of a large result goes back to a small pool when the last view of it is
gone, and the next result of that size takes it from there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from gatescope.kernels.cache_line import CACHE_LINE
from gatescope.kernels.forks import renew_after_fork

_LARGE = 1 << 22
_POOL_BYTES = 1 << 30


class _Pool:
    """Idle blocks of memory by size, at most `limit` bytes in all; the oldest leave first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Begin with no blocks, as a forked child does: another thread may have been in the middle of a change."""
        self._idle: list[np.ndarray[Any, Any]] = []
        # Re-entrant: a block may come back from the garbage collector while one is being taken.
        self._lock = threading.RLock()

    def take(self, size: int) -> np.ndarray[Any, Any]:
        with self._lock:
            for index, block in enumerate(self._idle):
                if block.nbytes == size:
                    return self._idle.pop(index)
        return np.empty(size, np.uint8)

    def give(self, block: np.ndarray[Any, Any]) -> None:
        with self._lock:
            self._idle.append(block)
            while self._idle and sum(b.nbytes for b in self._idle) > self._limit:
                self._idle.pop(0)


_pool = _Pool(_POOL_BYTES)


class _Lease:
    """The owner of a block for as long as any array uses it."""

    _block: np.ndarray[Any, Any] | None = None  # taking a block may fail

    def __init__(self, size: int) -> None:
        self._block = _pool.take(size)
        self.__array_interface__ = self._block.__array_interface__

    def __del__(self) -> None:
        if self._block is not None:
            _pool.give(self._block)


def aligned_empty(shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """Return an uninitialised array that starts on a cache line, so that full vectors never straddle two."""
    kind = np.dtype(dtype)
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * kind.itemsize
    raw = np.empty(size + CACHE_LINE, np.uint8) if size < _LARGE else np.asarray(_Lease(size + CACHE_LINE))
    start = -raw.ctypes.data % CACHE_LINE
    return np.ndarray(shape, kind, raw, start)


def aligned_zeros(shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """Return what `aligned_empty` returns, filled with zeros."""
    array = aligned_empty(shape, dtype)
    array.fill(0)
    return array


def aligned_parts(sizes: Sequence[int], dtype: Any) -> list[np.ndarray[Any, Any]]:
    """Return uninitialised arrays (N,) of these sizes in one piece of memory, each of which starts on a cache line.

    An array of its own takes 5 microseconds, which short runs notice where a kernel wants a dozen.
    """
    kind = np.dtype(dtype)
    starts = line_starts(sizes, kind.itemsize)
    flat = aligned_empty(starts[-1], kind)
    return [flat[start : start + size] for start, size in zip(starts, sizes, strict=False)]


def line_starts(sizes: Sequence[int], itemsize: int) -> list[int]:
    """Return where arrays of these sizes begin in one vector, each on a cache line, and then the vector's size.

    Examples
    --------
    >>> from gatescope.kernels.cpu.aligned import line_starts
    >>> line_starts([16, 1, 20], itemsize=4)
    [0, 16, 32, 64]
    """
    line = CACHE_LINE // itemsize
    return list(accumulate((-(-size // line) * line for size in sizes), initial=0))
