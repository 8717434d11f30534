"""Long market series: what is each trade worth, with hindsight, at every one of 20,000 steps?"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

from gatescope.checks.arrays import check_array
from gatescope.checks.numbers import check_count, check_number
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.tasks._synthetic import check_size
from gatescope.tasks._task import task

# The positions that a choice leads to, by the position it is made in; 0 flat, 1 long, 2 short.
# flat: stay, long, short; short: hold, close; long: hold, close.
_CHOICES = {"flat": (0, 1, 2), "short": (2, 0), "long": (1, 0)}
_SIGNS = (0.0, 1.0, -1.0)
_DISCOUNT = partial(check_number, least=0, most=1)


@task(steps=partial(check_count, least=3), gamma=_DISCOUNT)
def long_series(
    *,
    steps: int = 20_000,
    sequences: int = 40,
    lookback: int = 8,
    gamma: float = 0.99,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make long market series, and what every trade is worth at every step to one who knows the future.

    The prices p_t are those of `long_series_prices`.  The inputs of step t are the last W = `lookback` price changes,
    ``p_t - p_{t-1}`` first, divided by the standard deviation of all changes of the batch after their mean is taken
    off; changes from before the start are 0.  The targets are the seven hindsight values of `long_series_values`
    at step t, standardized a head: the values of one position's choices get the mean 0 and the standard
    deviation 1, over all steps and sequences and these choices together, so that the best choice stays the best.

    The published experiment (M in the claims) states how its series are made, but not its input width, heads, loss and
    reward.  **These are our choice**: compare the order and the shape of its curves with ours, not their heights.

    The future ends with the series, so the values fall to 0 over the last ``1 / (1 - gamma)`` steps or so.  Nothing in
    the inputs says that the end is near, and the fall is deep: of the baseline of the default batch (seed 0), 22 %
    come from the last 300 of the 20,000 steps.

    The baseline is the best constant for each of the seven outputs: a head's mean squared error is then the mean of
    its outputs' variances, a little under 1, and the three together a little under 3.

    Parameters
    ----------
    steps : int
        T, at least 3.
    sequences : int
        B.
    lookback : int
        W, at least 1; the experiment is run with 1, 8, 32 and 128.
    gamma : float
        Discount of a reward a step later, from 0 to 1.
    seed : int
    dtype : {"float32", "float64"}
        Of the batch; prices, values and statistics are computed in float64.

    Returns
    -------
    Batch
        `inputs` (T, B, W), `targets` (T, B, 7), of which every step counts; three heads, each mean squared error:
        ``"flat"`` (stay, long, short), ``"short"`` (hold, close), ``"long"`` (hold, close).  `provenance` holds what
        undoes the standardization, and the arguments, of which steps, sequences and seed give the prices again.

    Raises
    ------
    ValueRangeError
        If the changes of so short a series are all alike.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.long_series(steps=500, sequences=2, lookback=4)
    >>> batch.inputs.shape, batch.targets.shape, [head.name for head in batch.heads]
    ((500, 2, 4), (500, 2, 7), ['flat', 'short', 'long'])
    >>> 2.9 < batch.baseline < 3
    True
    """
    check_size(
        steps * sequences * (lookback + sum(map(len, _CHOICES.values()))),
        dtype,
        "give fewer steps or sequences, or a shorter lookback",
    )
    prices = long_series_prices(steps=steps, sequences=sequences, seed=seed)
    changes = np.diff(prices, axis=0)
    change_mean, change_deviation = float(changes.mean()), float(changes.std())
    worth = _worth(prices, gamma)
    heads, targets, baseline, statistics = [], [], 0.0, {}
    for name, leads_to in _CHOICES.items():
        values = worth[:, leads_to]
        mean, deviation = float(values.mean()), float(values.std())
        if not (deviation > 0 and change_deviation > 0):
            raise ValueRangeError(
                f"gives, with `sequences`={sequences}, price changes that are all alike",
                argument="steps",
                seen=steps,
                advice="ask for more",
            )
        targets.append((values - mean) / deviation)
        baseline += float(targets[-1].var(axis=(0, 2)).mean())
        heads.append(Head(name, len(leads_to), "mse"))
        statistics[name] = {"mean": mean, "standard_deviation": deviation}
    return Batch(
        inputs=_windows((changes - change_mean) / change_deviation, lookback, dtype),
        targets=_columns_last(targets, dtype),
        heads=tuple(heads),
        baseline=baseline,
        baseline_of="the best constant for each of the seven outputs: the variances of the targets",
        provenance={
            "reward": "position x price change, no cost",
            "change": {"mean": change_mean, "standard_deviation": change_deviation},
            "value": statistics,
        },
    )


