"""What every loop is compiled with, and when a compiled loop may be taken from Numba's disk cache.

The cache looks at the file a loop stands in and at what it closes over.  It does not look at the options, so there is
one set for all, nor at the other files a loop is made of, so it closes over a fingerprint of them.
"""

import hashlib
import inspect
import sys
from functools import cache

from numba import njit

from gatescope.cells import activations, margins
from gatescope.kernels import cache_line
from gatescope.kernels.cpu.loops import intervals, meeting
from gatescope.kernels.cpu.loops.kernel_cache import mark, name_of, use_cache
from gatescope.kernels.cpu.loops.subnormals import keep_subnormals
from gatescope.kernels.simd import activations as simd_activations
from gatescope.kernels.simd import coefficients, load_store, orthogonal, product, rows, vector
from gatescope.kernels.simd import margins as simd_margins

# Nobody calls a loop as a C function: without that entry it compiles in a tenth less time.
OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False, "no_cfunc_wrapper": True}
_SOURCES = (
    activations, margins, coefficients, orthogonal, product, rows, vector, load_store, simd_activations, simd_margins,
    intervals, meeting, cache_line,
)  # fmt: skip


def fingerprint_of(cell):
    """Return a text that changes when the cell's equations do, or anything they are compiled with."""
    return f"{cell.fingerprint}-{machinery()}"


@cache
def machinery():
    """Return a text that changes when anything does that every loop is compiled with."""
    return hashlib.sha256("".join(map(inspect.getsource, _SOURCES)).encode()).hexdigest()[:16]


def compiled(function):
    """Make a loop of a function: compiled when it is first called, and kept in the disk cache."""
    loop = njit(**OPTIONS)(named(function))
    use_cache(loop)
    # A loop must not depend on where it is first called: constants are computed while it is compiled.
    loop.compile = keep_subnormals()(loop.compile)
    return loop


def named(function):
    """Give a loop, or a function that calls loops, a name of its own where it closes over other things; return it.

    Numba tells functions of one name apart by a count, which begins anew in each process: two of different processes,
    taken from the cache and called by one function, could be one.
    """
    function.__qualname__ += f"_{_digest_of(function)}"
    mark(function)
    return function


def _digest_of(function):
    """Return a text that differs where the numbers, texts and loops do that a function closes over."""
    closed = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    values = {name: cell.cell_contents for name, cell in closed}
    known = {name: value for name, value in values.items() if isinstance(value, int | float | str | tuple)}
    loops = {name: value for name, value in values.items() if name_of(value)}
    # The disk cache looks at the file of the one that calls, and not at theirs.
    known |= {
        name: (name_of(loop), inspect.getsource(sys.modules[loop.__module__])) for name, loop in loops.items()
    }
    return hashlib.sha256(repr(sorted(known.items(), key=str)).encode()).hexdigest()[:12]
