"""What the curve of a gradient says of a memory: its slope with an error, and the step that cuts it if one does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, GradientFlow
from gatescope.errors import ValueRangeError
from gatescope.measurements.frame import Frame
from gatescope.measurements.selection import by_factors, evenly
from gatescope.reporting.text import counted

Framed = TypeVar("Framed", bound=Frame)

BLOCKS = 20  # of time, for standard errors
ROUNDINGS = 4  # of a float, nats per step: a rate below it is 0 but for rounding
_LAGS = 2000  # that the adjoint's line goes through
_CLOSE_LAGS = 400  # of those before, so that they are within 3 % up to a million steps
_LEAST = 10  # steps: fewer make no line


def adjoint_lags(longest: int) -> Array:
    """Return the lags of the adjoint: evenly for its line, and at lags before that closely for its steps to half."""
    return np.union1d(evenly(longest, _LAGS), by_factors(max(1, longest // 10), _CLOSE_LAGS))


def check_transient(transient: Any, steps: int) -> int:
    """Return the steps to leave out at the beginning, so that enough are left to measure on."""
    skipped = steps // 10 if transient is None else check_count("transient", transient, least=0)
    if steps - skipped < _LEAST:
        raise ValueRangeError(
            f"leaves {steps - skipped} of {counted(steps, 'step')}",
            argument="transient",
            seen=transient,
            advice=f"at least {_LEAST} are needed",
        )
    return skipped


def slope(flow: GradientFlow) -> tuple[Array, Array, Array]:
    """Return the decay rate of each sequence of a flow, its standard error over blocks of lags, and R^2.

    A gradient that becomes exactly zero decays at an infinite rate.
    """
    fit = flow.decay_rate()
    rate, error = fit.value.copy(), np.full(fit.value.shape, np.nan)
    inside = np.flatnonzero((flow.lag >= fit.fit_range[0]) & (flow.lag <= fit.fit_range[1]))
    edges = np.unique(inside[np.linspace(0, inside.size - 1, BLOCKS + 1).astype(int)])
    with np.errstate(invalid="ignore"):  # -inf - -inf: of a sequence whose gradient is 0
        blocks = -np.diff(flow.log_norm[edges], axis=0) / np.diff(flow.lag[edges])[:, None]
    if len(blocks) > 2:
        error[:] = standard_error(np.where(np.isfinite(blocks), blocks, np.nan))
    gone = np.isneginf(flow.log_norm[-1])
    rate[gone], error[gone] = np.inf, np.nan
    return rate, error, np.where(gone, np.nan, fit.r_squared)


class AdjointRates(NamedTuple):
    """What the gradient's curve gives of each sequence (B,), as `HalfLife` has it."""

    adjoint_rate: Array
    adjoint_error: Array
    r_squared: Array
    cut_step: Array
    steps_to_half: Array
    adjoint_doubt: tuple[str, ...]


def rates_of(
    problem: Framed,
    flow: GradientFlow,
    skipped: int,
    cut: Array,
    again: Callable[[Framed, Array], GradientFlow],
) -> AdjointRates:
    """Return rates of a flow; of sequences whose memory is `cut`, those before and after the step that cuts it.

    `again` measures the flow of a problem at some lags.
    """
    rate, error, r_squared = slope(flow)
    gone = np.isposinf(rate)
    doubt = np.where(gone, "", np.array(flow.decay_rate().why_none, object))
    cut_step = np.full(rate.size, -1)
    for b in np.flatnonzero(cut):
        one = flow.sequence(int(b))
        parts = []
        last, column = problem.steps, one.log_norm[:, 0]
        row = _cut_row(column)
        if row is not None:
            last -= int(one.lag[row])
            cut_step[b] = last
            # What lies after the step, and what lies before it: a gradient of its own, which begins there.
            parts.append(dataclasses.replace(one, lag=one.lag[:row], log_norm=one.log_norm[:row]))
            if last - skipped >= _LEAST:
                before = problem.part(np.array([b]), 0, last)
                lags = evenly(last - skipped, _LAGS)
                parts.append(again(before, lags))
        pooled = pooled_slope(parts)
        if pooled is not None:
            rate[b], error[b], r_squared[b] = pooled
            doubt[b] = ""
    rate[[bool(text) for text in doubt]] = np.nan
    rate = without_rounding(rate, ROUNDINGS * float(np.finfo(problem.params.dtype).eps))
    return AdjointRates(rate, error, r_squared, cut_step, flow.steps_to_half(), tuple(map(str, doubt)))


def pooled_slope(parts: Iterable[GradientFlow]) -> tuple[float, float, float] | None:
    """Return rate, error and R^2 of flows over stretches of one sequence, weighted by their lengths.

    Stretches that are too short, or have no rate, do not count; None if that leaves none.
    """
    fits = [(slope(part), int(part.lag[-1])) for part in parts if part.lag[-1] >= _LEAST]
    fits = [fit for fit in fits if np.isfinite(fit[0][0][0])]
    if not fits:
        return None
    weights = np.array([extent for _, extent in fits], np.float64)
    values = np.array([[value[0] for value in each] for each, _ in fits])
    weights /= weights.sum()
    error = np.sqrt((weights**2) @ np.nan_to_num(values[:, 1]) ** 2)
    return float(weights @ values[:, 0]), float(error), float(values[:, 2].min())


def _cut_row(column: Array) -> int | None:
    """Return the row of the first lag past a step that cuts the gradient: to 0, or else the largest fall there is."""
    zero = np.flatnonzero(np.isneginf(column))
    if zero.size:
        return int(zero[0]) if zero[0] > 0 else None
    return int(np.argmin(np.diff(column))) + 1 if column.size > 1 else None


def without_rounding(rate: Array, rounding: float) -> Array:
    """Return rates with 0 for those that are no more than rounding."""
    return np.asarray(np.where(np.abs(rate) <= rounding, 0.0, rate))


def standard_error(blocks: Array) -> Array:
    """Return the standard error of the mean over axis 0; the values are taken for independent."""
    return np.asarray(np.std(blocks, axis=0, ddof=1) / np.sqrt(len(blocks)))
