"""The result of the 20,000-step experiment: a loss curve of each cell and seed, and statistics of the curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice, check_count, check_type
from gatescope.datatypes.result import Result
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, percent, with_interval

PUBLISHED_SIZE = {"seeds": 10, "epochs": 1000, "steps": 20_000, "sequences": 40}
PUBLISHED_UNITS = 16
LAST_EPOCHS = 400  # over which volatility and spikes are counted
FINAL_EPOCHS = 10  # whose median is the final loss: one epoch alone may be a spike
TREND_WIDTH = 101  # epochs of the running median that is taken for the trend
CROSSING_WIDTH = 21  # epochs of the running median of the curves that are compared
STAY = 20  # epochs that a curve must stay below the other
_LEAST_REACH = 10
SPIKE = 0.16  # the smallest published spike, 0.2, as a fraction of the loss it rose from, 1.22
_RESAMPLES = 9999


class Crossing(NamedTuple):
    """A crossing of two curves that lasts: its first epoch, and whose curve is lower from there."""

    epoch: int
    lower: str


class Interval(NamedTuple):
    """A mean over seeds with its 95 % bootstrap interval; NaN where there are too few seeds."""

    value: float
    low: float
    high: float

    def text(self, unit: str = "") -> str:
        """Return the mean with its interval, so that the side of 1 is seen on which it lies."""
        return with_interval(*self, unit=unit)


@dataclass(frozen=True, kw_only=True, repr=False)
class LongSeriesResult(Result):
    """Loss curves of several cells on the same long series; C cells, S seeds, E epochs.

    Seeds are paired: seed s of every cell saw the same data.  A run that diverged is NaN from there on.

    Attributes
    ----------
    cells : tuple of str
    seeds : (S,) int64
        Of the initial weights.
    loss : (C, S, E) float64
        Training loss before the epoch's update.
    gradient_norm : (C, S, E) float64
        Global norm of the gradient before clipping.
    clipped : (C, S, E) float64
        Fraction of the epoch's updates whose gradient was clipped.
    status : tuple of tuple of str
        How each run ended, a tuple a cell.
    steps, sequences, lookback, hidden_size : int
        T and B of the data, how many of the last price changes are the input, and units of the cell.
    data_seed : int
        Of the series, which are the same for all runs.
    baseline : float
        Loss of the best answer that does not look at the inputs; NaN if that is not known.
    settings : mapping
        Everything else the curves depend on: optimizer, clipping, initial weights, dtype.
    seconds : (C, S) float64
        Wall-clock time of an epoch, the median of a few that the cells did in turns.  Does not count in comparisons.

    Examples
    --------
    >>> import tempfile
    >>> from gatescope.experiments import run_long_series
    >>> result = run_long_series(tempfile.mkdtemp(), cells=("gru",), seeds=2, epochs=3, steps=50, sequences=4)
    >>> result.loss.shape, result.status, result.preliminary
    ((1, 2, 3), (('finished', 'finished'),), True)
    >>> median = result.median("gru")  # over the seeds, one number an epoch
    >>> bool((median == result.loss[0].mean(axis=0)).all())  # of two seeds that is their mean
    True
    """

    cells: tuple[str, ...]
    seeds: Array
    loss: Array
    gradient_norm: Array
    clipped: Array
    status: tuple[tuple[str, ...], ...]
    steps: int
    sequences: int
    lookback: int
    hidden_size: int
    data_seed: int
    baseline: float
    settings: Mapping[str, Any]
    seconds: Array = field(compare=False)

    _axes: ClassVar[Mapping[str, str]] = {
        "cells": "(C,)",
        "seeds": "(S,) int64",
        "loss": "(C, S, E) float64",
        "gradient_norm": "(C, S, E) float64",
        "clipped": "(C, S, E) float64",
        "status": "(C,)",
        "seconds": "(C, S) float64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"C": "cell", "S": "seed"}
    _labels: ClassVar[Mapping[str, object]] = {"cell": "cells", "seed": "seeds"}
    _rows: ClassVar[str] = "loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("seeds", "loss", "gradient_norm", "clipped", "seconds"):
            check_type(name, getattr(self, name), np.ndarray, advice="give a NumPy array")
        check_type("cells", self.cells, tuple, advice="give a tuple of names")
        shape = (len(self.cells), len(self.seeds))
        for name in ("loss", "gradient_norm", "clipped", "seconds"):
            seen = getattr(self, name).shape
            axes = "(cells, seeds)" if name == "seconds" else "(cells, seeds, epochs)"
            if seen[:2] != shape or len(seen) != axes.count(",") + 1:
                raise ShapeError(f"should have {axes} with {shape} first", argument=name, seen=seen)

    @property
    def epochs(self) -> int:
        """Return E, how many epochs there are."""
        return int(self.loss.shape[2])

    @property
    def preliminary(self) -> bool:
        """Return whether the experiment is smaller than the full one, or has another number of units."""
        size = {"seeds": len(self.seeds)} | {n: getattr(self, n) for n in ("epochs", "steps", "sequences")}
        smaller = any(size[name] < full for name, full in PUBLISHED_SIZE.items())
        return smaller or self.hidden_size != PUBLISHED_UNITS

    def summary(self) -> str:
        """Return what was run, whether that is preliminary, and how many runs diverged."""
        cells = ", ".join(cell.upper() for cell in self.cells)
        size = f"{self.sequences} series x {counted(self.steps, 'step')}"
        text = f"{cells} on {size}: {counted(self.epochs, 'epoch')}, {counted(len(self.seeds), 'seed')}"
        if self.hidden_size != PUBLISHED_UNITS:
            text += f", {counted(self.hidden_size, 'unit')}"
        ends = [
            f"{cell.upper()}: {count} of {len(self.seeds)} runs diverged and are missing from there on."
            for cell, count in zip(self.cells, self.diverged().tolist(), strict=True)
            if count
        ]
        return "\n".join([f"preliminary: {text}" if self.preliminary else text, *ends])

    def table(self) -> Table:
        """Return a column for each cell: means over the seeds with their 95 % intervals."""
        last = min(LAST_EPOCHS, self.epochs)
        quantities = {
            "loss at epoch 1": self.loss_at(1),
            f"final loss (median of the last {FINAL_EPOCHS} epochs)": self.final_loss(),
            f"spikes above {percent(SPIKE)} in the last {last} epochs": self.spikes(),
            f"volatility of the logarithm of the loss, last {last} epochs": self.volatility(),
            "seconds an epoch": self.seconds,
        }
        rows = [
            (name, *(self.mean(values, cell).text() for cell in self.cells))
            for name, values in quantities.items()
        ]
        baseline = ("baseline: the best constant", *[self.baseline] * len(self.cells))
        return Table(("", *self.cells), [*rows, baseline], self.summary().partition("\n")[0])

    def index(self, cell: str) -> int:
        """Return which of the cells that is."""
        return self.cells.index(check_choice("cell", cell, self.cells))

    def median(self, cell: str) -> Array:
        """Return the median over the seeds (E,); a run that diverged counts as worse than any number."""
        return np.asarray(self.band(cell, low=0.5, high=0.5)[0])

    def band(self, cell: str, *, low: float = 0.1, high: float = 0.9) -> Array:
        """Return two quantiles over the seeds (2, E); default: the middle 80 %.

        A run that diverged counts as worse than any number: without it the curve would be that of the survivors.  NaN
        where a quantile falls on such runs.
        """
        curves = self.loss[self.index(cell)]
        ordered = np.sort(np.where(np.isnan(curves), np.inf, curves), axis=0)
        quantiles = np.empty((2, self.epochs))
        for row, fraction in zip(quantiles, (low, high), strict=True):
            rank = fraction * (len(ordered) - 1)
            below, rest = int(rank), rank % 1
            row[:] = ordered[below]
            if rest:
                row *= 1 - rest
                row += rest * ordered[below + 1]
        return np.asarray(np.where(np.isinf(quantiles), np.nan, quantiles))

    def crossings(
        self, first: str = "lstm", second: str = "gru", *, seed: int | None = None
    ) -> tuple[Crossing, ...]:
        """Return the epochs from which one of two cells has the lower loss, and has it for at least 20 epochs.

        Compared are the running medians, over 21 epochs, of the two median curves, or of the curves of one seed, so
        that no spike is taken for a crossing.

        Parameters
        ----------
        first, second : str
            Two of the cells.
        seed : int, optional
            One of `seeds`.  Default: the medians over the seeds.
        """
        if seed is None:
            curves = [self.median(cell) for cell in (first, second)]
        else:
            rows = np.flatnonzero(self.seeds == seed)
            if not rows.size:
                raise ValueRangeError(
                    f"is not among the seeds, {self.seeds.tolist()}", argument="seed", seen=seed
                )
            curves = [self.loss[self.index(cell), rows[0]] for cell in (first, second)]
        before, after = (running_median(curve, CROSSING_WIDTH) for curve in curves)
        return _crossings(np.sign(after - before), first, second)

    def crossing_epochs(self, first: str = "lstm", second: str = "gru") -> Array:
        """Return the epoch from which `second` stays below `first`, of each pair of a seed (S,); NaN without one."""
        each = [self.crossings(first, second, seed=int(seed)) for seed in self.seeds]
        return np.array([c[-1].epoch if c and c[-1].lower == second else np.nan for c in each], np.float64)

    def lower_fraction(self, begin: int, end: int, *, first: str = "lstm", second: str = "gru") -> float:
        """Return the fraction of the epochs begin..end, both counted, in which the median curve of `first` is lower.

        Compared are running medians over 21 epochs, as for `crossings`.
        """
        part = slice(max(begin, 1) - 1, end)
        one, other = (running_median(self.median(cell), CROSSING_WIDTH)[part] for cell in (first, second))
        lower = one < other
        return float(lower.mean()) if lower.size else float("nan")

    def loss_at(self, begin: int, end: int | None = None) -> Array:
        """Return the median loss (C, S) of the epochs begin..end, both counted, from 1; NaN where there is none."""
        part = self.loss[:, :, max(begin, 1) - 1 : begin if end is None else end]
        return np.asarray(np.median(part, axis=2)) if part.shape[2] else np.full(part.shape[:2], np.nan)

    def final_loss(self) -> Array:
        """Return the median loss (C, S) of the last 10 epochs."""
        return self.loss_at(self.epochs - FINAL_EPOCHS + 1, self.epochs)

    def detrended(self) -> Array:
        """Return the logarithm of the loss less its running median over 101 epochs (C, S, E)."""
        log_loss = np.log(self.loss)
        rows = [curve - running_median(curve, TREND_WIDTH) for curve in log_loss.reshape(-1, self.epochs)]
        return np.array(rows).reshape(self.loss.shape)

    def volatility(self, *, epochs: int = LAST_EPOCHS, detrend: str = "median") -> Array:
        """Return the standard deviation (C, S) of the detrended logarithm of the loss over the last epochs.

        Parameters
        ----------
        epochs : int
            How many, at least 3; all, if there are fewer.
        detrend : {"median", "line"}
            What is taken away: the running median over 101 epochs, or the straight line of least squares through
            those epochs, which leaves bends of the curve in.
        """
        epochs = check_count("epochs", epochs, least=3)
        if check_choice("detrend", detrend, ("median", "line")) == "median":
            return np.asarray(self.detrended()[:, :, -epochs:].std(axis=2))
        log_loss = np.log(self.loss[:, :, -epochs:])
        x = np.arange(log_loss.shape[2]) - (log_loss.shape[2] - 1) / 2
        slope = (log_loss * x).sum(axis=2) / max((x**2).sum(), 1.0)
        return np.asarray((log_loss - slope[:, :, None] * x).std(axis=2))

    def spikes(self, *, rise: float = SPIKE, epochs: int = LAST_EPOCHS) -> Array:
        """Return how many times (C, S) the loss was above its running median by more than `rise`, a fraction of it.

        Only the last epochs count, and consecutive ones are one spike.  The default, 16 %, is the smallest published
        spike, 0.2 at a loss of 1.22.
        NaN for a run that has no loss in the last epoch: one that diverged was not calm.
        """
        above = (self.detrended() > np.log1p(rise))[:, :, -epochs:]
        begins = above.copy()
        begins[:, :, 1:] &= ~above[:, :, :-1]
        return np.where(np.isnan(self.loss[:, :, -1]), np.nan, begins.sum(axis=2))

    def diverged(self) -> Array:
        """Return how many runs of each cell (C,) ended before the last epoch."""
        return np.asarray(np.isnan(self.loss[:, :, -1]).sum(axis=1))

    def mean(self, values: Array, cell: str) -> Interval:
        """Return the mean of (C, S) values over a cell's seeds, with its interval."""
        return bootstrap(values[self.index(cell)])

    def ratio(self, values: Array, cell: str = "gru", to: str = "lstm") -> Interval:
        """Return the geometric mean, over pairs of the same seed, of the quotient of two cells' (C, S) values."""
        over, under = values[self.index(cell)], values[self.index(to)]
        positive = (over > 0) & (under > 0)
        return Interval(*np.exp(bootstrap(np.log(over[positive] / under[positive]))).tolist())


