"""Products with at most eight columns, sums over rows, and the sum of parts: bound by memory, so without tiles.

Arguments are those of the tiled product, so that a caller need not know which of them runs:
`layout` holds a offset, a stride, b offset, b stride, bias offset, out offset, out stride; `sizes` holds rows, columns,
depth, depth of a part.  The order of additions depends on `sizes` alone.
"""

import functools

import numpy as np
from numba import types
from numba.extending import register_jitable

from gatescope.kernels.cuda.driver import cuda
from gatescope.kernels.cuda.gemm_tiled import FLUSH
from gatescope.kernels.cuda.primitives import shuffle

THREADS = 256
STRIPS = THREADS // 32
MOST = 8  # columns
BATCH = 4  # rows or parts that are read before the first is used: loads then overlap
ROWS_EACH = 16  # of an affine map, for a thread

u64 = np.uint64


def rows_a_block(width):
    """Return how many rows a block of `make_affine` computes."""
    return THREADS // width * ROWS_EACH


@functools.cache
def make_affine(dtype_name, inputs, width, biased):
    """Make the kernel of out[r, m] = bias[m] + sum_i x[r, i] * w[m, i], one column a thread, its weights in registers.

    A block covers `width` columns (32, 64, 128 or 256) of `rows_a_block(width)` rows.
    """
    dtype, number = np.dtype(dtype_name).type, getattr(types, dtype_name)
    zero, one, width_, strips = dtype(0), u64(1), u64(width), u64(THREADS // width)
    height, turns, size = u64(rows_a_block(width)), ROWS_EACH // BATCH, inputs * BATCH

    def affine(x, w, bias, out, layout, sizes):
        rows, columns = u64(sizes[0]), u64(sizes[1])
        x_stride, out_stride = u64(layout[1]), u64(layout[6])
        across = (columns + width_ - one) // width_
        thread, block = u64(cuda.threadIdx.x), u64(cuda.blockIdx.x)
        column = (block % across) * width_ + thread % width_
        r = (block // across) * height + thread // width_
        own = cuda.local.array(inputs, number)
        stage = cuda.local.array(size, number)
        if column < columns:
            start = zero
            if biased:
                start = bias[u64(layout[4]) + column]
            for i in range(inputs):
                own[i] = w[u64(layout[2]) + column * u64(layout[3]) + u64(i)]
            for _ in range(turns):
                for q in range(BATCH):
                    # Rows beyond the last are read as the last and not stored.
                    index = u64(layout[0]) + min(r + u64(q) * strips, rows - one) * x_stride
                    for i in range(inputs):
                        stage[q * inputs + i] = x[index + u64(i)]
                for q in range(BATCH):
                    total = start
                    for i in range(inputs):
                        total += stage[q * inputs + i] * own[i]
                    if r + u64(q) * strips < rows:
                        out[u64(layout[5]) + (r + u64(q) * strips) * out_stride + column] = total
                r += u64(BATCH) * strips

    return cuda.jit(affine)


def rows_a_warp(columns):
    """Return how many rows a warp of `make_product` computes: with `columns`, at most 32 sums."""
    return 8 if columns <= 4 else 4


@functools.cache
def _make_fold(dtype, count, mask):
    """Make the function that adds `count` values of each lane over the warp, and leaves one sum a lane, in total[0].

    A lane gives half of its values to the lane `mask` away, for the other half of that lane's: 31 exchanges for 32
    sums, where one sum after another takes 160.  Sum s ends in lanes 32 / count * s and the following.
    """
    if mask == 0:

        @register_jitable
        def nothing(total, lane):
            pass

        return nothing
    fold, half, bit = _make_fold(dtype, max(1, count // 2), mask // 2), count // 2, u64(mask)
    if count == 1:

        @register_jitable
        def add(total, lane):
            total[0] += shuffle(total[0], mask)
            fold(total, lane)

        return add

    @register_jitable
    def halve(total, lane):
        upper = (lane & bit) != u64(0)
        for v in range(half):
            low, high = total[v], total[v + half]
            sent, own = (low, high) if upper else (high, low)
            total[v] = own + shuffle(sent, mask)
        fold(total, lane)

    return halve


@functools.cache
def make_product(dtype_name, columns):
    """Make the kernel of out[r, c] = sum_k a[r, k] * b[k, c], a warp for `rows_a_warp(columns)` rows.

    A lane adds every 32nd k of a row, ascending; then the lanes are added pairwise.
    """
    dtype, number = np.dtype(dtype_name).type, getattr(types, dtype_name)
    each = rows_a_warp(columns)
    sums = 1 << (each * columns - 1).bit_length()
    slab = 128  # of k, whose b are in shared memory at a time
    pitch, size = u64(slab + 1), columns * (slab + 1)
    fold, apart, each_ = _make_fold(dtype, sums, 16), u64(32 // sums), u64(each)
    zero, one, columns_, slab_, sums_ = dtype(0), u64(1), u64(columns), u64(slab), u64(each * columns)

    def product(a, b, bias, out, layout, sizes):
        rows, depth = u64(sizes[0]), u64(sizes[2])
        thread = u64(cuda.threadIdx.x)
        lane = thread % u64(32)
        row = (u64(cuda.blockIdx.x) * u64(STRIPS) + thread // u64(32)) * each_
        b_shared = cuda.shared.array(size, number)
        total = cuda.local.array(sums, number)
        own = cuda.local.array(each, number)
        for v in range(sums):
            total[v] = zero
        first = u64(0)
        while first < depth:
            count = min(depth - first, slab_)
            index = thread
            while index < count * columns_:
                k, column = index // columns_, index % columns_
                b_shared[column * pitch + k] = b[u64(layout[2]) + (first + k) * u64(layout[3]) + column]
                index += u64(THREADS)
            cuda.syncthreads()
            k = lane
            while k < count:
                for q in range(each):
                    # Rows beyond the last are read as the last and not stored.
                    start = min(row + u64(q), rows - one) * u64(layout[1])
                    own[q] = a[u64(layout[0]) + start + first + k]
                for c in range(columns):
                    weight = b_shared[u64(c) * pitch + k]
                    for q in range(each):
                        total[q * columns + c] += own[q] * weight
                k += u64(32)
            cuda.syncthreads()
            first += slab_
        fold(total, lane)
        index = lane // apart
        r = row + index // columns_
        if lane % apart == u64(0) and index < sums_ and r < rows:
            out[u64(layout[5]) + r * u64(layout[6]) + index % columns_] = total[0]

    return cuda.jit(product)


@functools.cache
def _make_add_strips(dtype):
    """Make the function that adds the values of a lane number's STRIPS threads, pairwise; strip 0 has the sum."""

    @register_jitable
    def add_strips(scratch, lane, strip, value):
        scratch[strip * u64(32) + lane] = value
        cuda.syncthreads()
        half = u64(STRIPS // 2)
        while half > u64(0):
            if strip < half:
                scratch[strip * u64(32) + lane] += scratch[(strip + half) * u64(32) + lane]
            cuda.syncthreads()
            half //= u64(2)
        value = scratch[lane]
        cuda.syncthreads()
        return value

    return add_strips


@functools.cache
def make_sums(dtype_name, columns):
    """Make the kernel of part p of out[m, c] = sum_k a[k, m] * b[k, c], or of out[m] = sum_k a[k, m] if columns is 0.

    A block takes 32 m and one part of k; strip s of it takes k = s, s + 8, ... of the part, in chains of at most
    FLUSH / 8 additions, whose sums it adds one after another.
    """
    dtype, number = np.dtype(dtype_name).type, getattr(types, dtype_name)
    wide, weighted = max(columns, 1), columns > 0
    zero, one, wide_, strips, flush = dtype(0), u64(1), u64(wide), u64(STRIPS), u64(FLUSH)
    size, scratch_size, ahead = BATCH * wide, THREADS, u64((BATCH - 1) * STRIPS)
    add_strips = _make_add_strips(dtype)

    def sums(a, b, bias, out, layout, sizes):
        rows, depth = u64(sizes[0]), u64(sizes[2])
        a_stride, b_stride = u64(layout[1]), u64(layout[3])
        thread, block = u64(cuda.threadIdx.x), u64(cuda.blockIdx.x)
        lane, strip = thread % u64(32), thread // u64(32)
        across = (rows + u64(31)) // u64(32)
        part = block // across
        m = (block % across) * u64(32) + lane
        k = part * u64(sizes[3])
        end = min(k + u64(sizes[3]), depth)
        a_index, b_index = u64(layout[0]) + min(m, rows - one), u64(layout[2])
        scratch = cuda.shared.array(scratch_size, number)
        total = cuda.local.array(wide, number)
        chain = cuda.local.array(wide, number)
        a_stage = cuda.local.array(BATCH, number)
        b_stage = cuda.local.array(size, number)
        for c in range(wide):
            total[c] = zero
        while k < end:
            stop = min(k + flush, end)
            for c in range(wide):
                chain[c] = zero
            r = k + strip
            while r + ahead < stop:
                for q in range(BATCH):
                    a_stage[q] = a[a_index + (r + u64(q) * strips) * a_stride]
                if weighted:
                    for q in range(BATCH):
                        for c in range(wide):
                            b_stage[q * wide + c] = b[b_index + (r + u64(q) * strips) * b_stride + u64(c)]
                for q in range(BATCH):
                    for c in range(wide):
                        if weighted:
                            chain[c] += a_stage[q] * b_stage[q * wide + c]
                        else:
                            chain[c] += a_stage[q]
                r += u64(BATCH) * strips
            while r < stop:
                value = a[a_index + r * a_stride]
                for c in range(wide):
                    if weighted:
                        chain[c] += value * b[b_index + r * b_stride + u64(c)]
                    else:
                        chain[c] += value
                r += strips
            for c in range(wide):
                total[c] += chain[c]
            k = stop
        for c in range(wide):
            value = add_strips(scratch, lane, strip, total[c])
            if strip == u64(0) and m < rows:
                out[u64(layout[5]) + (part * rows + m) * wide_ + u64(c)] = value

    return cuda.jit(sums)


@functools.cache
def make_total(dtype_name, accumulate):
    """Make the kernel of out[r, c] (+)= the sum of the parts.

    Strip s adds parts s, s + 8, ...; strips are added pairwise.
    """
    dtype, number = np.dtype(dtype_name).type, getattr(types, dtype_name)
    zero, strips, ahead, scratch_size = dtype(0), u64(STRIPS), u64((BATCH - 1) * STRIPS), THREADS
    add_strips = _make_add_strips(dtype)

    def total(parts, out, layout, sizes):
        # layout: parts offset, out offset, out stride; sizes: rows, columns, parts
        columns = u64(sizes[1])
        count = u64(sizes[0]) * columns
        thread = u64(cuda.threadIdx.x)
        lane, strip = thread % u64(32), thread // u64(32)
        element = u64(cuda.blockIdx.x) * u64(32) + lane
        index = u64(layout[0]) + min(element, count - u64(1))
        scratch = cuda.shared.array(scratch_size, number)
        stage = cuda.local.array(BATCH, number)
        value, part = zero, strip
        while part + ahead < u64(sizes[2]):
            for q in range(BATCH):
                stage[q] = parts[index + (part + u64(q) * strips) * count]
            for q in range(BATCH):
                value += stage[q]
            part += u64(BATCH) * strips
        while part < u64(sizes[2]):
            value += parts[index + part * count]
            part += strips
        value = add_strips(scratch, lane, strip, value)
        if strip == u64(0) and element < count:
            target = u64(layout[1]) + element // columns * u64(layout[2]) + element % columns
            if accumulate:
                value += out[target]
            out[target] = value

    return cuda.jit(total)
