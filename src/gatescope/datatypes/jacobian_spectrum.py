"""Singular values of the Jacobian between two steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_index
from gatescope.datatypes.lyapunov_spectrum import EXACT
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table, some
from gatescope.reporting.text import counted, number

_LN10 = float(np.log(10))


@dataclass(frozen=True, kw_only=True, repr=False)
class JacobianSpectrum(Result):
    """Logs of the singular values of d s_t / d s_{t-lag}, the whole state or one block of it.

    Attributes
    ----------
    cell : str
    lag : (L,) int64
        Steps back from `source_step`, ascending.
    log_singular : (L, B, k) float64
        Descending, in nats; ``-inf`` for a direction that is lost altogether, NaN where a shorter sequence has no
        such lag.
    of, wrt : str
        What is differentiated, and with respect to what: a state, or ``"joint"``, the whole state.
    source_step : int
        t, an index into the states, 1..T; that of the longest sequence, if they differ.
    source_steps : (B,) int64 or None
        That of each sequence, if they differ.
    """

    cell: str
    lag: Array
    log_singular: Array
    of: str
    wrt: str
    source_step: int
    source_steps: Array | None = None

    _axes: ClassVar[Mapping[str, str]] = {
        "lag": "(L,) int64",
        "log_singular": "(L, B, k) float64",
        "source_steps": "(B,) int64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"k": "singular_value"}
    _rows: ClassVar[str] = "log_singular"

    def sequence(self, number: int) -> JacobianSpectrum:
        """Return the spectrum of one sequence, at the lags that it has."""
        b = check_index("number", number, self.log_singular.shape[1], "sequences")
        step = self.source_step if self.source_steps is None else int(self.source_steps[b])
        own = ~np.isnan(self.log_singular[:, b, 0])
        log_singular = self.log_singular[own, b : b + 1]
        return dataclasses.replace(
            self, lag=self.lag[own], log_singular=log_singular, source_step=step, source_steps=None
        )

    def table(self) -> Table:
        """Return the largest, the median and the smallest singular value of the first sequence at some of the lags."""
        _, batch, count = self.log_singular.shape
        first = self.sequence(0)
        decades, picks = first.log_singular[:, 0] / _LN10, (0, count // 2, count - 1)
        rows = [(first.lag[at], *(decades[at, j] for j in picks)) for at in some(len(first.lag))]
        title = (
            f"singular values, log10, of d {self.of} by an earlier {self.wrt}, {self.cell}, "
            f"from step {first.source_step:,}{', sequence 0' if batch > 1 else ''}"
        )
        return Table(("lag, steps", "largest", "median", "smallest"), rows, title)

    def summary(self) -> str:
        """Return what the table is of, and the rate of the largest singular value over the longest lag."""
        title, first = self.table().title, self.sequence(0)
        longest = int(first.lag.max(initial=0))  # a sequence may have none of the lags
        if longest == 0:
            return title
        rate = float(first.rates()[-1, 0, 0])
        over = counted(longest, "step")
        if abs(rate) <= EXACT:
            return f"{title}\nthe largest neither falls nor grows over {over}"
        change = "falls" if rate < 0 else "grows"
        return f"{title}\nthe largest {change} by {number(abs(rate))} nats per step over {over}"

    def rates(self) -> Array:
        """Return log singular values (L, B, k) per step of lag, in nats per step: finite-time exponents; NaN at lag 0.

        For long lags those of the whole state tend to the Lyapunov exponents.
        """
        with np.errstate(invalid="ignore"):
            lags = np.where(self.lag > 0, self.lag, np.nan)
            return np.asarray(self.log_singular / lags[:, None, None])

    def span(self) -> Array:
        """Return decades (L, B) between the largest and the smallest; infinite where a direction is lost."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.log_singular[..., 0] - self.log_singular[..., -1]) / np.log(10))
