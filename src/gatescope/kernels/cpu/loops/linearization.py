"""Derivatives of the steps of a recorded run, from their pre-activations, which have digits where units are saturated.

All rows (steps of sequences) are independent: pre-activations are one product of the weights with the recorded states,
and the cell's own equations run on activations that know their margins (`gatescope.cells.margins`), in float64.
Adjoints of a power of two give the derivatives, as those of 1 do in `tangent`, and products that no float64 holds.

Names of sizes: S states, K saved values, G gates, P of them computed by a first phase, L lanes.
"""

from functools import cache

from gatescope.cells.margins import value_of
from gatescope.cells.registry import absent
from gatescope.kernels.cpu.layout import input_tile
from gatescope.kernels.cpu.loops.compiling import compiled, fingerprint_of
from gatescope.kernels.simd.load_store import load, store
from gatescope.kernels.simd.margins import count_small
from gatescope.kernels.simd.product import product


@cache
def make_linearization(cell, lanes, tiles, second_tiles):
    """Make the kernel that derives a span of rows, of a cell with margins."""
    step, step_vjp = cell.step, cell.step_vjp
    prepare, prepare_vjp = cell.prepare or absent, cell.prepare_vjp or absent
    operand_of = cell.operand or absent
    S, K, G, P, L = len(cell.states), len(cell.saved), len(cell.gates), cell.prepared, lanes
    FIRST = P or G
    SECOND = max(G - FIRST, 1)
    EACH, COUNTED = (
        S + 2 * G,
        K + S,
    )  # derivatives of a new state; values in which small derivatives are counted
    ROWS, VECTORS, SPLIT, WIDE, ASK = tiles
    ROWS2, VECTORS2, SPLIT2, WIDE2, ASK2 = second_tiles
    INPUT_ROWS, INPUT_VECTORS = input_tile(G)
    OTHERS = int(cell.reads_others)
    FINGERPRINT = fingerprint_of(cell)

    @compiled
    def linearization(weights, inputs, states, coefficients, chosen, alive, counted, span, work):
        # weights: (w_ih, b_ih, w_hh, b_hh, w_hh of the second phase, b_hh of the second phase), flat panels
        # inputs (N, I), states (N, S, H), coefficients (N, C, H); chosen (C,): which of the derivatives they are
        # alive (C * H): 1 where a coefficient counts if it is small, else 0
        # counted [K + S][j][L]: weights of saved values and new states in the count of small ones; then the count, [L]
        # span: first row, last, rows at a time; what is small of a margin, what is large of another value, and what is
        #       small of a coefficient before it is multiplied by the last, which takes the power of two away
        # work: x [n][I], old [n][S][j][L], wx [n][j][G][L], rh [n][j][FIRST][L], rh of the second phase,
        #       operand [n][j][L], units [S + 1][S][L] (adjoints of the power of two, and zeros),
        #       derivatives [d][j][L]: by new state direct [S], by rh [G], by wx [G]; then the operand's, [S + P]
        w_ih, b_ih, w_hh, b_hh, w_second, b_second = weights
        x, old, wx, rh, rh_second, operand, units, derivatives = work
        begin, end, at_once, least, beyond, carried, drop = span
        I, H, C = inputs.shape[1], states.shape[2], coefficients.shape[1]
        V = (H + L - 1) // L
        padded, tally = V * L, COUNTED * V * L
        flat, few = coefficients.reshape(-1), 0
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key

        for first in range(begin, end, at_once):
            rows = min(at_once, end - first)
            for n in range(rows):
                for i in range(I):
                    x[n * I + i] = inputs[first + n, i]
                for s in range(S):
                    for u in range(H):
                        old[(n * S + s) * padded + u] = states[first + n, s, u]
            product(
                (wx, 0, V * G * L),
                (b_ih, 0, 0),
                (w_ih, 0, INPUT_VECTORS * L, I * INPUT_VECTORS * L),
                (x, 0, I, 1),
                (rows, V * G // INPUT_VECTORS, I),
                (INPUT_ROWS, INPUT_VECTORS, INPUT_VECTORS, 1, L),
            )
            product(
                (rh, 0, V * FIRST * L),
                (b_hh, 0, 0),
                (w_hh, 0, WIDE * L, H * WIDE * L),
                (old, 0, S * padded, 1),
                (rows, V * FIRST // WIDE, H),
                (ROWS, VECTORS, WIDE, SPLIT, L, ASK),
            )
            if P > 0:
                for n in range(rows):
                    for j in range(V):
                        state = load(old, n * S * padded + j * L, padded, S, L)
                        prepared = prepare(
                            load(wx, (n * V + j) * G * L, L, FIRST, L),
                            load(rh, (n * V + j) * FIRST * L, L, FIRST, L),
                            state,
                        )
                        store(operand, (n * V + j) * L, L, (value_of(operand_of(prepared, state)),))
                product(
                    (rh_second, 0, V * SECOND * L),
                    (b_second, 0, 0),
                    (w_second, 0, WIDE2 * L, H * WIDE2 * L),
                    (operand, 0, padded, 1),
                    (rows, V * SECOND // WIDE2, H),
                    (ROWS2, VECTORS2, WIDE2, SPLIT2, L, ASK2),
                )
            for n in range(rows):
                for j in range(V):
                    state = load(old, n * S * padded + j * L, padded, S, L)
                    none = load(units, S * S * L, L, 1, L)[0]
                    if P > 0:
                        prepared = prepare(
                            load(wx, (n * V + j) * G * L, L, FIRST, L),
                            load(rh, (n * V + j) * FIRST * L, L, FIRST, L),
                            state,
                        )
                        new, saved = step(
                            load(wx, ((n * V + j) * G + FIRST) * L, L, SECOND, L),
                            load(rh_second, (n * V + j) * SECOND * L, L, SECOND, L),
                            state,
                            prepared,
                        )
                    else:
                        new, saved = step(
                            load(wx, (n * V + j) * G * L, L, G, L),
                            load(rh, (n * V + j) * G * L, L, G, L),
                            state,
                        )
                    small = count_small(saved + new, least, beyond, load(counted, j * L, padded, COUNTED, L))
                    store(counted, tally, L, (load(counted, tally, L, 1, L)[0] + small,))
                    for s in range(S):
                        one = load(units, s * S * L, L, S, L)
                        at = s * EACH * padded + j * L
                        if P > 0:
                            d_wx, d_rh, back, d_prepared = step_vjp(saved, state, new, one)
                            first_wx, first_rh, more = prepare_vjp(saved, state, none, d_prepared)
                            store(derivatives, at + S * padded, padded, first_rh)
                            store(derivatives, at + (S + FIRST) * padded, padded, d_rh)
                            store(derivatives, at + (S + G) * padded, padded, first_wx)
                            store(derivatives, at + (S + G + FIRST) * padded, padded, d_wx)
                            store(derivatives, at, padded, back)
                            store(derivatives, at, padded, (back[0] + more[0],))
                            if OTHERS > 0:
                                for q in range(1, S):
                                    store(derivatives, at + q * padded, padded, (back[q] + more[q],))
                        else:
                            d_wx, d_rh, back = step_vjp(saved, state, new, one)
                            store(derivatives, at, padded, back)
                            store(derivatives, at + S * padded, padded, d_rh)
                            store(derivatives, at + (S + G) * padded, padded, d_wx)
                    if P > 0:
                        one = load(units, 0, L, 1, L)
                        nothing = load(units, S * S * L, 0, P, L)
                        _, first_rh, more = prepare_vjp(saved, state, one[0], nothing)
                        store(derivatives, S * EACH * padded + j * L, padded, more)
                        store(derivatives, (S * EACH + S) * padded + j * L, padded, first_rh)
                for c in range(C):
                    source, target = chosen[c] * padded, ((first + n) * C + c) * H
                    for u in range(H):
                        value = derivatives[source + u]
                        flat[target + u] = value * drop
                        size = abs(value)
                        few += ((size > 0.0) & (size < carried)) * alive[c * H + u]
        return few

    return linearization
