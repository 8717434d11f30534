"""The exchange between blocks: a product's vector passes to every block of a group, through the level-2 cache."""

from functools import cache

import numpy as np
from numba import from_dtype
from numba.extending import register_jitable

from gatescope.kernels.cuda.driver import cuda
from gatescope.kernels.cuda.primitives import pause, poll

u64 = np.uint64


@cache
def make_offset(tile):
    """Make offset(index): where element `index` of a vector lies in its row of shared memory."""
    SLICE, STRIDE = tile.slice, tile.stride

    @register_jitable
    def offset(index):
        return index // u64(SLICE) * u64(STRIDE) + index % u64(SLICE)

    return offset


@cache
def make_gate_offset(tile, hidden):
    """Make offset(gate, unit): where element gate * hidden + unit lies.  `gate` is a number known to the compiler."""
    offset = make_offset(tile)
    if hidden % tile.slice:
        return register_jitable(lambda gate, unit: offset(u64(gate * hidden) + unit))
    GATE = hidden // tile.slice * tile.stride  # gates begin with a slice, so only this differs between them
    return register_jitable(lambda gate, unit: offset(unit) + u64(gate * GATE))


@cache
def make_gather(length, row, offset, threads, dtype):
    """Make gather(memory, target, words, source, tag, sequences, thread): wait for vectors, put them in shared memory.

    Element i of sequence n is the word source + n * length + i, and goes to target + n * row + offset(i).
    Several words are asked for before the first is needed, because each takes hundreds of cycles to come.
    """
    AT_ONCE = 4
    ZERO = dtype.type(0)
    number = from_dtype(dtype)

    @register_jitable
    def gather(memory, target, words, source, tag, sequences, thread):
        count = sequences * u64(length)
        values = cuda.local.array(AT_ONCE, number)
        start = thread
        while start < count:
            waiting = True
            while waiting:
                waiting = False
                for k in range(AT_ONCE):
                    i = start + u64(k * threads)
                    if i < count:
                        arrived, value = poll(words, source + i, tag, ZERO)
                        values[k] = value
                        waiting = waiting or not arrived
                if waiting:
                    pause()
            for k in range(AT_ONCE):
                i = start + u64(k * threads)
                if i < count:
                    memory[target + i // u64(length) * u64(row) + offset(i % u64(length))] = values[k]
            start += u64(AT_ONCE * threads)

    return gather


@cache
def make_lines(sequences, length, dtype):
    """Make line(thread): which piece of the next steps' input a thread of a group asks memory for.

    Returns whether it asks at all, the sequence, and the first element of a cache line of that sequence's `length`.
    """
    ELEMENTS = 128 // dtype.itemsize
    LINES = -(-length // ELEMENTS)
    if LINES == 0:  # a cell that saves no gates
        return register_jitable(lambda thread: (False, u64(0), u64(0)))

    @register_jitable
    def line(thread):
        return thread < u64(sequences * LINES), thread // u64(LINES), thread % u64(LINES) * u64(ELEMENTS)

    return line


@register_jitable
def no_gaps(index):
    """Return the offset of an element in a row that has no gaps."""
    return index
