"""Device memory that is used again: to ask the driver for gigabytes takes longer than a sweep over them.

Blocks come back when the last array that looks at them is gone.  All work is in one stream, so whoever gets a block
next writes to it after everything that used it before has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

_LEAST = 1 << 12  # smaller blocks are all of this size
_STEPS = 8  # sizes between two powers of two: at most an eighth of a block is wasted


def rounded(size: int) -> int:
    """Return the size of the block that holds `size` bytes; sizes that differ a little share their blocks."""
    step = max(_LEAST, (1 << max(0, size.bit_length() - 1)) // _STEPS)
    return -(-size // step) * step


class Pool:
    """Blocks of device memory, in use and free.

    Parameters
    ----------
    allocate : callable
        ``allocate(size)`` asks the driver for a block; what it returns frees the block when it is gone.
    lease : callable
        ``lease(block, size, give_back)`` is memory for an array, which calls ``give_back()`` when no array is left
        that looks at it.
    out_of_memory : callable
        ``out_of_memory(error)``: whether an error of `allocate` says that memory ran out.
    """

    def __init__(
        self,
        allocate: Callable[[int], Any],
        lease: Callable[[Any, int, Callable[[], None]], Any],
        out_of_memory: Callable[[Exception], bool],
    ) -> None:
        self._allocate, self._lease, self._out_of_memory = allocate, lease, out_of_memory
        self._free: dict[int, list[Any]] = defaultdict(list)

    def take(self, size: int) -> Any:
        """Return memory of at least `size` bytes that holds anything."""
        size = rounded(size)
        blocks = self._free[size]
        block = blocks.pop() if blocks else self._fresh(size)
        return self._lease(block, size, lambda: blocks.append(block))

    def _fresh(self, size: int) -> Any:
        try:
            return self._allocate(size)
        except Exception as error:
            if not self._out_of_memory(error) or not self.idle_bytes():
                raise
            self.release()
            return self._allocate(size)

    def idle_bytes(self) -> int:
        """Return the bytes of the free blocks."""
        return sum(size * len(blocks) for size, blocks in self._free.items())

    def release(self) -> None:
        """Give the free blocks back to the driver."""
        for blocks in self._free.values():
            blocks.clear()
