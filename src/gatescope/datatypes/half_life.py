"""How long a cell remembers, by three estimators that are right or wrong for different reasons."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Self

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_index, check_type
from gatescope.datatypes.result import Result
from gatescope.errors import ShapeError
from gatescope.reporting.table import Table, over_sequences, per_sequence
from gatescope.reporting.text import counted, listing, number, steps, with_error

_SIGMAS = 3.0
_LARGER = 0.2  # of the larger of two rates


def half_life_of(rate: Any) -> Array:
    """Return the steps in which what decays by e^-rate a step halves: ln 2 / rate; infinite if it does not, NaN of NaN.

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

    A half-life is ln 2 / rate, that of a tail: 0 if all is gone after a few steps, infinite where nothing decays (a
    rate of 0 or below; what is no more than rounding is 0), NaN where an estimator has nothing to go by.

    Attributes
    ----------
    cell : str
    gate : str
        The memory gate: the value that a state is multiplied by from step to step (f of an LSTM, z of a GRU), or one
        minus which.  ``""`` if the cell has none (an RNN), or if what it multiplies by is neither.
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
        Fraction of the variance of the adjoint's log-norm that a straight line explains.
    disagree : (B,) bool
        Whether two of the network's three rates differ by more than three standard errors of their difference and
        by more than 20 % of the larger one; the gate's rate is that of the slowest unit.
    steps, transient : int
        Steps of the run, and how many of them at its beginning were left out; those of the longest sequence, if they
        differ.
    lengths, transients : (B,) int64 or None
        Those of each sequence, if they differ.
    steps_to_half : (B,) or None
        The lag from which on half of the adjoint is gone, read off its norms; infinite if more than half is left.
    cut_step : (B,) int64 or None
        The last step that cuts the memory, so that nothing before it counts: the adjoint's and the exponent's rates are
        those before and after it.  -1 where there is none.
    moved : (B,) bool or None
        Whether the state was ever another than the first.
    adjoint_doubt, exponent_doubt : tuple of str
        For each sequence, why that estimate cannot be gone by; "" where it can.
    diagonal : bool
        Whether no unit feeds another, so that the gate's rates are all there is (see `gatescope.from_decays`).
    complement : bool
        Whether a state keeps one minus the gate of itself, as of a leak, and not the gate's value.
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
    lengths: Array | None = None
    transients: Array | None = None
    steps_to_half: Array | None = None
    cut_step: Array | None = None
    moved: Array | None = None
    adjoint_doubt: tuple[str, ...] = ()
    exponent_doubt: tuple[str, ...] = ()
    diagonal: bool = False
    complement: bool = False

    _axes: ClassVar[Mapping[str, str]] = {
        "by_gate": "(B, H)",
        "by_adjoint": "(B,)",
        "by_exponent": "(B,)",
        "gate_rate": "(B, H)",
        "gate_error": "(B, H)",
        "adjoint_rate": "(B,)",
        "adjoint_error": "(B,)",
        "exponent_rate": "(B,)",
        "exponent_error": "(B,)",
        "r_squared": "(B,)",
        "disagree": "(B,) bool",
        "lengths": "(B,) int64",
        "transients": "(B,) int64",
        "steps_to_half": "(B,)",
        "cut_step": "(B,) int64",
        "moved": "(B,) bool",
    }
    _rows: ClassVar[str] = "by_adjoint"

    @classmethod
    def from_rates(cls, **fields: Any) -> Self:
        """Return a result from all fields but the half-lives and `disagree`, which follow from the rates and errors."""
        names = ("gate", "adjoint", "exponent")
        half_lives: dict[str, Any] = {f"by_{name}": half_life_of(fields[f"{name}_rate"]) for name in names}
        life = cls(disagree=np.zeros(len(fields["gate_rate"]), np.bool_), **half_lives, **fields)
        for b in range(life.disagree.size):
            life.disagree[b] = any(differ(*pair) for pair in combinations(life._rates(b), 2))
        return life

    @property
    def slowest(self) -> Array:
        """Return the longest half-life by the gate (B,), in steps, which is the gate's estimate for the network."""
        return np.asarray(self.by_gate.max(axis=1))

    @property
    def median(self) -> Array:
        """Return the median over units of the half-life by the gate, (B,), in steps: of the middle two the shorter."""
        # Not np.median, which averages the middle two: infinity and a finite number have no useful mean.
        return np.asarray(np.sort(self.by_gate, axis=1)[:, (self.by_gate.shape[1] - 1) // 2])

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("adjoint_doubt", "exponent_doubt"):
            texts = getattr(self, name)
            check_type(name, texts, tuple, advice="give a tuple of texts")
            if texts and len(texts) != self.by_adjoint.size:
                raise ShapeError(
                    f"has {len(texts)} texts, for {self.by_adjoint.size} sequences",
                    argument=name,
                    advice="give one a sequence, or none",
                )

    @property
    def fraction(self) -> str:
        """What a state keeps of itself, in letters: ``"f"``, or ``"1 - a"``; ``""`` if no gate says it."""
        return f"1 - {self.gate}" if self.complement else self.gate

    @property
    def gate_text(self) -> str:
        """What the estimate by the gate goes by: ``"the gate f"``, ``"1 - the gate a"``."""
        return f"{'1 - ' if self.complement else ''}the gate {self.gate}"

    def sequence(self, number: int) -> HalfLife:
        """Return the half-lives of one sequence."""
        b = check_index("number", number, self.by_adjoint.size, "sequences")
        fields: dict[str, Any] = {name: array[b : b + 1] for name, array in self.arrays().items()}
        for name in ("adjoint_doubt", "exponent_doubt"):
            fields[name] = getattr(self, name)[b : b + 1]
        fields["steps"], fields["transient"] = self._span(b)
        return dataclasses.replace(self, **{**fields, "lengths": None, "transients": None})

    def table(self) -> Table:
        """Return the three estimates of each sequence, their rates, and whether they agree."""
        gate = f"geometric mean of {self.fraction}" if self.gate else "memory gate"
        half = {} if self.steps_to_half is None else {"steps to half": self.steps_to_half}
        rows: dict[str, Any] = {
            **half,
            "asymptotic half-life by the slope of the adjoint, steps": self.by_adjoint,
            "by the leading Lyapunov exponent, steps": self.by_exponent,
            f"by the {gate}, slowest unit, steps": self.slowest,
            f"by the {gate}, median unit, steps": self.median,
            "rate of the adjoint, nats per step": map(with_error, self.adjoint_rate, self.adjoint_error),
            "minus the leading exponent, nats per step": [
                *map(with_error, self.exponent_rate, self.exponent_error)
            ],
            "the three agree": [not disagree for disagree in self.disagree],
        }
        return per_sequence(f"half-life of the gradient, {self.cell}", rows.items())

    def summary(self) -> str:
        """Return the three estimates in words, and why they differ if they do.

        Of several sequences, median and range over them; `sequence` gives one of them.
        """
        lines = self._of_one() if self.by_adjoint.size == 1 else self._of_all()
        return "\n".join([self.table().title, *lines])

    def _of_one(self) -> list[str]:
        lines = [self._estimates(0), *self._verdict(0), *self._doubts(0)]
        return [lines[0], *(f"  {line}" for line in lines[1:])]

    def _of_all(self) -> list[str]:
        """Return what there is to say of several sequences together."""
        estimates = {
            "steps to half": self.steps_to_half,
            "half-life by the slope of the adjoint": self.by_adjoint,
            "half-life by the leading exponent": self.by_exponent,
            "half-life by the gate, slowest unit": self.slowest,
        }
        lines = [
            over_sequences(name, values, "steps")
            for name, values in estimates.items()
            if values is not None and not np.isnan(values).all()
        ]
        batch = self.disagree.size
        agree = batch - np.count_nonzero(self.disagree)
        lines.append(f"the estimates agree within their errors or 20 % in {agree} of {batch} sequences")
        # Alike but for their numbers, texts are one, with the first sequence as an example.
        texts: dict[str, tuple[int, str]] = {}
        counts: dict[str, int] = {}
        for b in range(batch):
            for text in [*self._doubts(b), *(self._verdict(b) if self.disagree[b] else [])]:
                kind = re.sub(r"[−0-9][0-9,.]*( × 10\^−?[0-9]+)?|∞", "#", text)
                texts.setdefault(kind, (b, text))
                counts[kind] = counts.get(kind, 0) + 1
        for kind, (b, text) in texts.items():
            lines.append(f"in {counts[kind]} of {batch}, such as sequence {b}: {text}")
        return lines

    def _doubts(self, b: int) -> list[str]:
        """Return what speaks against the estimates of a sequence."""
        texts = []
        if self.cut_step is not None and self.cut_step[b] >= 0:
            texts.append(
                f"step {self.cut_step[b]} cuts the memory: nothing that came before it is left, whatever the half-life "
                "before and after it, which is given"
            )
        if self.adjoint_doubt and self.adjoint_doubt[b]:
            texts.append(f"by the adjoint there is no single rate: {self.adjoint_doubt[b]}")
        total, transient = self._span(b)
        if total - transient < self.by_adjoint[b] < np.inf:
            texts.append("by the adjoint it is longer than the steps looked at, so that it is extrapolated")
        # Within rounding: no run is too short to tell.
        neither_decays = self.exponent_rate[b] == 0 == self.adjoint_rate[b]
        if self.exponent_doubt and self.exponent_doubt[b] and not neither_decays:
            texts.append(f"the exponent: {self.exponent_doubt[b]}")
        elif self.moved is not None and not self.moved[b]:
            texts.append("the state never moved from where it began, a fixed point: these are its half-lives")
        return texts

    def __str__(self) -> str:
        return self.summary()

    def _estimates(self, b: int) -> str:
        total, transient = self._span(b)
        fit = "" if np.isnan(self.r_squared[b]) else f" (R^2 {self.r_squared[b]:.3f})"
        exponent = _spread(float(self.exponent_rate[b]), float(self.exponent_error[b]))
        texts = [
            f"{_steps(self.by_adjoint[b], self.adjoint_rate[b])} by the slope of the adjoint{fit}",
            f"{_steps(self.by_exponent[b], self.exponent_rate[b])} by the leading Lyapunov exponent{exponent}",
        ]
        if np.isnan(self.by_gate[b]).all():
            texts.append("not defined by a gate, as no state of this cell is carried over by one")
        else:
            name = f"of {self.fraction}" if self.gate else "of what a state keeps of itself"
            texts.append(
                f"{_steps(self.slowest[b])} by the geometric mean {name} in the slowest unit "
                f"({_steps(self.median[b])} in the median unit)"
            )
        over = f"over {counted(total - transient, 'step')}"
        if self.steps_to_half is None:
            return f"{over}, asymptotic half-life: {listing(texts)}"
        gone = self.steps_to_half[b]
        half = (
            f"half of the gradient is gone after {steps(gone)}"
            if np.isfinite(gone)
            else "more than half is left"
        )
        return f"{over}: {half}; asymptotic half-life: {listing(texts)}"

    def _span(self, b: int) -> tuple[int, int]:
        """Return steps and transient of a sequence."""
        if self.lengths is None or self.transients is None:
            return self.steps, self.transient
        return int(self.lengths[b]), int(self.transients[b])

    def _rates(self, b: int) -> list[tuple[float, float]]:
        """Return rates and errors: of the slowest unit's gate, if gates have any; of the adjoint; of the exponent."""
        rates = [
            (self.adjoint_rate[b], self.adjoint_error[b]),
            (self.exponent_rate[b], self.exponent_error[b]),
        ]
        if not np.isnan(self.gate_rate[b]).all():
            unit = int(np.nanargmin(self.gate_rate[b]))
            rates.insert(0, (self.gate_rate[b, unit], self.gate_error[b, unit]))
        return [(float(rate), float(error)) for rate, error in rates]

    def _verdict(self, b: int) -> list[str]:
        *gate, adjoint, exponent = self._rates(b)
        doubted = bool(self.exponent_doubt and self.exponent_doubt[b])
        rates = [*gate, adjoint] if doubted else [*gate, adjoint, exponent]
        known = [rate for rate, _ in rates if not np.isnan(rate)]
        if not self.disagree[b]:
            which = "the others" if doubted else "they"
            return [f"{which} agree within their errors or 20 %"] if len(known) > 1 else []
        if self.diagonal:
            return [
                "the adjoint, a random direction, still holds channels that fade sooner than the slowest one, which "
                "takes over at longer lags"
            ]
        texts = []
        others = [
            (name, rate[0])
            for name, rate in (("the adjoint", adjoint), ("the exponent", exponent))
            if gate and differ(gate[0], rate)
        ]
        if others:
            how = "shorten" if others[0][1] > gate[0][0] else "lengthen"
            texts.append(
                f"the gate disagrees with {' and '.join(name for name, _ in others)}: it leaves out the paths "
                f"through the recurrent weights, which {how} the memory here"
            )
        if differ(adjoint, exponent):
            texts.append(
                "the adjoint and the exponent disagree: the adjoint follows one direction back from the last step, "
                "the exponent is the slowest direction over the whole run; a longer run brings them together unless "
                "the slowest direction does not reach what is differentiated"
            )
        transient = self._span(b)[1]
        if transient < self.by_exponent[b] < np.inf:
            texts.append(
                f"the transient of {counted(transient, 'step')} is shorter than the half-life, so that the exponent's "
                "direction had not settled: use a longer run"
            )
        return texts


def differ(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether two rates with standard errors differ: by over 3 sigma and by over 20 % of the larger one.

    An unknown rate (NaN) differs from none; an unknown error counts as 0.
    """
    (a, a_error), (b, b_error) = one, other
    if np.isnan(a) or np.isnan(b) or a == b:
        return False
    if np.isinf(a) or np.isinf(b):
        return True
    sigma = float(np.hypot(np.nan_to_num(a_error), np.nan_to_num(b_error)))
    return abs(a - b) > max(_SIGMAS * sigma, _LARGER * max(abs(a), abs(b)))


def _spread(rate: float, error: float) -> str:
    """Return what an error of the rate makes of the half-life: from and to, in one standard error."""
    if rate == 0 or not (np.isfinite(rate) and np.isfinite(error)):
        return ""
    low, high = half_life_of([rate + error, rate - error])
    if np.isinf(low) or number(low) == number(high):
        return ""
    return f" ({number(low)} to {number(high)} within its error)"


def _steps(value: Any, rate: float = -1.0) -> str:
    if np.isnan(value):
        return "no estimate"
    if np.isinf(value):
        return f"infinite (no decay{' within rounding' if rate == 0 else ''})"
    return steps(value)
