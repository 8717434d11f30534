"""The forward sweep on a GPU: one launch for all steps.

Names of sizes: S states, K saved values, G gates, P of them computed by a first phase, H hidden units.  A thread has
unit j of sequence b, together with the other `spread` threads of its item; they all compute the same bits and share
the work of storing them.  Arrays are flat; their layouts are those of `Trace`.
"""

from functools import cache

import numpy as np
from numba import from_dtype

from gatescope.cells.registry import absent
from gatescope.kernels.cuda.activations import with_fast_activations
from gatescope.kernels.cuda.driver import cuda, kernel
from gatescope.kernels.cuda.exchange import make_gather, make_lines, make_offset
from gatescope.kernels.cuda.matvec import make_add_up, make_load, make_multiply, make_put, make_take
from gatescope.kernels.cuda.primitives import prefetch, publish

u64 = np.uint64
EARLY = 8  # steps ahead that inputs are brought from memory into the level-2 cache


@cache
def make_forward(cell, hidden, dtype, launch_plan, row, fast_activations=False):
    """Make the kernel that runs sequences over the steps start..stop and stores every state and every saved gate.

    `row` is how many values of H the input projections of a step take up: they may lie where the saved gates will.
    """
    step, prepare, operand_of = cell.step, cell.prepare or absent, cell.operand or absent
    if fast_activations:
        step, prepare = with_fast_activations(cell.step), with_fast_activations(cell.prepare) or absent
    S, K, G, P = len(cell.states), len(cell.saved), len(cell.gates), cell.prepared
    H, U, T = hidden, launch_plan.units, launch_plan.threads
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    SAVED = max(K, 1)
    PREPARED = max(P, 1)
    BLOCKS, SEQUENCES = launch_plan.blocks, launch_plan.sequences
    PARTS, SPREAD = launch_plan.parts, launch_plan.spread
    one, two = launch_plan.first, launch_plan.second
    SUMS, SUMS_2 = SEQUENCES * one.outputs, SEQUENCES * two.outputs
    IN_REGISTERS, IN_REGISTERS_2 = max(one.registers * one.outputs, 1), max(two.registers * two.outputs, 1)
    ROW, BUFFER, ROW_2, BUFFER_2 = one.row, one.buffer, two.row, two.buffer if P else 0
    SHARED = 2 * BUFFER + BUFFER_2
    SHARED_2 = SHARED + one.shared_weights
    ALL_UNITS = U * BLOCKS == H and U * PARTS == T  # no thread is left without one
    make_line = make_lines(SEQUENCES, row * H, dtype)
    VECTORS = 3 if P else 2  # exchange buffers a group has: the state in two turns, the operand
    number, ZERO = from_dtype(dtype), dtype.type(0)
    load_1, load_2 = make_load(one, SHARED), make_load(two, SHARED_2)
    multiply_1, multiply_2 = make_multiply(one, SHARED, dtype), make_multiply(two, SHARED_2, dtype)
    add_up_1, add_up_2 = (make_add_up(PARTS, SEQUENCES, width) for width in (one.outputs, two.outputs))
    offset_1, offset_2 = make_offset(one), make_offset(two)
    gather_1 = make_gather(H, ROW, offset_1, T, dtype)
    gather_2 = make_gather(H, ROW_2, offset_2, T, dtype)
    take_first, take_second, take_states, take_prepared = (make_take(n) for n in (FIRST, SECOND, S, P))
    put_states, put_saved, put_prepared = make_put(S), make_put(K), make_put(P)

    def forward(wx, packed, packed_2, bias, states, gates, lengths, words, batch, origin, start, stop):
        # wx [t][b][row][H]: input projections; packed: see make_pack; bias (G*H): the recurrent one
        # states (T+1, B, S, H), gates (T, B, K, H), lengths (B,); words: the groups' exchange buffers, all 0
        # batch: B; origin: the first sequence; states[start] is the state to start from
        thread, block = u64(cuda.threadIdx.x), u64(cuda.blockIdx.x)
        part, member, group = thread % u64(PARTS), block % u64(BLOCKS), block // u64(BLOCKS)
        n, rank = part // u64(SPREAD), part % u64(SPREAD)
        own, first = thread // u64(PARTS), u64(origin) + group * u64(SEQUENCES)
        B, t, end = u64(batch), u64(start), u64(stop)
        j, b = member * u64(U) + own, first + n
        unit = True if ALL_UNITS else own < u64(U) and j < u64(H)
        mine = unit if SEQUENCES == 1 else unit and b < B
        memory = cuda.shared.array(0, number)
        weights = cuda.local.array(IN_REGISTERS, number)
        weights_2 = cuda.local.array(IN_REGISTERS_2, number)
        sums = cuda.local.array(SUMS, number)
        sums_2 = cuda.local.array(SUMS_2, number)
        state = cuda.local.array(S, number)
        ahead = cuda.local.array(G, number)
        later = cuda.local.array(G, number)
        own_bias = cuda.local.array(G, number)
        saved = cuda.local.array(SAVED, number)
        prepared = cuda.local.array(PREPARED, number)

        for i in range(thread, u64(SHARED), u64(T)):
            memory[i] = ZERO  # the vectors' padding is multiplied too
        load_1(weights, memory, packed, member, thread)
        if P > 0:
            load_2(weights_2, memory, packed_2, member, thread)
        for g in range(G):
            own_bias[g] = bias[u64(g * H) + j] if unit else ZERO
            ahead[g] = ZERO
            later[g] = ZERO
        for k in range(S):
            state[k] = ZERO
        for k in range(SAVED):
            saved[k] = ZERO
        for k in range(PREPARED):
            prepared[k] = ZERO
        # Offsets of this thread's elements at step t.  A thread without a unit or a sequence reads its neighbour's, so
        # that no load hangs on a condition; what it reads goes nowhere.
        some_j, some_b = min(j, u64(H - 1)), min(b, B - u64(1))
        wx_step, gates_step, states_step = B * u64(row * H), B * u64(K * H), B * u64(S * H)
        wx_at = (t * B + some_b) * u64(row * H) + some_j
        gates_at = (t * B + some_b) * u64(K * H) + some_j
        states_at = (t * B + some_b) * u64(S * H) + some_j
        wx_last = wx_at + (end - u64(1) - t) * wx_step
        fetching, fetch_n, fetch_piece = make_line(member * u64(T) + thread)
        fetch_at = (t * B + first + fetch_n) * u64(row * H) + fetch_piece
        fetch_last = fetch_at + (end - u64(1) - t) * wx_step
        fetch_at = min(fetch_at + u64(EARLY) * wx_step, fetch_last)
        fetching = fetching and first + fetch_n < B
        length = u64(0)
        if mine:
            length = u64(lengths[b])
            for k in range(S):
                state[k] = states[states_at + u64(k * H)]
            for g in range(G):
                ahead[g] = wx[wx_at + u64(g * H)]
        cuda.syncthreads()

        turn, tag = u64(0), u64(1)
        own_offset, own_offset_2 = n * u64(ROW) + offset_1(j), n * u64(ROW_2) + offset_2(j)
        buffers = group * u64(VECTORS * SEQUENCES * H)
        own_word = buffers + n * u64(H) + j
        sequences = min(u64(SEQUENCES), B - first)
        if BLOCKS == 1:
            if unit and rank == u64(0):
                memory[own_offset] = state[0]
            cuda.syncthreads()
        elif mine and rank == u64(0):
            publish(words, own_word, state[0], tag)

        while t < end:
            if BLOCKS > 1:
                source = buffers + turn * u64(SEQUENCES * H)
                gather_1(memory, turn * u64(BUFFER), words, source, tag, sequences, thread)
                cuda.syncthreads()
            multiply_1(sums, weights, memory, packed, turn * u64(BUFFER), member, thread, part)
            wx_at = min(wx_at + wx_step, wx_last)
            for g in range(G):
                later[g] = wx[wx_at + u64(g * H)]
            if fetching:
                prefetch(wx, fetch_at)
            fetch_at = min(fetch_at + wx_step, fetch_last)
            add_up_1(sums, part)
            for g in range(FIRST):
                sums[g] += own_bias[g]
            if P > 0:
                old = take_states(state, u64(0))
                first_gates = prepare(take_first(ahead, u64(0)), take_first(sums, u64(0)), old)
                put_prepared(prepared, u64(0), first_gates)
                if BLOCKS == 1:
                    if unit and rank == u64(0):
                        memory[u64(2 * BUFFER) + own_offset_2] = operand_of(first_gates, old)
                else:
                    if mine and rank == u64(0):
                        publish(words, own_word + u64(2 * SEQUENCES * H), operand_of(first_gates, old), tag)
                    source = buffers + u64(2 * SEQUENCES * H)
                    gather_2(memory, u64(2 * BUFFER), words, source, tag, sequences, thread)
                cuda.syncthreads()
                multiply_2(sums_2, weights_2, memory, packed_2, u64(2 * BUFFER), member, thread, part)
                add_up_2(sums_2, part)
                for g in range(SECOND):
                    sums_2[g] += own_bias[FIRST + g]
            if t < length:  # never for a thread that is not `mine`
                old = take_states(state, u64(0))
                if P > 0:
                    new, values = step(
                        take_second(ahead, u64(FIRST)), take_second(sums_2, u64(0)), old,
                        take_prepared(prepared, u64(0)),
                    )  # fmt: skip
                else:
                    new, values = step(take_first(ahead, u64(0)), take_first(sums, u64(0)), old)
                put_states(state, u64(0), new)
                put_saved(saved, u64(0), values)
            else:
                for k in range(K):
                    saved[k] = ZERO
            if unit and BLOCKS == 1:
                memory[(u64(1) - turn) * u64(BUFFER) + own_offset] = state[0]
            if mine:
                if BLOCKS > 1 and rank == u64(0):
                    publish(words, own_word + (u64(1) - turn) * u64(SEQUENCES * H), state[0], tag + u64(1))
                for k in range(K):
                    if u64(k % SPREAD) == rank:
                        gates[gates_at + u64(k * H)] = saved[k]
                for k in range(S):
                    if u64((K + k) % SPREAD) == rank:
                        states[states_at + states_step + u64(k * H)] = state[k]
            for g in range(G):
                ahead[g] = later[g]
            gates_at += gates_step
            states_at += states_step
            turn = u64(1) - turn
            tag += u64(1)
            t += u64(1)
            if BLOCKS == 1:
                cuda.syncthreads()

    return kernel(T)(forward)
