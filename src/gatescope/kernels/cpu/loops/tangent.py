"""Tangents carried forward through a recorded run and made orthonormal: what Lyapunov exponents are read from.

A step of the tangent is linear, and `step_vjp` is linear in the adjoint and elementwise, so the derivatives that a
tangent needs are what `step_vjp` returns for adjoints of 1: d new_s / d rh_g and d new_s / d old_s', unit by unit.
With them the recurrent weights of all gates become one matrix a state, J_s = sum_g diag(d new_s / d rh_g) R_g, and a
step of M tangents is one product a state.  A few tangents are carried through the gates instead, R_g times each, which
is less to do than to make the matrices.

Names of sizes: S states, K saved values, G gates, P of them computed by a first phase, L lanes, M tangents, V vectors.
Everything is float64; a tangent is a row [S][V][L] and L more.
"""

from functools import cache

from gatescope.cells.registry import absent
from gatescope.kernels.cpu.loops.compiling import compiled, fingerprint_of
from gatescope.kernels.cpu.loops.intervals import begin_intervals, end_step
from gatescope.kernels.simd.load_store import clear, get, load, store
from gatescope.kernels.simd.orthogonal import LANES
from gatescope.kernels.simd.product import product
from gatescope.kernels.simd.vector import fma


@cache
def make_tangent(cell, tiles, gate_tiles=None):
    """Make the kernel that carries M tangents of one sequence over a span of steps, orthonormal every few steps.

    `tiles`: rows and vectors of the products with a state's matrix.  `gate_tiles`: rows, vectors and split of those
    with the weights of the first and of the second phase, if tangents are carried through the gates; None: by matrices.
    """
    step_vjp, prepare_vjp = cell.step_vjp, cell.prepare_vjp or absent
    S, K, G, P, L = len(cell.states), len(cell.saved), len(cell.gates), cell.prepared, LANES
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    PREPARED = max(P, 1)
    OTHERS = int(cell.reads_others)
    READ = S if cell.reads_others else 1  # states that the operand has derivatives by
    ROWS, VECTORS = tiles
    BY_GATES = gate_tiles is not None
    (ROWS1, VECTORS1, SPLIT1), (ROWS2, VECTORS2, SPLIT2) = gate_tiles or ((1, 1, 1), (1, 1, 1))
    FINGERPRINT = fingerprint_of(cell)

    @compiled
    def tangent(weights, states, gates, rows, span, work, logs):
        # weights: forward panels of w_hh and of w_hh of the second phase; units [S][S][L], the adjoints of 1
        # states (T+1, B, S, H), gates (T, B, K, H); rows: three times M rows, the tangents first
        # span: sequence, first step, last step, M, steps between orthonormalizations
        # work: direct [s][s'][j][L], by_rh [s][j][FIRST][L], by_operand [j][FIRST + READ][L], matrices [S][j][k][L],
        #       second_rh [s][j][SECOND][L], second [S + 1][j][k][L], operands [M][V][L], tangents of the gates
        #       moved [m][j][FIRST][L], moved_second [m][j][SECOND][L], zeros [j][FIRST or SECOND][L], scratch of
        #       `orthogonalize`
        # logs (ceil(steps / every) + 1, M): logs of R's diagonal, the last row scratch; see `intervals`
        # Returns the smallest sine, the sum of eps / sine, and how many intervals were repeated.
        w_hh, w_second, units = weights
        (
            direct,
            by_rh,
            by_operand,
            matrices,
            second_rh,
            second,
            operands,
            moved,
            moved_second,
            zeros,
            scratch,
        ) = work
        sequence, start, stop, M, every = span
        B, H = states.shape[1], states.shape[3]
        V = (H + L - 1) // L
        padded = V * L
        pitch, panel = S * padded + L, V * H * L
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key
        half, flat = M * pitch, logs.reshape(-1)
        old_half, new_half = 0, half
        progress = begin_intervals(rows, flat, start, M)

        while progress[0] < stop:
            t = progress[0]
            at = (t * B + sequence) * H
            for j in range(V):
                valid = H - j * L
                old = get(states, at * S + j * L, H, valid, S, L)
                new = get(states, (at + B * H) * S + j * L, H, valid, S, L)
                saved = get(gates, at * K + j * L, H, valid, K, L)
                for s in range(S):
                    one = load(units, s * S * L, L, S, L)
                    if P > 0:
                        _, p_rh, back, p_prepared = step_vjp(saved, old, new, one)
                        store(second_rh, (s * V + j) * SECOND * L, L, clear(p_rh, valid))
                        none = load(units, S * S * L, L, 1, L)[0]
                        _, p_first, p_back = prepare_vjp(saved, old, none, p_prepared)
                        store(by_rh, (s * V + j) * FIRST * L, L, clear(p_first, valid))
                        store(direct, (s * S * V + j) * L, padded, clear(back, valid))
                        first = load(direct, (s * S * V + j) * L, L, 1, L)[0]
                        store(direct, (s * S * V + j) * L, L, clear((first + p_back[0],), valid))
                        if OTHERS > 0:
                            for q in range(1, S):
                                at_state = ((s * S + q) * V + j) * L
                                other = load(direct, at_state, L, 1, L)[0]
                                store(direct, at_state, L, clear((other + p_back[q],), valid))
                    else:
                        _, p_rh, back = step_vjp(saved, old, new, one)
                        store(by_rh, (s * V + j) * FIRST * L, L, clear(p_rh, valid))
                        store(direct, (s * S * V + j) * L, padded, clear(back, valid))
                if P > 0:
                    nothing = load(units, S * S * L, L, PREPARED, L)
                    one = load(units, 0, L, 1, L)[0]
                    _, p_first, p_back = prepare_vjp(saved, old, one, nothing)
                    store(by_operand, j * (FIRST + READ) * L, L, clear(p_first, valid))
                    store(by_operand, (j * (FIRST + READ) + FIRST) * L, L, clear(p_back[:READ], valid))

            if BY_GATES:
                product(
                    (moved, 0, V * FIRST * L),
                    (zeros, 0, 0),
                    (w_hh, 0, FIRST * L, H * FIRST * L),
                    (rows, old_half, pitch, 1),
                    (M, V, H),
                    (ROWS1, VECTORS1, FIRST, SPLIT1, L),
                )
                if P > 0:
                    for m in range(M):
                        for j in range(V):
                            factor = load(by_operand, (j * (FIRST + READ) + FIRST) * L, L, 1, L)[0]
                            total = factor * load(rows, old_half + m * pitch + j * L, L, 1, L)[0]
                            if OTHERS > 0:
                                for q in range(1, S):
                                    factor = load(by_operand, (j * (FIRST + READ) + FIRST + q) * L, L, 1, L)[
                                        0
                                    ]
                                    value = load(rows, old_half + m * pitch + q * padded + j * L, L, 1, L)[0]
                                    total = fma(factor, value, total)
                            for g in range(FIRST):
                                factor = load(by_operand, (j * (FIRST + READ) + g) * L, L, 1, L)[0]
                                value = load(moved, ((m * V + j) * FIRST + g) * L, L, 1, L)[0]
                                total = fma(factor, value, total)
                            store(operands, m * padded + j * L, L, (total,))
                    product(
                        (moved_second, 0, V * SECOND * L),
                        (zeros, 0, 0),
                        (w_second, 0, SECOND * L, H * SECOND * L),
                        (operands, 0, padded, 1),
                        (M, V, H),
                        (ROWS2, VECTORS2, SECOND, SPLIT2, L),
                    )
                for m in range(M):
                    for s in range(S):
                        for j in range(V):
                            factor = load(direct, (s * S * V + j) * L, L, 1, L)[0]
                            total = factor * load(rows, old_half + m * pitch + j * L, L, 1, L)[0]
                            for other in range(1, S):
                                factor = load(direct, ((s * S + other) * V + j) * L, L, 1, L)[0]
                                value = load(rows, old_half + m * pitch + other * padded + j * L, L, 1, L)[0]
                                total = fma(factor, value, total)
                            for g in range(FIRST):
                                factor = load(by_rh, ((s * V + j) * FIRST + g) * L, L, 1, L)[0]
                                value = load(moved, ((m * V + j) * FIRST + g) * L, L, 1, L)[0]
                                total = fma(factor, value, total)
                            if P > 0:
                                for g in range(SECOND):
                                    factor = load(second_rh, ((s * V + j) * SECOND + g) * L, L, 1, L)[0]
                                    value = load(moved_second, ((m * V + j) * SECOND + g) * L, L, 1, L)[0]
                                    total = fma(factor, value, total)
                            store(rows, new_half + m * pitch + s * padded + j * L, L, (total,))
            else:
                for s in range(S):
                    for j in range(V):
                        factors = load(by_rh, (s * V + j) * FIRST * L, L, FIRST, L)
                        for k in range(H):
                            at_k = (j * H + k) * L
                            total = factors[0] * load(w_hh, at_k * FIRST, L, 1, L)[0]
                            for g in range(1, FIRST):
                                factor = load(by_rh, ((s * V + j) * FIRST + g) * L, L, 1, L)[0]
                                total = fma(factor, load(w_hh, at_k * FIRST + g * L, L, 1, L)[0], total)
                            store(matrices, s * panel + at_k, L, (total,))

                if P > 0:
                    # The operand's tangents: one product with sum_g diag(d operand / d rh_g) R_g, then those of the
                    # second phase.
                    for j in range(V):
                        for k in range(H):
                            at_k = (j * H + k) * L
                            total = load(units, S * S * L, L, 1, L)[0]
                            for g in range(FIRST):
                                factor = load(by_operand, (j * (FIRST + READ) + g) * L, L, 1, L)[0]
                                total = fma(factor, load(w_hh, at_k * FIRST + g * L, L, 1, L)[0], total)
                            store(second, S * panel + at_k, L, (total,))
                            for s in range(S):
                                total = load(units, S * S * L, L, 1, L)[0]
                                for g in range(SECOND):
                                    factor = load(second_rh, ((s * V + j) * SECOND + g) * L, L, 1, L)[0]
                                    total = fma(
                                        factor, load(w_second, at_k * SECOND + g * L, L, 1, L)[0], total
                                    )
                                store(second, s * panel + at_k, L, (total,))
                    for j in range(V):
                        factor = load(by_operand, (j * (FIRST + READ) + FIRST) * L, L, 1, L)[0]
                        for m in range(M):
                            value = load(rows, old_half + m * pitch + j * L, L, 1, L)[0]
                            store(operands, m * padded + j * L, L, (factor * value,))
                        if OTHERS > 0:
                            for q in range(1, S):
                                factor = load(by_operand, (j * (FIRST + READ) + FIRST + q) * L, L, 1, L)[0]
                                for m in range(M):
                                    at_operand = m * padded + j * L
                                    value = load(rows, old_half + m * pitch + q * padded + j * L, L, 1, L)[0]
                                    total = load(operands, at_operand, L, 1, L)[0]
                                    store(operands, at_operand, L, (fma(factor, value, total),))
                    product(
                        (operands, 0, padded),
                        (operands, 0, padded),
                        (second, S * panel, L, H * L),
                        (rows, old_half, pitch, 1),
                        (M, V, H),
                        (ROWS, VECTORS, 1, 1, L),
                    )

                for s in range(S):
                    for j in range(V):
                        for m in range(M):
                            total = load(direct, (s * S * V + j) * L, L, 1, L)[0]
                            total = total * load(rows, old_half + m * pitch + j * L, L, 1, L)[0]
                            for other in range(1, S):
                                factor = load(direct, ((s * S + other) * V + j) * L, L, 1, L)[0]
                                value = load(rows, old_half + m * pitch + other * padded + j * L, L, 1, L)[0]
                                total = fma(factor, value, total)
                            store(rows, new_half + m * pitch + s * padded + j * L, L, (total,))
                    product(
                        (rows, new_half + s * padded, pitch),
                        (rows, new_half + s * padded, pitch),
                        (matrices, s * panel, L, H * L),
                        (rows, old_half, pitch, 1),
                        (M, V, H),
                        (ROWS, VECTORS, 1, 1, L),
                    )
                    if P > 0:
                        product(
                            (rows, new_half + s * padded, pitch),
                            (rows, new_half + s * padded, pitch),
                            (second, s * panel, L, H * L),
                            (operands, 0, padded, 1),
                            (M, V, H),
                            (ROWS, VECTORS, 1, 1, L),
                        )
            old_half, new_half = new_half, old_half

            progress = end_step(
                rows, old_half, (start, stop, M, every), (S, H, padded), scratch, flat, progress
            )
        if old_half > 0:
            for k in range(half):
                rows[k] = rows[old_half + k]
        return progress[5], progress[6], progress[4]

    return tangent
