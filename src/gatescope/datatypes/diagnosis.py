"""What is wrong with a cell's memory, in numbers and in sentences about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatescope.checks.arrays import Array
from gatescope.datatypes.gradient_flow import GradientFlow
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.datatypes.half_life import HalfLife
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.datatypes.params import Params
from gatescope.datatypes.result import Result
from gatescope.errors import UnknownNameError, ValueRangeError

VERDICTS = ("vanishing", "near-critical", "chaotic", "exploding")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, kw_only=True, repr=False)
class Diagnosis(Result):
    """Whether gradients vanish or explode, which gate is responsible, and what would change it.

    Attributes
    ----------
    cell : str
    verdict : str
        ``"vanishing"``, ``"near-critical"``, ``"chaotic"`` or ``"exploding"``, by the rule of `diagnose`.
    sentences : tuple of str
        The verdict in words; every number in them is one of `numbers`.
    names : tuple of tuple of str
        For each sentence, the numbers it is about.
    numbers : mapping of str to float
        Means over the sequences.  Rates and exponents are in nats per step, half-lives and lags in steps, ``mean_``,
        ``shut_`` and ``open_`` with the name of a gate are gate statistics, ``held_`` with a gate and how it was held
        (``held_f_open``) is the leading exponent then, ``suggested_`` is measured with the suggestion.
    steps, window, transient, sequences : int
        T; how many of the last steps were measured, and how many of those at their beginning were not counted; how
        many of the sequences.
    target_half_life : float
        The half-life that is wanted, in steps.
    flow : GradientFlow
        d h / d (all states) back from the last step.
    spectrum : LyapunovSpectrum
        The few leading exponents.
    half_life : HalfLife
    paths : GradientPaths
    gates : tuple of str
        K gates whose values are kept.
    mean, shut, open : (K,) float64
        Mean over steps and units; share of the values below 0.1 and above 0.9 (NaN unless a gate goes from 0 to 1).
    quantiles : (K, 5) float64
        Of the values: 5, 25, 50, 75 and 95 %.
    held_gate, held_at : tuple of str
        M interventions: which gate was held, and at what: ``"open"`` (1) or ``"mean"`` (each unit at its own mean).
    held_exponent, held_error : (M,) float64
        Leading exponent with the gate held, and its standard error; NaN where states left the range of floats.
    gate : str
        Which gate is responsible; ``""`` if none is.
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
    sentences: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
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
    held_gate: tuple[str, ...]
    held_at: tuple[str, ...]
    held_exponent: Array
    held_error: Array
    gate: str
    suggestion: str
    suggested_gate: str
    suggested_value: float
    reached: bool
    suggested_half_life: HalfLife | None

    def number(self, name: str) -> float:
        """One of `numbers`.

        Raises
        ------
        UnknownNameError
            If there is no such number.
        """
        try:
            return self.numbers[name]
        except KeyError:
            raise UnknownNameError(
                f"name={name!r} is not a number of this diagnosis; they are {', '.join(sorted(self.numbers))}"
            ) from None

    def report(self) -> str:
        """The verdict and its sentences, a line each."""
        return "\n".join([f"{self.cell}: {self.verdict}", *(f"  {text}" for text in self.sentences)])

    def __str__(self) -> str:
        return self.report()

    def apply(self, params: Params) -> Params:
        """Weights changed as suggested: to start training from, or to diagnose again.

        Raises
        ------
        ValueRangeError
            If nothing is suggested, or `params` are of another cell.
        """
        if not self.suggestion:
            raise ValueRangeError(
                f"nothing is suggested: the verdict is {self.verdict!r}; use params as they are"
            )
        if not isinstance(params, Params) or params.cell != self.cell:
            raise ValueRangeError(f"params must be gatescope.Params of the cell {self.cell!r}, as diagnosed")
        return changed(params, self.suggestion, self.suggested_gate, self.suggested_value)


def changed(params: Params, kind: str, gate: str, value: float) -> Params:
    """`params` with `value` added to a gate's bias (``"bias"``), or weight_hh times `value` (``"gain"``)."""
    number = params.dtype.type(value)
    fields: dict[str, Any]
    if kind == "bias":
        bias = params.bias_ih.copy()
        row = params.gate_names.index(gate) * params.hidden_size
        bias[row : row + params.hidden_size] += number
        fields = {"bias_ih": bias}
    else:
        fields = {"weight_hh": params.weight_hh * number}
    return dataclasses.replace(params, **fields)
