"""The backends that the kernel tests run on, and the compiler."""

import os

import pytest

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def _a_gpu_is_there() -> bool:
    from gatescope.kernels.cuda.driver import cuda

    return not SIMULATED and cuda.is_available()


if SIMULATED:
    # The simulator replaces numba.cuda when Numba is imported, so nothing else can run in the same process.
    BACKENDS = ["cudasim"]
else:
    no_gpu = pytest.mark.skipif(not _a_gpu_is_there(), reason="no GPU on this machine")
    BACKENDS = ["emulator", pytest.param("gpu", marks=no_gpu)]


@pytest.fixture(params=BACKENDS)
def gpu(request):
    """Yield the backend of the package's CUDA kernels: the emulator, Numba's simulator, or a GPU."""
    from gatescope.kernels.cuda import backend

    if request.param != "emulator":
        yield backend.current()
        return
    from helpers.emulator import EmulatedGpu

    gpu = EmulatedGpu()
    with backend.use(gpu):
        yield gpu


@pytest.fixture
def build():
    """`compiling.build`; skips where there is no compiler."""
    from helpers import machine_code as compiling

    reason = compiling.why_not()
    if reason is not None:
        pytest.skip(reason)
    return compiling.build
