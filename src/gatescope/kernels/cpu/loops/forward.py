"""The forward sweep.

Names of sizes: S states, K saved values, G gates, P of them computed by a first phase, L lanes.
Scratch layouts: [n] sequence of the block, [s] step of the segment, [j] vector of units.
"""

from functools import cache

from gatescope.cells.registry import absent
from gatescope.kernels.cpu.layout import FEW_INPUTS, TOGETHER, input_tile
from gatescope.kernels.cpu.loops.compiling import compiled, fingerprint_of
from gatescope.kernels.cpu.loops.meeting import LAST, meet, part_after
from gatescope.kernels.simd.load_store import get, load, put, store
from gatescope.kernels.simd.product import product


@cache
def make_forward(cell, lanes, tiles, second_tiles, masked=False):
    """Make the kernel that runs a block of sequences over a span of steps and stores every state and every saved gate.

    `masked`: every sequence has factors, the same at all steps, for its state where that enters a recurrent product.
    """
    step, prepare, operand_of = cell.step, cell.prepare or absent, cell.operand or absent
    S, K, G, P, L = len(cell.states), len(cell.saved), len(cell.gates), cell.prepared, lanes
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    ROWS, VECTORS, SPLIT, WIDE, ASK = tiles
    ROWS2, VECTORS2, SPLIT2, WIDE2, ASK2 = second_tiles
    MASKED = masked
    INPUT_ROWS, INPUT_VECTORS = input_tile(G)
    FEW, UNIT = FEW_INPUTS, TOGETHER
    MEETINGS = 2 if P > 0 else 1  # of threads that share the units, in a step
    FINGERPRINT = fingerprint_of(cell)

    @compiled
    def forward(weights, inputs, states, gates, lengths, span, work):
        # weights: (w_ih, b_ih, w_hh, b_hh, w_hh of the second phase, b_hh of the second phase), flat panels
        # inputs (T, B, I); states (T+1, B, S, H); gates (T, B, K, H); lengths (B,)
        # span: first sequence, last, first step, last, whether to use non-temporal stores; states[first step] is the
        #       state to start from
        # work: wx [n][s][j][G][L], rh [n][j][FIRST][L], rh of the second phase, state [n][S][j][L],
        #       operand [n][j][L], prepared [n][j][P][L], factors of the state [B][j][L] where there are any; and of
        #       threads that share the units of the block: which this is, how many, and what they meet by.  Then there
        #       are two states, [old or new][n][S][j][L], and no factors.
        # Returns the step before which it stopped: the last, unless such threads wait too long for one another.
        w_ih, b_ih, w_hh, b_hh, w_second, b_second = weights
        wx, rh, rh_second, state, operand, prepared, factors, (part, parts, meeting) = work
        begin, end, start, stop, nontemporal = span
        B, I, H = states.shape[1], inputs.shape[2], states.shape[3]
        N, V = end - begin, (H + L - 1) // L
        padded, row = V * L, V * G * L
        segment = wx.size // (N * row)
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key
        # Vectors of units from j0 to j1 are this thread's.
        j0, j1, met, looks = (V * part // parts + UNIT // 2) // UNIT * UNIT, V, 0, 0
        if part + 1 < parts:
            j1 = (V * (part + 1) // parts + UNIT // 2) // UNIT * UNIT
        across = j1 - j0
        # Others may still read the state before when the new one is there.
        old_state, new_state, apart = 0, 0, 0
        if parts > 1:
            new_state = apart = N * S * padded
            met += parts
            looks += meet(meeting, met)
            if meeting[LAST] < 0:  # not everybody could begin
                return start

        for n in range(N):
            for j in range(j0, j1):
                first = get(states, ((start * B + begin + n) * S) * H + j * L, H, H - j * L, S, L)
                store(state, n * S * padded + j * L, padded, first)
        if parts > 1:
            met += parts
            looks += meet(meeting, met)

        for t0 in range(start, stop, segment):
            steps = min(segment, stop - t0)
            # All sequences of a step or all steps of a sequence at a time, whichever are more: they share the weights,
            # unless these are few.
            if steps < N and I > FEW:
                rows, times, out_row, x_row, out_next, x_next = N, steps, segment * row, I, row, B * I
            else:
                rows, times, out_row, x_row, out_next, x_next = steps, N, row, B * I, segment * row, I
            for k in range(times):
                product(
                    (wx, k * out_next + j0 * G * L, out_row),
                    (b_ih, j0 * G * L, 0),
                    (w_ih, j0 * G * I * L, INPUT_VECTORS * L, I * INPUT_VECTORS * L),
                    (inputs, (t0 * B + begin) * I + k * x_next, x_row, 1),
                    (rows, across * G // INPUT_VECTORS, I),
                    (INPUT_ROWS, INPUT_VECTORS, INPUT_VECTORS, 1, L),
                )
            for s in range(steps):
                t = t0 + s
                if MASKED:
                    for n in range(N):
                        for j in range(V):
                            (factor,) = load(factors, (begin + n) * padded + j * L, L, 1, L)
                            (h,) = load(state, n * S * padded + j * L, L, 1, L)
                            store(operand, (n * V + j) * L, L, (h * factor,))
                    product(
                        (rh, 0, V * FIRST * L),
                        (b_hh, 0, 0),
                        (w_hh, 0, WIDE * L, H * WIDE * L),
                        (operand, 0, padded, 1),
                        (N, V * FIRST // WIDE, H, t % 2),
                        (ROWS, VECTORS, WIDE, SPLIT, L, ASK),
                    )
                else:
                    product(
                        (rh, j0 * FIRST * L, V * FIRST * L),
                        (b_hh, j0 * FIRST * L, 0),
                        (w_hh, j0 * FIRST * H * L, WIDE * L, H * WIDE * L),
                        (state, old_state, S * padded, 1),
                        (N, across * FIRST // WIDE, H, t % 2),
                        (ROWS, VECTORS, WIDE, SPLIT, L, ASK),
                    )
                if P > 0:
                    for n in range(N):
                        for j in range(j0, j1):
                            old = load(state, old_state + n * S * padded + j * L, padded, S, L)
                            first = prepare(
                                load(wx, (n * segment + s) * row + j * G * L, L, FIRST, L),
                                load(rh, (n * V + j) * FIRST * L, L, FIRST, L),
                                old,
                            )
                            store(prepared, (n * V + j) * P * L, L, first)
                            entering = operand_of(first, old)
                            if MASKED:
                                (factor,) = load(factors, (begin + n) * padded + j * L, L, 1, L)
                                entering = entering * factor
                            store(operand, (n * V + j) * L, L, (entering,))
                    if parts > 1:
                        met += parts
                        looks += meet(meeting, met)
                    product(
                        (rh_second, j0 * SECOND * L, V * SECOND * L),
                        (b_second, j0 * SECOND * L, 0),
                        (w_second, j0 * SECOND * H * L, WIDE2 * L, H * WIDE2 * L),
                        (operand, 0, padded, 1),
                        (N, across * SECOND // WIDE2, H, t % 2),
                        (ROWS2, VECTORS2, WIDE2, SPLIT2, L, ASK2),
                    )
                for n in range(N):
                    running = t < lengths[begin + n]
                    for j in range(j0, j1):
                        at, valid = (t * B + begin + n) * H, H - j * L
                        old = load(state, old_state + n * S * padded + j * L, padded, S, L)
                        if running:
                            if P > 0:
                                new, saved = step(
                                    load(wx, (n * segment + s) * row + (j * G + FIRST) * L, L, SECOND, L),
                                    load(rh_second, (n * V + j) * SECOND * L, L, SECOND, L),
                                    old,
                                    load(prepared, (n * V + j) * P * L, L, P, L),
                                )
                            else:
                                new, saved = step(
                                    load(wx, (n * segment + s) * row + j * G * L, L, G, L),
                                    load(rh, (n * V + j) * G * L, L, G, L),
                                    old,
                                )
                            put(gates, at * K + j * L, H, valid, nontemporal, saved)
                            store(state, new_state + n * S * padded + j * L, padded, new)
                            put(states, (at + B * H) * S + j * L, H, valid, nontemporal, new)
                        else:  # past the end of this sequence: its state holds, its gates are 0
                            put(states, (at + B * H) * S + j * L, H, valid, nontemporal, old)
                            if parts > 1:
                                store(state, new_state + n * S * padded + j * L, padded, old)
                            for k in range(K):
                                for u in range(j * L, min(H, j * L + L)):
                                    gates[t, begin + n, k, u] = 0
                if parts > 1:
                    met += parts
                    looks += meet(meeting, met)
                    old_state, new_state = new_state, apart - new_state
                    if part_after(meeting, met, met + MEETINGS * parts, looks):
                        return t + 1
        return stop

    return forward
