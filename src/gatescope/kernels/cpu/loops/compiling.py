"""What every loop is compiled with, and when a compiled loop may be taken from Numba's disk cache.

The cache looks at the file a loop stands in and at what it closes over.  It does not look at the options, so there is
one set for all, nor at the other files a loop is made of, so it closes over a fingerprint of them.
"""

import hashlib
import inspect
from functools import cache

from numba import config, njit

from gatescope.cells import activations, margins
from gatescope.errors import DeviceError
from gatescope.kernels.cpu.loops import intervals
from gatescope.kernels.cpu.loops.kernel_cache import use_cache
from gatescope.kernels.simd import activations as simd_activations
from gatescope.kernels.simd import coefficients, load_store, orthogonal, product, rows, vector
from gatescope.kernels.simd import margins as simd_margins

if config.DISABLE_JIT:
    raise DeviceError(
        "NUMBA_DISABLE_JIT is set, and the loops of gatescope run only compiled",
        advice="unset it, and start Python again",
    )

# Nobody calls a loop as a C function: without that entry it compiles in a tenth less time.
OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False, "no_cfunc_wrapper": True}
_SOURCES = (
    activations, margins, coefficients, orthogonal, product, rows, vector, load_store, simd_activations, simd_margins,
    intervals,
)  # fmt: skip


def fingerprint_of(cell):
    """Return a text that changes when the cell's equations do, or anything they are compiled with."""
    return f"{cell.fingerprint}-{machinery()}"


@cache
def machinery():
    """Return a text that changes when anything does that every loop is compiled with."""
    return hashlib.sha256("".join(map(inspect.getsource, _SOURCES)).encode()).hexdigest()[:16]


def compiled(function):
    """Make a loop of a function: compiled when it is first called, and kept in the disk cache.

    Loops that close over other things get other names.  Numba tells loops of one name apart by a count, which begins
    anew in each process: two of different processes, taken from the cache and called by one function, could be one.
    """
    function.__qualname__ += f"_{_digest_of(function)}"
    loop = njit(**OPTIONS)(function)
    use_cache(loop)
    return loop


def _digest_of(function):
    """Return a text that differs where numbers and texts do that a function closes over, such as its fingerprint."""
    closed = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    values = {name: cell.cell_contents for name, cell in closed}
    plain = {name: value for name, value in values.items() if isinstance(value, int | float | str | tuple)}
    return hashlib.sha256(repr(sorted(plain.items(), key=str)).encode()).hexdigest()[:12]
