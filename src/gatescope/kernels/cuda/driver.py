"""The CUDA driver: the one module that imports numba.cuda, and that knows whether a GPU can be used.

numba.cuda is the package numba-cuda, which comes with ``pip install "gatescope[cuda]"``; the target built into
Numba is deprecated and compiles for fewer GPUs.  Without the package the built-in one still serves Numba's
simulator, and lends its decorators to kernels that only Python runs; it never computes on a GPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import extending
from numba.np import numpy_support

from gatescope.errors import DeviceError

LEAST_CAPABILITY = (7, 5)  # the oldest GPU that the compilers of CUDA 13 know
INSTALL = 'pip install "gatescope[cuda]"'
_UPGRADE = 'pip install --upgrade "gatescope[cuda]"'
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_SIMULATE = "NUMBA_ENABLE_CUDASIM"


class _Nothing:
    """A stand-in for a numba.cuda that cannot be imported: using it raises, importing this module does not."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself asks of any object
            raise AttributeError(name)
        raise DeviceError(why_unavailable() or f"numba.cuda has no {name}")


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _lend_row_stack() -> None:
    """Import the module of numba-cuda that names np.row_stack, which NumPy 2.5 took away.

    numba-cuda 0.30 imports it at the first compilation, and fails.  The name lives only while that import lasts,
    which happens once, under Python's lock of this module.
    """
    if "row_stack" in vars(np):
        return
    vars(np)["row_stack"] = np.vstack  # what it was an alias of
    try:
        importlib.import_module("numba.cuda.np.arrayobj")
    finally:
        del vars(np)["row_stack"]


def _open() -> tuple[Any, str | None]:
    """Return numba.cuda, and why it cannot be used, if so."""
    try:
        from numba import cuda

        if cuda.implementation == "NVIDIA" and not cuda.config.ENABLE_CUDASIM:
            _lend_row_stack()
    except Exception as error:  # whatever a broken installation raises is reported when a GPU is asked for
        return _Nothing(), " ".join(f"{type(error).__name__}: {error}".split())
    return cuda, None


_VERSION = _installed("numba-cuda")
cuda, _BROKEN = _open()
simulated: bool = _BROKEN is None and bool(cuda.config.ENABLE_CUDASIM)


def overload(function: Callable[..., Any], **options: Any) -> Callable[[Any], Any]:
    """Return `numba.extending.overload` for kernels; the simulator runs the Python body and ignores it."""
    if simulated or _BROKEN is not None:
        return lambda body: body
    return extending.overload(function, target="cuda", **options)  # type: ignore[no-any-return]


def simulated_kernel() -> Any:
    """Return what stands for numba.cuda inside the kernel that the simulator is running."""
    return importlib.import_module("numba.cuda.simulator.kernel")._get_kernel_context()


@contextlib.contextmanager
def simulator_mended() -> Iterator[None]:
    """Give threads of the simulator that make a shared array at the same time the same one, for one launch.

    The simulator looks whether the array exists and then makes it, and nothing keeps two threads from doing both.
    """
    shared = importlib.import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared
    unguarded = shared.array

    def array(self: Any, shape: Any, dtype: Any, alignment: Any = None) -> Any:
        with _SHARED_LOCK:
            line = traceback.extract_stack(sys._getframe(1), limit=1)[0]
            key = (line.filename, line.lineno)
            if shape == 0:
                return unguarded(
                    self, shape, dtype
                )  # Numba's own simulator knows no alignment, and none needs it
            if key not in self._allocations:
                self._allocations[key] = np.empty(shape, numpy_support.as_dtype(dtype))
            return self._allocations[key]

    shared.array = array
    try:
        yield
    finally:
        shared.array = unguarded


_SHARED_LOCK = threading.Lock()


def allow_shared(compiled: Any, nbytes: int) -> None:
    """Allow a compiled kernel, one of its `overloads`, `nbytes` of dynamic shared memory a block.

    More than 48 KiB has to be allowed, for which numba-cuda has no public way (its issue 94).
    """
    driver = importlib.import_module("numba.cuda.cudadrv.driver")
    function = compiled._codelibrary.get_cufunc()
    attribute = driver.binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    driver.driver.cuKernelSetAttribute(attribute, nbytes, function.handle, function.device.id)


