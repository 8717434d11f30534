"""The partition of a matrix-vector product over threads: its weights, a thread's part, the adding up of the parts.

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
    """Make take(array, start): elements as a tuple, which is what a cell's equations are written for."""
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
    """Make put(array, start, values): write a tuple's elements into an array."""
    if count == 0:
        return register_jitable(lambda array, start, values: None)
    before, last, index = make_put(count - 1), count - 1, u64(count - 1)

    @register_jitable
    def put(array, start, values):
        before(array, start, values)
        array[start + index] = values[last]

    return put


@cache
def make_add(count):
    """Make add(array, start, values): add a tuple's elements to those of an array."""
    if count == 0:
        return register_jitable(lambda array, start, values: None)
    before, last, index = make_add(count - 1), count - 1, u64(count - 1)

    @register_jitable
    def add(array, start, values):
        before(array, start, values)
        array[start + index] += values[last]

    return add


# An array indexed by a loop that the compiler does not unroll goes to slow memory, and NVIDIA's compiler for Blackwell
# unrolls only simple short loops.  So what touches the register weights is written out as instructions, like
# `kernels.product` on the CPU; the simulator and the emulator run the loops that say the same.


def _element(builder, data, index):
    """Return a pointer to an element; index is an LLVM i64 or an int."""
    return builder.gep(data, [ir.Constant(ir.IntType(64), index) if isinstance(index, int) else index])


def _plus(builder, value, constant):
    return builder.add(value, ir.Constant(ir.IntType(64), constant))


def _data(context, builder, sig, args, *which):
    """Return the data pointers of some array arguments."""
    return [context.make_array(sig.args[i])(context, builder, args[i]).data for i in which]


def _fma(builder, kind, a, b, c):
    name = "llvm.fma.f32" if isinstance(kind, ir.FloatType) else "llvm.fma.f64"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [a, b, c])


@cache
def make_load(tile, shared):
    """Make load(weights, memory, packed, member, thread): the weights that stay for the whole sweep.

    A thread's register weights to `weights`, the weights of its block in shared memory to memory[shared:].
    """
    PACKED, IN_REGISTERS = tile.packed, tile.registers * tile.outputs * tile.threads
    IN_SHARED, THREADS, SHARED = tile.shared_weights, tile.threads, shared
    load_registers = _make_load_registers(tile)

    @register_jitable
    def load(weights, memory, packed, member, thread):
        start = member * u64(PACKED)
        load_registers(weights, packed, start, thread)
        for i in range(thread, u64(IN_SHARED), u64(THREADS)):
            memory[u64(SHARED) + i] = packed[start + u64(IN_REGISTERS) + i]

    return load


