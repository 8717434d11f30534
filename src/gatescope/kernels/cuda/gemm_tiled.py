"""The tiled matrix product: out[r, c] = sum_k a(r, k) * b(k, c), one kernel for every orientation of a and b.

A block computes a tile of the output.  Slices of a and b, `DEPTH` deep, lie in shared memory twice: while one is
multiplied the next one is on its way from global memory, first into registers, then into the other copy, so one
barrier a slice is enough.  A warp is 4 x 8 threads; a thread owns `row_groups` x `column_groups` pieces of
`lanes` x `lanes` elements, where `lanes` fill 16 bytes: its fragments of a and b are 16-byte loads from shared memory,
and the 8 threads that such a load serves at a time read 128 bytes in a row, which hits every bank once.

The order of the additions of one element depends on nothing but `sizes`: ascending k, one fused multiply-add each.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numba import types
from numba.extending import register_jitable

from gatescope.kernels.cuda.driver import cuda

DEPTH = 8  # of a slice: 8 neighbouring k are a 32-byte sector, the least that memory hands out
UNROLLED = 2  # of them; with more, the compiler loads all their fragments first, and runs out of registers
FLUSH = 2048  # rows of a weight gradient that go into one chain of additions: see `gemm`

u32, u64 = np.uint32, np.uint64


@dataclass(frozen=True)
class Shape:
    """The spread of a tile over threads: warps, and pieces of a thread, in both directions."""

    warp_rows: int
    warp_columns: int
    row_groups: int
    column_groups: int

    @property
    def threads(self) -> int:
        """Threads a block."""
        return 32 * self.warp_rows * self.warp_columns

    def tile(self, itemsize: int) -> tuple[int, int]:
        """Rows and columns of a block's tile."""
        lanes = 16 // itemsize
        return (
            4 * lanes * self.row_groups * self.warp_rows,
            8 * lanes * self.column_groups * self.warp_columns,
        )


# Widest first.  What a multiply-add costs in loads from shared memory falls with the size of a thread's piece; what is
# wasted beyond the edges of the output rises with it.
SHAPES = {
    "float32": {
        "large": Shape(4, 1, 2, 2),  # 128 x 64, 128 threads, 8 x 8 elements each
        "medium": Shape(2, 2, 2, 1),  # 64 x 64, 128 threads, 8 x 4
        "slim": Shape(4, 1, 2, 1),  # 128 x 32, 128 threads, 8 x 4
        "small": Shape(2, 1, 1, 1),  # 32 x 32, 64 threads, 4 x 4
    },
    "float64": {
        "large": Shape(4, 1, 4, 4),  # 128 x 64, 128 threads, 8 x 8
        "medium": Shape(2, 2, 4, 2),  # 64 x 64, 128 threads, 8 x 4
        "slim": Shape(4, 1, 4, 2),  # 128 x 32, 128 threads, 8 x 4
        "small": Shape(2, 1, 2, 2),  # 32 x 32, 64 threads, 4 x 4
    },
}


@functools.cache
def _make_slice(dtype, extent, threads, by_depth):
    """Make what moves one slice (extent x DEPTH) of an operand: global memory -> registers -> shared memory.

    Neighbouring threads take neighbours in memory: `quick` counts along those, `slow` across.
    """
    quick = DEPTH if by_depth else min(extent, threads)
    count, pitch, zero = extent * DEPTH // threads, _pitch(dtype, extent), dtype(0)
    apart = threads // quick  # from one element of a thread to its next
    put_step = u64(apart) * (u64(1) if by_depth else pitch)

    @register_jitable
    def fetch(stage, array, index, step, inside, slow, slow_left):
        for n in range(count):
            stage[n] = zero
            if inside and u32(slow + u32(n * apart)) < slow_left:
                stage[n] = array[index]
            index += step

    @register_jitable
    def put(shared, start, stage):
        for n in range(count):
            shared[start + u64(n) * put_step] = stage[n]

    return fetch, put, count, u64(quick), u64(apart)


