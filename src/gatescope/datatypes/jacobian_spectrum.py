"""Singular values of the Jacobian between two steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatescope.checks.arrays import Array
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
        Descending, in nats; ``-inf`` for a direction that is lost altogether.
    block : str
        ``"joint"``: of the whole state; two states such as ``"hc"``: d h_t / d c_{t-lag}.
    source_step : int
        t, an index into the states, 1..T.
    """

    cell: str
    lag: Array
    log_singular: Array
    block: str
    source_step: int

    def table(self) -> Table:
        """Return the largest, the median and the smallest singular value of the first sequence at some of the lags."""
        _, batch, count = self.log_singular.shape
        decades = self.log_singular[:, 0] / _LN10
        picks = (0, count // 2, count - 1)
        rows = [(self.lag[at], *(decades[at, j] for j in picks)) for at in some(len(self.lag))]
        first = ", sequence 0" if batch > 1 else ""
        title = f"singular values of d {self.block} of {self.cell} at step {self.source_step:,}{first}, log10"
        return Table(("lag, steps", "largest", "median", "smallest"), rows, title)

    def summary(self) -> str:
        """Return what the table is of, and the rate of the largest singular value over the longest lag."""
        title = self.table().title
        longest = int(self.lag[-1])
        if longest == 0:
            return title
        rate = float(self.rates()[-1, 0, 0])
        change = "falls" if rate < 0 else "grows"
        return f"{title}\nthe largest {change} by {number(abs(rate))} nats per step over {counted(longest, 'step')}"

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
