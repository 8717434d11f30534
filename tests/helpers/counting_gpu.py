"""An emulated GPU that counts: what is alive in its memory and was at most, and what went to the host."""

import weakref
from typing import Any

import numpy as np

try:
    from helpers.emulator import DeviceArray, EmulatedGpu
except ImportError:  # without greenlet the tests on a real GPU can still be read, and run
    DeviceArray = EmulatedGpu = object

from gatescope.kernels.cuda import backend


class CountingGpu(EmulatedGpu):
    """`EmulatedGpu` with so many bytes of memory, which run out.

    Parameters
    ----------
    capacity : int
        Bytes.
    computes : bool
        False: kernels are not run, for sizes that only the memory is asked about.
    """

    def __init__(self, capacity: int = 1 << 40, *, computes: bool = True, **options: Any):
        super().__init__(**options)
        self.capacity, self.computes = capacity, computes
        self.live = self.peak = self.fetched = self.reclaimed = 0

    def _count(self, array: np.ndarray) -> np.ndarray:
        owner = array
        while isinstance(owner.base, np.ndarray):  # views keep the owner alive, not each other
            owner = owner.base
        size = array.nbytes
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(owner, self._free, size)
        return array

    def _free(self, size: int) -> None:
        self.live -= size

    def _check(self, size: int) -> None:
        if self.live + size > self.capacity:
            raise backend.OutOfMemory(f"the GPU's memory ran out while {size} bytes were allocated")

    def memory(self) -> tuple[int, int]:
        return max(0, self.capacity - self.live), self.capacity

    def reclaim(self) -> None:
        self.reclaimed += 1

    def to_device(self, array: np.ndarray) -> np.ndarray:
        self._check(array.nbytes)
        return self._count(super().to_device(array))

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        self._check(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return self._count(
            super().empty(shape, dtype) if self.computes else np.empty(shape, dtype).view(DeviceArray)
        )

    def zeros(self, shape: Any, dtype: Any) -> np.ndarray:
        self._check(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return self._count(super().zeros(shape, dtype))

    def to_host(self, array: np.ndarray) -> np.ndarray:
        self.fetched += 1
        return super().to_host(array)

    def launch(self, *args: Any, **options: Any) -> None:
        if self.computes:
            super().launch(*args, **options)
