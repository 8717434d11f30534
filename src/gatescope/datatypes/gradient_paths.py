"""By which ways a gradient goes back in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatescope.datatypes.result import Array, Result
from gatescope.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientPaths(Result):
    """An adjoint as the sum of what stayed on the state highway and what left it through each gate.

    The whole is a_k = d target_t / d state_{t-k} for one direction of the target.  Its part ``"highway"`` is the
    product of the states' own factors alone (f of an LSTM, z of a GRU).  The part of a gate gathers all paths that,
    going back from t, leave the highway for the first time through this gate's pre-activation.  The parts sum to
    the whole.

    Attributes
    ----------
    cell : str
    lag : (L,) int64
        Steps back from `source_step`, ascending.
    paths : tuple of str
        ``"highway"``, then the cell's gates: the axis P.
    log_norm : (L, P, B) float64
        ln || part ||, in nats; ``-inf`` where a part is exactly zero.
    share : (L, P, B) float64
        <part, whole> / <whole, whole>: how much of the whole a part makes up, with its sign; the shares of a lag
        sum to 1.  NaN where the whole is zero, or so far below its parts, which cancel, that rounding leaves fewer
        than three digits.
    total_log_norm : (L, B) float64
        ln || whole ||, in nats, from an adjoint carried back by itself: right however far the parts cancel.
    target, state : str
        What is differentiated, and with respect to what: a state of the cell or ``"joint"``.
    source_step : int
        Index t into the states, 1..T.
    norm : str
        The direction of the target: ``"random"`` or ``"unit"``.
    vectors : (L, P, B, S, H) float64 or None
        The parts with respect to all states, times 2^exponents[l, b].
    exponents : (L, B) int64 or None
    """

    cell: str
    lag: Array
    paths: tuple[str, ...]
    log_norm: Array
    share: Array
    total_log_norm: Array
    target: str
    state: str
    source_step: int
    norm: str
    vectors: Array | None = None
    exponents: Array | None = None

    def path(self, name: str) -> tuple[Array, Array]:
        """Log-norm and share of one part, each (L, B).

        Raises
        ------
        UnknownNameError
            If there is no such part.
        """
        if name not in self.paths:
            raise UnknownNameError(
                f"path={name!r} is not known; the paths of {self.cell!r} are {', '.join(map(repr, self.paths))}"
            )
        at = self.paths.index(name)
        return self.log_norm[:, at], self.share[:, at]

    def norm_shares(self) -> Array:
        """(L, P, B): each part's norm over the sum of all parts' norms; NaN where all are zero."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.exp(self.log_norm - self._sum_of_norms()[:, None]))

    def cancellation(self) -> Array:
        """(L, B): ln of the sum of the parts' norms over the norm of the whole, in nats.

        0 where all parts point the same way; ln 2 where half of what they carry cancels; infinite where all does.
        """
        with np.errstate(invalid="ignore"):
            return self._sum_of_norms() - self.total_log_norm

    def _sum_of_norms(self) -> Array:
        return np.asarray(np.logaddexp.reduce(self.log_norm, axis=1))
