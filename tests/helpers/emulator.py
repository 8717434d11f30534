"""A GPU in plain Python: one greenlet a thread, a random schedule, and memory that starts as NaN.

`launch(kernel, grid, block, args)` runs a kernel's own Python.  It finds what a compiler cannot: missing, divergent
and half-reached barriers, deadlocks, uninitialised memory, indices out of bounds, and, with `races=True`, shared
elements used by two threads without a barrier between.  `EmulatedGpu` is the same behind the package's `Backend`.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from greenlet import getcurrent
from numba.np.numpy_support import as_dtype

from gatescope.kernels.cuda import primitives
from gatescope.kernels.cuda.driver import cuda
from helpers.checked_arrays import KernelFault, LocalArray, checked, poisoned, unwatched
from helpers.emulator_threads import LANES, Launch, at_barrier, at_grid_barrier, in_warp, pause
from helpers.function_copies import copy_with

__all__ = ["EmulatedGpu", "KernelFault", "launch", "pause"]

try:
    from gatescope.kernels.cuda.backend import Backend
except ModuleNotFoundError as missing:  # the emulator's own tests do not need it
    if missing.name != "gatescope.kernels.cuda.backend":
        raise
    Backend = object  # type: ignore[assignment, misc]


@functools.cache
def _dtype(dtype: Any) -> np.dtype:
    return np.dtype(dtype) if isinstance(dtype, np.dtype | type | str) else np.dtype(as_dtype(dtype))


class _Shared:
    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> Any:
        frame = sys._getframe(1)
        # Numba's static arrays belong to the place in the code, so one in a loop is one array.
        location = (id(frame.f_code), frame.f_lasti)
        return getcurrent().block.shared(location, shape, _dtype(dtype))


class _Local:
    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> Any:
        dtype = _dtype(dtype)
        return LocalArray(shape, dtype) if isinstance(shape, int) else checked(poisoned(shape, dtype))


class _Const:
    def array_like(self, array: np.ndarray) -> Any:
        view = array.view()
        view.flags.writeable = False
        return checked(view)


class _Atomic:
    """Nothing switches threads inside these, so each is atomic as it stands."""

    @staticmethod
    def _replace(array: Any, index: Any, new: Callable[[Any], Any]) -> Any:
        array = unwatched(array)
        old = array[index]
        array[index] = new(old)
        return old

    def add(self, array: Any, index: Any, value: Any) -> Any:
        return self._replace(array, index, lambda old: old + value)

    def sub(self, array: Any, index: Any, value: Any) -> Any:
        return self._replace(array, index, lambda old: old - value)

    def max(self, array: Any, index: Any, value: Any) -> Any:
        return self._replace(array, index, lambda old: np.maximum(old, value))

    def min(self, array: Any, index: Any, value: Any) -> Any:
        return self._replace(array, index, lambda old: np.minimum(old, value))

    def exch(self, array: Any, index: Any, value: Any) -> Any:
        return self._replace(array, index, lambda old: value)

    def cas(self, array: Any, index: Any, expected: Any, value: Any) -> Any:
        return self._replace(array, index, lambda old: value if old == expected else old)

    def compare_and_swap(self, array: Any, expected: Any, value: Any) -> Any:
        return self.cas(array, 0, expected, value)


class _Grid:
    def sync(self) -> None:
        at_grid_barrier()


class EmulatedCuda:
    """What a kernel's `cuda` is while it is emulated; types, libdevice and the like are the real module's."""

    shared, local, const, atomic = _Shared(), _Local(), _Const(), _Atomic()
    cg = SimpleNamespace(this_grid=_Grid)
    warpsize = LANES
    threadIdx = property(lambda self: getcurrent().index)
    blockIdx = property(lambda self: getcurrent().block.index)
    blockDim = property(lambda self: getcurrent().launched.block_dim)
    gridDim = property(lambda self: getcurrent().launched.grid_dim)
    laneid = property(lambda self: getcurrent().lane)

    def __getattr__(self, name: str) -> Any:
        value = getattr(cuda, name)
        if _is_stub(value) and not isinstance(value, ModuleType):
            raise NotImplementedError(f"cuda.{name} is not emulated; add it to {__name__}.EmulatedCuda")
        return value

    def _in_grid(self, axis: str) -> int:
        return getattr(self.blockIdx, axis) * getattr(self.blockDim, axis) + getattr(self.threadIdx, axis)

    def grid(self, axes: int) -> Any:
        location = tuple(self._in_grid(axis) for axis in "xyz"[:axes])
        return location if axes > 1 else location[0]

    def gridsize(self, axes: int) -> Any:
        size = tuple(getattr(self.gridDim, axis) * getattr(self.blockDim, axis) for axis in "xyz"[:axes])
        return size if axes > 1 else size[0]

    def syncthreads(self) -> None:
        at_barrier("barrier")

    def syncthreads_or(self, predicate: Any) -> int:
        return at_barrier("barrier with or", predicate)

    def syncthreads_and(self, predicate: Any) -> int:
        return at_barrier("barrier with and", predicate)

    def syncthreads_count(self, predicate: Any) -> int:
        return at_barrier("barrier with count", predicate)

    def syncwarp(self, mask: int = 0xFFFFFFFF) -> None:
        in_warp("syncwarp", mask)

    # A source beyond the warp's ends gives the lane its own value back; one within it that is missing, poison.
    def shfl_sync(self, mask: int, value: Any, source: Any) -> Any:
        return in_warp("shuffle", mask, value, int(source) % LANES)

    def shfl_xor_sync(self, mask: int, value: Any, lanes: Any) -> Any:
        source = getcurrent().lane ^ int(lanes)
        return in_warp("shuffle", mask, value, source if source < LANES else getcurrent().lane)

    def shfl_down_sync(self, mask: int, value: Any, delta: Any) -> Any:
        source = getcurrent().lane + int(delta)
        return in_warp("shuffle", mask, value, source if source < LANES else getcurrent().lane)

    def shfl_up_sync(self, mask: int, value: Any, delta: Any) -> Any:
        source = getcurrent().lane - int(delta)
        return in_warp("shuffle", mask, value, source if source >= 0 else getcurrent().lane)

    def any_sync(self, mask: int, predicate: Any) -> bool:
        return in_warp("vote for any", mask, predicate)

    def all_sync(self, mask: int, predicate: Any) -> bool:
        return in_warp("vote for all", mask, predicate)

    def ballot_sync(self, mask: int, predicate: Any) -> int:
        return in_warp("ballot", mask, predicate)

    def threadfence(self) -> None:
        # Memory is in order here already.  A fence is a sign that a thread has published something, though.
        getcurrent().launched.events += 1

    threadfence_block = threadfence_system = threadfence

    def nanosleep(self, nanoseconds: Any) -> None:
        pause()


def _is_stub(value: Any) -> bool:
    """Whether `value` is one of numba.cuda's names that mean something only inside a kernel."""
    home = value.__module__ if isinstance(value, type | FunctionType) else type(value).__module__
    return isinstance(home, str) and home.startswith("numba.cuda.") and "stubs" in home


