"""Singular values of the Jacobian between two steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatescope.datatypes.result import Array, Result


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

    def rates(self) -> Array:
        """(L, B, k) log singular values per step of lag, in nats per step: finite-time exponents; NaN at lag 0.

        For long lags those of the whole state tend to the Lyapunov exponents.
        """
        with np.errstate(invalid="ignore"):
            lags = np.where(self.lag > 0, self.lag, np.nan)
            return np.asarray(self.log_singular / lags[:, None, None])

    def span(self) -> Array:
        """(L, B) decades between the largest and the smallest; infinite where a direction is lost."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.log_singular[..., 0] - self.log_singular[..., -1]) / np.log(10))
