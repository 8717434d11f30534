"""Exact full back-propagation through time.

Names of sizes: S states, K saved values, G gates, P of them computed by a first phase, L lanes.
Scratch layouts: [n] sequence of the block, [s] step of the segment, [j] vector of units.
"""

from functools import cache

from gatescope.cells.registry import absent
from gatescope.kernels.cpu.layout import FEW_INPUTS, INPUT_PAIR, TOGETHER, input_tile
from gatescope.kernels.cpu.loops.compiling import compiled, fingerprint_of
from gatescope.kernels.cpu.loops.meeting import LAST, meet, part_after
from gatescope.kernels.simd.load_store import clear, get, load, prefetch, put, store
from gatescope.kernels.simd.product import dot, product


@cache
def make_backward(cell, lanes, tiles, second_tiles, masked=False):
    """Make the kernel of exact full back-propagation through time for a block of sequences over a span of steps.

    `masked`: as for `make_forward`.
    """
    step_vjp, prepare_vjp = cell.step_vjp, cell.prepare_vjp or absent
    operand_of = cell.operand or absent
    S, K, G, P, L = len(cell.states), len(cell.saved), len(cell.gates), cell.prepared, lanes
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    SHARED, OTHERS = cell.shared, int(cell.reads_others)
    MASKED = masked
    (ROWS, VECTORS, SPLIT, WIDE, ASK), (GRAD, ACROSS, *_) = tiles
    (ROWS2, VECTORS2, SPLIT2, WIDE2, ASK2), (GRAD2, ACROSS2, *_) = second_tiles
    # Of the gradient of w_ih, whose rows have all gates.
    GRAD_X, ACROSS_X = input_tile(G)
    PIECE = 128  # rows of which what a tile reads fits the first-level cache, with what the next one reads
    AHEAD = 4  # steps that memory is asked for before it is needed
    # Alone, a row of accumulators needs more sets to hide the latency of adding.
    BIAS = max(1, 8 // G)
    FEW, PAIR, UNIT = FEW_INPUTS, INPUT_PAIR, TOGETHER
    MEETINGS = 2 if P > 0 else 1  # of threads that share the units, in a step; in a segment two more
    FINGERPRINT = fingerprint_of(cell)

    @compiled
    def backward(weights, trace, lengths, output_adjoint, results, span, work, sums):
        # weights: adjoint panels of w_hh, of w_hh of the second phase; w_ih as dot rows or as adjoint panels of pairs
        # trace: inputs (T, B, I), states (T+1, B, S, H), gates (T, B, K, H); lengths (B,)
        # output_adjoint (T, B, H), or of size 0: none
        # results: adjoint (T+1, B, S, H), whose [stop] is the adjoint to start from; d_inputs (T, B, I), or of
        #          size 0: none
        # span: first sequence, last, first step, last, whether to use non-temporal stores
        # work: current [n][S][j][L], direct [n][j][L], d_wx and d_rh and d_second and h and operand [n][s][row],
        #       x [n][s][I], of more than a few inputs [n][s][I + L], d_x [n][s][I padded to pairs], ones (1,), zeros,
        #       factors of the state [B][j][L] where there are any; and of threads that share the units of the block:
        #       which this is, how many, and what they meet by, never with factors
        # sums: (groups, n), added to: gradients of w_ih, b_ih, w_hh, b_hh, second w_hh, second b_hh as gradient panels,
        #       those of w_ih for few inputs as wide as a vector of units has gates; where they begin in a row; the
        #       edges of the groups
        # Returns the step whose adjoint it wrote last: the first, unless such threads wait too long for one another.
        w_hh, w_second, w_ih = weights
        inputs, states, gates = trace
        adjoint, d_inputs = results
        current, direct, d_wx, d_rh, d_second, before, operand, x, d_x, ones, zeros, factors, team = work
        part, parts, meeting = team
        total, starts, edges = sums
        begin, end, start, stop, nontemporal = span
        B, I, H = states.shape[1], inputs.shape[2], states.shape[3]
        N, V = end - begin, (H + L - 1) // L
        padded = V * L
        # One line between rows keeps them out of each other's cache sets.
        row, row_first, row_second = V * G * L + L, V * FIRST * L + L, V * SECOND * L + L
        row_h = padded + L
        segment = before.size // (N * row_h)
        few_inputs = I <= FEW
        row_x = I if few_inputs else I + L
        wide = (I + L - 1) // L
        pairs = (wide + PAIR - 1) // PAIR
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key
        # Vectors of units from j0 to j1 are this thread's; of sums it has as many panels.
        j0, j1, met, looks = (V * part // parts + UNIT // 2) // UNIT * UNIT, V, 0, 0
        if part + 1 < parts:
            j1 = (V * (part + 1) // parts + UNIT // 2) // UNIT * UNIT
        across = j1 - j0
        if parts > 1:
            met += parts
            looks += meet(meeting, met)
            if meeting[LAST] < 0:  # not everybody could begin
                return stop

        for n in range(N):
            for j in range(j0, j1):
                last = get(adjoint, ((stop * B + begin + n) * S) * H + j * L, H, H - j * L, S, L)
                store(current, n * S * padded + j * L, padded, last)

        t1 = stop
        while t1 > start:
            t0 = max(start, t1 - segment)
            steps = t1 - t0
            for s in range(steps - 1, -1, -1):
                t = t0 + s
                for n in range(N):
                    running = t < lengths[begin + n]
                    if t - AHEAD >= start:
                        prefetch(inputs, ((t - AHEAD) * B + begin + n) * I, 1, 1)
                    for j in range(j0, j1):
                        at, valid = (t * B + begin + n) * H, H - j * L
                        ahead = load(current, n * S * padded + j * L, padded, S, L)
                        if t - AHEAD >= start:
                            early = at - AHEAD * B * H
                            prefetch(gates, early * K + j * L, H, K)
                            prefetch(states, early * S + j * L, H, S)
                            if output_adjoint.size > 0:
                                prefetch(output_adjoint, early + j * L, H, 1)
                        old = get(states, at * S + j * L, H, valid, S, L)
                        if running and output_adjoint.size > 0:
                            cotangent = get(output_adjoint, at + j * L, H, valid, 1, L)
                            ahead = (ahead[0] + cotangent[0],) + ahead[1:]  # noqa: RUF005 - Numba
                        put(adjoint, (at + B * H) * S + j * L, H, valid, nontemporal, ahead)
                        if MASKED:
                            (factor,) = load(factors, (begin + n) * padded + j * L, L, 1, L)
                            store(before, (n * steps + s) * row_h + j * L, L, (old[0] * factor,))
                        else:
                            store(before, (n * steps + s) * row_h + j * L, L, old[:1])
                        if running:
                            saved = get(gates, at * K + j * L, H, valid, K, L)
                            new = get(states, (at + B * H) * S + j * L, H, valid, S, L)
                            if P > 0:
                                p_wx, p_rh, back, p_prepared = step_vjp(saved, old, new, ahead)
                                store(
                                    d_second,
                                    (n * steps + s) * row_second + j * SECOND * L,
                                    L,
                                    clear(p_rh, valid),
                                )
                                store(
                                    d_wx, (n * steps + s) * row + (j * G + FIRST) * L, L, clear(p_wx, valid)
                                )
                                # Until the second product is there, the first phase's rows are d_prepared.
                                store(d_rh, (n * steps + s) * row_first + j * FIRST * L, L, p_prepared)
                            else:
                                p_wx, p_rh, back = step_vjp(saved, old, new, ahead)
                                store(
                                    d_rh, (n * steps + s) * row_first + j * FIRST * L, L, clear(p_rh, valid)
                                )
                                if not SHARED:
                                    store(d_wx, (n * steps + s) * row + j * G * L, L, clear(p_wx, valid))
                            store(direct, n * padded + j * L, L, back[:1])
                            store(current, n * S * padded + padded + j * L, padded, back[1:])
                        else:
                            store(direct, n * padded + j * L, L, ahead[:1])
                            for k in range(FIRST * L):
                                d_rh[(n * steps + s) * row_first + j * FIRST * L + k] = 0
                            if P > 0 or not SHARED:
                                for k in range(G * L):
                                    d_wx[(n * steps + s) * row + j * G * L + k] = 0
                            if P > 0:
                                for k in range(SECOND * L):
                                    d_second[(n * steps + s) * row_second + j * SECOND * L + k] = 0
                if parts > 1:
                    met += parts
                    looks += meet(meeting, met)
                if P > 0:
                    product(
                        (operand, s * row_h + j0 * L, steps * row_h),
                        (zeros, 0, 0),
                        (w_second, j0 * V * SECOND * L * L, WIDE2 * L, V * SECOND * L * WIDE2 * L),
                        (d_second, s * row_second, steps * row_second, 1),
                        (N, across // WIDE2, V * SECOND * L),
                        (ROWS2, VECTORS2, WIDE2, SPLIT2, L, ASK2),
                    )
                    for n in range(N):
                        if t < lengths[begin + n]:
                            for j in range(j0, j1):
                                at, valid = (t * B + begin + n) * H, H - j * L
                                old = get(states, at * S + j * L, H, valid, S, L)
                                saved = get(gates, at * K + j * L, H, valid, K, L)
                                at_operand = (n * steps + s) * row_h + j * L
                                at_rh = (n * steps + s) * row_first + j * FIRST * L
                                (d_entering,) = load(operand, at_operand, L, 1, L)
                                entering = operand_of(saved[:P], old)
                                if MASKED:
                                    (factor,) = load(factors, (begin + n) * padded + j * L, L, 1, L)
                                    d_entering, entering = d_entering * factor, entering * factor
                                p_wx, p_rh, back = prepare_vjp(
                                    saved, old, d_entering, load(d_rh, at_rh, L, P, L)
                                )
                                store(d_rh, at_rh, L, clear(p_rh, valid))
                                store(d_wx, (n * steps + s) * row + j * G * L, L, clear(p_wx, valid))
                                add = load(direct, n * padded + j * L, L, 1, L)
                                store(direct, n * padded + j * L, L, (add[0] + back[0],))
                                if OTHERS > 0:
                                    for k in range(1, S):
                                        at_state = (n * S + k) * padded + j * L
                                        (other,) = load(current, at_state, L, 1, L)
                                        store(current, at_state, L, (other + back[k],))
                                store(operand, at_operand, L, (entering,))
                    if parts > 1:
                        met += parts
                        looks += meet(meeting, met)
                if MASKED:
                    product(
                        (current, 0, S * padded),
                        (zeros, 0, 0),
                        (w_hh, 0, WIDE * L, V * FIRST * L * WIDE * L),
                        (d_rh, s * row_first, steps * row_first, 1),
                        (N, V // WIDE, V * FIRST * L),
                        (ROWS, VECTORS, WIDE, SPLIT, L, ASK),
                    )
                    for n in range(N):
                        for j in range(V):
                            (factor,) = load(factors, (begin + n) * padded + j * L, L, 1, L)
                            (d_h,) = load(current, n * S * padded + j * L, L, 1, L)
                            (add,) = load(direct, n * padded + j * L, L, 1, L)
                            store(current, n * S * padded + j * L, L, (d_h * factor + add,))
                else:
                    product(
                        (current, j0 * L, S * padded),
                        (direct, j0 * L, padded),
                        (w_hh, j0 * V * FIRST * L * L, WIDE * L, V * FIRST * L * WIDE * L),
                        (d_rh, s * row_first, steps * row_first, 1),
                        (N, across // WIDE, V * FIRST * L),
                        (ROWS, VECTORS, WIDE, SPLIT, L, ASK),
                    )

            # Rows of the segment from r0 to r1, and of each kind of panels the first to the last, are this thread's.
            r0, r1 = N * steps * part // parts, N * steps * (part + 1) // parts
            n, s = r0 // steps, r0 % steps
            for r in range(r0, r1):
                source, target = ((t0 + s) * B + begin + n) * I, r * row_x
                for j in range(wide):
                    left = I - j * L
                    put(x, target + j * L, I, left, False, get(inputs, source + j * L, I, left, 1, L))
                n, s = (n, s + 1) if s + 1 < steps else (n + 1, 0)
            if parts > 1:
                met += parts
                looks += meet(meeting, met)
            whole = (d_wx, row) if P > 0 or not SHARED else (d_rh, row_first)
            v0, v1 = V * part // parts, V * (part + 1) // parts
            p0, p1 = V * FIRST // ACROSS * part // parts, V * FIRST // ACROSS * (part + 1) // parts
            q0, q1 = V * SECOND // ACROSS2 * part // parts, V * SECOND // ACROSS2 * (part + 1) // parts
            x0, x1 = V * G // ACROSS_X * part // parts, V * G // ACROSS_X * (part + 1) // parts
            # All rows of the segment, every sequence's of a group, are one long k for the gradients of the weights.
            # It is taken in pieces of about PIECE, whose sums go on where those of the piece before ended.
            for group in range(edges.size - 1):
                top, end_row = (edges[group] - begin) * steps, (edges[group + 1] - begin) * steps
                count = end_row - top
                times = max(1, (count + PIECE // 2) // PIECE)
                piece = (count + times - 1) // times
                at = group * total.shape[1]
                w_ih_sum, b_ih_sum, w_hh_sum = at + starts[0], at + starts[1], at + starts[2]
                b_hh_sum, w_second_sum, b_second_sum = at + starts[3], at + starts[4], at + starts[5]
                w_hh_sum += p0 * H * ACROSS * L
                w_second_sum += q0 * H * ACROSS2 * L
                for k in range(top, end_row, piece):
                    product(
                        (total, w_hh_sum, ACROSS * L, H * ACROSS * L), (total, w_hh_sum, ACROSS * L, H * ACROSS * L),
                        (d_rh, k * row_first + p0 * ACROSS * L, row_first, ACROSS * L), (before, k * row_h, 1, row_h),
                        (H, p1 - p0, min(piece, end_row - k)), (GRAD, ACROSS, ACROSS, 1, L),
                    )  # fmt: skip
                b_hh_sum += v0 * FIRST * L
                product(
                    (total, b_hh_sum, 0), (total, b_hh_sum, 0),
                    (d_rh, top * row_first + v0 * FIRST * L, row_first, FIRST * L),
                    (ones, 0, 0, 0), (1, v1 - v0, count), (1, FIRST, FIRST, BIAS, L),
                )  # fmt: skip
                if P > 0:
                    for k in range(top, end_row, piece):
                        product(
                            (total, w_second_sum, ACROSS2 * L, H * ACROSS2 * L),
                            (total, w_second_sum, ACROSS2 * L, H * ACROSS2 * L),
                            (d_second, k * row_second + q0 * ACROSS2 * L, row_second, ACROSS2 * L),
                            (operand, k * row_h, 1, row_h),
                            (H, q1 - q0, min(piece, end_row - k)), (GRAD2, ACROSS2, ACROSS2, 1, L),
                        )  # fmt: skip
                    b_second_sum += v0 * SECOND * L
                    product(
                        (total, b_second_sum, 0), (total, b_second_sum, 0),
                        (d_second, top * row_second + v0 * SECOND * L, row_second, SECOND * L),
                        (ones, 0, 0, 0), (1, v1 - v0, count), (1, SECOND, SECOND, BIAS, L),
                    )  # fmt: skip
                if P > 0 or not SHARED:
                    b_ih_sum += v0 * G * L
                    product(
                        (total, b_ih_sum, 0), (total, b_ih_sum, 0),
                        (whole[0], top * whole[1] + v0 * G * L, whole[1], G * L),
                        (ones, 0, 0, 0), (1, v1 - v0, count), (1, G, G, BIAS, L),
                    )  # fmt: skip
                if few_inputs:
                    w_ih_sum += v0 * I * G * L
                    product(
                        (total, w_ih_sum, G * L, I * G * L), (total, w_ih_sum, G * L, I * G * L),
                        (whole[0], top * whole[1] + v0 * G * L, whole[1], G * L),
                        (x, top * row_x, 1, row_x), (I, v1 - v0, count), (1, G, G, BIAS, L),
                    )  # fmt: skip
                else:
                    w_ih_sum += x0 * I * ACROSS_X * L
                    for k in range(top, end_row, piece):
                        product(
                            (total, w_ih_sum, ACROSS_X * L, I * ACROSS_X * L),
                            (total, w_ih_sum, ACROSS_X * L, I * ACROSS_X * L),
                            (whole[0], k * whole[1] + x0 * ACROSS_X * L, whole[1], ACROSS_X * L),
                            (x, k * row_x, 1, row_x),
                            (I, x1 - x0, min(piece, end_row - k)), (GRAD_X, ACROSS_X, ACROSS_X, 1, L),
                        )  # fmt: skip
            n, s = r0 // steps, r0 % steps
            if d_inputs.size > 0 and few_inputs:
                for r in range(r0, r1):
                    for i in range(I):
                        d_inputs[t0 + s, begin + n, i] = dot(
                            w_ih, i * V * G * L, whole[0], r * whole[1], V * G, L
                        )
                    n, s = (n, s + 1) if s + 1 < steps else (n + 1, 0)
            elif d_inputs.size > 0:
                product(
                    (d_x, r0 * pairs * PAIR * L, pairs * PAIR * L), (zeros, 0, 0),
                    (w_ih, 0, PAIR * L, V * G * L * PAIR * L),
                    (whole[0], r0 * whole[1], whole[1], 1), (r1 - r0, pairs, V * G * L), (4, PAIR, PAIR, 1, L),
                )  # fmt: skip
                for r in range(r0, r1):
                    for i in range(I):
                        d_inputs[t0 + s, begin + n, i] = d_x[r * pairs * PAIR * L + i]
                    n, s = (n, s + 1) if s + 1 < steps else (n + 1, 0)
            t1 = t0
            if parts > 1:  # before what others read is written again
                met += parts
                looks += meet(meeting, met)
                following = min(segment, t1 - start) * MEETINGS + 2
                if part_after(meeting, met, met + following * parts, looks):
                    break

        for n in range(N):
            for j in range(j0, j1):
                last = load(current, n * S * padded + j * L, padded, S, L)
                put(adjoint, ((t1 * B + begin + n) * S) * H + j * L, H, H - j * L, nontemporal, last)
        return t1

    return backward
