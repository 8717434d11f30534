"""Adjoints carried back through a recorded run, in the log domain: how gradients propagate.

Names of sizes: S states, K kept values, G gates, P of them computed by a first phase, L lanes, M directions.
Scratch layouts: [n] sequence of the block, [m] direction, [j] vector of units; a row is a direction of a sequence.
"""

import math
from functools import cache

from numba import njit

from gatescope.kernels.loops.options import OPTIONS, absent, fingerprint_of
from gatescope.kernels.product import product
from gatescope.kernels.simd import absolute, constant, maximum, reduce_add, reduce_max
from gatescope.kernels.simd_memory import clear, get, load, prefetch, store


@cache
def make_adjoint(cell, lanes, tiles, second_tiles):
    """Kernel that carries M adjoints of each sequence back over a span of steps and records their log-norms."""
    step_vjp, prepare_vjp = cell.step_vjp, cell.prepare_vjp or absent
    S, K, G, P, L = len(cell.states), len(cell.kept), len(cell.gates), cell.prepared, lanes
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    ROWS, GROUPS, SPLIT = tiles
    ROWS2, GROUPS2, SPLIT2 = second_tiles
    FINGERPRINT = fingerprint_of(cell)
    LN2 = math.log(2.0)
    AHEAD = 2  # steps that memory is asked for before it is needed
    # Rescale when the largest entry leaves 2^-32..2^32; a float32 factor must itself be a normal float.
    LARGEST, FACTOR = 32, 120

    @njit(**OPTIONS)
    def adjoint(weights, states, gates, current, exponents, log_norms, span, work):
        # weights: adjoint panels of w_hh and of w_hh of the second phase
        # states (T+1, B, S, H), gates (T, B, K, H)
        # current [n][m][S][j][L], times 2^exponents[n]; log_norms (steps, N, M, S), first row: one step back
        # span: first sequence, last, first step, last; work: direct [n][m][j][L], d_rh and d_second [n][m][row],
        #       operand [n][m][j][L], zeros
        w_hh, w_second = weights
        direct, d_rh, d_second, operand, zeros = work
        begin, end, start, stop = span
        B, H, M = states.shape[1], states.shape[3], log_norms.shape[2]
        N, V = end - begin, (H + L - 1) // L
        padded = V * L
        row_first, row_second = V * FIRST * L + L, V * SECOND * L + L
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key

        for t in range(stop - 1, start - 1, -1):
            for n in range(N):
                for j in range(V):
                    at, valid = (t * B + begin + n) * H, H - j * L
                    old = get(states, at * S + j * L, H, valid, S, L)
                    new = get(states, (at + B * H) * S + j * L, H, valid, S, L)
                    kept = get(gates, at * K + j * L, H, valid, K, L)
                    if t - AHEAD >= start:
                        early = at - AHEAD * B * H
                        prefetch(gates, early * K + j * L, H, K)
                        prefetch(states, early * S + j * L, H, S)
                    for row in range(n * M, n * M + M):
                        ahead = load(current, row * S * padded + j * L, padded, S, L)
                        if P > 0:
                            _, p_rh, back, p_prepared = step_vjp(kept, old, new, ahead)
                            store(d_second, row * row_second + j * SECOND * L, L, clear(p_rh, valid))
                            store(d_rh, row * row_first + j * FIRST * L, L, p_prepared)
                        else:
                            _, p_rh, back = step_vjp(kept, old, new, ahead)
                            store(d_rh, row * row_first + j * FIRST * L, L, clear(p_rh, valid))
                        store(direct, row * padded + j * L, L, clear(back[:1], valid))
                        store(current, row * S * padded + padded + j * L, padded, clear(back[1:], valid))
            if P > 0:
                product(
                    (operand, 0, padded),
                    (zeros, 0, 0),
                    (w_second, 0, L, V * SECOND * L * L),
                    (d_second, 0, row_second, 1),
                    (N * M, V, V * SECOND * L),
                    (ROWS2, GROUPS2, 1, SPLIT2, L),
                )
                for n in range(N):
                    for j in range(V):
                        at, valid = (t * B + begin + n) * H, H - j * L
                        old = get(states, at * S + j * L, H, valid, S, L)
                        kept = get(gates, at * K + j * L, H, valid, K, L)
                        for row in range(n * M, n * M + M):
                            here = row * row_first + j * FIRST * L
                            _, p_rh, back = prepare_vjp(
                                kept,
                                old,
                                load(operand, row * padded + j * L, L, 1, L)[0],
                                load(d_rh, here, L, P, L),
                            )
                            store(d_rh, here, L, clear(p_rh, valid))
                            add = load(direct, row * padded + j * L, L, 1, L)
                            store(direct, row * padded + j * L, L, clear((add[0] + back[0],), valid))
            product(
                (current, 0, S * padded),
                (direct, 0, padded),
                (w_hh, 0, L, V * FIRST * L * L),
                (d_rh, 0, row_first, 1),
                (N * M, V, V * FIRST * L),
                (ROWS, GROUPS, 1, SPLIT, L),
            )

            for n in range(N):
                peak = absolute(load(current, n * M * S * padded, L, 1, L)[0])
                for q in range(M * S * V):
                    peak = maximum(absolute(load(current, n * M * S * padded + q * L, L, 1, L)[0]), peak)
                largest = float(reduce_max(peak))
                power = 0
                if largest > 0.0 and largest < math.inf:
                    power = math.frexp(largest)[1]
                    if abs(power) > LARGEST:
                        power = min(max(power, -FACTOR), FACTOR)
                        factor = math.ldexp(1.0, -power)
                        for q in range(M * S * V):
                            place = n * M * S * padded + q * L
                            value = load(current, place, L, 1, L)[0]
                            store(current, place, L, (value * constant(value, factor),))
                        exponents[n] += power
                for m in range(M):
                    for k in range(S):
                        # A state whose part is far smaller than the others' is measured on its own scale.
                        base = ((n * M + m) * S + k) * padded
                        peak = absolute(load(current, base, L, 1, L)[0])
                        for j in range(1, V):
                            peak = maximum(absolute(load(current, base + j * L, L, 1, L)[0]), peak)
                        largest = float(reduce_max(peak))
                        if largest > 0.0 and largest < math.inf:
                            power = min(max(math.frexp(largest)[1], -FACTOR), FACTOR)
                            factor = math.ldexp(1.0, -power)
                            total = constant(peak, 0.0)
                            for j in range(V):
                                value = load(current, base + j * L, L, 1, L)[0]
                                value = value * constant(value, factor)
                                total = total + value * value
                            norm = 0.5 * math.log(float(reduce_add(total))) + (power + exponents[n]) * LN2
                        elif largest == 0.0:
                            norm = -math.inf
                        else:
                            norm = largest
                        log_norms[stop - 1 - t, n, m, k] = norm

    return adjoint
