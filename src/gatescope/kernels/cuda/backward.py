"""The sweep back in time on a GPU, for gradients and for how gradients propagate: one launch for all steps.

Names of sizes: S states, K saved values, G gates, P of them computed by a first phase, H hidden units.  An adjoint is
carried back for a row: a sequence, or one of the M directions of a sequence.  A thread has unit j of a row, together
with the other `spread` threads of its item; they compute the same bits and share the work of storing them.  Arrays are
flat.
"""

from functools import cache

import numpy as np
from numba import from_dtype
from numba.extending import register_jitable

from gatescope.cells.registry import absent
from gatescope.kernels.cuda.activations import with_fast_activations
from gatescope.kernels.cuda.driver import cuda, kernel
from gatescope.kernels.cuda.exchange import make_gate_offset, make_gather, make_lines, make_offset, no_gaps
from gatescope.kernels.cuda.matvec import make_add, make_add_up, make_load, make_multiply, make_put, make_take
from gatescope.kernels.cuda.primitives import exponent, magnitude, power_of_two, prefetch, publish, shuffle

u64 = np.uint64
EARLY = 8  # steps ahead that a trace is brought from memory into the level-2 cache
# As on the CPU: rescale when the largest entry leaves 2^-32..2^32; a float32 factor must itself be a normal float.
LARGEST, FACTOR = 32, 120
FEW_PEAKS = 16  # so many a thread reads by itself; more are shared out over a warp


@cache
def make_largest(masks):
    """Make largest(x): the largest x of a warp's lanes that differ in the bits of `masks`."""
    if not masks:
        return register_jitable(lambda x: x)
    before, mask = make_largest(masks[1:]), masks[0]

    @register_jitable
    def largest(x):
        x = max(x, shuffle(x, mask))
        return before(x)

    return largest