_CUDA = EmulatedCuda()
_UINT64 = [np.uint64(value) for value in range(1 << 12)]


def _uint64(value: Any) -> np.uint64:
    """Return np.uint64(value): kernels make one for most of their indices, and NumPy takes half a microsecond."""
    if type(value) is int and 0 <= value < 1 << 12:
        return _UINT64[value]
    return value if type(value) is np.uint64 else np.uint64(value)


def _stand_ins() -> dict[int, Any]:
    """Return what replaces numba.cuda and, for `from numba.cuda import shared` and the like, its names; by identity."""
    substitutes: dict[int, Any] = {id(cuda): _CUDA, id(np.uint64): _uint64}
    for name, member in vars(EmulatedCuda).items():
        value = getattr(cuda, name, None)
        # Small integers are shared by everybody: their identity says nothing.
        if (
            not name.startswith("_")
            and not isinstance(member, property)
            and not isinstance(value, int | None)
        ):
            substitutes[id(value)] = getattr(_CUDA, name)
    return substitutes


_BY_IDENTITY = _stand_ins()
_DISPATCHER = getattr(getattr(cuda, "dispatcher", None), "CUDADispatcher", ())


def _device_function(value: Any) -> FunctionType | None:
    return value.py_func if isinstance(value, _DISPATCHER) else None


@functools.lru_cache(maxsize=512)
def _emulated(function: FunctionType, substitutes: frozenset) -> FunctionType:
    by_identity = {**_BY_IDENTITY, **{id(old): new for old, new in substitutes}}
    return copy_with(function, lambda value: by_identity.get(id(value)), _device_function)


def _argument(value: Any) -> Any:
    """Return an argument as the compiled kernel would take it: a Python float is a float64 there, and promotes."""
    if isinstance(value, np.ndarray):
        return checked(value)
    if isinstance(value, tuple):
        return tuple(map(_argument, value))
    return np.float64(value) if type(value) is float else value


def _as_tuple(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size,)


