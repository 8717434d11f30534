"""The backend under the CUDA device: memory, launches, the properties of what runs the kernels.

`CudaBackend` is a GPU, or Numba's simulator of one.  The tests put an emulator in its place with `use`, so that
everything above runs where there is no GPU.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numba.core.errors import NumbaPerformanceWarning

from gatescope.datatypes import Array
from gatescope.errors import DeviceError
from gatescope.kernels.cuda import driver
from gatescope.kernels.cuda.launch_plan import DeviceProperties
from gatescope.kernels.cuda.pool import Pool
from gatescope.kernels.device import USE_CPU


class OutOfMemory(DeviceError, MemoryError):
    """An array did not fit into the device's memory."""


@contextlib.contextmanager
def _reporting(doing: str) -> Iterator[None]:
    """Raise what the driver reports as an error of this package."""
    try:
        yield
    except DeviceError:
        raise
    except Exception as error:
        if driver.out_of_memory(error):
            raise OutOfMemory(f"the GPU's memory ran out while {doing}") from error
        # The driver's errors have no class that all versions of numba-cuda share; they name themselves.
        text = " ".join(str(error).split())
        if "CUDA_ERROR" not in text and type(error).__name__ not in ("CudaAPIError", "CudaDriverError"):
            raise
        raise DeviceError(
            f"the GPU failed while {doing} ({text})",
            advice="what was on it is lost: start Python anew, and if that does not help, see what nvidia-smi says, "
            f"or {USE_CPU}",
        ) from error


# Without opting in, a block gets no more dynamic shared memory than this on any GPU.
_SHARED_WITHOUT_OPTING_IN = 48 * 1024
_MOST_LAUNCHES = 1024  # kernels with sizes that are kept ready
_STATIC_RESERVE = 1024  # what the driver keeps of a block's shared memory


