"""The door to CUDA: the one module that imports numba.cuda, and the one that knows whether a GPU can be used.

numba.cuda is the package numba-cuda, which comes with ``pip install "gatescope[cuda]"``; the target built into
Numba is deprecated and compiles for fewer GPUs.  Without the package the built-in one still serves Numba's
simulator, and lends its decorators to kernels that only Python runs; it never computes on a GPU.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    """Stands for a numba.cuda that cannot be imported: to use it is the error, to import this module is not."""

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
    """numba.cuda, and why it cannot be used, if so."""
    try:
        from numba import cuda

        if cuda.implementation == "NVIDIA" and not cuda.config.ENABLE_CUDASIM:
            _lend_row_stack()
    except Exception as error:  # whatever a broken installation raises is told when a GPU is asked for
        return _Nothing(), " ".join(f"{type(error).__name__}: {error}".split())
    return cuda, None


_VERSION = _installed("numba-cuda")
cuda, _BROKEN = _open()
simulated: bool = _BROKEN is None and bool(cuda.config.ENABLE_CUDASIM)


def overload(function: Callable[..., Any], **options: Any) -> Callable[[Any], Any]:
    """`numba.extending.overload` for kernels; the simulator runs the Python body and takes no notice of it."""
    if simulated or _BROKEN is not None:
        return lambda body: body
    return extending.overload(function, target="cuda", **options)  # type: ignore[no-any-return]


def simulated_kernel() -> Any:
    """What stands for numba.cuda inside the kernel that the simulator is running."""
    return importlib.import_module("numba.cuda.simulator.kernel")._get_kernel_context()


@contextlib.contextmanager
def simulator_mended() -> Iterator[None]:
    """For one launch: threads of the simulator that make a shared array at the same time get the same one.

    It looks whether the array is there and then makes it, with nothing to keep two threads from doing both.
    """
    shared = importlib.import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared
    unguarded = shared.array

    def array(self: Any, shape: Any, dtype: Any, alignment: Any = None) -> Any:
        with _SHARED_LOCK:
            line = traceback.extract_stack(sys._getframe(1), limit=1)[0]
            key = (line.filename, line.lineno)
            if shape == 0:
                return unguarded(self, shape, dtype, alignment)
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
    """Let a compiled kernel, one of its `overloads`, have so many bytes of dynamic shared memory a block.

    Beyond 48 KiB a GPU wants to be asked, for which numba-cuda has no public way (its issue 94).
    """
    driver = importlib.import_module("numba.cuda.cudadrv.driver")
    function = compiled._codelibrary.get_cufunc()
    attribute = driver.binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    driver.driver.cuKernelSetAttribute(attribute, nbytes, function.handle, function.device.id)


def allocate(nbytes: int) -> Any:
    """Device memory of the current context, freed when nothing refers to it."""
    return cuda.current_context().memalloc(nbytes)


def lease(block: Any, nbytes: int, give_back: Callable[[], None]) -> Any:
    """Memory for arrays in a block that `allocate` gave; `give_back` is called when no array looks at it any more."""
    driver = importlib.import_module("numba.cuda.cudadrv.driver")

    def end() -> None:
        del _LEASES[key]
        give_back()

    memory = driver.AutoFreePointer(block.context, block.device_pointer, nbytes, finalizer=end)
    key = id(memory)
    _LEASES[key] = memory  # arrays refer to it weakly and count themselves; this keeps it until they are gone
    return memory.own()


_LEASES: dict[int, Any] = {}


def array_on(memory: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A C-contiguous device array at the start of that memory."""
    module = importlib.import_module("numba.cuda.cudadrv.devicearray")
    dtype = np.dtype(dtype)
    steps = [dtype.itemsize]
    for length in reversed(shape[1:]):
        steps.append(steps[-1] * length)
    strides = tuple(reversed(steps)) if shape else ()
    return module.DeviceNDArray(shape, strides, dtype, gpu_data=memory)


def out_of_memory(error: Exception) -> bool:
    """Whether the driver said that there is no room."""
    return "OUT_OF_MEMORY" in str(error) or isinstance(error, MemoryError)


