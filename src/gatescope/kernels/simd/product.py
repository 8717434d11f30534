"""The one matrix product of the CPU kernels, on a tile of registers.

    out[r, v] = start[r, v] + sum_k x[r, k] * weight[k, v]        r: rows (sequences, or units), v: vectors of lanes

A tile of `rows` x `vectors` accumulators stays in registers while k runs, so each weight that is loaded serves all rows
of the tile, and each x that is broadcast serves all vectors.  k may be split over several sets of accumulators, which
are added in the end.  A tile that is too small to hide the latency of a multiply-add works on several sets at once, a
larger one does them one after another.  The order of additions for one element depends on `split` and on nothing else:
a sequence gets the same bits alone, in a batch, and in any tile.
"""

from itertools import chain

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gatescope.kernels.cache_line import CACHE_LINE
from gatescope.kernels.simd.load_store import BYTE, _align, _at, _load, _pointer, ask
from gatescope.kernels.simd.vector import Vec, _call, add_lanes, host_registers, llvm_type, splat

_I64 = ir.IntType(64)
# Accumulators that hide the latency of a multiply-add: about 4 cycles, on two units.
IN_FLIGHT = 8


def _int(value):
    return ir.Constant(_I64, value)


@intrinsic(prefer_literal=True)
def product(typingctx, out, start, weight, x, extent, shape):
    """Compute the product, tile by tile.

    Parameters
    ----------
    out, start : (array, offset, row stride) or (array, offset, row stride, stride between groups)
        Rows of groups of vectors, which follow one another, or lie so far apart.  `start` may be `out` itself, to
        accumulate, or a bias with row stride 0.
    weight : (array, offset, stride of k, stride between groups)
        A group is `gates` vectors one after another.
    x : (array, offset, row stride, stride of k)
    extent : (rows, groups, depth) or (rows, groups, depth, turned)
        What there is; its vectors, groups * gates, must be a multiple of the tile's.  If `turned` is not 0, the last
        group is the first that is done: of weights that do not fit the cache, every other product so finds those there
        that were used last.
    shape : (rows, vectors, gates, split, lanes) or (rows, vectors, gates, split, lanes, ahead), literal
        The tile: of several whole groups, or of an equal part of one.  Rows that are left over are done one at a time,
        or two (`left_together`).  If `ahead` is not 0, the weights of the next tile of groups are asked for meanwhile,
        a share by each tile of rows: these weights lie line after line, and come from beyond the second-level cache.
        It asks at every k, so for the same line several times, which costs less than to find out.
    """
    tile_rows, vectors, gates, split, lanes, *ahead = (item.literal_value for item in shape)
    asking = any(ahead) and tile_rows > 1
    vec = Vec(out[0].dtype, lanes)
    tile_groups, parts = max(vectors // gates, 1), max(gates // vectors, 1)
    if vectors * parts != tile_groups * gates:
        raise ValueError(
            f"a tile of {vectors} vectors is neither whole groups of {gates} nor an equal part of one"
        )
    if vectors != gates and (len(out) > 3 or len(start) > 3):
        raise ValueError(f"groups of {gates} that lie apart are not what a tile of {vectors} vectors fits")

    def codegen(context, builder, sig, args):
        def unpack(index):
            kinds = sig.args[index]
            values = cgutils.unpack_tuple(builder, args[index], len(kinds))
            base = _pointer(context, builder, kinds[0], values[0], values[1], kinds[1])
            return base, *(
                context.cast(builder, v, k, types.intp) for v, k in zip(values[2:], kinds[2:], strict=True)
            )

        out_base, out_row, *out_stride = unpack(0)
        start_base, start_row, *start_stride = unpack(1)
        weight_base, weight_step, weight_group = unpack(2)
        x_base, x_row, x_step = unpack(3)
        kinds = sig.args[4]
        rows, groups, depth, *turned = (
            context.cast(builder, v, k, types.intp)
            for v, k in zip(cgutils.unpack_tuple(builder, args[4], len(kinds)), kinds, strict=True)
        )

        def shift(base, stride, count):
            return builder.gep(base, [builder.mul(stride, count)])

        count = builder.mul(groups, _int(parts))

        def weights_of(part):
            """Return where the weights of a tile begin."""
            base = shift(weight_base, weight_group, builder.sdiv(part, _int(parts)))
            if parts == 1:
                return base
            return builder.gep(base, [builder.mul(builder.srem(part, _int(parts)), _int(vectors * lanes))])

        whole = builder.sub(rows, builder.srem(rows, _int(tile_rows)))
        if asking:
            # Each tile of rows asks for a share: so many elements at each k, where a line has 8 or 16.
            tiles = builder.sdiv(whole, _int(tile_rows))
            tiles = builder.select(cgutils.is_not_null(builder, tiles), tiles, _int(1))
            stride = builder.sdiv(builder.add(weight_step, builder.sub(tiles, _int(1))), tiles)
            each, last = builder.mul(stride, depth), builder.mul(builder.sub(weight_step, stride), depth)

        def share(part, row):
            """Return where the share of the next tile's weights begins that a tile of rows asks for, and its stride."""
            onward = builder.add(part, _int(tile_groups))
            if turned:
                back = builder.sub(part, _int(tile_groups))
                onward = builder.select(cgutils.is_not_null(builder, turned[0]), back, onward)
            # Beyond the last there is nothing to ask for but what is here.
            onward = builder.select(builder.icmp_unsigned("<", onward, count), onward, part)
            first = builder.mul(builder.sdiv(row, _int(tile_rows)), each)
            first = builder.select(builder.icmp_signed("<", first, last), first, last)
            return builder.gep(weights_of(onward), [first]), stride

        with cgutils.for_range_slice(builder, _int(0), count, _int(tile_groups), intp=_I64) as (part, _):
            if turned:
                opposite = builder.sub(builder.sub(count, _int(tile_groups)), part)
                part = builder.select(cgutils.is_not_null(builder, turned[0]), opposite, part)
            together = _int(vectors // tile_groups * lanes)
            out_group = shift(out_base, out_stride[0] if out_stride else together, part)
            start_group = shift(start_base, start_stride[0] if start_stride else together, part)
            group_weight = weights_of(part)

            def one(row, count, coming=None):
                _tile(
                    builder,
                    vec,
                    (count, tile_groups, vectors // tile_groups, split),
                    (shift(out_group, out_row, row), out_row),
                    (shift(start_group, start_row, row), start_row),
                    (group_weight, weight_step, weight_group),
                    (shift(x_base, x_row, row), x_row, x_step),
                    depth,
                    coming,
                )

            with cgutils.for_range_slice(builder, _int(0), whole, _int(tile_rows), intp=_I64) as (row, _):
                one(row, tile_rows, share(part, row) if asking else None)
            done = whole
            for left in left_together(tile_rows, asking):
                end = builder.sub(rows, builder.srem(builder.sub(rows, done), _int(left)))
                with cgutils.for_range_slice(builder, done, end, _int(left), intp=_I64) as (row, _):
                    one(row, left)
                done = end
        return context.get_dummy_value()

    return types.void(out, start, weight, x, extent, shape), codegen


def left_together(tile_rows: int, asking: bool) -> list[int]:
    """Return how many of the rows that a tile leaves over are done together, and then of those that these leave over.

    A single row waits for its additions, so two take hardly longer.  Where the weights are few the products take too
    little of the time to compile one more tile for it.
    """
    return [count for count in ((2, 1) if asking else (1,)) if count < tile_rows]


def sets_at_once(rows: int, vectors: int, split: int) -> int:
    """Return how many of `split` sets of accumulators a tile works on at once: as few as keep the units busy."""
    fitting = [
        count
        for count in range(1, split + 1)
        if split % count == 0 and (count == 1 or rows * vectors * count + vectors + 1 <= host_registers())
    ]
    return next((count for count in fitting if rows * vectors * count >= IN_FLIGHT), fitting[-1])


def _put_aside(builder, vector, values):
    """Store vectors on the stack and return where, as a pointer that LLVM cannot see through.

    Else it would keep them in registers, and leave too few of these to the loop that comes next.
    """
    base = cgutils.alloca_once(builder, vector, size=_int(len(values)))
    for index, value in enumerate(values):
        builder.store(value, builder.gep(base, [_int(index)]))
    return builder.asm(ir.FunctionType(base.type, [base.type]), "", "=r,0", [base], side_effect=False)


def _take_back(builder, vector, base, count):
    return [builder.load(builder.gep(base, [_int(index)])) for index in range(count)]


def _tile(builder, vec, shape, out, start, weight, x, depth, coming=None):
    """Emit the code of one tile; every base pointer and stride is an LLVM value.

    `coming`: where weights begin that are asked for meanwhile, and how far to go on at each k.
    """
    rows, groups, gates, split = shape
    (out_base, out_row), (start_base, start_row) = out, start
    (weight_base, weight_step, weight_group), (x_base, x_row, x_step) = weight, x
    lanes, columns = vec.lanes, groups * gates
    vector, zero = llvm_type(vec), ir.Constant(llvm_type(vec), [0.0] * lanes)
    group_base = [builder.gep(weight_base, [builder.mul(weight_group, _int(g))]) for g in range(groups)]
    row_base = [builder.gep(x_base, [builder.mul(x_row, _int(r))]) for r in range(rows)]
    tile_elements = [(r, c) for r in range(rows) for c in range(columns)]

    def at(base, stride, r, c):
        return builder.gep(base, [builder.add(builder.mul(stride, _int(r)), _int(c * lanes))])

    def multiply_add(accumulators, k):
        """Return accumulators + x[:, k] * weight[k, :]."""
        if coming is not None:
            base, stride = coming
            here = builder.gep(base, [builder.mul(k, stride)])
            for group in range(groups):
                pointer = builder.gep(here, [builder.mul(weight_group, _int(group))])
                for line in range(0, gates * lanes * vec.dtype.bitwidth // 8, CACHE_LINE):
                    ask(builder, builder.gep(builder.bitcast(pointer, BYTE), [_int(line)]))
        w_at, x_at = builder.mul(k, weight_step), builder.mul(k, x_step)
        bases = [builder.gep(base, [w_at]) for base in group_base]
        w = [_load(builder, bases[c // gates], vec, c % gates * lanes) for c in range(columns)]
        result = []
        for r in range(rows):
            spread = splat(builder, vec, builder.load(builder.gep(row_base[r], [x_at]), align=_align(vec)))
            row_sums = accumulators[r * columns : (r + 1) * columns]
            result += [_call(builder, "fma", vec, [spread, w[c], row_sums[c]]) for c in range(columns)]
        return result

    def loop(sets, first, last):
        """Run k from first to last in strides of `split`; set s gets every k that is s past a stride."""
        before = builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("k.head", "k.body", "k.after"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(_I64)
        k.add_incoming(first, before)
        phis = [[builder.phi(vector) for _ in tile_elements] for _ in sets]
        for phi, value in zip(chain(*phis), chain(*sets), strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", k, last), body, after)
        builder.position_at_end(body)
        new = [multiply_add(phi_set, builder.add(k, _int(s))) for s, phi_set in enumerate(phis)]
        k.add_incoming(builder.add(k, _int(split)), builder.block)
        for phi, value in zip(chain(*phis), chain(*new), strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return phis

    def left_over(accumulators, k):
        """Return accumulators + x[:, k] * weight[k, :] if there is such a k."""
        before = builder.block
        with builder.if_then(builder.icmp_signed("<", k, depth)):
            new = multiply_add(accumulators, k)
            inside = builder.block
        phis = [builder.phi(vector) for _ in tile_elements]
        for phi, value, other in zip(phis, accumulators, new, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(other, inside)
        return phis

    sets = [[_load(builder, at(start_base, start_row, r, c), vec, 0) for r, c in tile_elements]]
    sets += [[zero] * len(tile_elements) for _ in range(split - 1)]
    whole = builder.sub(depth, builder.srem(depth, _int(split)))
    at_once = sets_at_once(rows, columns, split)
    aside = [None] * split
    for s in range(0, split, at_once):
        done = loop(sets[s : s + at_once], _int(s), whole)
        for i in range(s, s + at_once):
            if i == 0:
                for k in range(split - 1):
                    done[0] = left_over(done[0], builder.add(whole, _int(k)))
            if s + at_once < split:
                aside[i] = _put_aside(builder, vector, done[i - s])
            sets[i] = done[i - s]
    sets = [
        values if base is None else _take_back(builder, vector, base, len(values))
        for values, base in zip(sets, aside, strict=True)
    ]
    while len(sets) > 1:
        half = len(sets) // 2
        sets = [
            [builder.fadd(a, b) for a, b in zip(sets[s], sets[s + half], strict=True)] for s in range(half)
        ]
    for (r, c), value in zip(tile_elements, sets[0], strict=True):
        builder.store(value, _at(builder, at(out_base, out_row, r, c), vec, 0), align=_align(vec))


@intrinsic(prefer_literal=True)
def dot(typingctx, a, a_at, b, b_at, count, lanes):
    """Return the scalar product of `count` full vectors of two arrays: for products of too few columns for a vector."""
    vec = Vec(a.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        bases = [
            _pointer(context, builder, sig.args[i], args[i], args[i + 1], sig.args[i + 1]) for i in (0, 2)
        ]
        last = context.cast(builder, args[4], sig.args[4], types.intp)
        total = cgutils.alloca_once_value(builder, ir.Constant(llvm_type(vec), [0.0] * vec.lanes))
        with cgutils.for_range(builder, last, intp=_I64) as loop:
            at = builder.mul(loop.index, _int(vec.lanes))
            left, right = (_load(builder, base, vec, at) for base in bases)
            builder.store(_call(builder, "fma", vec, [left, right, builder.load(total)]), total)
        return add_lanes(builder, builder.load(total), vec.lanes)

    return vec.dtype(a, a_at, b, b_at, count, lanes), codegen


@intrinsic(prefer_literal=True)
def dots(typingctx, out, out_at, a, a_at, b, b_at, b_stride, count, rows, lanes):
    """Write the scalar products of `count` full vectors of `a` with each of `rows` rows of `b` to out[out_at:]."""
    vec, n = Vec(a.dtype, lanes.literal_value), rows.literal_value

    def codegen(context, builder, sig, args):
        result, left, first = (
            _pointer(context, builder, sig.args[i], args[i], args[i + 1], sig.args[i + 1]) for i in (0, 2, 4)
        )
        stride, last = (context.cast(builder, args[i], sig.args[i], types.intp) for i in (6, 7))
        right = [builder.gep(first, [builder.mul(stride, _int(r))]) for r in range(n)]
        zero = ir.Constant(llvm_type(vec), [0.0] * vec.lanes)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(n)]
        with cgutils.for_range(builder, last, intp=_I64) as loop:
            at = builder.mul(loop.index, _int(vec.lanes))
            one = _load(builder, left, vec, at)
            for base, total in zip(right, totals, strict=True):
                sum_ = _call(builder, "fma", vec, [one, _load(builder, base, vec, at), builder.load(total)])
                builder.store(sum_, total)
        for r, total in enumerate(totals):
            builder.store(add_lanes(builder, builder.load(total), vec.lanes), builder.gep(result, [_int(r)]))
        return context.get_dummy_value()

    return types.void(out, out_at, a, a_at, b, b_at, b_stride, count, rows, lanes), codegen
