"""Whether log-norms follow a line over the lags, which alone makes its slope a rate."""

from __future__ import annotations

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.reporting.text import number, steps

_LEAST_LAGS = 10  # from the first to the last of a fit: fewer are no window
_LEAST_R_SQUARED = 0.9  # of norms that follow a line
STRAY = float(np.log(2))  # nats about the line: norms that stray less do not vary enough to need one
_CURVED = 0.05  # nats about the line: what strays less is told from no curve
_BETTER = 20  # times as much of the squares has a power to leave out as a line, to be what norms follow


def line_through(x: Array, y: Array) -> tuple[float, float, str]:
    """Return slope and R^2 of the least-squares line through the finite points, and why it says nothing, if so.

    NaN where the points are too few.
    """
    finite = np.isfinite(y)
    points = np.count_nonzero(finite)
    if points < 2:
        return float("nan"), float("nan"), "fewer than two norms above 0"
    dx = x[finite] - x[finite].mean()
    dy = y[finite] - y[finite].mean()
    slope = float(dx @ dy / (dx @ dx))
    if points < 3:  # a line through two points always fits
        return slope, float("nan"), "fewer than three norms above 0, through which any line fits"
    residual = float(((dy - slope * dx) ** 2).sum())
    total = float((dy**2).sum())
    r_squared = 1.0 if total == 0 else 1.0 - residual / total
    return slope, r_squared, _why_none(x[finite], y[finite], slope, r_squared, residual)


def _why_none(lags: Array, log_norm: Array, slope: float, r_squared: float, residual: float) -> str:
    """Return why a line through log-norms is no rate of decay; "" if it is one."""
    extent = int(lags[-1] - lags[0])
    if extent < _LEAST_LAGS:
        return f"the window of {steps(extent)} is too short for one"
    rises = slope * extent > STRAY
    if rises and log_norm.max() < 0:
        return (
            f"the norms rise with the lag but are all below 1 ({number(float(np.exp(log_norm.max())))} at most): most "
            "of the gradient is lost near the end, by saturation there or because the inputs are not stationary"
        )
    stray = float(np.sqrt(residual / lags.size))
    if r_squared < _LEAST_R_SQUARED and stray > STRAY:
        factor = number(float(np.exp(min(stray, 700.0))))
        return (
            f"the norms follow no line (R^2 {r_squared:.3f}, a factor of {factor} about it), as with inputs that are "
            "not stationary or gates that saturate for a while"
        )
    return _power(lags, log_norm, r_squared, residual)


def _power(lags: Array, log_norm: Array, r_squared: float, residual: float) -> str:
    """Return that norms go as a power of the lag, whose rate falls with the lag for ever; "" if they do not."""
    if lags[0] < 1 or np.sqrt(residual / lags.size) < _CURVED:
        return ""
    x, y = np.log(lags) - np.log(lags).mean(), log_norm - log_norm.mean()
    exponent = float(x @ y / (x @ x))
    left = float(((y - exponent * x) ** 2).sum())
    if left > residual / _BETTER:
        return ""
    return (
        f"the norms go as a power of the lag, {number(exponent)} (R^2 {1 - left / float(y @ y):.4f}), "
        f"and not exponentially (R^2 {r_squared:.3f})"
    )
