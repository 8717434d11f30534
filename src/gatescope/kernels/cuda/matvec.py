"""A thread's share of a matrix-vector product, the adding up of the shares, and tuples of what a thread holds.

All are made by factories for fixed counts, so that loops unroll and local arrays live in registers.  Indices are
uint64: signed ones would be tested for wrapping round at every access.
"""

from functools import cache

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, register_jitable

from gatescope.kernels.cuda.driver import cuda, overload
from gatescope.kernels.cuda.primitives import shuffle

u64 = np.uint64


@cache
def make_take(count):
    """take(array, start): elements as a tuple, which is what a cell's equations are written for."""
    if count == 0:
        return register_jitable(lambda array, start: ())
    if count == 1:

        @register_jitable
        def one(array, start):
            return (array[start],)

        return one
    before, last = make_take(count - 1), u64(count - 1)

    @register_jitable
    def take(array, start):
        return before(array, start) + (array[start + last],)  # noqa: RUF005 - Numba adds tuples

    return take


@cache
def make_put(count):
    """put(array, start, values): a tuple's elements into an array."""
    if count == 0:
        return register_jitable(lambda array, start, values: None)
    before, last, place = make_put(count - 1), count - 1, u64(count - 1)

    @register_jitable
    def put(array, start, values):
        before(array, start, values)
        array[start + place] = values[last]

    return put


# An array indexed by a loop that the compiler does not unroll goes to slow memory, and NVIDIA's compiler for Blackwell
# unrolls only simple short loops.  So what touches the register weights is written out as instructions, like
# `kernels.product` on the CPU; the simulator and the emulator run the loops that say the same.


def _element(builder, data, index):
    """Pointer to an element: index is an LLVM i64 or an int."""
    return builder.gep(data, [ir.Constant(ir.IntType(64), index) if isinstance(index, int) else index])


def _plus(builder, value, constant):
    return builder.add(value, ir.Constant(ir.IntType(64), constant))


def _data(context, builder, sig, args, *which):
    """Data pointers of some array arguments."""
    return [context.make_array(sig.args[i])(context, builder, args[i]).data for i in which]


def _fma(builder, kind, a, b, c):
    name = "llvm.fma.f32" if isinstance(kind, ir.FloatType) else "llvm.fma.f64"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [a, b, c])


