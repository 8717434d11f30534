"""Whether the processor computes with subnormal numbers, which take it a hundred times as long, or with 0 for them.

That is set for a thread: a block of code here changes it for the thread that runs it, and always puts it back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir
from llvmlite.binding import get_process_triple
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from gatescope.kernels.cpu.loops.kernel_cache import use_cache

_ARCHITECTURE = get_process_triple().split("-")[0]
_WORD = ir.IntType(64)
# The bits that make 0 of subnormal results and of subnormal operands: FTZ and DAZ of MXCSR, FZ of FPCR.
_FLUSH = {"x86_64": 0x8040, "aarch64": 1 << 24, "arm64": 1 << 24}
FLUSHES = _ARCHITECTURE in _FLUSH
_BITS = _FLUSH.get(_ARCHITECTURE, 0)


@contextmanager
def flush_subnormals() -> Iterator[None]:
    """Count subnormal numbers as 0 in what this thread computes in a block; nothing on processors not known here."""
    before = _read()
    try:
        _write(before | _BITS)
        yield
    finally:
        _write(before)


@contextmanager
def keep_subnormals() -> Iterator[None]:
    """Compute with subnormal numbers in a block, within one of `flush_subnormals`, too."""
    before = _read()
    try:
        _write(before & ~_BITS)
        yield
    finally:
        _write(before)


def control(builder, architecture):
    """Return the word in the processor that says, among other things, what is done with subnormal numbers."""
    if architecture not in _FLUSH:
        return ir.Constant(_WORD, 0)
    if architecture != "x86_64":
        return _call(builder, "aarch64.get.fpcr", _WORD)
    place = builder.alloca(ir.IntType(32))
    _call(builder, "x86.sse.stmxcsr", ir.VoidType(), place)
    return builder.zext(builder.load(place), _WORD)


def set_control(builder, word, architecture):
    """Make this the processor's word."""
    if architecture == "x86_64":
        place = builder.alloca(ir.IntType(32))
        builder.store(builder.trunc(word, ir.IntType(32)), place)
        _call(builder, "x86.sse.ldmxcsr", ir.VoidType(), place)
    elif architecture in _FLUSH:
        _call(builder, "aarch64.set.fpcr", ir.VoidType(), word)


def _call(builder, name, result, *arguments):
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}"), arguments)


@intrinsic
def _control(typingctx):
    def codegen(context, builder, sig, args):
        return control(builder, _ARCHITECTURE)

    return types.int64(), codegen


@intrinsic
def _set_control(typingctx, word):
    def codegen(context, builder, sig, args):
        set_control(builder, args[0], _ARCHITECTURE)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


# Not by `compiled`, which compiles loops in a block of `keep_subnormals`.
@njit
def _read():
    return _control()


@njit
def _write(word):
    _set_control(word)


use_cache(_read)
use_cache(_write)
