"""Threads that wait for one another inside a loop, a fraction of a microsecond each time.

They wait busily: a thread that has no core of its own keeps the others waiting for as long as the system lets it stand.
So one that has waited too often says after which meeting all should part; every one of them hears of it there.
"""

from llvmlite import ir
from llvmlite.binding import get_process_triple
from numba.core import cgutils, types
from numba.extending import intrinsic, register_jitable

from gatescope.kernels.cache_line import CACHE_LINE

_I64 = ir.IntType(64)
# What tells the processor that a thread waits; nothing on those not known here.
_PAUSE = {
    "x86_64": ("llvm.x86.sse2.pause", ()),
    "aarch64": ("llvm.aarch64.hint", (1,)),
    "arm64": ("llvm.aarch64.hint", (1,)),
}
_NAME, _ARGUMENTS = _PAUSE.get(get_process_triple().split("-")[0], ("", ()))
# Of an array that threads meet by, int64, on cache lines of their own: how many have arrived, and which count of these
# is the last; below 0 where not everybody could begin, so that nobody should.
ARRIVED, LAST, SIZE = 0, CACHE_LINE // 8, 2 * CACHE_LINE // 8
RELEASED = 1 << 62  # arrivals that let everybody go on, whoever is missing
# Looks at the arrivals in a piece that takes milliseconds; on x86 they are one millisecond, which is too much.
PATIENCE = 1 << 15


@intrinsic
def meet(typingctx, meeting, arrivals):
    """Add 1 to the arrivals, and wait until there are so many; return how often it looked."""

    def codegen(context, builder, sig, args):
        place = context.make_array(sig.args[0])(context, builder, args[0]).data
        awaited = context.cast(builder, args[1], sig.args[1], types.int64)
        builder.atomic_rmw("add", place, ir.Constant(_I64, 1), "seq_cst")
        waiting, together = builder.append_basic_block("waiting"), builder.append_basic_block("together")
        before = builder.block
        builder.branch(waiting)
        builder.position_at_end(waiting)
        looks = builder.phi(_I64)
        looks.add_incoming(ir.Constant(_I64, 0), before)
        more = builder.add(looks, ir.Constant(_I64, 1))
        looks.add_incoming(more, waiting)
        if _NAME:
            values = [ir.Constant(ir.IntType(32), value) for value in _ARGUMENTS]
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _NAME), values)
        arrived = builder.load_atomic(place, "seq_cst", 8)
        builder.cbranch(builder.icmp_signed("<", arrived, awaited), waiting, together)
        builder.position_at_end(together)
        return looks

    return types.int64(meeting, arrivals), codegen


@register_jitable
def part_after(meeting, met, following, looks):
    """Return whether a meeting, at which `met` had arrived, was the last.

    If this thread has looked too often, the following one shall be: there `following` will have arrived.
    """
    last = meeting[LAST]
    if last == 0 and looks > PATIENCE:
        meeting[LAST] = following
    return 0 < last <= met
