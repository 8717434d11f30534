"""The sweep back in time on a GPU, for gradients and for how gradients propagate: one launch for all steps.

Names of sizes: S states, K kept values, G gates, P of them computed by a first phase, H hidden units.  A row is what an
adjoint is carried back for: a sequence, or one of the M directions of a sequence.  A thread holds unit j of a row,
together with the other `spread` threads of its item; they compute the same bits and share the work of storing them.
Arrays are flat.
"""

from functools import cache

import numpy as np
from numba.extending import register_jitable

from gatescope.kernels.gpu.activations import hurried
from gatescope.kernels.gpu.api import cuda
from gatescope.kernels.gpu.exchange import make_gather, make_place, straight
from gatescope.kernels.gpu.primitives import exponent, magnitude, power_of_two, prefetch, publish
from gatescope.kernels.gpu.shares import (
    FULL,
    make_add_up,
    make_load_weights,
    make_multiply,
    make_put,
    make_take,
)
from gatescope.kernels.loops.options import absent

u64 = np.uint64
EARLY = 8  # steps ahead that a trace is brought from memory into the level-2 cache
# As on the CPU: rescale when the largest entry leaves 2^-32..2^32; a float32 factor must itself be a normal float.
LARGEST, FACTOR = 32, 120


@cache
def make_largest(masks):
    """largest(x): the largest x of a warp's lanes that differ in the bits of `masks`."""
    if not masks:
        return register_jitable(lambda x: x)
    before, mask = make_largest(masks[1:]), masks[0]

    @register_jitable
    def largest(x):
        x = max(x, cuda.shfl_xor_sync(FULL, x, mask))
        return before(x)

    return largest