@cache
def _make_load_registers(tile):
    """Make load(weights, packed, start, thread): a thread's register weights, [element of its slice][output]."""
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
    """Make turn(sums, weights, first, memory, start): sums[n][o] += sum over k of weight (o, k) times x[n][k].

    Weight (o, k) is weights[first + k * element_step + o * output_step]; x[n][k] is memory[start + n * row + k].
    """

    def turn(sums, weights, first, memory, start):
        for k in range(elements):
            for n in range(sequences):
                x = memory[start + u64(n * row + k)]
                for o in range(outputs):
                    sums[n * outputs + o] += weights[first + u64(k * element_step + o * output_step)] * x

    @intrinsic
    def emitted(typingctx, sums, weights, first, memory, start):
        def codegen(context, builder, sig, args):
            total, factor, vector = _data(context, builder, sig, args, 0, 1, 3)
            kind = context.get_value_type(sig.args[0].dtype)
            sums_at = [_element(builder, total, i) for i in range(sequences * outputs)]
            # A sum waits four cycles for the one before it, so there are at least four to take turns.
            chains = max(1, min(elements, 4 // len(sums_at)))
            zero = ir.Constant(kind, 0.0)
            values = [builder.load(pointer) for pointer in sums_at] + [zero] * (len(sums_at) * (chains - 1))
            for k in range(elements):
                xs = [
                    builder.load(_element(builder, vector, _plus(builder, args[4], n * row + k)))
                    for n in range(sequences)
                ]
                for o in range(outputs):
                    skip = k * element_step + o * output_step
                    weight = builder.load(_element(builder, factor, _plus(builder, args[2], skip)))
                    for n, x in enumerate(xs):
                        at = k % chains * len(sums_at) + n * outputs + o
                        values[at] = _fma(builder, kind, weight, x, values[at])
            for i, pointer in enumerate(sums_at):
                chain = values[i :: len(sums_at)]
                while len(chain) > 1:
                    pairs = [builder.fadd(*pair) for pair in zip(chain[::2], chain[1::2], strict=False)]
                    chain = pairs + chain[len(pairs) * 2 :]
                builder.store(chain[0], pointer)

        return types.void(sums, weights, types.uint64, memory, types.uint64), codegen

    @overload(turn)
    def _turn(sums, weights, first, memory, start):
        return lambda sums, weights, first, memory, start: emitted(sums, weights, first, memory, start)

    return turn


@cache
def make_multiply(tile, shared, dtype):
    """Make multiply(sums, weights, memory, packed, vectors, member, thread, part): this thread's partial results.

    sums [sequence][output]; memory is the block's shared memory, with weights from `shared` on and the vectors from
    `vectors` on, [sequence][part][stride]; packed has the weights that are streamed.
    """
    OUTPUTS, SEQUENCES, THREADS, QUANTUM = tile.outputs, tile.sequences, tile.threads, tile.quantum
    IN_REGISTERS, STRIDE, ROW = tile.registers, tile.stride, tile.row
    SHARED_TURNS, STREAMED_TURNS = tile.shared // QUANTUM, tile.streamed // QUANTUM
    AFTER = tile.registers + tile.shared
    TURN = OUTPUTS * THREADS * QUANTUM
    PACKED, STREAMED, SHARED = tile.packed, AFTER * OUTPUTS * THREADS, shared
    ZERO = dtype.type(0)
    from_registers = _make_turn(SEQUENCES, ROW, OUTPUTS, IN_REGISTERS, OUTPUTS, 1)
    from_memory = _make_turn(SEQUENCES, ROW, OUTPUTS, QUANTUM, 1, THREADS * QUANTUM)

    @register_jitable
    def multiply(sums, weights, memory, packed, vectors, member, thread, part):
        vector, streamed = vectors + part * u64(STRIDE), member * u64(PACKED) + u64(STREAMED)
        for i in range(SEQUENCES * OUTPUTS):
            sums[i] = ZERO
        from_registers(sums, weights, u64(0), memory, vector)
        own = thread * u64(QUANTUM)
        if SHARED_TURNS > 0:
            for k in range(SHARED_TURNS):
                after = u64(k) * u64(QUANTUM)
                first = u64(SHARED) + u64(k) * u64(TURN) + own
                from_memory(sums, memory, first, memory, vector + u64(IN_REGISTERS) + after)
        if STREAMED_TURNS > 0:
            for k in range(STREAMED_TURNS):
                after = u64(k) * u64(QUANTUM)
                first = streamed + u64(k) * u64(TURN) + own
                from_memory(sums, packed, first, memory, vector + u64(AFTER) + after)

    return multiply


def _round(mask, items, width):
    """Make one exchange between lanes `mask` apart: it halves the items each has, or adds the one that is left."""
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
    """Make the function that calls both."""

    @register_jitable
    def both(sums, part):
        first(sums, part)
        second(sums, part)

    return both


@cache
def make_add_up(parts, items, width):
    """Make add_up(sums, part): over the lanes of a product's parts; sums [item][width] of every lane.

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
def make_pack(tile, blocks, units, together, hidden, first_gate, backward, dtype):
    """Make the kernel that lays a recurrent weight matrix (rows of gates, H) out as the threads of a sweep read it.

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
            if backward:
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