def bootstrap(values: Array) -> Interval:
    """Return the mean of the finite numbers with its 95 % interval by the bootstrap (bias-corrected and accelerated).

    The interval of one number is NaN; that of equal numbers has no width.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return Interval(np.nan, np.nan, np.nan)
    value = float(known.mean())
    if known.size == 1:
        return Interval(value, np.nan, np.nan)
    if np.ptp(known) == 0:
        return Interval(value, value, value)
    from scipy.stats import bootstrap as resample

    rng = np.random.default_rng(0)
    # Of two seeds the jackknife says nothing of the skewness that the acceleration corrects.
    method = "BCa" if known.size > 2 else "percentile"
    low, high = resample(
        (known,), np.mean, n_resamples=_RESAMPLES, method=method, random_state=rng
    ).confidence_interval
    return Interval(value, float(low), float(high))


def running_median(curve: Array, width: int) -> Array:
    """Return the median over the `width` epochs round each; NaN as in `curve`.

    Near the ends the epochs are fewer, the same number on both sides, but 10 where the curve has them: with that
    number alone the last epoch would be its own median, and a spike there would be lost.
    """
    known = int(np.isfinite(curve).sum())  # what is missing is missing at the end
    medians = np.full(len(curve), np.nan)
    half = width // 2
    if known > 2 * half:
        windows = np.lib.stride_tricks.sliding_window_view(curve[:known], 2 * half + 1)
        medians[half : known - half] = np.median(windows, axis=1)
    for k in np.flatnonzero(np.isnan(medians[:known])).tolist():
        reach = min(half, max(_LEAST_REACH, min(k, known - 1 - k)))
        medians[k] = np.median(curve[max(0, k - reach) : min(known, k + reach + 1)])
    return medians


def _crossings(signs: Array, first: str, second: str) -> tuple[Crossing, ...]:
    """Return where the sign of second - first changes and then stays."""
    crossings: list[Crossing] = []
    last, begin = 0, 0
    for sign, run in groupby(signs.tolist()):
        length = len(list(run))
        if abs(sign) == 1 and length >= STAY:  # neither NaN nor 0
            if last and sign != last:
                crossings.append(Crossing(begin + 1, second if sign < 0 else first))
            last = int(sign)
        begin += length
    return tuple(crossings)
