"""Whole rows of vectors in memory: their largest entry, their scalar product, their scaling.

A row is `count` vectors of lanes, `stride` elements apart.  Like `product`, these take the number of lanes as a
literal.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gatescope.kernels.simd.load_store import _align, _at, _load, _pointer
from gatescope.kernels.simd.vector import Vec, _call, _scalar, across, add_lanes, llvm_type, splat

_I64 = ir.IntType(64)


def _each(context, builder, sig, args, count_at):
    """Return a loop over `count` vectors, argument `count_at` of the call."""
    last = context.cast(builder, args[count_at], sig.args[count_at], types.intp)
    return cgutils.for_range(builder, last, intp=_I64)


def _offset(context, builder, sig, args, stride_at, index):
    stride = context.cast(builder, args[stride_at], sig.args[stride_at], types.intp)
    return builder.mul(index, stride)


@intrinsic(prefer_literal=True)
def largest(typingctx, array, at, stride, count, lanes):
    """Return the largest absolute value of a row; NaN if any is."""
    vec = Vec(array.dtype, lanes.literal_value)
    size = 32 if vec.dtype == types.float32 else 64

    def larger(builder, x, y):
        return builder.select(builder.icmp_signed(">", x, y), x, y)

    def codegen(context, builder, sig, args):
        # Without their sign, floats are in the order of their bits, and NaN comes last.
        integers = ir.VectorType(ir.IntType(size), vec.lanes)
        unsigned = ir.Constant(integers, [(1 << (size - 1)) - 1] * vec.lanes)
        base = _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        peak = cgutils.alloca_once_value(builder, ir.Constant(integers, [0] * vec.lanes))
        with _each(context, builder, sig, args, 3) as loop:
            x = _load(builder, base, vec, _offset(context, builder, sig, args, 2, loop.index))
            bits = builder.and_(builder.bitcast(x, integers), unsigned)
            builder.store(larger(builder, bits, builder.load(peak)), peak)
        return builder.bitcast(across(larger, builder, builder.load(peak), vec.lanes), _scalar(vec.dtype))

    return vec.dtype(array, at, stride, count, lanes), codegen


@intrinsic(prefer_literal=True)
def scaled_dot(typingctx, a, a_at, a_factor, b, b_at, b_factor, count, lanes):
    """Return the scalar product of two rows of adjacent vectors, each times a factor that keeps squares in range."""
    vec = Vec(a.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        sides = []
        for first in (0, 3):
            base = _pointer(
                context, builder, sig.args[first], args[first], args[first + 1], sig.args[first + 1]
            )
            factor = context.cast(builder, args[first + 2], sig.args[first + 2], vec.dtype)
            sides.append((base, splat(builder, vec, factor)))
        total = cgutils.alloca_once_value(builder, ir.Constant(llvm_type(vec), [0.0] * vec.lanes))
        with _each(context, builder, sig, args, 6) as loop:
            at = builder.mul(loop.index, ir.Constant(_I64, vec.lanes))
            left, right = (builder.fmul(_load(builder, base, vec, at), factor) for base, factor in sides)
            builder.store(_call(builder, "fma", vec, [left, right, builder.load(total)]), total)
        return add_lanes(builder, builder.load(total), vec.lanes)

    return vec.dtype(a, a_at, a_factor, b, b_at, b_factor, count, lanes), codegen


@intrinsic(prefer_literal=True)
def scale(typingctx, array, at, count, factor, lanes):
    """Multiply a row of adjacent vectors by a factor, in place."""
    vec = Vec(array.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        base = _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        factor = splat(builder, vec, context.cast(builder, args[3], sig.args[3], vec.dtype))
        with _each(context, builder, sig, args, 2) as loop:
            at = builder.mul(loop.index, ir.Constant(_I64, vec.lanes))
            value = builder.fmul(_load(builder, base, vec, at), factor)
            builder.store(value, _at(builder, base, vec, at), align=_align(vec))
        return context.get_dummy_value()

    return types.void(array, at, count, factor, lanes), codegen


@intrinsic(prefer_literal=True)
def move(typingctx, array, source, target, stride, count, factor, lanes):
    """Add a row times a factor to another row of the same array, and set it to zeros."""
    vec = Vec(array.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        source_base, target_base = (
            _pointer(context, builder, sig.args[0], args[0], args[i], sig.args[i]) for i in (1, 2)
        )
        factor = splat(builder, vec, context.cast(builder, args[5], sig.args[5], vec.dtype))
        zero = ir.Constant(llvm_type(vec), [0.0] * vec.lanes)
        with _each(context, builder, sig, args, 4) as loop:
            at = _offset(context, builder, sig, args, 3, loop.index)
            value, before = (_load(builder, base, vec, at) for base in (source_base, target_base))
            total = _call(builder, "fma", vec, [value, factor, before])
            builder.store(total, _at(builder, target_base, vec, at), align=_align(vec))
            builder.store(zero, _at(builder, source_base, vec, at), align=_align(vec))
        return context.get_dummy_value()

    return types.void(array, source, target, stride, count, factor, lanes), codegen
