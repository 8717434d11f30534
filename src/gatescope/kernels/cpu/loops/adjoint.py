"""Adjoints carried back through a recorded run, in the log domain: how gradients propagate.

Names of sizes: S states, K saved values, G gates, P of them computed by a first phase, L lanes, M directions.
Scratch layouts: [n] sequence of the block, [m] direction, [j] vector of units; a row is a direction of a sequence.

With PATHS the M = G + 2 directions of a sequence are the parts of one adjoint and the whole of it: what never left
the direct (carry) path, what left it first through gate 0, ..., gate G-1, and their sum, carried back by itself because
the sum of parts that cancel would lose it.  What a step's gates make of the carry's adjoint moves to the gates' rows.

With LINKED the adjoints of one layer of a stack meet those of the layer above: what reaches h of each step from there
is added to them, and what they make of the layer's inputs is given out for the layer below, each row on a scale of its
own.
"""

import math
from functools import cache

from numba.extending import overload

from gatescope.cells.registry import absent
from gatescope.kernels.cpu.layout import FEW_INPUTS
from gatescope.kernels.cpu.loops.compiling import compiled, fingerprint_of
from gatescope.kernels.simd.load_store import clear, get, load, prefetch, store
from gatescope.kernels.simd.product import dot, product
from gatescope.kernels.simd.rows import largest, move, scale, scaled_dot

LIFT = 4  # a row may be so many powers of two below what it gets
NOTHING = -(1 << 30)  # the exponent of a row that is 0 and gets something later: below any other


def _add_to_h(current, exponents, added, powers, first, V, S, L, factor_limit):
    """Add the rows of `added` from the first on, each times 2^powers, to h of the rows of `current`."""
    padded = V * L
    for row in range(exponents.size):
        source, target = (first + row) * padded, row * S * padded
        peak = float(largest(added, source, L, V, L))
        if peak == 0.0:
            continue
        factor = 1.0
        if peak < math.inf:
            power = max(math.frexp(peak)[1], -factor_limit)
            shift = powers[first + row] + power - exponents[row]
            if shift > LIFT:
                scale(current, target, S * V, math.ldexp(1.0, -min(shift, 2000)), L)
                exponents[row] += shift
            factor = math.ldexp(1.0, max(powers[first + row] - exponents[row], -2000))
        for j in range(V):
            (value,) = load(added, source + j * L, L, 1, L)
            (before,) = load(current, target + j * L, L, 1, L)
            store(current, target + j * L, L, (before + value * factor,))


# The kernel calls it by its global name, with S and L as literals.  A function that it closes over would be pickled for
# the key of Numba's disk cache, and intrinsics in it have another number in each process: nothing would ever be hit.
@overload(_add_to_h, prefer_literal=True)
def _compiled_add_to_h(current, exponents, added, powers, first, V, S, L, factor_limit):
    return _add_to_h


