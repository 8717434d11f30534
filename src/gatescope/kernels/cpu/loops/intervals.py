"""Intervals between orthonormalizations of rows that are carried from step to step.

An interval after which a row is all but lost among the others, or beyond the range of floats, is repeated with an
orthonormalization at each step; what is lost then, its Jacobian has lost.

Arrays: rows, three times M rows of a width each, of which the last third is a copy from the interval's beginning;
logs, flat, M for every interval, to which the logs of R's diagonal are added, and M more as scratch.
"""

from numba.extending import register_jitable

from gatescope.kernels.simd.orthogonal import EPS, RESOLVED, orthogonalize


@register_jitable
def begin_intervals(rows, logs, start, count):
    """Begin the first interval at step `start`, with the rows at the front.

    Returns the progress: the step reached, the step at which the interval began, intervals done, whether this one is
    repeated, how many were, the smallest sine, and the sum of eps / sine.
    """
    _begin(rows, 0, logs, 0, count)
    return start, start, 0, False, 0, 1.0, 0.0


@register_jitable
def end_step(rows, at, span, shape, scratch, logs, progress):
    """Take a step into account after which the rows are rows[at:]; return the progress.

    span: first step, last, rows, steps between orthonormalizations; shape: as for `orthogonalize`.
    """
    start, stop, count, every = span
    t, began, done, singly, repeated, smallest, rounding = progress
    third, spare = rows.size // 3, logs.size - count
    t += 1
    due = (t - start) % every == 0 or t == stop
    if due or singly:
        sine = orthogonalize(rows, at, count, shape, scratch, logs, spare)
        if sine < RESOLVED and not singly and t - began > 1:
            for k in range(third):
                rows[at + k] = rows[2 * third + k]
            return began, began, done, True, repeated + 1, smallest, rounding
        if sine > 0.0:
            smallest = min(smallest, sine)
            rounding += EPS / sine
        for k in range(count):
            logs[done * count + k] += logs[spare + k]
        if due:
            began, singly, done = t, False, done + 1
            if t < stop:
                _begin(rows, at, logs, done, count)
    return t, began, done, singly, repeated, smallest, rounding


@register_jitable
def _begin(rows, at, logs, number, count):
    """Copy the rows, and set the logs of interval `number` to 0."""
    third = rows.size // 3
    for k in range(third):
        rows[2 * third + k] = rows[at + k]
    for k in range(count):
        logs[number * count + k] = 0.0
