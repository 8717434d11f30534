"""How far back inputs themselves remember: the longest lag at which they correlate with themselves beyond chance."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array

_CHANCE = 0.05  # that inputs without memory seem to have one, at any lag
_FRACTION = 4  # of the steps that lags are looked at: at longer ones few pairs are left


class InputsMemory(NamedTuple):
    """What inputs say of their own memory.

    Attributes
    ----------
    lag : int
        The longest lag at which they correlate with themselves beyond chance; 0 if they do at none.
    correlation, chance : float
        Their correlation at that lag, and what it would have to exceed; NaN if there is none.
    longest : int
        The longest lag that was looked at; 0 if the inputs are constant, or too short.
    """

    lag: int
    correlation: float
    chance: float
    longest: int


def inputs_memory(inputs: Array) -> InputsMemory:
    """Return the longest lag at which inputs (T, B, I) correlate with themselves beyond chance.

    Of all inputs the one that reaches farthest.  Correlations are means over the sequences.  At lag k the correlation
    of a series that has none from there on varies by (1 + 2 (r_1^2 + ... + r_{k-1}^2)) / (T B) [1]_; it has to be
    beyond what chance makes of that in 5 % of such series, at any lag of any input (Bonferroni).

    References
    ----------
    .. [1] M. S. Bartlett, "On the theoretical specification and sampling properties of autocorrelated time-series",
       Supplement to the Journal of the Royal Statistical Society 8 (1946).

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.measurements.inputs_memory import inputs_memory
    >>> noise = np.random.default_rng(0).standard_normal((1000, 1, 1))
    >>> inputs_memory(noise).lag, inputs_memory(noise + np.roll(noise, 37, axis=0)).lag
    (0, 37)
    """
    steps, sequences, width = inputs.shape
    longest = steps // _FRACTION
    nothing = InputsMemory(0, float("nan"), float("nan"), longest)
    apart = np.asarray(inputs, np.float64)
    apart = apart - apart.mean(axis=0)
    power = np.abs(np.fft.rfft(apart, n=2 * steps, axis=0)) ** 2
    sums = np.fft.irfft(power, axis=0)[: longest + 1].mean(axis=1)
    # What is constant is left with what rounding makes of it.
    varies = np.ptp(inputs, axis=0).max(axis=0) > 0
    if longest < 1 or not varies.any():
        return nothing._replace(longest=0)
    correlation = sums[1:, varies] / sums[0, varies]
    before = np.concatenate([np.zeros_like(correlation[:1]), np.cumsum(correlation**2, axis=0)[:-1]])
    deviation = np.sqrt((1 + 2 * before) / (steps * sequences))
    chance = NormalDist().inv_cdf(1 - _CHANCE / 2 / longest / width) * deviation
    rows, columns = np.nonzero(np.abs(correlation) > chance)
    if not rows.size:
        return nothing
    last, column = rows[-1], columns[-1]
    return InputsMemory(int(last) + 1, float(correlation[last, column]), float(chance[last, column]), longest)
