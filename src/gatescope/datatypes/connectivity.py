"""Which inputs each output depends on, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.datatypes.result import Array, Result
from gatescope.errors import ValueRangeError


@dataclass(frozen=True, kw_only=True, repr=False)
class Connectivity(Result):
    """How strongly each output depends on each input: the log-norm of d outputs[t] / d inputs[t'].

    Steps are counted as in `inputs` and in ``run(...).outputs``, from 0: outputs[t] is made by step t, which reads
    inputs[t].

    Attributes
    ----------
    cell : str
    target_step : (R,) int64
        The steps t of the outputs, ascending.
    source_step : (C,) int64
        The steps t' of the inputs, ascending.
    log_norm : (R, C, B) float64
        In nats; ``-inf`` where the derivative is exactly zero, NaN where t' is after t.
    norm : str
        ``"frobenius"`` of the Jacobian (H, I), or the norm of v J for one direction v of the outputs, ``"random"``
        or ``"unit"``.
    """

    cell: str
    target_step: Array
    source_step: Array
    log_norm: Array
    norm: str

    def row(self, step: int) -> Array:
        """(C, B): the log-norms of the output at one of the target steps, over all source steps.

        Raises
        ------
        ValueRangeError
            If `step` is not among `target_step`.
        """
        found = np.flatnonzero(self.target_step == step)
        if not found.size:
            near = int(self.target_step[np.abs(self.target_step - step).argmin()])
            raise ValueRangeError(f"step={step!r} is not among the target steps; the nearest is {near}")
        return np.asarray(self.log_norm[found[0]])

    def lag(self) -> Array:
        """(R, C) int64: t - t', negative where the source is after the target."""
        return np.asarray(self.target_step[:, None] - self.source_step[None, :])

    def lag_profile(self) -> tuple[Array, Array]:
        """Lags (L,), ascending, and the mean log-norm (L, B) over all pairs that are so far apart.

        It is the logarithm of the geometric mean; ``-inf`` where any of the derivatives is exactly zero.
        """
        lag = self.lag()
        pairs = lag >= 0
        lags, place = np.unique(lag[pairs], return_inverse=True)
        counts = np.bincount(place, minlength=lags.size)
        values: Any = self.log_norm[pairs]  # (pairs, B)
        sums = np.array([np.bincount(place, column, minlength=lags.size) for column in values.T]).T
        return lags, sums / counts[:, None]
