"""Kernels compiled to machine code, for any GPU and without one, and what the assembler says of them.

The way is that of a real launch: Numba makes intermediate code of the kernel and of every function it calls, and
NVIDIA's linker optimises all of it together and assembles it.  Numba's part is made once for all GPUs.
"""

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gatescope.kernels.cuda.driver import cuda


@functools.cache
def why_not() -> str | None:
    """None if kernels can be compiled here, else what is missing: the reason of a skip."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
        return "Numba's simulator is on (NUMBA_ENABLE_CUDASIM), and has no compiler"
    if getattr(cuda, "implementation", None) != "NVIDIA":
        return 'the package numba-cuda is not installed; pip install "gatescope[cuda]"'
    if importlib.util.find_spec("cuda.core") is None:
        return "the package cuda-core, which holds the linker's binding, is not installed"
    return None


@dataclass(frozen=True)
class Built:
    """A kernel's machine code and its cost; bytes but for `registers` (a thread) and `f64`."""

    cubin: bytes
    registers: int
    stack: int  # local memory a thread: arrays that found no room in registers
    spills: int  # the larger of spill stores and loads
    shared: int  # static shared memory a block
    log: str
    make_ptx: Callable[[], str]

    @functools.cached_property
    def ptx(self) -> str:
        """The kernel in NVIDIA's portable assembly language."""
        return self.make_ptx()

    @property
    def f64(self) -> int:
        """How often float64 is named in the PTX."""
        return self.ptx.count(".f64")


@contextlib.contextmanager
def as_if_on(cc: tuple[int, int]) -> Iterator[None]:
    """Let Numba compile device functions, for which it asks the current GPU's capability, where there is none."""
    import numba.cuda.dispatcher as dispatcher

    if cuda.is_available():
        yield
        return
    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=cc)
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


@functools.lru_cache(maxsize=32)  # of a kernel for several GPUs
def _library(function: Any, signature: Any, options: tuple[tuple[str, Any], ...]) -> Any:
    """Return the intermediate code, which takes most of the time and is the same for every GPU: see `build`."""
    return intermediate(function, signature, (9, 0), **dict(options))


def intermediate(function: Any, signature: Any, cc: tuple[int, int], **options: Any) -> Any:
    """Return Numba's library of a kernel, with its intermediate code, for compute capability `cc`."""
    from numba.cuda import compiler

    # `cuda.compile_all` is this call and the next step, for one GPU.
    with as_if_on(cc):
        library, _ = compiler._compile_pyfunc_with_fixup(
            function, signature, device=False, cc=cc, abi="numba", lto=True, **options
        )
    assert not library._linking_files  # of other languages
    return library


def _largest(pattern: str, log: str) -> int:
    return max(map(int, re.findall(pattern, log)), default=0)


def build(kernel: Any, signature: Any, cc: tuple[int, int], **options: Any) -> Built:
    """Compile and link `kernel` (a cuda.jit object or its function) for compute capability `cc`.

    Options are those of `cuda.jit`: `fastmath`, `launch_bounds` and so on; the kernel's own launch bounds hold
    unless they are given here.
    """
    from cuda.core import Linker, LinkerOptions, ObjectCode

    function = getattr(kernel, "py_func", kernel)
    own = getattr(kernel, "targetoptions", {}).get("launch_bounds")
    if own is not None:
        options.setdefault("launch_bounds", own)
    library = _library(function, signature, tuple(sorted(options.items())))
    objects = [ObjectCode.from_ltoir(library.get_ltoir(cc=cc), name=function.__name__)]

    def link(target: str, **more: Any) -> tuple[bytes, str]:
        linker_options = LinkerOptions(arch=f"sm_{cc[0]}{cc[1]}", link_time_optimization=True, **more)
        linker = Linker(*objects, options=linker_options)
        return bytes(linker.link(target).code), linker.get_info_log() or ""

    cubin, log = link("cubin", ptxas_options=["-v"])
    return Built(
        cubin=cubin,
        registers=_largest(r"Used (\d+) registers", log),
        stack=_largest(r"(\d+) bytes stack frame", log),
        spills=_largest(r"(\d+) bytes spill", log),
        shared=_largest(r"(\d+) bytes smem", log),
        log=log,
        make_ptx=lambda: link("ptx", ptx=True)[0].decode(errors="replace"),
    )


@functools.cache
def _disassembler() -> str | None:
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for program in sorted(Path(folder).glob("**/bin/nvdisasm")):
            return str(program)
    return shutil.which("nvdisasm")


def sass(cubin: bytes) -> Counter[str] | None:
    """How often each instruction occurs in machine code, by its full name; None without nvdisasm.

    Examples
    --------
    >>> counts = sass(built.cubin)  # doctest: +SKIP
    >>> counts["FFMA"], counts["LDS.128"]  # doctest: +SKIP
    (192, 16)
    """
    program = _disassembler()
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run([program, str(path)], check=True, capture_output=True, text=True).stdout
    # A line of code: /*0040*/  @P0 FFMA.FTZ R1, ... ;
    return Counter(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", text, re.MULTILINE))
