"""What the host side of the CUDA kernels needs of a machine: memory, launches, a few facts.

`CudaBackend` is a GPU (or Numba's simulator of one).  The tests put an emulator in its place with `use`, so that
everything above runs where there is no GPU.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from gatescope.datatypes import Array
from gatescope.errors import DeviceError
from gatescope.kernels.gpu import api

# Without opting in, a block gets no more dynamic shared memory than this on any GPU.
_SHARED_WITHOUT_OPTING_IN = 48 * 1024
_STATIC_RESERVE = 1024  # what the driver keeps of a block's shared memory


class Backend(Protocol):
    """A machine that runs kernels on arrays of its own.

    Attributes
    ----------
    name : str
    multiprocessors : int
    shared_limit : int
        Bytes of dynamic shared memory a block may have.
    """

    name: str
    multiprocessors: int
    shared_limit: int

    def memory(self) -> tuple[int, int]:
        """Bytes free and in total."""
        ...

    def to_device(self, array: Array) -> Any:
        """A copy on the device."""
        ...

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """An array on the device that holds anything."""
        ...

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """An array of zeros on the device."""
        ...

    def to_host(self, array: Any) -> Array:
        """A NumPy copy of an array on the device; waits for what fills it."""
        ...

    def copy(self, source: Any, target: Any) -> None:
        """All elements of one array on the device into another of the same size and dtype."""
        ...

    def launch(
        self,
        kernel: Any,
        grid: int,
        block: int,
        args: tuple[Any, ...],
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Start a kernel.  Cooperative: all its blocks run at the same time, or it does not start."""
        ...

    def synchronize(self) -> None:
        """Wait for all that was started."""
        ...


class CudaBackend:
    """The GPU that is current in this process, or the simulator."""

    def __init__(self) -> None:
        self.name = "cudasim" if api.simulated else "cuda"
        if api.simulated:
            self.multiprocessors, self.shared_limit = 4, _SHARED_WITHOUT_OPTING_IN
        else:
            device = api.cuda.get_current_device()
            self.multiprocessors = int(device.MULTIPROCESSOR_COUNT)
            opted_in = int(getattr(device, "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", 0))
            self.shared_limit = max(_SHARED_WITHOUT_OPTING_IN, opted_in - _STATIC_RESERVE)
        self._prepared: dict[tuple[int, Any], int] = {}

    def memory(self) -> tuple[int, int]:
        """Bytes free and in total; in the simulator what any machine has."""
        if api.simulated:
            return 1 << 30, 1 << 30
        free, total = api.cuda.current_context().get_memory_info()
        return int(free), int(total)

    def to_device(self, array: Array) -> Any:
        """A copy on the device."""
        return api.cuda.to_device(np.ascontiguousarray(array))

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """An array on the device that holds anything."""
        return api.cuda.device_array(shape, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """An array of zeros on the device."""
        array = api.cuda.device_array(shape, dtype)
        if api.simulated:
            array[:] = 0
        elif array.size:
            api.cuda.driver.device_memset(array, 0, array.nbytes)
        return array

    def to_host(self, array: Any) -> Array:
        """A NumPy copy of an array on the device."""
        return np.asarray(array.copy_to_host())

    def copy(self, source: Any, target: Any) -> None:
        """All elements of one array on the device into another of the same size and dtype."""
        target.copy_to_device(source)

    def launch(
        self,
        kernel: Any,
        grid: int,
        block: int,
        args: tuple[Any, ...],
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Start a kernel on the default stream."""
        if not api.simulated and (shared > _SHARED_WITHOUT_OPTING_IN or cooperative):
            self._opt_in(kernel, args, shared, cooperative)
        kernel[grid, block, 0, shared](*args)

    def _opt_in(self, kernel: Any, args: tuple[Any, ...], shared: int, cooperative: bool) -> None:
        """Compile for these arguments, allow that much shared memory, and mark the launch as cooperative.

        numba-cuda has no public way to either: cooperative launches follow from a grid-wide barrier in the code, and
        shared memory beyond 48 KiB is NVIDIA/numba-cuda issue 94.
        """
        signature = tuple(
            api.cuda.typeof(a) if hasattr(api.cuda, "typeof") else kernel.typeof_pyval(a) for a in args
        )
        key = (id(kernel), signature)
        if self._prepared.get(key, -1) >= shared:
            return
        kernel.compile(signature)
        compiled = kernel.overloads[signature]
        if cooperative:
            compiled.cooperative = True
        if shared > _SHARED_WITHOUT_OPTING_IN:
            api.allow_shared(compiled, shared)
        self._prepared[key] = shared

    def synchronize(self) -> None:
        """Wait for all that was started."""
        if not api.simulated:
            api.cuda.synchronize()


_in_use: list[Backend] = []


def in_place() -> bool:
    """Whether another backend stands in for the machine's."""
    return bool(_in_use)


@functools.cache
def _machine() -> Backend:
    reason = api.why_unavailable()
    if reason is not None:
        raise DeviceError(reason)
    return CudaBackend()


def current() -> Backend:
    """The backend in use: the innermost `use`, or else the machine's GPU.

    Raises
    ------
    DeviceError
        If there is no GPU and no simulator; the message says what is missing.
    """
    return _in_use[-1] if _in_use else _machine()


@contextlib.contextmanager
def use(backend: Backend) -> Iterator[Backend]:
    """Put another backend in place for a while."""
    _in_use.append(backend)
    try:
        yield backend
    finally:
        _in_use.remove(backend)
