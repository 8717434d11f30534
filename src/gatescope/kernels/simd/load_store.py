"""Vectors to and from memory: loads and stores, whole and masked, of several vectors at a time.

Arrays are addressed by one linear offset in elements: they are C-contiguous, and the kernels count for themselves.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gatescope.kernels.simd.vector import Vec, _suffix, llvm_type

BYTE = ir.IntType(8).as_pointer()


def _pointer(context, builder, array_type, array, offset, offset_type):
    struct = context.make_array(array_type)(context, builder, array)
    return builder.gep(struct.data, [context.cast(builder, offset, offset_type, types.intp)])


def _at(builder, base, vec, index):
    """Return a pointer to the vector `index` elements (an LLVM i64 or an int) past `base`."""
    if isinstance(index, int):
        index = ir.Constant(ir.IntType(64), index)
    return builder.bitcast(builder.gep(base, [index]), llvm_type(vec).as_pointer())


def _align(vec):
    return 4 if vec.dtype == types.float32 else 8


def _load(builder, base, vec, index):
    return builder.load(_at(builder, base, vec, index), align=_align(vec))


def _lane_mask(builder, vec, count):
    """Return <lanes x i1>: true for the first `count` lanes."""
    wide = ir.VectorType(ir.IntType(64), vec.lanes)
    one = builder.insert_element(ir.Constant(wide, ir.Undefined), count, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vec.lanes), [0] * vec.lanes)
    counts = builder.shuffle_vector(one, ir.Constant(wide, ir.Undefined), zeros)
    return builder.icmp_signed("<", ir.Constant(wide, list(range(vec.lanes))), counts)


def _masked(builder, name, vec, value, pointer, mask):
    vector, bits = llvm_type(vec), ir.VectorType(ir.IntType(1), vec.lanes)
    align = ir.Constant(ir.IntType(32), _align(vec))
    if name == "load":
        kind = ir.FunctionType(vector, [vector.as_pointer(), ir.IntType(32), bits, vector])
        arguments = [pointer, align, mask, ir.Constant(vector, None)]
    else:
        kind = ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), ir.IntType(32), bits])
        arguments = [value, pointer, align, mask]
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.{name}.{_suffix(vec)}.p0")
    return builder.call(function, arguments)


def _tuple_of(vec, count):
    return types.UniTuple(vec, count) if count else types.Tuple(())  # type: ignore[attr-defined]


def _spaced(context, builder, stride, stride_type, count):
    step = context.cast(builder, stride, stride_type, types.intp)
    return [builder.mul(step, ir.Constant(ir.IntType(64), k)) for k in range(count)]


@intrinsic(prefer_literal=True)
def load(typingctx, array, offset, stride, count, lanes):
    """Load a tuple of `count` full vectors, `stride` elements apart, from `offset` on."""
    vec, n = Vec(array.dtype, lanes.literal_value), count.literal_value

    def codegen(context, builder, sig, args):
        base = _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        values = [_load(builder, base, vec, o) for o in _spaced(context, builder, args[2], sig.args[2], n)]
        return context.make_tuple(builder, sig.return_type, values)

    return _tuple_of(vec, n)(array, offset, stride, count, lanes), codegen


@intrinsic
def store(typingctx, array, offset, stride, values):
    """Store a tuple of full vectors, `stride` elements apart."""

    def codegen(context, builder, sig, args):
        n = len(sig.args[3])
        base = _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        items = cgutils.unpack_tuple(builder, args[3], n)
        offsets = _spaced(context, builder, args[2], sig.args[2], n)
        for vec, item, offset in zip(sig.args[3], items, offsets, strict=True):
            builder.store(item, _at(builder, base, vec, offset), align=_align(vec))
        return context.get_dummy_value()

    return types.void(array, offset, stride, values), codegen


@intrinsic(prefer_literal=True)
def get(typingctx, array, offset, stride, valid, count, lanes):
    """Load `count` vectors `stride` elements apart, of which the first `valid` lanes are in memory; the rest are 0."""
    vec, n = Vec(array.dtype, lanes.literal_value), count.literal_value

    def codegen(context, builder, sig, args):
        base = _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        filled = context.cast(builder, args[3], sig.args[3], types.intp)
        full = builder.icmp_signed(">=", filled, ir.Constant(ir.IntType(64), vec.lanes))
        offsets = _spaced(context, builder, args[2], sig.args[2], n)
        results = []
        # A branch rather than a mask everywhere: masked accesses do not forward from the store buffer.
        with builder.if_else(full) as (whole, part):
            with whole:
                a = [_load(builder, base, vec, o) for o in offsets]
                from_whole = builder.block
            with part:
                mask = _lane_mask(builder, vec, filled)
                b = [_masked(builder, "load", vec, None, _at(builder, base, vec, o), mask) for o in offsets]
                from_part = builder.block
        for x, y in zip(a, b, strict=True):
            phi = builder.phi(llvm_type(vec))
            phi.add_incoming(x, from_whole)
            phi.add_incoming(y, from_part)
            results.append(phi)
        return context.make_tuple(builder, sig.return_type, results)

    return _tuple_of(vec, n)(array, offset, stride, valid, count, lanes), codegen


@intrinsic
def put(typingctx, array, offset, stride, valid, nontemporal, values):
    """Store a tuple of vectors `stride` elements apart, only their first `valid` lanes.

    With `nontemporal`, full vectors go past the caches: for larger results, in rows of whole cache lines.
    """

    def codegen(context, builder, sig, args):
        n = len(sig.args[5])
        if n == 0:
            return context.get_dummy_value()
        vec = sig.args[5][0]
        base = _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        filled = context.cast(builder, args[3], sig.args[3], types.intp)
        full = builder.icmp_signed(">=", filled, ir.Constant(ir.IntType(64), vec.lanes))
        pointers = [_at(builder, base, vec, o) for o in _spaced(context, builder, args[2], sig.args[2], n)]
        items = cgutils.unpack_tuple(builder, args[5], n)
        with builder.if_else(full) as (whole, part):
            with (
                whole,
                builder.if_else(context.cast(builder, args[4], sig.args[4], types.boolean)) as (
                    past,
                    through,
                ),
            ):
                with past:
                    hint = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
                    for item, pointer in zip(items, pointers, strict=True):
                        stored = builder.store(item, pointer, align=vec.lanes * _align(vec))
                        stored.set_metadata("nontemporal", hint)
                with through:
                    for item, pointer in zip(items, pointers, strict=True):
                        builder.store(item, pointer, align=_align(vec))
            with part:
                mask = _lane_mask(builder, vec, filled)
                for item, pointer in zip(items, pointers, strict=True):
                    _masked(builder, "store", vec, item, pointer, mask)
        return context.get_dummy_value()

    return types.void(array, offset, stride, valid, nontemporal, values), codegen


@intrinsic
def clear(typingctx, values, valid):
    """Return a tuple of vectors with all but the first `valid` lanes set to 0, whatever they are (NaN too)."""

    def codegen(context, builder, sig, args):
        n = len(sig.args[0])
        if n == 0:
            return args[0]
        vec = sig.args[0][0]
        items = cgutils.unpack_tuple(builder, args[0], n)
        filled = context.cast(builder, args[1], sig.args[1], types.intp)
        before = builder.block
        with builder.if_then(
            builder.icmp_signed("<", filled, ir.Constant(ir.IntType(64), vec.lanes)), likely=False
        ):
            mask = _lane_mask(builder, vec, filled)
            zero = ir.Constant(llvm_type(vec), [0.0] * vec.lanes)
            masked = [builder.select(mask, item, zero) for item in items]
            inside = builder.block
        results = []
        for item, other in zip(items, masked, strict=True):
            phi = builder.phi(llvm_type(vec))
            phi.add_incoming(item, before)
            phi.add_incoming(other, inside)
            results.append(phi)
        return context.make_tuple(builder, sig.return_type, results)

    return values(values, valid), codegen


def ask(builder, pointer):
    """Emit that the cache line of a pointer to a byte is wanted soon, in every cache."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [BYTE, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, number(0), number(3), number(1)])  # for reading, into every cache, data


