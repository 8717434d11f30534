"""How the gradient of one step reaches back in time, and rates read off it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.datatypes.result import Array, ComparedByValue, Result
from gatescope.errors import ValueRangeError


@dataclass(frozen=True, kw_only=True)
class Fit(ComparedByValue):
    """A rate or a half-life read off a straight line through a log-norm.

    Attributes
    ----------
    value : (B,)
        One value a sequence.
    r_squared : (B,)
        Share of the log-norm's variance that the line explains.  NaN where the line goes through fewer than
        three finite log-norms: through two it always fits, which says nothing.
    window : (int, int)
        First and last lag of the fit, both included, in steps.
    unit : str
    """

    value: Array
    r_squared: Array
    window: tuple[int, int]
    unit: str

    def __float__(self) -> float:
        """The value, if there is one sequence."""
        if self.value.size != 1:
            raise ValueRangeError(
                f"there are {self.value.size} sequences; take .value, one number a sequence"
            )
        return float(self.value[0])

    def __str__(self) -> str:
        values = ", ".join(f"{v:.4g}" for v in self.value)
        fits = ", ".join(f"{v:.3f}" for v in self.r_squared)
        return f"{values} {self.unit} (lags {self.window[0]} to {self.window[1]}, R^2 {fits})"


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientFlow(Result):
    """How the gradient of one step reaches back in time.

    ``log_norm[l, b]`` is ``ln || d target_{t} / d state_{t - lag[l]} ||`` for sequence b, with t = `source_step`.
    It is kept in the log domain, so it is right long after the norm itself is below the smallest float.

    Attributes
    ----------
    cell : str
    lag : (L,) int64
        Steps back from `source_step`, ascending.
    log_norm : (L, B) float64
        In nats; ``-inf`` where the gradient is exactly zero.
    target : str
        What is differentiated: ``"h"`` (the output), ``"c"``, or ``"joint"``.
    state : str
        With respect to what: ``"h"``, ``"c"`` or ``"joint"`` (all states together).
    source_step : int
        Index t into the states, 1..T.
    norm : str
        ``"unit"``, ``"random"`` or ``"spectral"``.
    """

    cell: str
    lag: Array
    log_norm: Array
    target: str
    state: str
    source_step: int
    norm: str

    def decay_rate(self, window: tuple[int, int] | None = None) -> Fit:
        """Least-squares slope of the log-norm against lag, with its sign turned: nats per step.

        Positive: the gradient vanishes, by a factor e^-rate a step.  Negative: it explodes.

        Parameters
        ----------
        window : (int, int), optional
            First and last lag to fit, both included.  Default: from a tenth of the longest lag at which
            the log-norm is finite to that lag, which leaves the transient at short lags out.

        Returns
        -------
        Fit
            NaN where fewer than two finite log-norms lie in the window; its R^2 where fewer than three do.

        Raises
        ------
        ValueRangeError
            If the window is not two whole numbers in ascending order, or holds fewer than two of the lags.
        """
        first, last = self._window(window)
        chosen = (self.lag >= first) & (self.lag <= last)
        if np.count_nonzero(chosen) < 2:
            raise ValueRangeError(
                f"window={window!r} holds {np.count_nonzero(chosen)} of the lags {self.lag[0]}..{self.lag[-1]}; "
                "a line needs two"
            )
        slopes, fits = zip(
            *(_line(self.lag[chosen], column) for column in self.log_norm[chosen].T), strict=True
        )
        return Fit(
            value=-np.array(slopes), r_squared=np.array(fits), window=(first, last), unit="nats per step"
        )

    def half_life(self, window: tuple[int, int] | None = None) -> Fit:
        """Steps in which the gradient norm halves: ln 2 / decay rate; infinite where it does not decay.

        Parameters and errors are those of `decay_rate`.
        """
        rate = self.decay_rate(window)
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(
                rate.value > 0, np.log(2) / rate.value, np.where(np.isnan(rate.value), np.nan, np.inf)
            )
        return dataclasses.replace(rate, value=steps, unit="steps")

    def _window(self, window: tuple[int, int] | None) -> tuple[int, int]:
        if window is not None:
            return _pair(window)
        finite = np.isfinite(self.log_norm).any(axis=1)
        last = int(self.lag[finite][-1]) if finite.any() else int(self.lag[-1])
        first = last // 10
        if np.count_nonzero((self.lag >= first) & (self.lag <= last)) < 2:
            first = int(self.lag[0])
        if first == last:  # one finite log-norm only, as at lag 0 of a gradient that is 0: there is no rate
            last = int(self.lag[-1])
        return first, last


def _pair(window: Any) -> tuple[int, int]:
    """First and last lag of a window that a user gave."""
    try:
        first, last = window
        whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in (first, last))
    except (TypeError, ValueError):  # not a sequence, or not of two
        whole = False
    if not whole or isinstance(window, set | frozenset | Mapping):  # these have no first and last
        raise ValueRangeError(
            f"window={window!r} must be the first and the last lag, two whole numbers such as (10, 100), or None"
        )
    if first > last:
        raise ValueRangeError(f"window={window!r} ends before it begins; give the first lag, then the last")
    return int(first), int(last)


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and R^2 of the least-squares line through the finite points; NaN where they do not tell it."""
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