class Backend(Protocol):
    """What runs kernels, on arrays of its own.

    Attributes
    ----------
    name : str
    multiprocessors : int
    shared_limit : int
        Bytes of dynamic shared memory a block may have.
    gpu : str
        Its model, for provenance; empty where there is none.
    """

    name: str
    gpu: str
    multiprocessors: int
    shared_limit: int

    def memory(self) -> tuple[int, int]:
        """Return the bytes that are free (those that freed arrays left for the next among them), and all."""

    def to_device(self, array: Array) -> Any:
        """Return a copy on the device."""

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """Return an array on the device that holds anything."""

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """Return an array of zeros on the device."""

    def adopt(self, value: Any) -> Any:
        """Return another library's array on this device as one of this backend, once the stream it names is done."""
        return driver.cuda.as_cuda_array(value)

    def reclaim(self) -> None:
        """Free what waits to be freed; nothing to do where frees are at once."""

    def to_host(self, array: Any) -> Array:
        """Return a NumPy copy of an array on the device, when what fills it is done."""

    def copy(self, source: Any, target: Any) -> None:
        """Copy all elements of one array on the device into another of the same size and dtype."""

    def launch(
        self,
        kernel: Any,
        grid: int,
        block: int,
        args: tuple[Any, ...],
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Start a kernel; a cooperative one only if all its blocks run at the same time."""

    def synchronize(self) -> None:
        """Wait for all that was started."""


class CudaBackend:
    """The GPU that is current in this process, or the simulator."""

    def __init__(self) -> None:
        self.name = "cudasim" if driver.simulated else "cuda"
        if driver.simulated:
            self.gpu = ""
            # One: the simulator runs blocks one after another, so none may wait for another.
            self.multiprocessors, self.shared_limit = 1, _SHARED_WITHOUT_OPTING_IN
        else:
            with _reporting("it was started"):
                device = driver.cuda.get_current_device()
            model = getattr(device, "name", "")
            self.gpu = model.decode() if isinstance(model, bytes) else str(model)
            self.multiprocessors = int(device.MULTIPROCESSOR_COUNT)
            opted_in = int(getattr(device, "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", 0))
            self.shared_limit = max(_SHARED_WITHOUT_OPTING_IN, opted_in - _STATIC_RESERVE)
        self._prepared: dict[tuple[int, Any], int] = {}
        self._launches: dict[tuple[Any, int, int, int], Any] = {}
        self._pool = Pool(driver.allocate, driver.lease, driver.out_of_memory)

    def memory(self) -> tuple[int, int]:
        if driver.simulated:
            return 1 << 30, 1 << 30
        with _reporting("it was asked for its memory"):
            free, total = driver.cuda.current_context().get_memory_info()
        return int(free) + self._pool.idle_bytes(), int(total)

    def to_device(self, array: Array) -> Any:
        with _reporting(f"{array.nbytes:,} bytes were copied to it"):
            if driver.simulated:
                return driver.cuda.to_device(np.ascontiguousarray(array))
            target = self.empty(array.shape, array.dtype)
            target.copy_to_device(np.ascontiguousarray(array))
            return target

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        with _reporting(f"an array of shape {shape} and dtype {np.dtype(dtype)} was allocated"):
            sizes = (shape,) if isinstance(shape, int) else tuple(shape)
            nbytes = math.prod(sizes) * np.dtype(dtype).itemsize
            if driver.simulated or nbytes == 0:
                return driver.cuda.device_array(sizes, dtype)
            return driver.array_on(self._pool.take(nbytes), sizes, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        array = self.empty(shape, dtype)
        if driver.simulated:
            array[:] = 0
        elif array.size:
            with _reporting("memory was cleared"):
                driver.cuda.driver.device_memset(array, 0, array.nbytes)
        return array

    def adopt(self, value: Any) -> Any:
        with _reporting("an array of another library was taken over"):
            return driver.cuda.as_cuda_array(value)

    def reclaim(self) -> None:
        if not driver.simulated:  # Numba frees in bunches, up to a fifth of the memory
            with _reporting("memory was freed"):
                driver.cuda.current_context().deallocations.clear()

    def to_host(self, array: Any) -> Array:
        with _reporting("results were copied from it"):
            return np.asarray(array.copy_to_host())

    def copy(self, source: Any, target: Any) -> None:
        with _reporting("an array was copied on it"):
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
        with _reporting("a kernel was started"):
            if not driver.simulated and (shared > _SHARED_WITHOUT_OPTING_IN or cooperative):
                self._opt_in(kernel, args, shared, cooperative)
            with driver.simulator_mended() if driver.simulated else contextlib.nullcontext():
                self._configured(kernel, grid, block, shared)(*args)

    def _configured(self, kernel: Any, grid: int, block: int, shared: int) -> Any:
        """Return the kernel with its launch's sizes.

        numba-cuda warns of grids below 128 blocks, whose multiprocessors are not all at work.  A sweep over few
        sequences is like that, and its user can do nothing about it.
        """
        if driver.simulated:  # where the kernel itself remembers the last sizes
            return kernel[grid, block, 0, shared]
        key = (kernel, grid, block, shared)
        if key not in self._launches:
            if len(self._launches) >= _MOST_LAUNCHES:
                self._launches.clear()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NumbaPerformanceWarning)
                self._launches[key] = kernel[grid, block, 0, shared]
        return self._launches[key]

    def _opt_in(self, kernel: Any, args: tuple[Any, ...], shared: int, cooperative: bool) -> None:
        """Compile for these arguments, allow that much shared memory, and mark the launch as cooperative.

        numba-cuda has no public way to either: cooperative launches follow from a grid-wide barrier in the code, and
        shared memory beyond 48 KiB is NVIDIA/numba-cuda issue 94.
        """
        signature = tuple(kernel.typeof_pyval(argument) for argument in args)
        key = (id(kernel), signature)
        if self._prepared.get(key, -1) >= shared:
            return
        kernel.compile(signature)
        compiled = kernel.overloads[signature]
        if cooperative:
            compiled.cooperative = True
        if shared > _SHARED_WITHOUT_OPTING_IN:
            driver.allow_shared(compiled, shared)
        self._prepared[key] = shared

    def synchronize(self) -> None:
        if not driver.simulated:
            with _reporting("it computed"):
                driver.cuda.synchronize()


_in_use: list[Backend] = []


def substituted() -> bool:
    """Return whether another backend stands in for the GPU."""
    return bool(_in_use)


@functools.cache
def _cuda_backend() -> Backend:
    reason = driver.why_unavailable()
    if reason is not None:
        raise DeviceError(reason)
    return CudaBackend()


def current() -> Backend:
    """Return the backend in use: that of the innermost `use`, or else the GPU.

    Raises
    ------
    DeviceError
        If there is no GPU and no simulator; the message says what is missing.
    """
    return _in_use[-1] if _in_use else _cuda_backend()


def properties() -> DeviceProperties:
    """Return what launch plans need to know of the backend in use."""
    backend = current()
    return DeviceProperties(backend.multiprocessors, backend.shared_limit)


@contextlib.contextmanager
def use(backend: Backend) -> Iterator[Backend]:
    """Put another backend in the place of the GPU for a while."""
    _in_use.append(backend)
    try:
        yield backend
    finally:
        _in_use.remove(backend)