@intrinsic(prefer_literal=True)
def prefetch(typingctx, array, offset, stride, count):
    """Ask for `count` cache lines, `stride` elements apart: the hardware does not foresee a walk back in time."""
    n = count.literal_value

    def codegen(context, builder, sig, args):
        base = _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        for offset in _spaced(context, builder, args[2], sig.args[2], n):
            ask(builder, builder.bitcast(builder.gep(base, [offset]), BYTE))
        return context.get_dummy_value()

    return types.void(array, offset, stride, count), codegen


@intrinsic(prefer_literal=True)
def transposed(typingctx, array, offset, stride, lanes):
    """Load a square of `lanes` vectors, `stride` elements apart, transposed."""
    n = lanes.literal_value
    vec = Vec(array.dtype, n)

    def codegen(context, builder, sig, args):
        base = _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        rows = [_load(builder, base, vec, o) for o in _spaced(context, builder, args[2], sig.args[2], n)]
        half = n // 2
        kinds = ir.VectorType(ir.IntType(32), n)
        picks = [[(k // 2 + first) + n * (k % 2) for k in range(n)] for first in (0, half)]
        # A perfect shuffle of rows i and i + n/2, as often as n can be halved (Stone 1971).
        for _ in range(n.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[i], rows[i + half], ir.Constant(kinds, pick))
                for i in range(half)
                for pick in picks
            ]
        return context.make_tuple(builder, sig.return_type, rows)

    return _tuple_of(vec, n)(array, offset, stride, lanes), codegen
