"""Errors of Lyapunov exponents: what noise puts into a mean over time, and what the directions began with."""

from __future__ import annotations

import numpy as np

from gatescope.datatypes import Array

_BLOCKS, _LEAST_BLOCKS = 20, 4
_MOST_CORRELATION = 0.9  # between two blocks: 20 of them tell no more
_NORMAL = 1.959964  # half of the width of 95 %, in standard deviations
_CUT_NATS = 20.0  # more than is usual, by which a stretch shrinks a change that it cuts
_CUT_FRACTION = 0.5  # of all that a change shrinks by, in the one stretch
_FEW = 0.1  # of the stretches: more cuts than that are the rule
_LEAST_STRETCHES = 10
_MOST_GROWTH = 300.0  # nats: more makes no difference
_RARE = 161.4  # F(1, 1) at 95 %


def batch_means_error(sums: Array, lengths: Array) -> Array:
    """Return the standard errors (B, k) of means over time; NaN with fewer than four blocks.

    The bins are put together to at most 20 blocks of consecutive steps.  The spread of their means over the root of
    their number is the error if blocks are independent (batch means [1]_).  Where memory is long they are not: with a
    correlation r between neighbors the variance is (1 + r) / (1 - r) times as large [2]_; an r estimated from n blocks
    is too small by about 1 / n, which is added.  Of few blocks the error is itself uncertain, and it is made larger by
    Student's factor, so that 1.96 errors on both sides are an interval of 95 %.

    Parameters
    ----------
    sums : (bins, B, k)
    lengths : (bins,)
        Steps of each bin.

    References
    ----------
    .. [1] A. M. Law and J. S. Carson, "A sequential procedure for determining the length of a steady-state simulation",
       Operations Research 27 (1979).
    .. [2] G. V. Bayley and J. M. Hammersley, "The effective number of independent observations in an autocorrelated
       time series", Supplement to the Journal of the Royal Statistical Society 8 (1946).

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.measurements.exponent_errors import batch_means_error
    >>> noise = np.random.default_rng(0).standard_normal((2000, 1, 1))
    >>> float(batch_means_error(noise, np.ones(2000))[0, 0].round(3))  # 0.022 by their number alone
    0.025
    """
    bins = len(lengths)
    blocks = min(_BLOCKS, bins)
    if blocks < _LEAST_BLOCKS:
        return np.full(sums.shape[1:], np.nan)
    starts = np.arange(blocks) * bins // blocks
    size = np.add.reduceat(lengths, starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.add.reduceat(sums, starts, axis=0) / size[:, None, None]
        apart = means - means.mean(axis=0)
        variance = (apart**2).sum(axis=0)
        correlation = (apart[1:] * apart[:-1]).sum(axis=0) / variance + 1 / blocks
        r = np.clip(np.where(variance > 0, correlation, 0.0), 0.0, _MOST_CORRELATION)
        error = np.sqrt(variance / (blocks - 1) / blocks * (1 + r) / (1 - r))
    return np.asarray(error * _students(blocks - 1) / _NORMAL)


def between_cuts(sums: Array, lengths: Array) -> dict[str, Array]:
    """Return rates without the few stretches of a run in which a change of the state is lost altogether.

    A stretch cuts where it leaves nothing (``-inf``), or shrinks a change by e^20 more than the median stretch does and
    by half as much as the whole run.  The other stretches have rates of their own, on both sides of it: tangents that
    are lost are replaced by others.

    Parameters
    ----------
    sums : (bins, B, k)
    lengths : (bins,)

    Returns
    -------
    dict
        ``cuts`` (B, k) int64, how many of the bins cut, 0 where they are more than a tenth; ``between`` and
        ``between_error`` (B, k), the exponents over the others and their errors.
    """
    bins, middle = len(lengths), np.sort(sums, axis=0)[(len(lengths) - 1) // 2]
    with np.errstate(invalid="ignore"):
        excess = middle - sums
        total = np.abs(np.where(np.isfinite(sums), sums, 0.0).sum(axis=0))
        cut = np.isneginf(sums) | ((excess > _CUT_NATS) & (excess > _CUT_FRACTION * total))
    few = (cut.sum(axis=0) <= _FEW * bins) & (bins >= _LEAST_STRETCHES)
    cut &= few
    size = np.broadcast_to(lengths[:, None, None], sums.shape)
    rest = np.where(cut, 0, size).sum(axis=0)
    rate = np.where(cut, 0.0, sums).sum(axis=0) / rest
    error = batch_means_error(np.where(cut, rate * size, sums), lengths)
    return {"cuts": cut.sum(axis=0), "between": rate, "between_error": error}


def start_error(unsettled: Array, steps: int) -> Array:
    """Return how much (B, k) the directions to start with may have put into each exponent, nats per step.

    The volume of the first i directions grows by the sum of i exponents once it lies where it grows fastest.  Until
    then it gains, once, minus the logarithm of how well it lies there, which is part of the measured sum.

    Parameters
    ----------
    unsettled : (B, k)
        What `unsettled_nats` returns, or the sum of that over chunks of the run.
    steps : int
        That were measured.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.measurements.exponent_errors import start_error
    >>> start_error(np.array([[0.5, 0.0]]), 100).tolist()
    [[0.005, 0.005]]
    """
    before = np.concatenate([np.zeros_like(unsettled[:, :1]), unsettled[:, :-1]], axis=1)
    return np.asarray(np.maximum(unsettled, before) / steps)


def misalignment(directions: Array, others: Array) -> Array:
    """Return -ln abs(det(A_i)), i = 1..k, for A_i the products of the first i directions by the first i others.

    Both are orthonormal, (k, ...).  It is 0 where the first i span the same in both, and about ln n / 2 for directions
    of n numbers that are random.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.measurements.exponent_errors import misalignment
    >>> half = np.sqrt(0.5)
    >>> misalignment(np.eye(2), np.array([[half, half], [half, -half]])).round(3).tolist()
    [0.347, 0.0]
    """
    count = len(directions)
    matrix = directions.reshape(count, -1) @ others.reshape(count, -1).T
    logs = np.zeros(count)
    for i in range(count):  # elimination without pivots: the leading minors are products of the diagonal
        pivot = matrix[i, i] if matrix[i, i] != 0 else np.finfo(np.float64).tiny
        logs[i] = np.log(abs(pivot))
        matrix[i + 1 :, i + 1 :] -= np.outer(matrix[i + 1 :, i] / pivot, matrix[i, i + 1 :])
    return np.asarray(np.maximum(-np.cumsum(logs), 0.0))


def unsettled_nats(misaligned: Array, growth: Array, size: int) -> Array:
    """Return how far (k,) the volumes of the first 1, ..., k directions may be from where they grow fastest.

    Each is minus the logarithm of how well it lies there when the measurement begins, as a standard deviation.  It is
    measured by how two random starts lie to each other.  That two lie alike is no evidence while both may have turned
    little, for so they may by accident: then it is what is left, in all but 5 % of cases, of the angle of a random
    start.  The square of that angle's tangent is at most about 161 (n - 1) in these (the 95 % point of the square of
    a ratio of two normal numbers, n - 1 times), and falls by e^(-2 g), where g is by how much more the one direction
    grew than the next through the transient [1]_.

    Parameters
    ----------
    misaligned : (k,)
        What `misalignment` returns.
    growth : (k + 1,) or (k,)
        By how many nats each of the orthonormal directions grew through the transient; k if these are all there are.
    size : int
        n, of the whole state.

    References
    ----------
    .. [1] G. Benettin, L. Galgani, A. Giorgilli and J.-M. Strelcyn, "Lyapunov characteristic exponents for smooth
       dynamical systems", Meccanica 15 (1980), part 2: volumes and their directions.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.measurements.exponent_errors import unsettled_nats
    >>> unsettled_nats(np.zeros(1), np.array([-1.0, -1.0]), 2).round(2), unsettled_nats(
    ...     np.zeros(1), np.array([-1.0, -9.0]), 2).round(9)
    (array([1.3]), array([4.634e-06]))
    """
    with np.errstate(invalid="ignore"):
        gaps = np.nan_to_num(-np.diff(growth), nan=_MOST_GROWTH)  # NaN: of two that are -inf
    left = np.log1p(_RARE * (size - 1) * np.exp(-2 * np.clip(gaps, 0.0, _MOST_GROWTH))) / 2 / _NORMAL
    nats = misaligned.copy()
    nats[: len(left)] = np.maximum(nats[: len(left)], left)
    if len(nats) == size:
        nats[-1] = 0.0  # all directions are the whole space
    return np.asarray(nats)


def _students(freedom: int) -> float:
    """Return half of the width of 95 % of Student's distribution, by the expansion in 1 / freedom (Fisher 1925)."""
    z = _NORMAL
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return float(z + first / freedom + second / freedom**2)