def long_series_prices(*, steps: int = 20_000, sequences: int = 40, seed: int = 0) -> Array:
    """Return the prices of `long_series`: the same for the same `steps`, `sequences` and `seed`.

    An angle takes small random steps, ``theta_0 ~ U(-pi, pi)`` and ``theta_{i+1} = theta_i + 0.01 U(-1, 1)``, and

    ``p_i = round(100 + (|sin theta_i| - |cos theta_i|) sin(0.0002 i) + N(0, 0.01^2), 2)``,  i = 0..T-1,

    so a price is in whole hundredths, of which the noise alone is about one.

    Parameters
    ----------
    steps : int
        T.
    sequences : int
        B.
    seed : int

    Returns
    -------
    (T, B) float64

    References
    ----------
    The series of "LSTM vs GRU: Experimental Comparison" (2019), defined in an earlier post of its author.

    Examples
    --------
    >>> import gatescope as gs
    >>> prices = gs.tasks.long_series_prices(steps=1000, sequences=3)
    >>> prices.shape, bool(abs(prices - 100).max() < 1.1)
    ((1000, 3), True)
    """
    steps, sequences = check_count("steps", steps), check_count("sequences", sequences)
    seed = check_count("seed", seed, least=0)
    check_size(steps * sequences, np.dtype(np.float64), what="prices")
    rng = np.random.default_rng(seed)
    theta = np.empty((steps, sequences))
    theta[0] = rng.uniform(-np.pi, np.pi, sequences)
    theta[1:] = 0.01 * rng.uniform(-1, 1, (steps - 1, sequences))
    np.cumsum(theta, axis=0, out=theta)
    swing = np.sin(0.0002 * np.arange(steps))[:, None]
    noise = 0.01 * rng.standard_normal((steps, sequences))
    prices = 100 + (np.abs(np.sin(theta)) - np.abs(np.cos(theta))) * swing + noise
    return np.asarray(np.round(prices, 2))


def long_series_values(prices: Any, *, gamma: float = 0.99) -> Array:
    """Return the hindsight value of each of the seven choices at every step, not standardized.

    At step t one is flat, short or long, and chooses; the choice decides the position q_t (0, -1 or +1) that one has
    until the next step, where one chooses again.  From flat one may stay, go long or go short; from short or long one
    may hold or close, so that turning round takes two steps.  The reward is ``q_t (p_{t+1} - p_t)``, without cost.  A
    choice is worth its reward and the best that can follow it, given the prices that did come:

    ``Q_t = q_t (p_{t+1} - p_t) + gamma max Q_{t+1}``,

    the maximum over the choices that the new position allows.  No price follows the last one: there all values are 0.

    A value depends on the new position alone, so "stay" and the two "close" are worth the same, as are "long" and
    the "hold" of long, and "short" and the "hold" of short.  That follows from a reward without cost.

    Parameters
    ----------
    prices : (T, B)
    gamma : float
        From 0 to 1.

    Returns
    -------
    (T, B, 7) float64
        flat: stay, long, short; short: hold, close; long: hold, close.  In the prices' unit.

    Raises
    ------
    ValueRangeError
        If `gamma` is not allowed, or a price is not finite.
    ShapeError
        If the prices are not (T, B).
    DtypeError
        If the prices are no numbers.

    Examples
    --------
    >>> import gatescope as gs
    >>> values = gs.tasks.long_series_values([[1.0], [2.0], [0.0]], gamma=0.5)
    >>> values[0, 0].tolist()  # up by 1, then down by 2, which going short in time would turn to +2
    [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    array = check_array("prices", prices, np.dtype(np.float64))
    if array.ndim != 2 or array.size == 0:
        raise ShapeError(
            "should have (T, B), at least one step and sequence", argument="prices", seen=array.shape
        )
    worth = _worth(array, _DISCOUNT("gamma", gamma))
    return _columns_last([worth[:, leads_to] for leads_to in _CHOICES.values()], np.dtype(np.float64))


def _worth(prices: Array, discount: float) -> Array:
    """Return what it is worth to be flat, long or short after the choice of step t: (T, 3, B)."""
    steps, sequences = prices.shape
    worth = np.zeros((steps, 3, sequences))
    np.multiply(np.diff(prices, axis=0)[:, None, :], np.array(_SIGNS)[:, None], out=worth[:-1])
    best = np.zeros((3, sequences))  # the best choice of the next step, by the position one is in
    for now in worth[-2::-1] if steps > 1 else ():
        now += best
        flat, long, short = now
        np.maximum(now, flat, out=best)
        np.maximum(long, short, out=best[0])
        np.maximum(best[0], flat, out=best[0])
        best *= discount
    return worth


def _columns_last(parts: list[Array], dtype: DTypeLike) -> Array:
    """Join the parts (T, C_k, B), into (T, B, C)."""
    steps, _, sequences = parts[0].shape
    joined = np.empty((steps, sequences, sum(part.shape[1] for part in parts)), dtype)
    begin = 0
    for part in parts:
        end = begin + part.shape[1]
        joined[:, :, begin:end] = part.transpose(0, 2, 1)
        begin = end
    return joined


def _windows(changes: Array, lookback: int, dtype: DTypeLike) -> Array:
    """Return the last `lookback` of (T-1, B) changes at every step, newest first, (T, B, W); 0 before the start."""
    steps, sequences = changes.shape[0] + 1, changes.shape[1]
    padded = np.zeros((steps + lookback - 1, sequences), dtype)
    padded[lookback:] = changes
    return np.ascontiguousarray(sliding_window_view(padded, lookback, axis=0)[:, :, ::-1])