def _pitch(dtype, extent):
    # 16 bytes of padding: the 4 rows x 8 depths that a warp puts down at a time then fall into 32 different banks.
    return u64(extent + 16 // np.dtype(dtype).itemsize)


def _unrolled(body, count):
    """Make a function that calls body(first, ...), body(first + 1, ...), `count` of them, as straight code.

    The compiler gives up unrolling loops of this size by itself, and an array that a loop indexes cannot live in
    registers.
    """
    if count == 1:
        return body
    half, most = count // 2, _unrolled(body, count - count // 2)
    few = _unrolled(body, half)
    split = count - half

    @register_jitable
    def both(first, *rest):
        most(first, *rest)
        few(first + split, *rest)

    return both


@functools.cache
def make_product(dtype_name, shape_name, a_by_depth, b_by_depth, mode):
    """Make the kernel of one orientation and tile.

    Parameters
    ----------
    dtype_name : "float32" or "float64"
    shape_name : a key of `SHAPES`
    a_by_depth, b_by_depth : bool
        Which neighbours in memory: k (a[r * stride + k], b[c * stride + k]), or the row or column.
    mode : "plain", "bias" or "split"
        Whether the sums start at 0 or at bias[c]; "split" gives part p of k to block row p, and part p of `out`
        is a matrix of its own, `rows` further down.
    """
    shape = SHAPES[dtype_name][shape_name]
    dtype, number = np.dtype(dtype_name).type, getattr(types, dtype_name)
    lanes, threads = 16 // np.dtype(dtype).itemsize, shape.threads
    tile_rows, tile_columns = shape.tile(np.dtype(dtype).itemsize)
    row_groups, column_groups = shape.row_groups, shape.column_groups
    own_rows, own_columns = lanes * row_groups, lanes * column_groups
    own = own_rows * own_columns
    warp_height, warp_width = u64(4 * own_rows), u64(8 * own_columns)
    warp_columns = u64(shape.warp_columns)
    group_rows, group_columns = u64(4 * lanes), u64(8 * lanes)
    fetch_a, put_a, count_a, quick_a, apart_a = _make_slice(dtype, tile_rows, threads, a_by_depth)
    fetch_b, put_b, count_b, quick_b, apart_b = _make_slice(dtype, tile_columns, threads, b_by_depth)
    pitch_a, pitch_b = _pitch(dtype, tile_rows), _pitch(dtype, tile_columns)
    half_a, half_b = u64(DEPTH) * pitch_a, u64(DEPTH) * pitch_b
    size_a, size_b = int(2 * half_a), int(2 * half_b)
    height, width, lanes_ = u64(tile_rows), u64(tile_columns), u64(lanes)
    depth, flush = u64(DEPTH), u64(FLUSH)
    split, biased = mode == "split", mode == "bias"
    zero, one, some, turns = dtype(0), u64(1), u64(UNROLLED), DEPTH // UNROLLED
    passes = own_columns * 8 // 32  # of 32 neighbouring columns in a warp's part of a row

    @register_jitable
    def multiply(d, total, a_own, b_own, a_shared, b_shared, a_from, b_from):
        a_here, b_here = a_from + u64(d) * pitch_a, b_from + u64(d) * pitch_b
        for i in range(own_rows):
            a_own[i] = a_shared[a_here + u64(i // lanes) * group_rows + u64(i % lanes)]
        for j in range(own_columns):
            b_own[j] = b_shared[b_here + u64(j // lanes) * group_columns + u64(j % lanes)]
        for i in range(own_rows):
            for j in range(own_columns):
                total[i * own_columns + j] += a_own[i] * b_own[j]

    multiply_some = _unrolled(multiply, UNROLLED)

    @register_jitable
    def store_row(i, total, scratch, warp_from, lane, out, index, stride, rows, columns, add):
        # Through shared memory, so that a warp stores 32 neighbours: 4 rows of the warp's part at a time.
        lane_row, lane_column = lane // u64(8), lane % u64(8)
        for j in range(own_columns):
            at = u64(j // lanes) * group_columns + lane_column * lanes_ + u64(j % lanes)
            scratch[warp_from + lane_row * warp_width + at] = total[i * own_columns + j]
        cuda.syncthreads()
        first = (i // lanes) * 4 * lanes + i % lanes
        index += u64(first) * stride + lane
        for q in range(4):
            if u32(first + q * lanes) < rows:
                for n in range(passes):
                    if u32(lane + u64(32 * n)) < columns:
                        value = scratch[warp_from + lane + u64(q) * warp_width + u64(32 * n)]
                        if add:
                            value += out[index + u64(32 * n)]
                        out[index + u64(32 * n)] = value
            index += lanes_ * stride
        cuda.syncthreads()

    store = _unrolled(store_row, own_rows)

    def product(a, b, bias, out, layout, sizes):
        # layout: a offset, a stride, b offset, b stride, bias offset, out offset, out stride
        # sizes: rows, columns, depth, depth of a part
        thread, block = u64(cuda.threadIdx.x), u64(cuda.blockIdx.x)
        rows, columns, last = u64(sizes[0]), u64(sizes[1]), u64(sizes[2])
        across = (columns + width - one) // width
        begin, base = u64(0), u64(layout[5])
        if split:
            tiles = across * ((rows + height - one) // height)
            part = block // tiles
            block -= part * tiles
            begin = part * u64(sizes[3])
            last = min(begin + u64(sizes[3]), last)
            base += part * rows * u64(layout[6])
        row, column = (block // across) * height, (block % across) * width
        warp, lane = thread // u64(32), thread % u64(32)
        warp_row, warp_column = (warp // warp_columns) * warp_height, (warp % warp_columns) * warp_width
        lane_row, lane_column = lane // u64(8), lane % u64(8)

        # How much of the warp's part lies inside the output.
        rows_left = u32(min(max(rows, row + warp_row) - (row + warp_row), warp_height))
        columns_left = u32(min(max(columns, column + warp_column) - (column + warp_column), warp_width))

        a_shared = cuda.shared.array(size_a, number)
        b_shared = cuda.shared.array(size_b, number)
        a_stage = cuda.local.array(count_a, number)
        b_stage = cuda.local.array(count_b, number)
        a_own = cuda.local.array(own_rows, number)
        b_own = cuda.local.array(own_columns, number)
        total = cuda.local.array(own, number)

        a_at = warp_row + lane_row * lanes_
        b_at = warp_column + lane_column * lanes_
        a_quick, a_slow = thread % quick_a, thread // quick_a
        b_quick, b_slow = thread % quick_b, thread // quick_b
        a_stride, b_stride = u64(layout[1]), u64(layout[3])
        a_left, b_left = u32(min(rows - row, height)), u32(min(columns - column, width))
        if a_by_depth:
            a_put, a_step, a_next = a_quick * pitch_a + a_slow, apart_a * a_stride, depth
            a_index = u64(layout[0]) + (row + a_slow) * a_stride + begin + a_quick
        else:
            a_put, a_step, a_next = a_slow * pitch_a + a_quick, apart_a * a_stride, depth * a_stride
            a_index = u64(layout[0]) + (begin + a_slow) * a_stride + row + a_quick
        if b_by_depth:
            b_put, b_step, b_next = b_quick * pitch_b + b_slow, apart_b * b_stride, depth
            b_index = u64(layout[2]) + (column + b_slow) * b_stride + begin + b_quick
        else:
            b_put, b_step, b_next = b_slow * pitch_b + b_quick, apart_b * b_stride, depth * b_stride
            b_index = u64(layout[2]) + (begin + b_slow) * b_stride + column + b_quick

        k, now, fresh = begin, u64(0), True
        while True:
            end = last
            if split:
                end = min(k + flush, last)
            for j in range(own_columns):
                start = zero
                if biased:
                    own_column = column + b_at + u64(j // lanes) * group_columns + u64(j % lanes)
                    start = bias[u64(layout[4]) + min(own_column, columns - one)]
                for i in range(own_rows):
                    total[i * own_columns + j] = start
            more = k < end
            filled: object = False
            while more or filled:
                # Fetch the next slice, multiply the one that is there, put the next one down beside it.
                if more:
                    k_left = u32(min(end - k, depth))
                    if a_by_depth:
                        fetch_a(a_stage, a, a_index, a_step, u32(a_quick) < k_left, u32(a_slow), a_left)
                    else:
                        fetch_a(a_stage, a, a_index, a_step, u32(a_quick) < a_left, u32(a_slow), k_left)
                    if b_by_depth:
                        fetch_b(b_stage, b, b_index, b_step, u32(b_quick) < k_left, u32(b_slow), b_left)
                    else:
                        fetch_b(b_stage, b, b_index, b_step, u32(b_quick) < b_left, u32(b_slow), k_left)
                    a_index += a_next
                    b_index += b_next
                if filled:
                    a_from, b_from = now * half_a + a_at, now * half_b + b_at
                    for _ in range(turns):
                        multiply_some(0, total, a_own, b_own, a_shared, b_shared, a_from, b_from)
                        a_from += some * pitch_a
                        b_from += some * pitch_b
                    now ^= one
                filled = more
                if more:
                    put_a(a_shared, now * half_a + a_put, a_stage)
                    put_b(b_shared, now * half_b + b_put, b_stage)
                    k += depth
                    more = k < end
                cuda.syncthreads()
            store(
                0, total, a_shared, warp * u64(4) * warp_width, lane, out,
                base + (row + warp_row) * u64(layout[6]) + column + warp_column, u64(layout[6]),
                rows_left, columns_left, split and not fresh,
            )  # fmt: skip
            fresh = False
            if k >= last:
                break

    return cuda.jit(product)