@cache
def make_reverse(cell, hidden, dtype, design, flow, fast=False):
    """Kernel that carries adjoints back over the steps stop-1..start.

    With `flow`, in the log domain: adjoints are rescaled by powers of two, which are counted.  Without, the adjoints of
    outputs are added on the way and what the gradients of the weights are made of is stored.
    """
    step_vjp, prepare_vjp = cell.step_vjp, cell.prepare_vjp or absent
    if fast:
        step_vjp, prepare_vjp = hurried(cell.step_vjp), hurried(cell.prepare_vjp) or absent
    operand_of = cell.operand or absent
    S, K, G, P = len(cell.states), len(cell.kept), len(cell.gates), cell.prepared
    H, U, T = hidden, design.units, design.threads
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    KEPT, PREPARED = max(K, 1), max(P, 1)
    SHARED_PRE = cell.shared and not P  # one array holds the adjoints of both pre-activations
    TOGETHER, BLOCKS, ROWS = design.together, design.blocks, design.sequences
    PARTS, SPREAD, WARPS = design.parts, design.spread, design.warps
    one, two = design.first, design.second
    SUMS, SUMS_2 = ROWS * one.outputs, ROWS * two.outputs
    IN_REGISTERS, IN_REGISTERS_2 = max(one.registers * one.outputs, 1), max(two.registers * two.outputs, 1)
    ROW, ROOM, ROW_2, ROOM_2 = one.row, one.room, two.row, two.room if P else 0
    PEAKS_ROW = WARPS * BLOCKS
    PEAKS_ROOM = design.peaks
    PEAKS = 2 * ROOM + ROOM_2
    SHARED = PEAKS + 2 * PEAKS_ROOM
    SHARED_2 = SHARED + one.shared_weights
    SHARED_WEIGHTS, SHARED_WEIGHTS_2 = one.shared_weights, two.shared_weights
    LATER, LATER_2 = one.registers * one.outputs * T, two.registers * two.outputs * T
    PACKED, PACKED_2 = one.packed, two.packed
    # A group's exchange buffers: the vector and the peaks in two turns, a two-phase cell's other vector in two turns.
    VECTOR, VECTOR_2 = ROWS * one.length, ROWS * two.length if P else 0
    TURN = VECTOR + PEAKS_ROOM + VECTOR_2
    number, ZERO = dtype.type, dtype.type(0)
    load_1, load_2 = make_load_weights(one), make_load_weights(two)
    multiply_1, multiply_2 = make_multiply(one, dtype), make_multiply(two, dtype)
    add_up_1, add_up_2 = (make_add_up(PARTS, ROWS * TOGETHER, 1) for _ in range(2))
    place_1, place_2 = make_place(one), make_place(two)
    gather_1 = make_gather(one.length, ROW, place_1, T, dtype)
    gather_2 = make_gather(two.length, ROW_2, place_2, T, dtype)
    gather_peaks = make_gather(PEAKS_ROW, PEAKS_ROW, straight, T, dtype)
    take_states, take_kept, take_prepared = make_take(S), make_take(K), make_take(P)
    put_states, put_prepared = make_put(S), make_put(P)
    put_first, put_second = make_put(FIRST), make_put(SECOND)
    ITEM_LANES = SPREAD * TOGETHER  # neighbouring lanes of one row
    lane_bits = (1, 2, 4, 8, 16)
    SAME_ROW = tuple(bit for bit in lane_bits if bit < ITEM_LANES or bit >= PARTS)
    OTHER_ROW = sum(bit for bit in lane_bits if bit not in SAME_ROW)
    of_row, of_warp = make_largest(SAME_ROW), make_largest(lane_bits)

    def reverse(
        packed, packed_2, states, gates, seeds, lengths, current, adjoint, exponents, powers,
        d_wx, d_rh, d_second, words, batch, directions, origin, start, stop, base, seeded,
        recording,
    ):  # fmt: skip
        # packed: see make_pack; states (T+1, B, S, H), gates (T, B, K, H), seeds (T, B, H) if seeded
        # current (rows, S, H): adjoints of state stop, replaced by those of state start
        # adjoint [t - base][row][S][H]: adjoints of states stop..start+1 with their seeds; with `flow`, if recording,
        #     of stop-1..start; exponents (rows): powers of two to multiply `current` by; powers [t - base][row]
        # d_wx, d_rh [t - base][b][G][H]; d_second [t - base][b][H]: what a second phase's weights multiply
        # words: exchange buffers, all 0; batch: B; directions: M; origin: the first row
        thread, block = u64(cuda.threadIdx.x), u64(cuda.blockIdx.x)
        part, member, group = thread % u64(PARTS), block % u64(BLOCKS), block // u64(BLOCKS)
        item, rank = part // u64(SPREAD), part % u64(SPREAD)
        n, e = item // u64(TOGETHER), item % u64(TOGETHER)
        own, first = thread // u64(PARTS) * u64(TOGETHER) + e, u64(origin) + group * u64(ROWS)
        B, M = u64(batch), u64(directions)
        rows = B * M
        j, row = member * u64(U) + own, first + n
        b = row // M
        unit = own < u64(U) and j < u64(H)
        mine = unit and row < rows
        memory = cuda.shared.array(0, number)
        weights = cuda.local.array(IN_REGISTERS, number)
        weights_2 = cuda.local.array(IN_REGISTERS_2, number)
        sums = cuda.local.array(SUMS, number)
        sums_2 = cuda.local.array(SUMS_2, number)
        held = cuda.local.array(S, number)
        old = cuda.local.array(S, number)
        new = cuda.local.array(S, number)
        older = cuda.local.array(S, number)
        kept = cuda.local.array(KEPT, number)
        earlier = cuda.local.array(KEPT, number)
        pre_wx = cuda.local.array(G, number)
        pre_rh = cuda.local.array(G, number)
        prepared = cuda.local.array(PREPARED, number)

        for i in range(thread, u64(SHARED), u64(T)):
            memory[i] = ZERO  # the vectors' padding is multiplied too
        load_1(weights, packed, member * u64(PACKED), thread)
        for i in range(thread, u64(SHARED_WEIGHTS), u64(T)):
            memory[u64(SHARED) + i] = packed[member * u64(PACKED) + u64(LATER) + i]
        if P > 0:
            load_2(weights_2, packed_2, member * u64(PACKED_2), thread)
            for i in range(thread, u64(SHARED_WEIGHTS_2), u64(T)):
                memory[u64(SHARED_2) + i] = packed_2[member * u64(PACKED_2) + u64(LATER_2) + i]
        for k in range(S):
            held[k] = ZERO
            old[k] = ZERO
            new[k] = ZERO
            older[k] = ZERO
        for k in range(KEPT):
            kept[k] = ZERO
            earlier[k] = ZERO
        for g in range(G):
            pre_wx[g] = ZERO
            pre_rh[g] = ZERO
        for k in range(PREPARED):
            prepared[k] = ZERO
        length, seed, next_seed, power = u64(0), ZERO, ZERO, np.int32(0)
        t, last = u64(stop), u64(start)
        if mine:
            length = t if flow else u64(lengths[b])
            if flow:
                power = exponents[row]
            at = (t - u64(1)) * B + b
            for k in range(S):
                held[k] = current[(row * u64(S) + u64(k)) * u64(H) + j]
                new[k] = states[((t * B + b) * u64(S) + u64(k)) * u64(H) + j]
                old[k] = states[(at * u64(S) + u64(k)) * u64(H) + j]
            for k in range(K):
                kept[k] = gates[(at * u64(K) + u64(k)) * u64(H) + j]
            if seeded > 0:
                seed = seeds[at * u64(H) + j]
        cuda.syncthreads()

        turn, tag = u64(0), u64(1)
        buffers = group * u64(2 * TURN)
        count = min(u64(ROWS), rows - first)
        while t > last:
            t -= u64(1)
            if mine and t > last:
                at = (t - u64(1)) * B + b
                for k in range(S):
                    older[k] = states[(at * u64(S) + u64(k)) * u64(H) + j]
                for k in range(K):
                    earlier[k] = gates[(at * u64(K) + u64(k)) * u64(H) + j]
                if seeded > 0:
                    next_seed = seeds[at * u64(H) + j]
                if t >= last + u64(EARLY):
                    at = (t - u64(EARLY)) * B + b
                    for k in range(S):
                        if u64(k % SPREAD) == rank:
                            prefetch(states, (at * u64(S) + u64(k)) * u64(H) + j)
                    for k in range(K):
                        if u64((S + k) % SPREAD) == rank:
                            prefetch(gates, (at * u64(K) + u64(k)) * u64(H) + j)
                    if seeded > 0 and u64((S + K) % SPREAD) == rank:
                        prefetch(seeds, at * u64(H) + j)
            running = mine and t < length
            if flow:
                peak = ZERO
                for k in range(S):
                    peak = max(peak, magnitude(held[k]))
                peak = of_row(peak)
                if u64(cuda.laneid) & u64(31 - OTHER_ROW) == u64(0):
                    at = n * u64(PEAKS_ROW) + member * u64(WARPS) + thread // u64(32)
                    if BLOCKS == 1:
                        memory[u64(PEAKS) + turn * u64(PEAKS_ROOM) + at] = peak
                    elif row < rows:
                        publish(words, buffers + turn * u64(TURN) + u64(VECTOR) + at, peak, tag)
            else:
                if running and seeded > 0:
                    held[0] += seed
                if mine:
                    at = (t + u64(1) - u64(base)) * rows + row
                    for k in range(S):
                        if u64(k % SPREAD) == rank:
                            adjoint[(at * u64(S) + u64(k)) * u64(H) + j] = held[k]
            direct = held[0]  # past the end of a sequence its adjoint stays what it is
            if running:
                ahead, now, before = (
                    take_states(held, u64(0)),
                    take_states(new, u64(0)),
                    take_states(old, u64(0)),
                )
                values = take_kept(kept, u64(0))
                if P > 0:
                    p_wx, p_rh, back, p_prepared = step_vjp(values, before, now, ahead)
                    put_second(pre_wx, u64(FIRST), p_wx)
                    put_second(pre_rh, u64(FIRST), p_rh)
                    put_prepared(prepared, u64(0), p_prepared)
                else:
                    p_wx, p_rh, back = step_vjp(values, before, now, ahead)
                    put_first(pre_wx, u64(0), p_wx)
                    put_first(pre_rh, u64(0), p_rh)
                put_states(held, u64(0), back)
                direct = held[0]
            elif unit:
                for g in range(G):
                    pre_wx[g] = ZERO
                    pre_rh[g] = ZERO

            if P > 0:
                if BLOCKS == 1:
                    if unit and rank == u64(0):
                        for g in range(SECOND):
                            at = u64(2 * ROOM) + n * u64(ROW_2) + place_2(u64(g * H) + j)
                            memory[at] = pre_rh[FIRST + g]
                else:
                    source = buffers + turn * u64(TURN) + u64(VECTOR + PEAKS_ROOM)
                    if mine and rank == u64(0):
                        for g in range(SECOND):
                            at = source + n * u64(SECOND * H) + u64(g * H) + j
                            publish(words, at, pre_rh[FIRST + g], tag)
                    gather_2(memory, u64(2 * ROOM), words, source, tag, count, thread)
                cuda.syncthreads()
                multiply_2(
                    sums_2, weights_2, memory, u64(SHARED_2), packed_2,
                    member * u64(PACKED_2) + u64(LATER_2 + SHARED_WEIGHTS_2), u64(2 * ROOM), thread, part,
                )  # fmt: skip
                add_up_2(sums_2, part)
                if running:
                    values, before = take_kept(kept, u64(0)), take_states(old, u64(0))
                    p_wx, p_rh, back = prepare_vjp(values, before, sums_2[0], take_prepared(prepared, u64(0)))
                    put_first(pre_wx, u64(0), p_wx)
                    put_first(pre_rh, u64(0), p_rh)
                    direct += back[0]
                    if not flow and rank == u64(0):
                        operand = operand_of(values[:P], before)
                        d_second[((t - u64(base)) * B + b) * u64(H) + j] = operand
                elif mine and not flow and rank == u64(0):
                    d_second[((t - u64(base)) * B + b) * u64(H) + j] = ZERO

            if BLOCKS == 1:
                if unit and rank == u64(0):
                    for g in range(FIRST):
                        at = turn * u64(ROOM) + n * u64(ROW) + place_1(u64(g * H) + j)
                        memory[at] = pre_rh[g]
            elif mine and rank == u64(0):
                for g in range(FIRST):
                    at = buffers + turn * u64(TURN) + n * u64(FIRST * H) + u64(g * H) + j
                    publish(words, at, pre_rh[g], tag)
            if mine and not flow:
                at = ((t - u64(base)) * B + b) * u64(G)
                for g in range(G):
                    if u64(g % SPREAD) == rank:
                        d_rh[(at + u64(g)) * u64(H) + j] = pre_rh[g]
                        if not SHARED_PRE:
                            d_wx[(at + u64(g)) * u64(H) + j] = pre_wx[g]
            if BLOCKS > 1:
                source = buffers + turn * u64(TURN)
                gather_1(memory, turn * u64(ROOM), words, source, tag, count, thread)
                if flow:
                    target = u64(PEAKS) + turn * u64(PEAKS_ROOM)
                    gather_peaks(memory, target, words, source + u64(VECTOR), tag, count, thread)
            cuda.syncthreads()
            multiply_1(
                sums, weights, memory, u64(SHARED), packed,
                member * u64(PACKED) + u64(LATER + SHARED_WEIGHTS), turn * u64(ROOM), thread, part,
            )  # fmt: skip
            add_up_1(sums, part)
            if running:
                held[0] = sums[0] + direct
            if flow:
                peak = ZERO
                for i in range(ROWS):
                    found = ZERO
                    for q in range(u64(cuda.laneid), u64(PEAKS_ROW), u64(32)):
                        at = u64(PEAKS) + turn * u64(PEAKS_ROOM) + u64(i * PEAKS_ROW) + q
                        found = max(found, memory[at])
                    found = of_warp(found)
                    if u64(i) == n:
                        peak = found
                change = exponent(peak)
                if change > LARGEST or change < -LARGEST:
                    change = np.int32(min(max(change, np.int32(-FACTOR)), np.int32(FACTOR)))
                    factor = power_of_two(np.int32(-change), ZERO)
                    for k in range(S):
                        held[k] *= factor
                    power += change
                if mine and recording > 0:
                    at = (t - u64(base)) * rows + row
                    for k in range(S):
                        if u64(k % SPREAD) == rank:
                            adjoint[(at * u64(S) + u64(k)) * u64(H) + j] = held[k]
                    if j == u64(0) and rank == u64(0):
                        powers[at] = power
            for k in range(S):
                new[k] = old[k]
                old[k] = older[k]
            for k in range(K):
                kept[k] = earlier[k]
            seed = next_seed
            turn = u64(1) - turn
            tag += u64(1)
        if mine and rank == u64(0):
            for k in range(S):
                current[(row * u64(S) + u64(k)) * u64(H) + j] = held[k]
            if flow and j == u64(0):
                exponents[row] = power

    return cuda.jit(reverse)
