"""How the gradient of one step reaches back in time, and rates read off it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_index, is_whole
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.log_norm_line import STRAY, line_through
from gatescope.datatypes.lyapunov_sentences import AT_REST, not_stable
from gatescope.datatypes.result import ComparedByValue, Result
from gatescope.errors import ValueRangeError
from gatescope.reporting.table import Table, over_sequences, per_sequence, some
from gatescope.reporting.text import NumberText, counted, number, steps

_HALF = 0.5  # R^2 of a slope that is no more than what strays about it


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
    why_none : tuple of str
        For each sequence, why the norms have no single rate, so that the value is only the slope of a line that they do
        not follow; "" where they have one.
    """

    value: Array
    r_squared: Array
    fit_range: tuple[int, int]
    unit: str
    why_none: tuple[str, ...] = ()

    @property
    def is_rate(self) -> Array:
        """Return whether (B,) the norms of each sequence follow a line."""
        reasons = self.why_none or ("",) * self.value.size
        return np.array([not reason for reason in reasons])

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
        text = f"{values} {self.unit} (lags {self.fit_range[0]} to {self.fit_range[1]}, R^2 {fits})"
        reasons = dict.fromkeys(reason for reason in self.why_none if reason)
        return f"{text}; no single rate: {'; '.join(reasons)}" if reasons else text


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientFlow(Result):
    """How the gradient of one step reaches back in time.

    ``log_norm[l, b]`` is ``ln || d of_{t} / d wrt_{t - lag[l]} ||`` for sequence b, with t = `source_step`.
    It is kept in the log domain, so it is right long after the norm itself is below the smallest float.

    Attributes
    ----------
    cell : str
        Of a stack those of all layers, ``"gru on lstm"``.
    lag : (L,) int64
        Steps back from `source_step`, ascending.
    log_norm : (L, B) float64
        In nats; ``-inf`` where the gradient is exactly zero, NaN where a shorter sequence has no such lag.
    of : str
        What is differentiated: ``"h"`` (the output), ``"c"``, or ``"joint"``; of a stack ``"layers.1.h"`` or
        ``"readout.0"``; or, in words, a direction of the user's own, or a loss.
    wrt : str
        With respect to what: ``"h"``, ``"c"`` or ``"joint"`` (all states together); of a stack ``"layers.0.h"``.
    source_step : int
        Index t into the states, 1..T; that of the longest sequence, if they differ.
    norm : str
        ``"unit"``, ``"random"`` or ``"spectral"``; ``"direction"`` where `of` is one, or a loss.
    total : bool
        Whether states of the same step that are computed from `wrt` follow it, or are held fixed.
    side : str
        ``"past"``, or ``"future"`` where lags lead to states that took later steps, of layers that go both ways.
    source_steps : (B,) int64 or None
        That of each sequence, if they differ.
    moved : (B,) bool or None
        Whether a state on the way back was another than the one the run began with.  A state that never moved is a
        fixed point, stable or not, and the gradient is that of this point.  None where only lag 0 was asked for.
    """

    cell: str
    lag: Array
    log_norm: Array
    of: str
    wrt: str
    source_step: int
    norm: str
    total: bool = False
    side: str = "past"
    source_steps: Array | None = None
    moved: Array | None = None

    _axes: ClassVar[Mapping[str, str]] = {
        "lag": "(L,) int64",
        "log_norm": "(L, B) float64",
        "source_steps": "(B,) int64",
        "moved": "(B,) bool",
    }
    _rows: ClassVar[str] = "log_norm"

    def table(self) -> Table:
        """Return rate, half-life and fit of each sequence, and its norm at some of the lags."""
        rate, half = self.decay_rate(), self.half_life()
        first, last = rate.fit_range
        rows: list[tuple[str, Any]] = []
        if not self.of_loss:
            rows = [
                ("steps to half", self.steps_to_half()),
                ("decay rate, nats per step", np.where(rate.is_rate, rate.value, np.nan)),
                ("asymptotic half-life, steps", np.where(rate.is_rate, half.value, np.nan)),
                (
                    f"R² of the fit, lags {first:,} to {last:,}",
                    [NumberText(f"{r:.3f}", r) for r in rate.r_squared],
                ),
            ]
        decades = self.log_norm / np.log(10)
        rows += [(f"log10 of the norm at lag {self.lag[at]:,}", decades[at]) for at in some(len(self.lag))]
        over = counted(int(self.lag[-1]), "step")
        earlier = f"{self.wrt} (total)" if self.total else self.wrt
        when = "a later" if self.side == "future" else "an earlier"
        title = f"gradient of {self.of} by {when} {earlier}, {self.cell}, over {over}"
        return per_sequence(title, rows)

    def summary(self) -> str:
        """Return what the table is of, when half of the gradient is gone, and whether its tail vanishes or grows.

        Of several sequences, median and range; `sequence` gives one of them.
        """
        fit, gone = self.decay_rate(), self.steps_to_half()
        if self.of_loss:
            lines = [
                "the loss may take outputs of many steps: a norm is of what all later ones add up to, so that no "
                "half-life is read off"
            ]
        elif gone.size == 1:
            lines = [self._gone(gone[0]), _meaning(fit)]
        else:
            rates = np.where(fit.is_rate, fit.value, np.nan)
            lines = [
                over_sequences("steps to half", gone, "steps"),
                over_sequences("asymptotic half-life", half_life_of(rates), "steps"),
            ]
            lines += _reasons(fit)
        resting = self.resting_text()
        lines += [resting] if resting else []
        return "\n".join([self.table().title, *lines])

    @property
    def of_loss(self) -> bool:
        """Whether it is the gradient of a loss, to whose norms every later step may add: they follow no one line."""
        return self.of.endswith("loss")

    def _gone(self, gone: float) -> str:
        """Return when half of the gradient of one sequence is gone, as far as the lags tell."""
        longest = int(self.lag[-1])
        if np.isnan(gone):
            return "nothing is known of the gradient: all its norms are NaN"
        if np.isinf(gone):
            return f"more than half of the gradient is left after {steps(longest)}"
        row = int(np.searchsorted(self.lag, gone))
        most = "at most " if gone > 1 and (row == 0 or self.lag[row - 1] < gone - 1) else ""
        return f"half of the gradient is gone after {most}{steps(gone)}"

    def sequence(self, number: int) -> GradientFlow:
        """Return the flow of one sequence, at the lags that it has."""
        b = check_index("number", number, self.log_norm.shape[1], "sequences")
        column = self.log_norm[:, b]
        own = ~np.isnan(column)
        if self.source_steps is None or not own.any():  # of NaN alone there is nothing to leave out
            own[:] = True
        step = self.source_step if self.source_steps is None else int(self.source_steps[b])
        moved = None if self.moved is None else self.moved[b : b + 1]
        return dataclasses.replace(
            self,
            lag=self.lag[own],
            log_norm=column[own, None],
            source_step=step,
            source_steps=None,
            moved=moved,
        )

    def resting_text(self) -> str:
        """Return what a state that never moved makes of the gradient, and what to give; "" if all moved."""
        resting = np.zeros(self.log_norm.shape[1], np.bool_) if self.moved is None else ~self.moved
        if not resting.any():
            return ""
        which = f"in {np.count_nonzero(resting)} of {resting.size} sequences " if resting.size > 1 else ""
        growth = -self.decay_rate().value[resting] * self.lag[-1]
        return which + (
            not_stable("gradient") if (growth > STRAY).any() else f"{AT_REST}: this is its gradient"
        )

    def steps_to_half(self) -> Array:
        """Return the first lag (B,) from which on at most half of the gradient is left; infinite if there is none.

        Half of its norm at lag 0, or at the first lag at which it is not 0.  That is what is really gone, where
        `half_life` is ln 2 over the rate of the tail: the two differ where the norm falls at another rate at first.
        """
        gone = np.full(self.log_norm.shape[1], np.inf)
        for b, column in enumerate(self.log_norm.T):
            lags, norms = self.lag[~np.isnan(column)], column[~np.isnan(column)]
            above = np.flatnonzero(norms > -np.inf)
            if not above.size:
                gone[b] = 0.0 if norms.size else np.nan
                continue
            whole = norms[above[0]]
            left = (norms > whole - np.log(2)) | (norms >= whole)  # beside an infinite norm, ln 2 is lost
            last = np.flatnonzero(left)[-1]
            if last + 1 < lags.size:
                gone[b] = lags[last + 1]
        return gone

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
            NaN where fewer than two finite log-norms lie in the range; its R^2 where fewer than three do.  Where the
            norms follow no line, `Fit.why_none` says why.

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
        slopes, fits, reasons = zip(
            *(line_through(self.lag[chosen], column) for column in self.log_norm[chosen].T), strict=True
        )
        return Fit(
            value=-np.array(slopes),
            r_squared=np.array(fits),
            fit_range=(first, last),
            unit="nats per step",
            why_none=reasons,
        )

    def half_life(self, fit_range: tuple[int, int] | None = None) -> Fit:
        """Return the asymptotic half-life, in which the tail halves: ln 2 / decay rate; infinite without decay.

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
        why_none=tuple(reason for fit in fits for reason in fit.why_none),
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


def _meaning(fit: Fit) -> str:
    """Return what the decay rate of one sequence means, and how far the lags of the fit carry it."""
    (rate,), (r_squared,), (why_none,) = fit.value, fit.r_squared, fit.why_none
    if why_none:
        return f"no single rate: {why_none}"
    extent = fit.fit_range[1] - fit.fit_range[0]
    change = f"over the {steps(extent)} of the fit it changes by a factor of {number(float(np.exp(-rate * extent)))}"
    slight = abs(rate) * extent < STRAY
    if rate == 0 or (slight and r_squared < _HALF):
        return "the gradient neither vanishes nor grows" + (
            f": {change}, less than it strays" if rate else ""
        )
    what = "vanishing: its tail halves" if rate > 0 else "growing: its tail doubles"
    text = f"{what} every {steps(float(half_life_of(abs(rate))))}, asymptotically"
    return f"{text}; that is extrapolated: {change}" if slight else text


def _reasons(fit: Fit) -> list[str]:
    """Return why some of several sequences have no rate."""
    missing = np.flatnonzero(~fit.is_rate)
    if not missing.size:
        return []
    first = missing[0]
    which = f"{missing.size} of {counted(fit.value.size, 'sequence')}"
    return [f"no single rate in {which}, such as sequence {first}: {fit.why_none[first]}"]
