"""How long a cell remembers, by three estimators that are right or wrong for different reasons."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np

from gatescope.datatypes.result import Array, Result
from gatescope.errors import ValueRangeError

SIGMAS = 3.0
SHARE = 0.2


def half_life_of(rate: Any) -> Array:
    """Steps in which what decays by e^-rate a step halves: ln 2 / rate; infinite if it does not decay, NaN of NaN.

    Examples
    --------
    >>> from gatescope.datatypes.half_life import half_life_of
    >>> half_life_of([0.1, 0.0, -0.1]).round(2).tolist()
    [6.93, inf, inf]
    """
    rate = np.asarray(rate, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.where(rate > 0, np.log(2) / rate, np.where(np.isnan(rate), np.nan, np.inf)))


@dataclass(frozen=True, kw_only=True, repr=False)
class HalfLife(Result):
    """Half-lives in steps of the gradient that reaches back, by three estimators; rates in nats per step.

    A half-life is ln 2 / rate: 0 if all is gone after a few steps, infinite where nothing decays (a rate of 0 or
    below), NaN where an estimator has nothing to go by.

    Attributes
    ----------
    cell : str
    gate : str
        The memory gate: the value that a state is multiplied by from step to step (f of an LSTM, z of a GRU).
        ``""`` if the cell has none (an RNN), or if what it multiplies by is not one of its kept values.
    by_gate : (B, H)
        Of each unit, from the geometric mean over time of what its state keeps: ln 2 / -<ln f>.  NaN for a cell
        whose states keep nothing directly.
    by_adjoint : (B,)
        From the slope of the log-norm of the adjoint against the lag.
    by_exponent : (B,)
        From the leading Lyapunov exponent: ln 2 / -lambda_1.
    gate_rate, gate_error : (B, H)
        -<ln f> and its standard error over blocks of time.
    adjoint_rate, adjoint_error : (B,)
        Slope and its standard error over blocks of lags (NaN if there are too few lags).
    exponent_rate, exponent_error : (B,)
        -lambda_1 and its standard error.
    r_squared : (B,)
        Share of the adjoint's log-norm that a straight line explains.
    disagree : (B,) bool
        Whether two of the network's three rates differ by more than three standard errors of their difference and
        by more than 20 % of the larger one; the gate's rate is that of the slowest unit.
    steps, transient : int
        Steps of the run, and how many of them at its beginning were left out.
    """

    cell: str
    gate: str
    by_gate: Array
    by_adjoint: Array
    by_exponent: Array
    gate_rate: Array
    gate_error: Array
    adjoint_rate: Array
    adjoint_error: Array
    exponent_rate: Array
    exponent_error: Array
    r_squared: Array
    disagree: Array
    steps: int
    transient: int

    @classmethod
    def from_rates(cls, **fields: Any) -> Self:
        """All fields but the half-lives and `disagree`, which follow from the rates and errors."""
        batch = len(fields["gate_rate"])
        pairs = (("adjoint_rate", "adjoint_error"), ("exponent_rate", "exponent_error"))
        rows = [
            [
                *_rates(fields["gate_rate"][b], fields["gate_error"][b]),
                *((float(fields[rate][b]), float(fields[error][b])) for rate, error in pairs),
            ]
            for b in range(batch)
        ]
        return cls(
            by_gate=half_life_of(fields["gate_rate"]),
            by_adjoint=half_life_of(fields["adjoint_rate"]),
            by_exponent=half_life_of(fields["exponent_rate"]),
            disagree=np.array(
                [any(differ(*pair) for pair in combinations(row, 2)) for row in rows], np.bool_
            ),
            **fields,
        )

    @property
    def slowest(self) -> Array:
        """(B,) steps: the longest half-life by the gate, which is the gate's estimate for the network."""
        return np.asarray(self.by_gate.max(axis=1))

    @property
    def median(self) -> Array:
        """(B,) steps: the median over units of the half-life by the gate."""
        # Not np.median, which averages the middle two: infinity and a finite number have no useful mean.
        return np.asarray(np.sort(self.by_gate, axis=1)[:, (self.by_gate.shape[1] - 1) // 2])

    def summary(self, sequence: int = 0) -> str:
        """The three estimates of one sequence in words, with their units, and why they differ if they do.

        Raises
        ------
        ValueRangeError
            If there is no such sequence.
        """
        batch = self.by_adjoint.size
        if (
            isinstance(sequence, bool)
            or not isinstance(sequence, int | np.integer)
            or not 0 <= sequence < batch
        ):
            raise ValueRangeError(
                f"sequence={sequence!r} is out of range; there are {batch}, numbered from 0"
            )
        b = int(sequence)
        which = f", sequence {b}" if batch > 1 else ""
        fit = "" if np.isnan(self.r_squared[b]) else f" (R^2 {self.r_squared[b]:.3f})"
        exponent = _spread(float(self.exponent_rate[b]), float(self.exponent_error[b]))
        lines = [
            f"half-life of the gradient, {self.cell}{which}, over {self.steps - self.transient:,} steps:",
            f"  {_steps(self.by_adjoint[b])} by the slope of the adjoint{fit}",
            f"  {_steps(self.by_exponent[b])} by the leading Lyapunov exponent{exponent}",
            f"  {self._gate_text(b)}",
        ]
        return "\n".join([*lines, *self._verdict(b)])

    def __str__(self) -> str:
        return "\n".join(self.summary(b) for b in range(self.by_adjoint.size))

    def _gate_text(self, b: int) -> str:
        if np.isnan(self.by_gate[b]).all():
            return "not defined by a gate: no state of this cell is carried over by a gate"
        name = f"of {self.gate}" if self.gate else "of what a state keeps of itself"
        return (
            f"{_steps(self.slowest[b])} by the geometric mean {name}, slowest of {self.by_gate.shape[1]} units "
            f"(median unit: {_steps(self.median[b])})"
        )

    def _verdict(self, b: int) -> list[str]:
        gate = _rates(self.gate_rate[b], self.gate_error[b])
        adjoint = float(self.adjoint_rate[b]), float(self.adjoint_error[b])
        exponent = float(self.exponent_rate[b]), float(self.exponent_error[b])
        known = [rate for rate, _ in (*gate, adjoint, exponent) if not np.isnan(rate)]
        if not self.disagree[b]:
            return ["  they agree within their errors or 20 %"] if len(known) > 1 else []
        texts = []
        others = [
            (name, rate[0])
            for name, rate in (("the adjoint", adjoint), ("the exponent", exponent))
            if gate and differ(gate[0], rate)
        ]
        if others:
            how = "shorten" if others[0][1] > gate[0][0] else "lengthen"
            texts.append(
                f"  the gate disagrees with {' and '.join(name for name, _ in others)}: it leaves out the paths "
                f"through the recurrent weights, which {how} the memory here"
            )
        if differ(adjoint, exponent):
            texts.append(
                "  the adjoint and the exponent disagree: the adjoint follows one direction back from the last step, "
                "the exponent is the slowest direction over the whole run; a longer run brings them together unless "
                "the slowest direction does not reach what is differentiated"
            )
        if self.transient < self.by_exponent[b] < np.inf:
            texts.append(
                f"  the transient of {self.transient:,} steps is shorter than the half-life, so that the exponent's "
                "direction had not settled: use a longer run"
            )
        return texts


def differ(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two rates, each with its standard error, differ: by over 3 sigma and by over 20 % of the larger one.

    An unknown rate (NaN) differs from none; an unknown error counts as 0.
    """
    (a, a_error), (b, b_error) = one, other
    if np.isnan(a) or np.isnan(b) or a == b:
        return False
    if np.isinf(a) or np.isinf(b):
        return True
    sigma = float(np.hypot(np.nan_to_num(a_error), np.nan_to_num(b_error)))
    return abs(a - b) > max(SIGMAS * sigma, SHARE * max(abs(a), abs(b)))


def _rates(rate: Array, error: Array) -> list[tuple[float, float]]:
    """The slowest unit's rate and error as a list of one, or of none if the units have no rates."""
    if np.isnan(rate).all():
        return []
    unit = int(np.nanargmin(rate))
    return [(float(rate[unit]), float(error[unit]))]


def _spread(rate: float, error: float) -> str:
    """What an error of the rate makes of the half-life: from and to, in one standard error."""
    if not (np.isfinite(rate) and np.isfinite(error)):
        return ""
    low, high = half_life_of([rate + error, rate - error])
    return f" ({_number(float(low))} to {_number(float(high))} within its error)"


def _steps(value: Any) -> str:
    if np.isnan(value):
        return "no estimate"
    if np.isinf(value):
        return "infinite: no decay"
    return f"{_number(float(value))} steps"


def _number(value: float) -> str:
    if np.isinf(value):
        return "infinity"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
