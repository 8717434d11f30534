"""How the gradient of one step reaches back in time, and rates read off it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_index, is_whole
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.result import ComparedByValue, Result
from gatescope.errors import ValueRangeError
from gatescope.reporting.table import Table, by_sequence, per_sequence, some
from gatescope.reporting.text import counted, steps


@dataclass(frozen=True, kw_only=True)
class Fit(ComparedByValue):
    """A rate or a half-life read off a straight line through a log-norm.

    Attributes
    ----------
    value : (B,)
        One value a sequence.
    r_squared : (B,)
        Fraction of the log-norm's variance that the line explains.  NaN where the line goes through fewer than
        three finite log-norms: through two it always fits, which says nothing.
    fit_range : (int, int)
        First and last lag of the fit, both included, in steps; of sequences of several lengths, each of which has a
        range of its own, the first and the last of all.
    unit : str
    """

    value: Array
    r_squared: Array
    fit_range: tuple[int, int]
    unit: str

    def __float__(self) -> float:
        """Return the value, if there is one sequence."""
        if self.value.size != 1:
            raise ValueRangeError(
                f"there are {self.value.size} sequences", advice="take .value, one number a sequence"
            )
        return float(self.value[0])

    def __str__(self) -> str:
        values = ", ".join(f"{v:.4g}" for v in self.value)
        fits = ", ".join(f"{v:.3f}" for v in self.r_squared)
        return f"{values} {self.unit} (lags {self.fit_range[0]} to {self.fit_range[1]}, R^2 {fits})"


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientFlow(Result):
    """How the gradient of one step reaches back in time.

    ``log_norm[l, b]`` is ``ln || d of_{t} / d wrt_{t - lag[l]} ||`` for sequence b, with t = `source_step`.
    It is kept in the log domain, so it is right long after the norm itself is below the smallest float.

    Attributes
    ----------
    cell : str
    lag : (L,) int64
        Steps back from `source_step`, ascending.
    log_norm : (L, B) float64
        In nats; ``-inf`` where the gradient is exactly zero, NaN where a shorter sequence has no such lag.
    of : str
        What is differentiated: ``"h"`` (the output), ``"c"``, or ``"joint"``.
    wrt : str
        With respect to what: ``"h"``, ``"c"`` or ``"joint"`` (all states together).
    source_step : int
        Index t into the states, 1..T; that of the longest sequence, if they differ.
    norm : str
        ``"unit"``, ``"random"`` or ``"spectral"``.
    source_steps : (B,) int64 or None
        That of each sequence, if they differ.
    """

    cell: str
    lag: Array
    log_norm: Array
    of: str
    wrt: str
    source_step: int
    norm: str
    source_steps: Array | None = None

    def table(self) -> Table:
        """Return rate, half-life and fit of each sequence, and its norm at some of the lags."""
        rate, half = self.decay_rate(), self.half_life()
        first, last = rate.fit_range
        rows: list[tuple[str, Any]] = [
            ("decay rate, nats per step", rate.value),
            ("half-life, steps", half.value),
            (f"R² of the fit, lags {first:,} to {last:,}", [f"{r:.3f}" for r in rate.r_squared]),
        ]
        decades = self.log_norm / np.log(10)
        rows += [(f"log10 of the norm at lag {self.lag[at]:,}", decades[at]) for at in some(len(self.lag))]
        over = counted(int(self.lag[-1]), "step")
        title = f"gradient of {self.of} by an earlier {self.wrt}, {self.cell}, over {over}"
        return per_sequence(title, rows)

    def summary(self) -> str:
        """Return what the table is of, and whether the gradient of each sequence vanishes or grows."""
        rates = self.decay_rate().value
        return "\n".join([self.table().title, *by_sequence(_meaning(rate) for rate in rates)])

    def sequence(self, number: int) -> GradientFlow:
        """Return the flow of one sequence, at the lags that it has."""
        b = check_index("number", number, self.log_norm.shape[1], "sequences")
        column = self.log_norm[:, b]
        own = ~np.isnan(column) if self.source_steps is not None else np.ones(column.shape, np.bool_)
        step = self.source_step if self.source_steps is None else int(self.source_steps[b])
        return dataclasses.replace(
            self, lag=self.lag[own], log_norm=column[own, None], source_step=step, source_steps=None
        )

    def decay_rate(self, fit_range: tuple[int, int] | None = None) -> Fit:
        """Return the least-squares slope of the log-norm against lag, with its sign turned: nats per step.

        Positive: the gradient vanishes, by a factor e^-rate a step.  Negative: it explodes.

        Parameters
        ----------
        fit_range : (int, int), optional
            First and last lag to fit, both included.  Default: from a tenth of the longest lag at which
            the log-norm is finite to that lag, which leaves the transient at short lags out.

        Returns
        -------
        Fit
            NaN where fewer than two finite log-norms lie in the range; its R^2 where fewer than three do.

        Raises
        ------
        ValueRangeError
            If the range is not two whole numbers in ascending order, or holds fewer than two of the lags.
        """
        if self.source_steps is not None and fit_range is None:
            return _joined([self.sequence(b).decay_rate() for b in range(self.log_norm.shape[1])])
        first, last = self._default_range() if fit_range is None else _pair(fit_range)
        chosen = (self.lag >= first) & (self.lag <= last)
        if fit_range is not None and np.count_nonzero(chosen) < 2:
            raise ValueRangeError(
                f"holds {np.count_nonzero(chosen)} of the lags {self.lag[0]}..{self.lag[-1]}",
                argument="fit_range",
                seen=fit_range,
                advice="a line needs two",
            )
        slopes, fits = zip(
            *(_line(self.lag[chosen], column) for column in self.log_norm[chosen].T), strict=True
        )
        return Fit(
            value=-np.array(slopes), r_squared=np.array(fits), fit_range=(first, last), unit="nats per step"
        )

    def half_life(self, fit_range: tuple[int, int] | None = None) -> Fit:
        """Return the steps in which the gradient norm halves: ln 2 / decay rate; infinite where it does not decay.

        Parameters and errors are those of `decay_rate`.
        """
        rate = self.decay_rate(fit_range)
        return dataclasses.replace(rate, value=half_life_of(rate.value), unit="steps")

    def _default_range(self) -> tuple[int, int]:
        finite = np.isfinite(self.log_norm).any(axis=1)
        last = int(self.lag[finite][-1]) if finite.any() else int(self.lag[-1])
        first = last // 10
        if np.count_nonzero((self.lag >= first) & (self.lag <= last)) < 2:
            first = int(self.lag[0])
        if first == last:  # one finite log-norm only, as at lag 0 of a gradient that is 0: there is no rate
            last = int(self.lag[-1])
        return first, last


def _joined(fits: list[Fit]) -> Fit:
    """Return the fits of single sequences as one."""
    ranges = [fit.fit_range for fit in fits]
    return Fit(
        value=np.concatenate([fit.value for fit in fits]),
        r_squared=np.concatenate([fit.r_squared for fit in fits]),
        fit_range=(min(first for first, _ in ranges), max(last for _, last in ranges)),
        unit=fits[0].unit,
    )


def _pair(fit_range: Any) -> tuple[int, int]:
    """Return the first and the last lag of a range that a user gave."""
    try:
        first, last = fit_range
        whole = is_whole(first) and is_whole(last)
    except (TypeError, ValueError):  # not a sequence, or not of two
        whole = False
    if not whole or isinstance(fit_range, set | frozenset | Mapping):  # these have no first and last
        raise ValueRangeError(
            "must be the first and the last lag, two whole numbers such as (10, 100)",
            argument="fit_range",
            seen=fit_range,
        )
    if first > last:
        raise ValueRangeError(
            "ends before it begins",
            argument="fit_range",
            seen=fit_range,
            advice="give the first lag, then the last",
        )
    return int(first), int(last)


def _meaning(rate: float) -> str:
    """Return what a decay rate in nats per step means."""
    if np.isnan(rate):
        return "no rate: fewer than two norms above 0"
    if rate == 0:
        return "the gradient neither vanishes nor grows"
    what = "vanishing: the gradient halves" if rate > 0 else "growing: the gradient doubles"
    return f"{what} every {steps(float(half_life_of(abs(rate))))}"


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Return slope and R^2 of the least-squares line through the finite points; NaN where these are too few."""
    finite = np.isfinite(y)
    points = np.count_nonzero(finite)
    if points < 2:
        return float("nan"), float("nan")
    dx = x[finite] - x[finite].mean()
    dy = y[finite] - y[finite].mean()
    slope = float(dx @ dy / (dx @ dx))
    if points < 3:  # a line through two points always fits
        return slope, float("nan")
    residual = float(((dy - slope * dx) ** 2).sum())
    total = float((dy**2).sum())
    return slope, 1.0 if total == 0 else 1.0 - residual / total