def kernel(threads: int) -> Callable[[Any], Any]:
    """`cuda.jit` for a kernel whose blocks have at most so many threads.

    The compiler then keeps to the registers that a block of that size can have; without, the launch could fail.
    """
    bounded = not simulated and _BROKEN is None and cuda.implementation == "NVIDIA"
    return cuda.jit(launch_bounds=threads) if bounded else cuda.jit  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU that this process sees.  Memory is in bytes, None where the GPU does not let itself be asked."""

    index: int
    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_free: int | None = None
    memory_total: int | None = None


def devices() -> list[Device]:
    """The GPUs this process sees, used or not, with their memory; none in the simulator or without a driver.

    To ask a GPU for its free memory starts CUDA on it, which takes a part of a second and some of that memory.
    """
    if simulated or _package_missing() or _driver_error() is not None:
        return []
    return [_with_memory(found) for found in _gpus()]


def versions() -> dict[str, str]:
    """Of the package, and of CUDA as the driver supports it and as the compilers are; what is missing is left out."""
    found = {"numba-cuda": _VERSION} if _VERSION else {}
    if simulated or _package_missing():
        return found
    if _driver_error() is None:
        found["driver"] = _dotted(_driver_version())
    compilers = _compiler_version()
    return found if compilers is None else found | {"compilers": _dotted(compilers)}


@functools.cache
def why_unavailable() -> str | None:
    """None if kernels can run, on a GPU or in the simulator; else what is missing and what to do, one sentence.

    Found out once: a driver does not change its mind while a process lives.
    """
    if simulated:
        return None
    wanted = _simulator_wanted()
    if wanted is not None:
        return wanted
    return _why_no_package() or _why_no_driver() or _why_no_compilers() or _why_no_gpu()


def _simulator_wanted() -> str | None:
    """The simulator is asked for, and yet not there."""
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
    return f"the NVIDIA driver does not start ({code[0]}); nvidia-smi may tell more"


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
    """Kernels run on the first GPU, as everywhere in CUDA."""
    found = _gpus()
    if not found:
        return _no_gpu()
    first = found[0]
    if first.capability >= LEAST_CAPABILITY:
        return None
    why = (
        f"GPU 0, {first.name}, has compute capability {_dotted(first.capability)}, "
        f"and at least {_dotted(LEAST_CAPABILITY)} is needed"
    )
    for other in found[1:]:
        if other.capability >= LEAST_CAPABILITY:
            return f"{why}; set {_VISIBLE}={_visible_name(other.index)} to use {other.name}"
    return f"{why}; use a GPU of 2018 or later (Turing)"


def _visible_name(index: int) -> str:
    """What to call a GPU of this process in the variable, which may leave some out already."""
    names = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return names[index] if index < len(names) else str(index)


# What is asked of the machine.  Tests put others in their place.


def _package_missing() -> bool:
    return _VERSION is None


def _driver_error() -> str | None:
    """None if the driver has started, else what it or Numba says."""
    if cuda.is_available():
        return None
    error = cuda.cuda_error()
    return None if error is None else str(error)  # None: it has started, but a compiler is missing


def _driver_version() -> tuple[int, int]:
    major, minor = cuda.cudadrv.driver.driver.get_version()
    return int(major), int(minor)


def _compiler_version() -> tuple[int, int] | None:
    """Of nvrtc, which numba-cuda needs for whatever it compiles; None if it or nvvm is missing."""
    try:
        major, minor = cuda.runtime.get_version()
        complete = cuda.cudadrv.nvvm.is_available()
    except Exception:  # each version of the bindings has an error of its own for a library that is not there
        return None
    return (int(major), int(minor)) if complete else None


def _gpus() -> list[Device]:
    return [
        Device(
            index=gpu.id,
            name=gpu.name.decode() if isinstance(gpu.name, bytes) else str(gpu.name),
            capability=tuple(gpu.compute_capability),
            multiprocessors=int(gpu.MULTIPROCESSOR_COUNT),
        )
        for gpu in cuda.gpus
    ]


def _with_memory(device: Device) -> Device:
    try:
        with cuda.gpus[device.index]:
            free, total = cuda.current_context().get_memory_info()
    except Exception:  # in use by another process alone, or too old for this CUDA
        return device
    facts = {**vars(device), "memory_free": int(free), "memory_total": int(total)}
    return Device(**facts)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