@cache
def make_adjoint(cell, lanes, tiles, second_tiles, inputs=False, paths=False, linked=None):
    """Make the kernel that carries M adjoints of each sequence back over a span of steps and records their log-norms.

    With `inputs` it also records the log-norm of the gradient of the inputs at each step, for every direction; with
    `linked`, the tile of a product for them, it takes adjoints of h and gives out those of the inputs.
    """
    step_vjp, prepare_vjp = cell.step_vjp, cell.prepare_vjp or absent
    S, K, G, P, L = len(cell.states), len(cell.saved), len(cell.gates), cell.prepared, lanes
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    ROWS, VECTORS, SPLIT, WIDE, ASK = tiles
    ROWS2, VECTORS2, SPLIT2, WIDE2, ASK2 = second_tiles
    INPUTS, PATHS, LINKED = int(inputs), int(paths), int(linked is not None)
    OTHERS = int(cell.reads_others)
    ONWARD = int(
        linked is not None and not inputs
    )  # of the lowest layer, whose inputs are measured, nothing goes on
    ROWS_X, VECTORS_X, SPLIT_X, *_ = linked or (7, 1, 1)
    APART = int(ONWARD or (inputs and (P > 0 or not cell.shared)))
    FINGERPRINT = fingerprint_of(cell)
    LN2 = math.log(2.0)
    AHEAD = 2  # steps that memory is asked for before it is needed
    # Rescale when the largest entry leaves 2^-32..2^32; a factor must itself be a normal float of either dtype.
    LARGEST, FACTOR_32, FACTOR_64 = 32, 120, 1000
    FEW, ZERO = FEW_INPUTS, NOTHING

    @compiled
    def adjoint(weights, states, gates, current, exponents, records, links, span, work):
        # weights: adjoint panels of w_hh and of w_hh of the second phase; w_ih as dot rows or as an adjoint panel
        # states (T+1, B, S, H), gates (T, B, K, H)
        # current [n][m][S][j][L], times 2^exponents[n * M + m]
        # records, first row: one step back; of size 0 where not recorded: log_norms (steps, N, M, S),
        #       fractions (steps, N, M - 1, S), input_norms (steps, N, M)
        # links, rows (steps, N * M, ...) as in records: added to h (..., padded) times 2^its powers, of size 0 where
        #       nothing is; onward (..., padded I) of the inputs, with powers, likewise
        # span: first sequence, last, first step, last, number of inputs, whether what is added counts for the norms of
        #       its state, as that of a loss does, or is what another state of that step makes of it
        # work: direct [n][m][j][L], d_rh and d_second [n][m][row], operand [n][m][j][L],
        #       d_wx [n][m][row], of so many steps before they go onward, d_x [n][m][padded I], zeros
        w_hh, w_second, w_ih = weights
        log_norms, fractions, input_norms = records
        added, added_powers, onward, onward_powers = links
        direct, d_rh, d_second, operand, d_wx, d_x, zeros = work
        begin, end, start, stop, I, counted = span
        B, H = states.shape[1], states.shape[3]
        N, V = end - begin, (H + L - 1) // L
        M, recording = exponents.size // N, log_norms.size > 0
        padded, wide = V * L, (I + L - 1) // L
        row_first, row_second, row_whole = V * FIRST * L + L, V * SECOND * L + L, V * G * L + L
        factor_limit = FACTOR_32 if current.itemsize == 4 else FACTOR_64
        together = d_wx.size // (N * M * row_whole)
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key

        for t in range(stop - 1, start - 1, -1):
            at_wx = (stop - 1 - t) % together * N * M if ONWARD else 0
            if LINKED and added.size > 0 and not counted:
                first = (stop - 1 - t) * N * M
                _add_to_h(current, exponents, added, added_powers, first, V, S, L, factor_limit)
            for n in range(N):
                for j in range(V):
                    at, valid = (t * B + begin + n) * H, H - j * L
                    old = get(states, at * S + j * L, H, valid, S, L)
                    new = get(states, (at + B * H) * S + j * L, H, valid, S, L)
                    saved = get(gates, at * K + j * L, H, valid, K, L)
                    if t - AHEAD >= start:
                        early = at - AHEAD * B * H
                        prefetch(gates, early * K + j * L, H, K)
                        prefetch(states, early * S + j * L, H, S)
                    for row in range(n * M, n * M + M):
                        ahead = load(current, row * S * padded + j * L, padded, S, L)
                        if P > 0:
                            p_wx, p_rh, back, p_prepared = step_vjp(saved, old, new, ahead)
                            store(d_second, row * row_second + j * SECOND * L, L, clear(p_rh, valid))
                            store(d_rh, row * row_first + j * FIRST * L, L, clear(p_prepared, valid))
                            if APART:
                                store(
                                    d_wx,
                                    (at_wx + row) * row_whole + (j * G + FIRST) * L,
                                    L,
                                    clear(p_wx, valid),
                                )
                        else:
                            p_wx, p_rh, back = step_vjp(saved, old, new, ahead)
                            store(d_rh, row * row_first + j * FIRST * L, L, clear(p_rh, valid))
                            if APART:
                                store(d_wx, (at_wx + row) * row_whole + j * G * L, L, clear(p_wx, valid))
                        store(direct, row * padded + j * L, L, clear(back[:1], valid))
                        store(current, row * S * padded + padded + j * L, padded, clear(back[1:], valid))

            if PATHS:
                for n in range(N):
                    for g in range(G):
                        carry, part = n * M, n * M + 1 + g
                        if g < FIRST:
                            d_gate, row, stride, q = d_rh, row_first, FIRST * L, g
                        else:
                            d_gate, row, stride, q = d_second, row_second, SECOND * L, g - FIRST
                        peak = float(largest(d_gate, carry * row + q * L, stride, V, L))
                        if peak == 0.0:
                            continue
                        factor = 1.0
                        if peak < math.inf:
                            power = max(math.frexp(peak)[1], -factor_limit)
                            shift = exponents[carry] + power - exponents[part]
                            if shift > LIFT:
                                # Far above all that is in the part's row, which goes where this can be added.
                                low = math.ldexp(1.0, -min(shift, 2000))
                                scale(direct, part * padded, V, low, L)
                                scale(d_rh, part * row_first, V * FIRST, low, L)
                                if P > 0:
                                    scale(d_second, part * row_second, V * SECOND, low, L)
                                scale(current, part * S * padded + padded, (S - 1) * V, low, L)
                                exponents[part] += shift
                            factor = math.ldexp(1.0, max(exponents[carry] - exponents[part], -2000))
                        move(d_gate, carry * row + q * L, part * row + q * L, stride, V, factor, L)

            if P > 0:
                product(
                    (operand, 0, padded),
                    (zeros, 0, 0),
                    (w_second, 0, WIDE2 * L, V * SECOND * L * WIDE2 * L),
                    (d_second, 0, row_second, 1),
                    (N * M, V // WIDE2, V * SECOND * L),
                    (ROWS2, VECTORS2, WIDE2, SPLIT2, L, ASK2),
                )
                for n in range(N):
                    for j in range(V):
                        at, valid = (t * B + begin + n) * H, H - j * L
                        old = get(states, at * S + j * L, H, valid, S, L)
                        saved = get(gates, at * K + j * L, H, valid, K, L)
                        for row in range(n * M, n * M + M):
                            at_rh = row * row_first + j * FIRST * L
                            p_wx, p_rh, back = prepare_vjp(
                                saved,
                                old,
                                load(operand, row * padded + j * L, L, 1, L)[0],
                                load(d_rh, at_rh, L, P, L),
                            )
                            store(d_rh, at_rh, L, clear(p_rh, valid))
                            if APART:
                                store(d_wx, (at_wx + row) * row_whole + j * G * L, L, clear(p_wx, valid))
                            add = load(direct, row * padded + j * L, L, 1, L)
                            store(direct, row * padded + j * L, L, clear((add[0] + back[0],), valid))
                            if OTHERS > 0:
                                for k in range(1, S):
                                    at_state = (row * S + k) * padded + j * L
                                    (other,) = load(current, at_state, L, 1, L)
                                    store(current, at_state, L, clear((other + back[k],), valid))
            if ONWARD and onward.size > 0:
                for row in range(N * M):
                    onward_powers[(stop - 1 - t) * N * M + row] = exponents[row]
            # What goes on to the layer below is put there at once, of several steps, which share the weights they load.
            if INPUTS or (ONWARD and onward.size > 0 and (t == start or at_wx == (together - 1) * N * M)):
                d_pre = d_wx if APART else d_rh
                first = (stop - 1 - t) * N * M - at_wx if ONWARD else 0
                into = onward if ONWARD else d_x
                if I <= FEW:
                    for row in range(at_wx + N * M):
                        for i in range(I):
                            into[(first + row) * wide * L + i] = dot(
                                w_ih, i * V * G * L, d_pre, row * row_whole, V * G, L
                            )
                else:
                    product(
                        (into, first * wide * L, wide * L),
                        (zeros, 0, 0),
                        (w_ih, 0, L, V * G * L * L),
                        (d_pre, 0, row_whole, 1),
                        (at_wx + N * M, wide, V * G * L),
                        (ROWS_X, VECTORS_X, 1, SPLIT_X, L),
                    )
            if INPUTS:
                for n in range(N):
                    for m in range(M):
                        row = n * M + m
                        norm = peak = float(largest(d_x, row * wide * L, L, wide, L))
                        if peak > 0.0 and peak < math.inf:
                            power = min(max(math.frexp(peak)[1], -factor_limit), factor_limit)
                            unit, base = math.ldexp(1.0, -power), row * wide * L
                            squares = float(scaled_dot(d_x, base, unit, d_x, base, unit, wide, L))
                            norm = 0.5 * math.log(squares) + (power + exponents[row]) * LN2
                        elif peak == 0.0:
                            norm = -math.inf
                        input_norms[stop - 1 - t, n, m] = norm
            product(
                (current, 0, S * padded),
                (direct, 0, padded),
                (w_hh, 0, WIDE * L, V * FIRST * L * WIDE * L),
                (d_rh, 0, row_first, 1),
                (N * M, V // WIDE, V * FIRST * L),
                (ROWS, VECTORS, WIDE, SPLIT, L, ASK),
            )
            if LINKED and added.size > 0 and counted:
                first = (stop - 1 - t) * N * M
                _add_to_h(current, exponents, added, added_powers, first, V, S, L, factor_limit)

            for n in range(N):
                for m in range(M):
                    row, whole = n * M + m, 0.0
                    for k in range(S):
                        # A state whose part is far smaller than the others' is measured on its own scale.
                        base = (row * S + k) * padded
                        peak = float(largest(current, base, L, V, L))
                        whole = max(whole, peak)
                        if recording:
                            norm = peak
                            if peak > 0.0 and peak < math.inf:
                                power = min(max(math.frexp(peak)[1], -factor_limit), factor_limit)
                                unit = math.ldexp(1.0, -power)
                                squares = float(scaled_dot(current, base, unit, current, base, unit, V, L))
                                norm = 0.5 * math.log(squares) + (power + exponents[row]) * LN2
                            elif peak == 0.0:
                                norm = -math.inf
                            log_norms[stop - 1 - t, n, m, k] = norm
                    if whole > 0.0 and whole < math.inf:
                        power = math.frexp(whole)[1]
                        if abs(power) > LARGEST:
                            power = min(max(power, -factor_limit), factor_limit)
                            scale(current, row * S * padded, S * V, math.ldexp(1.0, -power), L)
                            exponents[row] += power
                    elif (PATHS or LINKED) and whole == 0.0:
                        exponents[row] = ZERO

            if PATHS:
                for n in range(N):
                    total = n * M + M - 1
                    for k in range(S):
                        to = (total * S + k) * padded
                        peak = float(largest(current, to, L, V, L))
                        if not (peak > 0.0 and peak < math.inf):
                            for m in range(M - 1):
                                fractions[stop - 1 - t, n, m, k] = math.nan
                            continue
                        total_power = min(max(math.frexp(peak)[1], -factor_limit), factor_limit)
                        total_unit = math.ldexp(1.0, -total_power)
                        squares = float(scaled_dot(current, to, total_unit, current, to, total_unit, V, L))
                        for m in range(M - 1):
                            base = ((n * M + m) * S + k) * padded
                            peak = float(largest(current, base, L, V, L))
                            fraction = 0.0
                            if peak > 0.0:
                                power = 0
                                if peak < math.inf:
                                    power = min(max(math.frexp(peak)[1], -factor_limit), factor_limit)
                                unit = math.ldexp(1.0, -power)
                                fraction = float(
                                    scaled_dot(current, base, unit, current, to, total_unit, V, L)
                                )
                                apart = power + exponents[n * M + m] - total_power - exponents[total]
                                fraction = math.ldexp(fraction / squares, min(max(apart, -2000), 2000))
                            elif peak != 0.0:
                                fraction = math.nan
                            fractions[stop - 1 - t, n, m, k] = fraction

    return adjoint