@cache
def make_backward(cell, hidden, dtype, launch_plan, flow, fast_activations=False):
    """Make the kernel that carries adjoints back over the steps stop-1..start.

    With `flow`, in the log domain: adjoints are rescaled by powers of two, which are counted.  Without, the adjoints of
    outputs are added on the way and what the gradients of the weights are made of is stored.
    """
    step_vjp, prepare_vjp = cell.step_vjp, cell.prepare_vjp or absent
    if fast_activations:
        step_vjp = with_fast_activations(cell.step_vjp)
        prepare_vjp = with_fast_activations(cell.prepare_vjp) or absent
    operand_of = cell.operand or absent
    S, K, G, P = len(cell.states), len(cell.saved), len(cell.gates), cell.prepared
    H, U, T = hidden, launch_plan.units, launch_plan.threads
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    SAVED, PREPARED = max(K, 1), max(P, 1)
    OTHERS = int(cell.reads_others)
    SHARED_PRE = cell.shared and not P  # one array holds the adjoints of both pre-activations
    TOGETHER, BLOCKS, ROWS = launch_plan.together, launch_plan.blocks, launch_plan.sequences
    PARTS, SPREAD, WARPS = launch_plan.parts, launch_plan.spread, launch_plan.warps
    one, two = launch_plan.first, launch_plan.second
    SUMS, SUMS_2 = ROWS * one.outputs, ROWS * two.outputs
    IN_REGISTERS, IN_REGISTERS_2 = max(one.registers * one.outputs, 1), max(two.registers * two.outputs, 1)
    ROW, BUFFER, ROW_2, BUFFER_2 = one.row, one.buffer, two.row, two.buffer if P else 0
    PEAKS_ROW = WARPS * BLOCKS
    PEAKS_BUFFER = launch_plan.peaks
    PEAKS = 2 * BUFFER + BUFFER_2
    SHARED = PEAKS + 2 * PEAKS_BUFFER
    SHARED_2 = SHARED + one.shared_weights
    # A group's exchange buffers: the vector and the peaks in two turns, a two-phase cell's other vector in two turns.
    VECTOR, VECTOR_2 = ROWS * one.length, ROWS * two.length if P else 0
    ALL_UNITS = U * BLOCKS == H and U // TOGETHER * PARTS == T  # no thread is left without one
    state_line, gate_line = make_lines(ROWS, S * H, dtype), make_lines(ROWS, K * H, dtype)
    cotangent_line = make_lines(ROWS, H, dtype)
    TURN = VECTOR + PEAKS_BUFFER + VECTOR_2
    number, ZERO = from_dtype(dtype), dtype.type(0)
    load_1, load_2 = make_load(one, SHARED), make_load(two, SHARED_2)
    multiply_1, multiply_2 = make_multiply(one, SHARED, dtype), make_multiply(two, SHARED_2, dtype)
    add_up = make_add_up(PARTS, ROWS * TOGETHER, 1)
    offset_1, offset_2 = make_gate_offset(one, H), make_gate_offset(two, H)
    gather_1 = make_gather(one.length, ROW, make_offset(one), T, dtype)
    gather_2 = make_gather(two.length, ROW_2, make_offset(two), T, dtype)
    gather_peaks = make_gather(PEAKS_ROW, PEAKS_ROW, no_gaps, T, dtype)
    take_states, take_saved, take_prepared = make_take(S), make_take(K), make_take(P)
    put_states, put_prepared, add_others = make_put(S), make_put(P), make_add(S - 1)
    put_first, put_second = make_put(FIRST), make_put(SECOND)
    ITEM_LANES = SPREAD * TOGETHER  # neighbouring lanes of one row
    lane_bits = (1, 2, 4, 8, 16)
    SAME_ROW = tuple(bit for bit in lane_bits if bit < ITEM_LANES or bit >= PARTS)
    OTHER_ROW = sum(bit for bit in lane_bits if bit not in SAME_ROW)
    of_row, of_warp = make_largest(SAME_ROW), make_largest(lane_bits)

    def backward(
        packed, packed_2, states, gates, cotangents, lengths, current, adjoint, exponents, powers,
        d_wx, d_rh, d_second, words, batch, directions, origin, start, stop, base, has_cotangents,
        recording,
    ):  # fmt: skip
        # packed: see make_pack; states (T+1, B, S, H), gates (T, B, K, H), cotangents (T, B, H) if has_cotangents
        # current (rows, S, H): adjoints of state stop, replaced by those of state start
        # adjoint [t - base][row][S][H]: adjoints of states stop..start+1 with their cotangents; with `flow`, if
        #     recording, of stop-1..start
        # exponents (rows): powers of two to multiply `current` by; powers [t - base][row]
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
        unit = True if ALL_UNITS else own < u64(U) and j < u64(H)
        mine = unit if ROWS == 1 else unit and row < rows
        memory = cuda.shared.array(0, number)
        weights = cuda.local.array(IN_REGISTERS, number)
        weights_2 = cuda.local.array(IN_REGISTERS_2, number)
        sums = cuda.local.array(SUMS, number)
        sums_2 = cuda.local.array(SUMS_2, number)
        carried = cuda.local.array(S, number)
        old = cuda.local.array(S, number)
        new = cuda.local.array(S, number)
        older = cuda.local.array(S, number)
        saved = cuda.local.array(SAVED, number)
        earlier = cuda.local.array(SAVED, number)
        pre_wx = cuda.local.array(G, number)
        pre_rh = cuda.local.array(G, number)
        prepared = cuda.local.array(PREPARED, number)

        for i in range(thread, u64(SHARED), u64(T)):
            memory[i] = ZERO  # the vectors' padding is multiplied too
        load_1(weights, memory, packed, member, thread)
        if P > 0:
            load_2(weights_2, memory, packed_2, member, thread)
        for k in range(S):
            carried[k] = ZERO
            old[k] = ZERO
            new[k] = ZERO
            older[k] = ZERO
        for k in range(SAVED):
            saved[k] = ZERO
            earlier[k] = ZERO
        for g in range(G):
            pre_wx[g] = ZERO
            pre_rh[g] = ZERO
        for k in range(PREPARED):
            prepared[k] = ZERO
        length, cotangent, next_cotangent, power = u64(0), ZERO, ZERO, np.int32(0)
        t, last = u64(stop), u64(start)
        # Offsets of this thread's elements at the step that is being loaded, t - 1 to begin with.  A thread without a
        # unit or a row reads its neighbour's, so that no load hangs on a condition; what it reads goes nowhere.
        some_j, some_b = min(j, u64(H - 1)), min(row, rows - u64(1)) // M
        states_step, gates_step, cotangents_step = B * u64(S * H), B * u64(K * H), B * u64(H)
        at = (t - u64(1)) * B + some_b
        states_at, gates_at = at * u64(S * H) + some_j, at * u64(K * H) + some_j
        cotangents_at = at * u64(H) + some_j
        # What is asked for early: a line of each array for every thread until there are enough.
        line = member * u64(T) + thread
        far = max(last, t - min(t, u64(EARLY + 1))) * B
        fetch_states, line_row, piece = state_line(line)
        fetch_states = fetch_states and first + line_row < rows
        states_line = (far + min(first + line_row, rows - u64(1)) // M) * u64(S * H) + piece
        fetch_gates, line_row, piece = gate_line(line)
        fetch_gates = fetch_gates and first + line_row < rows
        gates_line = (far + min(first + line_row, rows - u64(1)) // M) * u64(K * H) + piece
        fetch_cotangents, line_row, piece = cotangent_line(line)
        fetch_cotangents = fetch_cotangents and first + line_row < rows and has_cotangents > 0
        cotangents_line = (far + min(first + line_row, rows - u64(1)) // M) * u64(H) + piece
        pre_step = B * u64(G * H)
        pre_at = ((t - u64(base)) * B + some_b) * u64(G * H) + some_j
        out_step = rows * u64(S * H)
        out_at = ((t - u64(base)) * rows + min(row, rows - u64(1))) * u64(S * H) + some_j
        if mine:
            length = t if flow else u64(lengths[b])
            if flow:
                power = exponents[row]
            for k in range(S):
                carried[k] = current[(row * u64(S) + u64(k)) * u64(H) + j]
                new[k] = states[states_at + states_step + u64(k * H)]
                old[k] = states[states_at + u64(k * H)]
            for k in range(K):
                saved[k] = gates[gates_at + u64(k * H)]
            if has_cotangents > 0:
                cotangent = cotangents[cotangents_at]
        cuda.syncthreads()

        turn, tag = u64(0), u64(1)
        buffers = group * u64(2 * TURN)
        count = min(u64(ROWS), rows - first)
        while t > last:
            t -= u64(1)
            if t > last:
                states_at -= states_step
                gates_at -= gates_step
                cotangents_at -= cotangents_step
            for k in range(S):
                older[k] = states[states_at + u64(k * H)]
            for k in range(K):
                earlier[k] = gates[gates_at + u64(k * H)]
            if has_cotangents > 0:
                next_cotangent = cotangents[cotangents_at]
            if t >= last + u64(EARLY + 1):
                if fetch_states:
                    prefetch(states, states_line)
                if fetch_gates:
                    prefetch(gates, gates_line)
                if fetch_cotangents:
                    prefetch(cotangents, cotangents_line)
                states_line -= states_step
                gates_line -= gates_step
                cotangents_line -= cotangents_step
            running = t < length  # never for a thread that is not `mine`
            if flow:
                peak = ZERO
                for k in range(S):
                    peak = max(peak, magnitude(carried[k]))
                peak = of_row(peak)
                if u64(cuda.laneid) & u64(31 - OTHER_ROW) == u64(0):
                    at = n * u64(PEAKS_ROW) + member * u64(WARPS) + thread // u64(32)
                    if BLOCKS == 1:
                        memory[u64(PEAKS) + turn * u64(PEAKS_BUFFER) + at] = peak
                    elif row < rows:
                        publish(words, buffers + turn * u64(TURN) + u64(VECTOR) + at, peak, tag)
            else:
                if running and has_cotangents > 0:
                    carried[0] += cotangent
                if mine:
                    for k in range(S):
                        if u64(k % SPREAD) == rank:
                            adjoint[out_at + u64(k * H)] = carried[k]
            direct = carried[0]  # past the end of a sequence its adjoint stays what it is
            if running:
                ahead, now = take_states(carried, u64(0)), take_states(new, u64(0))
                before = take_states(old, u64(0))
                values = take_saved(saved, u64(0))
                if P > 0:
                    p_wx, p_rh, back, p_prepared = step_vjp(values, before, now, ahead)
                    put_second(pre_wx, u64(FIRST), p_wx)
                    put_second(pre_rh, u64(FIRST), p_rh)
                    put_prepared(prepared, u64(0), p_prepared)
                else:
                    p_wx, p_rh, back = step_vjp(values, before, now, ahead)
                    put_first(pre_wx, u64(0), p_wx)
                    put_first(pre_rh, u64(0), p_rh)
                put_states(carried, u64(0), back)
                direct = carried[0]
            else:
                for g in range(G):
                    pre_wx[g] = ZERO
                    pre_rh[g] = ZERO

            if P > 0:
                if BLOCKS == 1:
                    if unit:
                        for g in range(SECOND):
                            memory[u64(2 * BUFFER) + n * u64(ROW_2) + offset_2(g, j)] = pre_rh[FIRST + g]
                else:
                    source = buffers + turn * u64(TURN) + u64(VECTOR + PEAKS_BUFFER)
                    if mine and rank == u64(0):
                        for g in range(SECOND):
                            at = source + n * u64(SECOND * H) + u64(g * H) + j
                            publish(words, at, pre_rh[FIRST + g], tag)
                    gather_2(memory, u64(2 * BUFFER), words, source, tag, count, thread)
                cuda.syncthreads()
                multiply_2(sums_2, weights_2, memory, packed_2, u64(2 * BUFFER), member, thread, part)
                add_up(sums_2, part)
                if running:
                    values, before = take_saved(saved, u64(0)), take_states(old, u64(0))
                    p_wx, p_rh, back = prepare_vjp(values, before, sums_2[0], take_prepared(prepared, u64(0)))
                    put_first(pre_wx, u64(0), p_wx)
                    put_first(pre_rh, u64(0), p_rh)
                    direct += back[0]
                    if OTHERS > 0:
                        add_others(carried, u64(1), back[1:])
                    if not flow and rank == u64(0):
                        operand = operand_of(values[:P], before)
                        d_second[((t - u64(base)) * B + b) * u64(H) + j] = operand
                elif mine and not flow and rank == u64(0):
                    d_second[((t - u64(base)) * B + b) * u64(H) + j] = ZERO

            if BLOCKS == 1:
                if unit:
                    for g in range(FIRST):
                        memory[turn * u64(BUFFER) + n * u64(ROW) + offset_1(g, j)] = pre_rh[g]
            elif mine and rank == u64(0):
                for g in range(FIRST):
                    at = buffers + turn * u64(TURN) + n * u64(FIRST * H) + u64(g * H) + j
                    publish(words, at, pre_rh[g], tag)
            if mine and not flow:
                for g in range(G):
                    if u64(g % SPREAD) == rank:
                        d_rh[pre_at - pre_step + u64(g * H)] = pre_rh[g]
                        if not SHARED_PRE:
                            d_wx[pre_at - pre_step + u64(g * H)] = pre_wx[g]
            if BLOCKS > 1:
                source = buffers + turn * u64(TURN)
                gather_1(memory, turn * u64(BUFFER), words, source, tag, count, thread)
                if flow:
                    target = u64(PEAKS) + turn * u64(PEAKS_BUFFER)
                    gather_peaks(memory, target, words, source + u64(VECTOR), tag, count, thread)
            cuda.syncthreads()
            multiply_1(sums, weights, memory, packed, turn * u64(BUFFER), member, thread, part)
            add_up(sums, part)
            if running:
                carried[0] = sums[0] + direct
            if flow:
                peak = ZERO
                if PEAKS_ROW <= FEW_PEAKS:
                    at = u64(PEAKS) + turn * u64(PEAKS_BUFFER) + n * u64(PEAKS_ROW)
                    for q in range(PEAKS_ROW):
                        peak = max(peak, memory[at + u64(q)])
                else:
                    for i in range(ROWS):
                        largest = ZERO
                        for q in range(u64(cuda.laneid), u64(PEAKS_ROW), u64(32)):
                            at = u64(PEAKS) + turn * u64(PEAKS_BUFFER) + u64(i * PEAKS_ROW) + q
                            largest = max(largest, memory[at])
                        largest = of_warp(largest)
                        if u64(i) == n:
                            peak = largest
                change = exponent(peak)
                if change > LARGEST or change < -LARGEST:
                    change = np.int32(min(max(change, np.int32(-FACTOR)), np.int32(FACTOR)))
                    factor = power_of_two(np.int32(-change), ZERO)
                    for k in range(S):
                        carried[k] *= factor
                    power += change
                if mine and recording > 0:
                    for k in range(S):
                        if u64(k % SPREAD) == rank:
                            adjoint[out_at - out_step + u64(k * H)] = carried[k]
                    if j == u64(0) and rank == u64(0):
                        powers[(t - u64(base)) * rows + row] = power
            for k in range(S):
                new[k] = old[k]
                old[k] = older[k]
            for k in range(K):
                saved[k] = earlier[k]
            cotangent = next_cotangent
            pre_at -= pre_step
            out_at -= out_step
            turn = u64(1) - turn
            tag += u64(1)
        if mine and rank == u64(0):
            for k in range(S):
                current[(row * u64(S) + u64(k)) * u64(H) + j] = carried[k]
            if flow and j == u64(0):
                exponents[row] = power

    return kernel(T)(backward)