def launch(
    kernel: Any,
    grid: int | tuple[int, ...],
    block: int | tuple[int, ...],
    args: tuple[Any, ...],
    shared: int = 0,
    seed: int = 0,
    races: bool = False,
    *,
    substitutes: Mapping[Any, Any] | None = None,
    cooperative: bool = True,
    resident: int | None = None,
    shared_limit: int | None = None,
) -> None:
    """Run a kernel to its end.

    Parameters
    ----------
    kernel : cuda.jit object or function
        Its Python function is run; what it reaches of `cuda` is emulated.
    grid, block : int or tuple of int
        Blocks, and threads a block.
    args : tuple
        NumPy arrays are written in place.
    shared : int, optional
        Bytes of dynamic shared memory a block.
    seed : int, optional
        Of the schedule.
    races : bool, optional
        Watch every element of shared memory (several times slower).
    substitutes : mapping, optional
        Functions that the kernel or its callees name, and what runs in their place; `pause` of the primitives
        is always one of them.
    cooperative : bool, optional
        Whether the grid barrier may be used.
    resident : int, optional
        How many blocks are on the gpu at once; all by default.
    shared_limit : int, optional
        Bytes of static and dynamic shared memory that a block may have.

    Raises
    ------
    KernelFault
        With the thread, its block, and what it did; or who waits for what in a deadlock.
    """
    function = getattr(kernel, "py_func", None) or getattr(kernel, "fn", None) or kernel
    substitutes = {primitives.pause: pause, **(substitutes or {})}
    function = _emulated(function, frozenset(substitutes.items()))
    arguments = tuple(map(_argument, args))

    def body() -> None:
        with np.errstate(all="ignore"):  # a greenlet has a context of its own, so it is set in each
            function(*arguments)

    options = {
        "races": races,
        "shared_limit": shared_limit,
        "cooperative": cooperative,
        "seed": seed,
        "resident": resident,
    }
    Launch(body, _as_tuple(grid), _as_tuple(block), shared, options).run()


class DeviceArray(np.ndarray):
    """A NumPy array that stands for one in the memory of the GPU."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.__array_interface__, "version": 3}

    def copy_to_host(self) -> np.ndarray:
        return np.array(self, order="C")


class EmulatedGpu(Backend):
    """The emulator as the GPU that the package's CUDA sweeps run on; device arrays are `DeviceArray`.

    Parameters
    ----------
    multiprocessors : int, optional
        Also the number of blocks that are resident at once.
    shared_limit : int, optional
        Bytes of shared memory that a block may have.
    memory : tuple of int, optional
        Free and total bytes, as `memory()` tells them.
    seed : int, optional
        Of the first launch's schedule; each launch takes the next.
    races : bool, optional
        Watch shared memory in every launch.
    """

    name = "emulator"
    gpu = ""
    multiprocessors = 4
    shared_limit = 232_448

    def __init__(
        self,
        multiprocessors: int = 4,
        shared_limit: int = 232_448,
        memory: tuple[int, int] = (1 << 34, 1 << 34),
        seed: int = 0,
        races: bool = False,
    ):
        self.multiprocessors, self.shared_limit = multiprocessors, shared_limit
        self.seed, self.races = seed, races
        self._memory = memory
        self.launches: list[SimpleNamespace] = []  # what was launched, for tests that count

    def memory(self) -> tuple[int, int]:
        return self._memory

    def to_device(self, array: np.ndarray) -> DeviceArray:
        return np.array(array, order="C").view(DeviceArray)

    def adopt(self, value: DeviceArray) -> DeviceArray:
        return value

    def empty(self, shape: Any, dtype: Any) -> DeviceArray:
        return poisoned(shape, dtype).view(DeviceArray)

    def zeros(self, shape: Any, dtype: Any) -> DeviceArray:
        return np.zeros(shape, dtype).view(DeviceArray)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return np.array(array, order="C")

    def copy(self, source: np.ndarray, target: np.ndarray) -> None:
        if source.shape != target.shape or source.dtype != target.dtype:
            raise KernelFault(f"a copy of {source.shape} {source.dtype} to {target.shape} {target.dtype}")
        target[...] = source

    def synchronize(self) -> None:
        """Return at once: launches end before they return."""

    def launch(
        self,
        kernel: Any,
        grid: int,
        block: int,
        args: tuple[Any, ...],
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        if cooperative and grid > self.multiprocessors:
            raise KernelFault(
                f"a cooperative launch of {grid} blocks on {self.multiprocessors} multiprocessors would never begin"
            )
        record = SimpleNamespace(
            kernel=kernel, grid=grid, block=block, shared=shared, cooperative=cooperative
        )
        self.launches.append(record)
        self.seed += 1
        launch(
            kernel,
            grid,
            block,
            args,
            shared,
            self.seed - 1,
            self.races,
            cooperative=cooperative,
            resident=self.multiprocessors,
            shared_limit=self.shared_limit,
        )