def allocate(nbytes: int) -> Any:
    """Return device memory of the current context, freed when nothing refers to it."""
    return cuda.current_context().memalloc(nbytes)


def lease(block: Any, nbytes: int, give_back: Callable[[], None]) -> Any:
    """Return memory for arrays in a block of `allocate`; `give_back` is called when no array uses it any more."""
    driver = importlib.import_module("numba.cuda.cudadrv.driver")

    def end() -> None:
        del _LEASES[key]
        give_back()

    memory = driver.AutoFreePointer(block.context, block.device_pointer, nbytes, finalizer=end)
    key = id(memory)
    _LEASES[key] = memory  # arrays refer to it weakly; this keeps it alive until they are gone
    return memory.own()


_LEASES: dict[int, Any] = {}


def array_on(memory: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a C-contiguous device array at the start of that memory."""
    module = importlib.import_module("numba.cuda.cudadrv.devicearray")
    dtype = np.dtype(dtype)
    steps = [dtype.itemsize]
    for length in reversed(shape[1:]):
        steps.append(steps[-1] * length)
    strides = tuple(reversed(steps)) if shape else ()
    return module.DeviceNDArray(shape, strides, dtype, gpu_data=memory)


def out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out."""
    return "OUT_OF_MEMORY" in str(error) or isinstance(error, MemoryError)


def kernel(threads: int) -> Callable[[Any], Any]:
    """Return `cuda.jit` for a kernel whose blocks have at most `threads` threads.

    The compiler then uses no more registers than a block of that size can have; else the launch could fail.
    """
    bounded = not simulated and _BROKEN is None and cuda.implementation == "NVIDIA"
    return cuda.jit(launch_bounds=threads) if bounded else cuda.jit  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU that this process sees.  Memory is in bytes, None where it cannot be read."""

    index: int
    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_free: int | None = None
    memory_total: int | None = None


def devices() -> list[Gpu]:
    """Return the GPUs this process sees, with their memory; none in the simulator or without a driver.

    Reading a GPU's free memory starts CUDA on it, which takes a part of a second and some of that memory.
    """
    if simulated or _package_missing() or _driver_error() is not None:
        return []
    return [_with_memory(gpu) for gpu in _gpus()]


def versions() -> dict[str, str]:
    """Return the versions of numba-cuda, and of CUDA in the driver and the compilers; without what is missing."""
    known = {"numba-cuda": _VERSION} if _VERSION else {}
    if simulated or _package_missing():
        return known
    if _driver_error() is None:
        known["driver"] = _dotted(_driver_version())
    compilers = _compiler_version()
    return known if compilers is None else known | {"compilers": _dotted(compilers)}


@functools.cache
def why_unavailable() -> str | None:
    """Return None if kernels can run, on a GPU or in the simulator; else what is missing and what to do, one sentence.

    Looked up once: a driver does not change while a process lives.
    """
    if simulated:
        return None
    return (
        _why_no_simulator() or _why_no_package() or _why_no_driver() or _why_no_compilers() or _why_no_gpu()
    )


def _why_no_simulator() -> str | None:
    """Return why the simulator is missing though the environment asks for it."""
    value = os.environ.get(_SIMULATE, "")
    if value.strip() in ("", "0"):
        return None
    if value.strip() != "1":
        return f"{_SIMULATE}={value!r} is not understood; set it to 1 for Numba's simulator, or unset it"
    if _BROKEN is not None:
        return f"Numba's simulator cannot be imported ({_BROKEN}); install what it needs with {INSTALL}"
    return (
        f"{_SIMULATE}=1 was set too late, after Numba had been imported; set it in the environment before "
        "Python starts, or before the first import of numba and gatescope"
    )


def _why_no_package() -> str | None:
    if _package_missing():
        return f"the package numba-cuda is not installed; {INSTALL}"
    if _BROKEN is not None:
        return f"numba-cuda {_VERSION} cannot be used with NumPy {np.__version__} ({_BROKEN}); {_UPGRADE}"
    return None


def _why_no_driver() -> str | None:
    error = _driver_error()
    if error is None:
        return None
    if "NUMBA_DISABLE_CUDA" in error:
        return "NUMBA_DISABLE_CUDA=1 is set in the environment; unset it to use a GPU"
    code = re.search(r"CUDA_ERROR_\w+", error)
    if code is None:
        if "error occurred during load" in error:
            reason = " ".join(error.partition("load:")[2].split())
            return f"the NVIDIA driver's library cannot be loaded ({reason}); install the driver anew"
        return (
            "no NVIDIA driver was found (its library libcuda is missing); install the driver, or start the "
            "container with access to the GPU"
        )
    if code[0] == "CUDA_ERROR_NO_DEVICE":
        return _no_gpu()
    if code[0] in ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"):
        return f"the parts of the NVIDIA driver are of different versions ({code[0]}); restart the machine"
    return f"the NVIDIA driver does not start ({code[0]}); see nvidia-smi"


def _no_gpu() -> str:
    visible = os.environ.get(_VISIBLE)
    if visible is None:
        return "the NVIDIA driver is there, but it finds no GPU; nvidia-smi -L lists those that it knows"
    hidden = "hides every GPU" if visible.strip() in ("", "-1") else "names no GPU that is there"
    return f"{_VISIBLE}={visible!r} {hidden}; unset it, or name one that nvidia-smi -L lists"


def _why_no_compilers() -> str | None:
    compilers = _compiler_version()
    if compilers is None:
        return f"the CUDA compilers (nvrtc, nvvm, nvJitLink) are missing; {INSTALL}"
    driver = _driver_version()
    if driver[0] < compilers[0]:
        return (
            f"the NVIDIA driver is too old: it supports CUDA {_dotted(driver)}, and the compilers installed are "
            f"those of CUDA {_dotted(compilers)}; update the driver, "
            f'or pip install "numba-cuda[cu{driver[0]}]" in an environment of its own'
        )
    return None


def _why_no_gpu() -> str | None:
    gpus = _gpus()  # kernels run on the first, as everywhere in CUDA
    if not gpus:
        return _no_gpu()
    first = gpus[0]
    if first.capability >= LEAST_CAPABILITY:
        return None
    why = (
        f"GPU 0, {first.name}, has compute capability {_dotted(first.capability)}, "
        f"and at least {_dotted(LEAST_CAPABILITY)} is needed"
    )
    for other in gpus[1:]:
        if other.capability >= LEAST_CAPABILITY:
            return f"{why}; set {_VISIBLE}={_visible_name(other.index)} to use {other.name}"
    return f"{why}; use a GPU of 2018 or later (Turing)"


def _visible_name(index: int) -> str:
    """Return the name of a GPU of this process in the variable, which may leave some out already."""
    names = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return names[index] if index < len(names) else str(index)


# What is looked up on this machine.  Tests put others in their place.


def _package_missing() -> bool:
    return _VERSION is None


def _driver_error() -> str | None:
    """Return None if the driver has started, else what it or Numba says."""
    if cuda.is_available():
        return None
    error = cuda.cuda_error()
    return None if error is None else str(error)  # None: it has started, but a compiler is missing


def _driver_version() -> tuple[int, int]:
    major, minor = cuda.cudadrv.driver.driver.get_version()
    return int(major), int(minor)


def _compiler_version() -> tuple[int, int] | None:
    """Return the version of nvrtc, which numba-cuda always needs; None if it or nvvm is missing."""
    try:
        major, minor = cuda.runtime.get_version()
        complete = cuda.cudadrv.nvvm.is_available()
    except Exception:  # each version of the bindings has an error of its own for a library that is not there
        return None
    return (int(major), int(minor)) if complete else None


def _gpus() -> list[Gpu]:
    return [
        Gpu(
            index=gpu.id,
            name=gpu.name.decode() if isinstance(gpu.name, bytes) else str(gpu.name),
            capability=tuple(gpu.compute_capability),
            multiprocessors=int(gpu.MULTIPROCESSOR_COUNT),
        )
        for gpu in cuda.gpus
    ]


def _with_memory(gpu: Gpu) -> Gpu:
    try:
        with cuda.gpus[gpu.index]:
            free, total = cuda.current_context().get_memory_info()
    except Exception:  # in use by another process alone, or too old for this CUDA
        return gpu
    return dataclasses.replace(gpu, memory_free=int(free), memory_total=int(total))


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