@cache
def make_load_weights(tile):
    """load(weights, packed, start, thread): a thread's register weights, [element of its slice][output]."""
    ELEMENTS, OUTPUTS, THREADS, QUANTUM = tile.registers, tile.outputs, tile.threads, tile.quantum

    def load(weights, packed, start, thread):
        for k in range(ELEMENTS):
            for o in range(OUTPUTS):
                row = (k // QUANTUM * OUTPUTS + o) * THREADS
                weights[k * OUTPUTS + o] = packed[
                    start + (u64(row) + thread) * u64(QUANTUM) + u64(k % QUANTUM)
                ]

    @intrinsic
    def emitted(typingctx, weights, packed, start, thread):
        def codegen(context, builder, sig, args):
            target, source = _data(context, builder, sig, args, 0, 1)
            own = builder.mul(args[3], ir.Constant(ir.IntType(64), QUANTUM))
            base = builder.add(args[2], own)
            for k in range(ELEMENTS):
                for o in range(OUTPUTS):
                    skip = (k // QUANTUM * OUTPUTS + o) * THREADS * QUANTUM + k % QUANTUM
                    value = builder.load(_element(builder, source, _plus(builder, base, skip)))
                    builder.store(value, _element(builder, target, k * OUTPUTS + o))

        return types.void(weights, packed, types.uint64, types.uint64), codegen

    @overload(load)
    def _load(weights, packed, start, thread):
        return lambda weights, packed, start, thread: emitted(weights, packed, start, thread)

    return load


@cache
def _make_turn(sequences, row, outputs, elements, element_step, output_step):
    """turn(sums, weights, first, memory, here): sums[n][o] += sum over k of weight (o, k) times x[n][k].

    Weight (o, k) is weights[first + k * element_step + o * output_step]; x[n][k] is memory[here + n * row + k].
    """

    def turn(sums, weights, first, memory, here):
        for k in range(elements):
            for n in range(sequences):
                x = memory[here + u64(n * row + k)]
                for o in range(outputs):
                    sums[n * outputs + o] += weights[first + u64(k * element_step + o * output_step)] * x

    @intrinsic
    def emitted(typingctx, sums, weights, first, memory, here):
        def codegen(context, builder, sig, args):
            total, factor, vector = _data(context, builder, sig, args, 0, 1, 3)
            kind = context.get_value_type(sig.args[0].dtype)
            slots = [_element(builder, total, i) for i in range(sequences * outputs)]
            # A sum waits four cycles for the one before it, so there are at least four to take turns.
            chains = max(1, min(elements, 4 // len(slots)))
            zero = ir.Constant(kind, 0.0)
            values = [builder.load(slot) for slot in slots] + [zero] * (len(slots) * (chains - 1))
            for k in range(elements):
                xs = [
                    builder.load(_element(builder, vector, _plus(builder, args[4], n * row + k)))
                    for n in range(sequences)
                ]
                for o in range(outputs):
                    skip = k * element_step + o * output_step
                    weight = builder.load(_element(builder, factor, _plus(builder, args[2], skip)))
                    for n, x in enumerate(xs):
                        at = k % chains * len(slots) + n * outputs + o
                        values[at] = _fma(builder, kind, weight, x, values[at])
            for i, slot in enumerate(slots):
                chain = values[i :: len(slots)]
                while len(chain) > 1:
                    pairs = [builder.fadd(*pair) for pair in zip(chain[::2], chain[1::2], strict=False)]
                    chain = pairs + chain[len(pairs) * 2 :]
                builder.store(chain[0], slot)

        return types.void(sums, weights, types.uint64, memory, types.uint64), codegen

    @overload(turn)
    def _turn(sums, weights, first, memory, here):
        return lambda sums, weights, first, memory, here: emitted(sums, weights, first, memory, here)

    return turn


@cache
def make_multiply(tile, dtype):
    """multiply(sums, weights, memory, shared, packed, streamed, vectors, thread, part): this thread's partial results.

    sums [sequence][output]; memory is the block's shared memory, with weights from `shared` on and the vectors from
    `vectors` on, [sequence][part][stride]; packed holds streamed weights from `streamed` on.
    """
    OUTPUTS, SEQUENCES, THREADS, QUANTUM = tile.outputs, tile.sequences, tile.threads, tile.quantum
    IN_REGISTERS, STRIDE, ROW = tile.registers, tile.stride, tile.row
    SHARED_TURNS, STREAMED_TURNS = tile.shared // QUANTUM, tile.streamed // QUANTUM
    AFTER = tile.registers + tile.shared
    TURN = OUTPUTS * THREADS * QUANTUM
    ZERO = dtype.type(0)
    from_registers = _make_turn(SEQUENCES, ROW, OUTPUTS, IN_REGISTERS, OUTPUTS, 1)
    from_memory = _make_turn(SEQUENCES, ROW, OUTPUTS, QUANTUM, 1, THREADS * QUANTUM)

    @register_jitable
    def multiply(sums, weights, memory, shared, packed, streamed, vectors, thread, part):
        here = vectors + part * u64(STRIDE)
        for i in range(SEQUENCES * OUTPUTS):
            sums[i] = ZERO
        from_registers(sums, weights, u64(0), memory, here)
        own = thread * u64(QUANTUM)
        if SHARED_TURNS > 0:
            for k in range(SHARED_TURNS):
                after = u64(k) * u64(QUANTUM)
                from_memory(
                    sums, memory, shared + u64(k) * u64(TURN) + own, memory, here + u64(IN_REGISTERS) + after
                )
        if STREAMED_TURNS > 0:
            for k in range(STREAMED_TURNS):
                after = u64(k) * u64(QUANTUM)
                from_memory(
                    sums, packed, streamed + u64(k) * u64(TURN) + own, memory, here + u64(AFTER) + after
                )

    return multiply


def _round(mask, items, width):
    """One exchange between lanes `mask` apart: halves the items each holds, or adds the one that is left."""
    if items > 1:
        HALF = items // 2 * width

        @register_jitable
        def halve(sums, part):
            upper = (part & u64(mask)) != u64(0)
            for i in range(HALF):
                low, high = sums[i], sums[HALF + i]
                sent = low if upper else high
                sums[i] = (high if upper else low) + shuffle(sent, mask)

        return halve

    @register_jitable
    def add(sums, part):
        for i in range(width):
            sums[i] += shuffle(sums[i], mask)

    return add


def _after(first, second):
    @register_jitable
    def both(sums, part):
        first(sums, part)
        second(sums, part)

    return both


@cache
def make_add_up(parts, items, width):
    """add_up(sums, part): over the lanes of a product's parts; sums [item][width] of every lane.

    Afterwards lane `part` has item part // (parts // items) in sums[:width], and lanes with the same item have the
    same bits: they add the same two numbers at every exchange.
    """
    whole = register_jitable(lambda sums, part: None)
    mask = parts // 2
    while mask:
        whole = _after(whole, _round(mask, items, width))
        items, mask = max(items // 2, 1), mask // 2
    return whole


@cache
def make_pack(tile, blocks, units, together, hidden, first_gate, reverse, dtype):
    """Kernel that lays a recurrent weight matrix (rows of gates, H) out as the threads of a sweep read it.

    packed[block][slice / quantum][output][thread][quantum]; 0 where a thread has no unit or its slice is over.
    """
    SLICE, OUTPUTS, THREADS, QUANTUM = tile.slice, tile.outputs, tile.threads, tile.quantum
    LENGTH, PARTS, BLOCK, TOTAL = tile.length, tile.parts, tile.packed, tile.packed * blocks
    ZERO = dtype.type(0)

    def pack(weight, packed):
        i = u64(cuda.blockIdx.x) * u64(cuda.blockDim.x) + u64(cuda.threadIdx.x)
        if i < u64(TOTAL):
            block, rest = i // u64(BLOCK), i % u64(BLOCK)
            q = rest % u64(QUANTUM)
            thread = rest // u64(QUANTUM) % u64(THREADS)
            output = rest // u64(QUANTUM * THREADS) % u64(OUTPUTS)
            k = rest // u64(QUANTUM * THREADS * OUTPUTS) * u64(QUANTUM) + q
            part, bundle = thread % u64(PARTS), thread // u64(PARTS)
            at = part * u64(SLICE) + k
            if reverse:
                own = bundle * u64(together) + output
                row, column = u64(first_gate * hidden) + at, block * u64(units) + own
                unit = column
            else:
                own = bundle
                unit = block * u64(units) + own
                row, column = (u64(first_gate) + output) * u64(hidden) + unit, at
            packed[i] = ZERO
            if k < u64(SLICE) and at < u64(LENGTH) and own < u64(units) and unit < u64(hidden):
                packed[i] = weight[row * u64(hidden) + column]

    return cuda.jit(pack)
