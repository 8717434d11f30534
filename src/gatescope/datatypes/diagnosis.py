"""What is wrong with a cell's memory, in numbers; `diagnosis_sentences` puts them into words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice, check_type
from gatescope.datatypes.diagnosis_sentences import CLAMPED, OPENING, cleaned, sentences_of
from gatescope.datatypes.gradient_flow import GradientFlow
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.datatypes.half_life import HalfLife
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.datatypes.params import Params
from gatescope.datatypes.result import Result
from gatescope.errors import GatescopeError, ValueRangeError
from gatescope.reporting.table import Table
from gatescope.reporting.text import percent, steps, with_error

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


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
        then, ``fraction_`` with a path is its part of the gradient at the lag ``fraction_lag``, ``fraction_whole`` the
        norm of the whole over the sum of the parts' there, ``suggested_`` is measured with the suggestion.
        ``inputs_memory_`` is what the inputs say of their own memory, ``cut_step`` the step that cuts the state's,
        ``settling`` in how many steps it forgets its beginning, if `steps_before` is less.
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
    layer : int
        Which layer of its stack the cell is, from 0.
    reverse : bool
        Whether it is a backward direction.
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
    layer: int = 0
    reverse: bool = False

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
    _dims: ClassVar[Mapping[str, str]] = {"5": "quantile", "M": "clamp"}
    _labels: ClassVar[Mapping[str, object]] = {"gate": "gates", "quantile": QUANTILES}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("verdict", self.verdict, OPENING)
        check_type("clamped_at", self.clamped_at, tuple, advice="give a tuple of texts")
        for at in self.clamped_at:
            check_choice("clamped_at", at, CLAMPED)
        try:
            _ = self.sentences
        except GatescopeError:
            raise
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise ValueRangeError(
                f"do not fit what its sentences say ({error})",
                argument="numbers",
                advice="give the result as it was returned",
            ) from error

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
            (f"leading exponent with {gate} clamped {CLAMPED[at]}", with_error(cleaned(value), error), "", "")
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
        return tuple(sentences_of(self))

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
        params.check_fields("params")
        return changed(params, self.suggestion, self.suggested_gate, self.suggested_value)


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
