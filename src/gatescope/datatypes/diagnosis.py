"""What is wrong with a cell's memory, in numbers and in sentences about them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gatescope.cells.bias_places import bias_places
from gatescope.cells.registry import get
from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice
from gatescope.datatypes.gradient_flow import GradientFlow
from gatescope.datatypes.gradient_paths import DIRECT, GradientPaths
from gatescope.datatypes.half_life import HalfLife
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.datatypes.params import Params
from gatescope.datatypes.result import Result
from gatescope.datatypes.saturation import saturating_text
from gatescope.errors import ValueRangeError
from gatescope.reporting.table import Table
from gatescope.reporting.text import listing, number, percent, steps, with_error

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_OPENING = {
    "vanishing": "Vanishing gradients",
    "near-critical": "Near-critical, gradients neither vanish nor explode",
    "undecided": "Undecided, the exponent is not told from 0",
    "chaotic": "Chaotic, small changes grow and gradients explode",
    "exploding": "Exploding, states and gradients grow without bound",
}
_CLAMPED = {"open": "open (at 1)", "mean": "at its mean"}
_CLOSE = 0.8  # of the wanted half-life: estimates agree within 20 %
_ROUNDING = 1e-12  # nats per step: what is left of an exponent that is 0
_LEAST_PART = 0.01  # of the gradient: smaller ones are not named


@dataclass(frozen=True, kw_only=True, repr=False)
class Diagnosis(Result):
    """Whether gradients vanish or explode, which gate is responsible, and what would change it.

    Attributes
    ----------
    cell : str
    verdict : str
        ``"vanishing"``, ``"near-critical"``, ``"chaotic"``, ``"exploding"`` or ``"undecided"``, by the rule of
        `diagnose`.
    numbers : mapping of str to float
        What the sentences say, means over the sequences; what is not known is left out.  Rates and exponents are in
        nats per step, half-lives and lags in steps.  ``mean_``, ``shut_`` and ``open_`` with the name of a gate are
        gate statistics, ``clamped_`` with a gate and how it was clamped (``clamped_f_open``) is the leading exponent
        then, ``fraction_`` with a path is its part of the gradient at the lag ``fraction_lag``, ``suggested_`` is
        measured with the suggestion.
    steps, window, transient, sequences : int
        T; how many of the last steps were measured, and how many of those at their beginning were not counted; how
        many of the sequences.
    target_half_life : float
        The half-life that is wanted, in steps.
    target_assumed : bool
        Whether nobody gave it, so that it is a tenth of the series.
    flow : GradientFlow
        d h / d (all states) back from the last step.
    spectrum : LyapunovSpectrum
        The few leading exponents.
    half_life : HalfLife
    paths : GradientPaths
    gates : tuple of str
        K gates whose values are saved.
    mean, shut, open : (K,) float64
        Mean over steps and units; fraction of the values below 0.1 and above 0.9 (NaN unless a gate goes from 0 to 1).
    quantiles : (K, 5) float64
        Of the values: 5, 25, 50, 75 and 95 %.
    clamped_gate, clamped_at : tuple of str
        M counterfactuals: which gate was clamped, and at what: ``"open"`` (1) or ``"mean"`` (each unit at its own
        mean).
    clamped_exponent, clamped_error : (M,) float64
        Leading exponent with the gate clamped, and its standard error; NaN where states left the range of floats.
    gate : str
        Which gate is responsible; ``""`` if none is.
    tried_gates : tuple of str
        Gates whose biases a suggestion was looked for in.
    suggestion, suggested_gate : str
        ``"bias"``: add `suggested_value` to the bias of `suggested_gate`; ``"gain"``: multiply weight_hh by it;
        ``""``: change nothing.
    suggested_value : float
    reached : bool
        Whether the half-life measured with the suggestion is the one wanted.
    suggested_half_life : HalfLife or None
        Measured with the suggestion.
    """

    cell: str
    verdict: str
    numbers: Mapping[str, float]
    steps: int
    window: int
    transient: int
    sequences: int
    target_half_life: float
    flow: GradientFlow
    spectrum: LyapunovSpectrum
    half_life: HalfLife
    paths: GradientPaths
    gates: tuple[str, ...]
    mean: Array
    shut: Array
    open: Array
    quantiles: Array
    clamped_gate: tuple[str, ...]
    clamped_at: tuple[str, ...]
    clamped_exponent: Array
    clamped_error: Array
    gate: str
    tried_gates: tuple[str, ...]
    suggestion: str
    suggested_gate: str
    suggested_value: float
    reached: bool
    suggested_half_life: HalfLife | None
    target_assumed: bool = False

    _axes: ClassVar[Mapping[str, str]] = {
        "gates": "(K,)",
        "mean": "(K,) float64",
        "shut": "(K,) float64",
        "open": "(K,) float64",
        "quantiles": "(K, 5) float64",
        "clamped_gate": "(M,)",
        "clamped_at": "(M,)",
        "clamped_exponent": "(M,) float64",
        "clamped_error": "(M,) float64",
    }

    def number(self, name: str) -> float:
        """Return one of `numbers`."""
        return self.numbers[check_choice("name", name, sorted(self.numbers))]

    def table(self) -> Table:
        """Return the gates' statistics, and the leading exponent with each gate clamped."""
        rows: list[tuple[Any, ...]] = [
            (f"gate {gate}", mean, percent(shut), percent(opened))
            for gate, mean, shut, opened in zip(self.gates, self.mean, self.shut, self.open, strict=True)
        ]
        rows += [
            (f"leading exponent with {gate} clamped {_CLAMPED[at]}", with_error(value, error), "", "")
            for gate, at, value, error in zip(
                self.clamped_gate, self.clamped_at, self.clamped_exponent, self.clamped_error, strict=True
            )
        ]
        title = (
            f"diagnosis of {self.cell} over the last {steps(self.window)}, "
            f"for a half-life of {steps(self.target_half_life)}"
        )
        return Table(("", "mean, or nats per step", "shut (< 0.1)", "open (> 0.9)"), rows, title)

    def summary(self) -> str:
        """Return the verdict and its sentences, a line each."""
        return "\n".join([f"{self.cell}: {self.verdict}", *(f"  {text}" for text in self.sentences)])

    def __str__(self) -> str:
        return self.summary()

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return the verdict in words; every number in them is one of `numbers`."""
        return tuple(
            [
                *self._verdict_sentences(),
                *self._memory_sentences(),
                *self._gate_sentences(),
                *self._path_sentences(),
                *self._suggestion_sentences(),
                self._extent_sentence(),
            ]
        )

    def apply(self, params: Params) -> Params:
        """Return weights changed as suggested: to start training from, or to diagnose again.

        Raises
        ------
        ValueRangeError
            If nothing is suggested, or `params` are of another cell.
        """
        if not self.suggestion:
            raise ValueRangeError(
                f"nothing is suggested: the verdict is {self.verdict!r}", advice="use the weights as they are"
            )
        if not isinstance(params, Params) or params.cell != self.cell:
            raise ValueRangeError(
                f"must be gatescope.Params of the cell {self.cell!r}, as diagnosed", argument="params"
            )
        return changed(params, self.suggestion, self.suggested_gate, self.suggested_value)

    def _verdict_sentences(self) -> Iterator[str]:
        """Yield the exponent and the rule by which it is judged."""
        n = self.numbers
        known = "exponent_error" in n
        unknown = "" if known or np.isinf(n["exponent"]) else " (too few steps for its error)"
        yield (
            f"{_OPENING[self.verdict]}: the leading Lyapunov exponent is {self._rate('exponent')}{unknown} "
            "nats per step."
        )
        goal = self.target_half_life
        bound = f"{number(n['bound'])} = ln 2 / {number(goal)}, the rate of a half-life of {steps(goal)}"
        rule = {
            "vanishing": f"below −{bound}",
            "near-critical": f"within ±{bound}",
            "undecided": f"outside ±{bound}",
            "chaotic": f"above {bound}",
            "exploding": f"above {bound}, where states grow too, here by {_signed(n.get('state_growth', 0))} a step",
        }[self.verdict]
        error = {
            "near-critical": "",
            "undecided": ", but within three standard errors of 0",
        }.get(self.verdict, ", if beyond three of its errors")
        yield f"It is called {self.verdict} {rule}{error if known else ''}."
        if self.verdict == "undecided":
            yield (
                f"The error {n['exponent_error']:.2g} is too large to tell the exponent from 0: give more steps."
            )
        if self.target_assumed:
            yield (
                "No target_half_life was given: a tenth of the series, at most 1,000 steps, is assumed, here "
                f"{steps(goal)}. Whether a half-life is too short depends on how far back your task needs to look; "
                "give that."
            )

    def _memory_sentences(self) -> Iterator[str]:
        """Yield how fast the gradient decays or grows, and how that compares with the series."""
        n = self.numbers
        decays = self.verdict in ("vanishing", "near-critical") or (
            self.verdict == "undecided" and n["exponent"] < 0
        )
        precision = self.provenance.get("dtype", "floating point")
        if not decays and "doubling" in n and self.verdict != "undecided":
            yield f"A small change of the state doubles every {steps(n['doubling'])}, by the leading exponent."
        elif decays:
            fit = f" (R^2 {n['r_squared']:.3f})" if "r_squared" in n else ""
            gate = self.half_life.gate
            by = f"the gate {gate} alone" if gate else "what each state keeps of itself"
            median = f" (slowest unit; {steps(n.get('half_life_gate_median', np.nan))} in the median)"
            estimates = {
                "half_life_exponent": "by the leading exponent",
                "half_life_adjoint": f"by the slope of the adjoint{fit}",
                "half_life_gate": f"by {by}{median}",
            }
            texts = [f"{steps(n[name])} {how}" for name, how in estimates.items() if name in n]
            disagree = self.verdict == "vanishing" and bool(self.half_life.disagree.any())
            end = "; these do not agree within 20 % and their errors" if disagree else ""
            yield f"The half-life of the gradient is {listing(texts)}{end}."
        if "reach" in n:
            yield (
                f"The series has {steps(self.steps)}: what happened more than {steps(n['reach'])} ago changes the "
                f"output by less than {precision} can tell (a factor of {n['resolution']:.2g})."
            )
        elif decays:
            yield (
                f"The series has {steps(self.steps)}: over the {steps(n['longest_lag'])} looked at, the gradient "
                f"stays within what {precision} can tell."
            )

    def _gate_sentences(self) -> Iterator[str]:
        """Yield which gate is responsible, and what clamping it does."""
        n = self.numbers
        if "spectral_radius" in n:
            yield (
                "There is no gate that could be clamped: the recurrent weights count, whose spectral radius is "
                f"{number(n['spectral_radius'])}."
            )
        if self.gate:
            (gate, at), *others = nearest(
                self.clamped_gate, self.clamped_at, self.clamped_exponent, self.clamped_error,
                n["exponent"], n.get("exponent_error", 0.0),
            )  # fmt: skip
            rival = next(((name, how) for name, how in others if name != gate), None)
            other = ""
            if rival:
                after = _signed(n[key("clamped", *rival)])
                other = (
                    f"; no other gate brings it as near to 0 (next: {rival[0]} {_CLAMPED[rival[1]]}, {after})"
                )
            yield (
                f"The gate responsible is {gate}: clamping {gate} {_CLAMPED[at]} would change the leading exponent "
                f"from {_signed(n['exponent'])} to {_signed(n[key('clamped', gate, at)])} nats per step{other}."
            )
        elif self.verdict not in ("near-critical", "undecided") and "spectral_radius" not in n:
            yield (
                "No single gate is responsible: clamping any one of them does not bring "
                f"{_signed(n['exponent'])} nearer to 0."
            )
        shown = self.gate or self.half_life.gate
        mean, shut, opened = (n.get(key(what, shown)) for what in ("mean", "shut", "open"))
        if mean is not None:
            extremes = ""
            if shut is not None and opened is not None:
                extremes = (
                    f"; it is below 0.1 for {percent(shut)} and above 0.9 for {percent(opened)} of the time"
                )
            yield f"The mean of {shown} is {mean:.3f}{extremes}."

    def _path_sentences(self) -> Iterator[str]:
        """Yield by which paths the gradient goes back."""
        fractions = {name: self.numbers.get(key("fraction", name), 0.0) for name in self.paths.paths}
        direct = fractions.pop(DIRECT, 0.0)
        texts = [f"{percent(direct)} on the direct path from state to state"] if direct >= _LEAST_PART else []
        gates = sorted((-value, name) for name, value in fractions.items() if value >= _LEAST_PART)
        if gates:
            through = listing(f"{name} {percent(-value)}" for value, name in gates)
            texts.append(f"through the recurrent weights of {through}")
        if texts:
            lag = steps(self.numbers["fraction_lag"])
            yield f"At a lag of {lag} the gradient's parts are, by their norms: {'; '.join(texts)}."

    def _suggestion_sentences(self) -> Iterator[str]:
        """Yield what to change, and what was measured with it."""
        n, goal = self.numbers, f"a half-life of {steps(self.target_half_life)}"
        if "inputs_saturated" in n:
            yield saturating_text(n)
            if self.verdict == "near-critical":
                return
        if self.verdict == "undecided":
            yield f"Whether anything is to be changed for {goal} cannot be told from these steps: give more of them."
            return
        if self.verdict == "near-critical":
            short = {
                how: n[name]
                for name, how in (
                    ("half_life_exponent", "exponent"),
                    ("half_life_adjoint", "slope of the adjoint"),
                )
                if n.get(name, np.inf) < _CLOSE * self.target_half_life
            }
            if short:
                texts = listing(f"{steps(value)} by the {how}" for how, value in short.items())
                yield (
                    f"Whether anything is to be changed for {goal} is open: the half-life is {texts}; give more "
                    "steps."
                )
            else:
                yield f"Nothing is to be changed for {goal} or more."
            return
        if not self.suggestion:
            gain = f"weight_hh times {number(n['tried_gain'])}"
            tried = f"{gain} does not bring"
            if self.tried_gates:
                gates, most = " or ".join(self.tried_gates), number(n["tried_bias"])
                tried = f"neither a shift of the bias of {gates} by up to {most} nor {gain} brings"
            yield f"No suggestion reaches {goal}: {tried} the exponent nearer."
            return
        value = self.suggested_value
        change = (
            f"{value:+g} on the bias of {self.suggested_gate}"
            if self.suggestion == "bias"
            else f"weight_hh times {value:g}"
        )
        if "suggested_exponent" not in n:
            measured = "the states leave the range of floating point"
        elif "suggested_doubling" in n:
            near = ", near-critical" if self.reached else ""
            measured = (
                f"the leading exponent measured is {self._rate('suggested_exponent')} nats per step{near}"
            )
        else:
            measured = (
                f"the half-life measured is {steps(n['suggested_half_life_exponent'])} by the exponent "
                f"({self._rate('suggested_exponent')} nats per step)"
            )
            if "suggested_half_life_adjoint" in n:
                measured += f", {steps(n['suggested_half_life_adjoint'])} by the slope of the adjoint"
        if self.reached:
            yield f"Suggestion: {change}; with it {measured}."
        else:
            yield (
                f"No suggestion reaches {goal}; the nearest of those tried is {change}, and with it {measured}."
            )
        if "earlier_exponent" in n:
            half = f", {steps(n['earlier_half_life'])} of half-life" if "earlier_half_life" in n else ""
            yield (
                f"Over the {steps(self.window)} before those, to which it was not fitted, the leading exponent with "
                f"it is {self._rate('earlier_exponent')} nats per step{half}."
            )
        yield from self._array_sentences()
        yield (
            "This is where to start training from: in a trained network it changes what is computed, "
            "so train again after it."
        )

    def _array_sentences(self) -> Iterator[str]:
        """Yield where the bias that is to be changed lies in the arrays of PyTorch and of Keras."""
        if self.suggestion != "bias":
            return
        places = bias_places(get(self.cell), self.suggested_gate, self.half_life.by_gate.shape[1])
        if places:
            yield f"That bias is {listing(places)}."

    def _extent_sentence(self) -> str:
        """Return which part of the series was measured."""
        which = f"all {steps(self.steps)}"
        if self.window < self.steps:
            which = f"the last {steps(self.window)} of {number(self.steps)}"
        several = f" and the first {self.sequences} of the sequences" if self.sequences > 1 else ""
        return f"Measured over {which}{several}; the first {steps(self.transient)} of these do not count."

    def _rate(self, name: str) -> str:
        """Return a rate with its sign, and its error if that is known."""
        error = self.numbers.get(f"{name}_error")
        text = _signed(self.numbers[name])
        return text if error is None else f"{text} ± {error:.2g}"


def key(what: str, *names: str) -> str:
    """Return the name of a number about a gate or a path, such as ``clamped_f_open``."""
    return "_".join([what, *(re.sub(r"\W", "_", name) for name in names)])


def nearest(
    gates: Sequence[str],
    at: Sequence[str],
    exponents: Iterable[float],
    errors: Iterable[float],
    exponent: float,
    error: float,
) -> list[tuple[str, str]]:
    """Return gates and how they were clamped, the one first that brings the leading exponent nearest to 0.

    Those are left out that bring `exponent` nearer by less than three standard errors of the difference.
    """
    rows = zip(gates, at, exponents, errors, strict=True)
    better = sorted(
        (abs(value), gate, how)
        for gate, how, value, off in rows
        if abs(value) < abs(exponent) - 3 * np.hypot(np.nan_to_num(off), np.nan_to_num(error))
    )
    return [(gate, how) for _, gate, how in better]


def changed(params: Params, kind: str, gate: str, value: float) -> Params:
    """Return `params` with `value` added to a gate's bias (``"bias"``), or weight_hh times `value` (``"gain"``)."""
    amount = params.dtype.type(value)
    fields: dict[str, Any]
    if kind == "bias":
        bias = params.bias_ih.copy()
        row = params.gate_names.index(gate) * params.hidden_size
        bias[row : row + params.hidden_size] += amount
        fields = {"bias_ih": bias}
    else:
        fields = {"weight_hh": params.weight_hh * amount}
    return dataclasses.replace(params, **fields)


def _signed(rate: float) -> str:
    """Return a rate with its sign; what rounding leaves of 0 is 0."""
    return "0" if abs(rate) < _ROUNDING else f"+{number(rate)}" if rate > 0 else number(rate)
