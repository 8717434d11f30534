"""The read-out: y = W h + b, its losses, and their gradients.

Names of sizes: O outputs, C target columns, H units of the layer below, L lanes.
"""

import math
from functools import cache

from gatescope.kernels.cpu.loops.compiling import compiled, machinery
from gatescope.kernels.simd.load_store import get, load, prefetch, put, store
from gatescope.kernels.simd.product import product

# What the first column of the table of heads says.
MSE, CROSS_ENTROPY, BERNOULLI = 0, 1, 2
# Rows that are worked on at a time: their scratch stays in the first-level cache.
CHUNK = 64


@cache
def make_readout(lanes):
    """Make the kernel of outputs, losses and gradients of a block of sequences over a span of steps."""
    L = lanes
    ROWS, BIAS, AT_ONCE = 7, 8, CHUNK
    AHEAD = 4  # steps that memory is asked for before it is needed: segments come latest first
    FINGERPRINT = machinery()

    @compiled
    def readout(weights, features, offsets, targets, mask, heads, factors, span, work, sums, results, totals):
        # weights: w as a forward panel, b, w as an adjoint panel
        # features: flat; offsets: where the first sequence's first step begins, from step to step, from sequence to
        #           sequence, in numbers; targets (T, B, C); mask (T, B): 0 where a step does not count
        # heads (heads, 4): loss, first output, outputs, first target column; factors (heads,): of the gradients
        # span: first sequence, last, first step, last (of targets and mask), outputs, whether to compute gradients
        # work: x [CHUNK][H padded], y and d_y [CHUNK][O padded], d_x [CHUNK][H padded], slopes and squares [O padded],
        #       ones (1,), zeros, where rows are [CHUNK][2] int64
        # sums: gradients of w and b as a gradient panel each, of all outputs, added to
        # results: d_features (steps, B, H), outputs (T, B, O) or of size 0: none
        # totals (heads, 3) float64, added to: losses, right answers, answers
        w, b, w_back = weights
        x, y, d_y, d_x, slopes, squares, ones, zeros, where = work
        g_w, g_b = sums
        d_features, outputs = results
        begin, end, start, stop, O, learn = span
        base, by_step, by_sequence = offsets
        B, C, H = targets.shape[1], targets.shape[2], g_w.shape[1]
        V, wide = (O + L - 1) // L, (H + L - 1) // L
        padded, across = V * L, wide * L
        one, zero = ones[0], zeros[0]
        predict = outputs.size > 0
        # Where all losses are mean squares, outputs and target columns are the same, and whole vectors do.
        plain = True
        for head in range(heads.shape[0]):
            plain = plain and heads[head, 0] == MSE
            for k in range(heads[head, 2]):
                slopes[heads[head, 1] + k] = factors[head]
        fingerprint = FINGERPRINT  # noqa: F841 - part of the closure, and so of the cache key

        rows, t, n = 0, start, begin
        while t < stop:
            # Collect the rows that count, until there are enough of them.
            while t < stop and rows < AT_ONCE:
                if mask[t, n] != 0 or predict:
                    source = base + (t - start) * by_step + (n - begin) * by_sequence
                    if t + AHEAD < stop:
                        prefetch(features, source + AHEAD * by_step, L, 1)
                        prefetch(targets, ((t + AHEAD) * B + n) * C, L, 1)
                    for j in range(wide):
                        store(x, rows * across + j * L, L, get(features, source + j * L, H, H - j * L, 1, L))
                    where[rows, 0], where[rows, 1] = t, n
                    rows += 1
                elif learn:
                    for u in range(H):
                        d_features[t - start, n, u] = 0
                n += 1
                if n == end:
                    t, n = t + 1, begin
            if rows == 0 or (rows < AT_ONCE and t < stop):
                continue
            product(
                (y, 0, padded),
                (b, 0, 0),
                (w, 0, L, H * L),
                (x, 0, across, 1),
                (rows, V, H),
                (ROWS, 1, 1, 1, L),
            )
            if plain:
                for j in range(V):
                    store(squares, j * L, L, load(zeros, 0, L, 1, L))
                for r in range(rows):
                    s, m = where[r, 0], where[r, 1]
                    for j in range(V):
                        if mask[s, m] == 0:
                            store(d_y, r * padded + j * L, L, load(zeros, 0, L, 1, L))
                        else:
                            (value,) = load(y, r * padded + j * L, L, 1, L)
                            (target,) = get(targets, (s * B + m) * C + j * L, C, C - j * L, 1, L)
                            (slope,) = load(slopes, j * L, L, 1, L)
                            (square,) = load(squares, j * L, L, 1, L)
                            difference = value - target
                            store(d_y, r * padded + j * L, L, (difference * slope,))
                            store(squares, j * L, L, (square + difference * difference,))
                for head in range(heads.shape[0]):
                    for k in range(heads[head, 2]):
                        totals[head, 0] += squares[heads[head, 1] + k]
            else:
                for k in range(rows * padded):
                    d_y[k] = 0
            if predict:
                for r in range(rows):
                    for k in range(O):
                        outputs[where[r, 0], where[r, 1], k] = y[r * padded + k]
            for head in range(0 if plain else heads.shape[0]):
                kind, first, size, column = heads[head, 0], heads[head, 1], heads[head, 2], heads[head, 3]
                factor = factors[head]
                total, right, answers = 0.0, 0, 0
                for r in range(rows):
                    s, m = where[r, 0], where[r, 1]
                    if mask[s, m] == 0:
                        continue
                    at, loss = r * padded + first, zero
                    if kind == MSE:
                        for k in range(size):
                            off = y[at + k] - targets[s, m, column + k]
                            loss += off * off
                            d_y[at + k] = factor * off
                    elif kind == CROSS_ENTROPY:
                        right_one, best = int(targets[s, m, column]), 0
                        for k in range(1, size):
                            if y[at + k] > y[at + best]:
                                best = k
                        top, sum_ = y[at + best], zero
                        for k in range(size):
                            e = math.exp(y[at + k] - top)
                            d_y[at + k] = e
                            sum_ += e
                        loss = math.log(sum_) - (y[at + right_one] - top)
                        scale = factor / sum_
                        for k in range(size):
                            d_y[at + k] *= scale
                        d_y[at + right_one] -= factor
                        right += best == right_one
                        answers += 1
                    else:
                        for k in range(size):
                            logit, target = y[at + k], targets[s, m, column + k]
                            e = math.exp(-abs(logit))
                            loss += max(logit, zero) - logit * target + math.log1p(e)
                            d_y[at + k] = factor * ((one if logit >= 0 else e) / (one + e) - target)
                            right += (logit > 0) == (target > 0.5)
                        answers += size
                    total += loss
                totals[head, 0] += total
                totals[head, 1] += right
                totals[head, 2] += answers
            if learn:
                product(
                    (g_w, 0, padded), (g_w, 0, padded), (d_y, 0, padded, L), (x, 0, 1, across), (H, V, rows),
                    (ROWS, 1, 1, 1, L),
                )  # fmt: skip
                product(
                    (g_b, 0, 0), (g_b, 0, 0), (d_y, 0, padded, L), (ones, 0, 0, 0), (1, V, rows),
                    (1, 1, 1, BIAS, L),
                )  # fmt: skip
                product(
                    (d_x, 0, across), (zeros, 0, 0), (w_back, 0, L, padded * L), (d_y, 0, padded, 1),
                    (rows, wide, O), (ROWS, 1, 1, 1, L),
                )  # fmt: skip
                for r in range(rows):
                    s, m = where[r, 0] - start, where[r, 1]
                    for j in range(wide):
                        target_at = (s * B + m) * H + j * L
                        put(
                            d_features, target_at, H, H - j * L, False, load(d_x, r * across + j * L, L, 1, L)
                        )
            rows = 0

    return readout
