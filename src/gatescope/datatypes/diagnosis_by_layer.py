"""Which layer of a stack forgets, and what would change it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gatescope.checks.numbers import check_type
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.diagnosis import Diagnosis
from gatescope.datatypes.diagnosis_sentences import suggestion_of
from gatescope.datatypes.half_life import differ
from gatescope.datatypes.stack import Bidirectional, Stack, replaced
from gatescope.errors import ValueRangeError
from gatescope.reporting.text import listing, steps

_WRONG = ("vanishing", "exploding", "chaotic")  # verdicts, what is looked at first before the others


@dataclass(frozen=True, kw_only=True, repr=False)
class DiagnosisByLayer(ByLayer[Diagnosis]):
    """A diagnosis of every layer and direction of a stack, on what it really receives.

    Attributes
    ----------
    names : tuple of str
    results : tuple of Diagnosis
    """

    results: tuple[Diagnosis, ...]

    @property
    def layer(self) -> str:
        """Return the name of the layer to begin with: of those whose gradients vanish, the one that forgets first.

        Where none vanishes, the one in which they grow fastest; ``""`` where nothing is known to be wrong.
        """
        for verdict in _WRONG:
            rates = {name: one.numbers["exponent"] for name, one in self.items() if one.verdict == verdict}
            if rates:
                return (min if verdict == "vanishing" else max)(rates, key=lambda name: rates[name])
        return ""

    def apply(self, stack: Stack | Bidirectional, name: str | None = None) -> Stack:
        """Return the stack with one layer changed as suggested: the one named, or `layer`.

        The others stay as they are: what a layer above needs was measured on what it receives now.  Diagnose again.

        Raises
        ------
        ValueRangeError
            If nothing is suggested for that layer, or it is of another cell.
        """
        check_type("stack", stack, Stack, Bidirectional, advice="give the stack that was diagnosed")
        if isinstance(stack, Bidirectional):
            stack = Stack(layers=(stack,))
        chosen = self.layer if name is None else name
        if not chosen:
            raise ValueRangeError(
                f"nothing is to be changed: {self._head()}", advice="use the stack as it is"
            )
        diagnosis = self[chosen]
        prefix = self.names[[one is diagnosis for one in self.results].index(True)]
        weights = stack.directions()
        if prefix not in weights:
            raise ValueRangeError(
                f"has no {prefix}", argument="stack", advice="give the stack that was diagnosed"
            )
        weights[prefix] = diagnosis.apply(weights[prefix])
        layers = [
            replaced(layer, {way: weights[one] for way, one in stack.prefixes(number).items()})
            for number, layer in enumerate(stack.layers)
        ]
        return dataclasses.replace(stack, layers=tuple(layers))

    def _together(self) -> list[str]:
        return [self._head()]

    def _head(self) -> str:
        """Return which layer to begin with, how sure that is, and what to change."""
        name = self.layer
        if not name:
            verdicts = listing(f"{one} is {diagnosis.verdict}" for one, diagnosis in self.items())
            return f"no layer is known to forget too soon: {verdicts}"
        diagnosis = self[name]
        goal = f"{steps(diagnosis.target_half_life)}{' (assumed)' if diagnosis.target_assumed else ''}"
        text = f"{name} is {diagnosis.verdict}"
        if diagnosis.verdict == "vanishing":
            half = steps(diagnosis.numbers["half_life_exponent"])
            first = "forgets first" if len(self) > 1 else "forgets"
            text = f"{name} {first}: its half-life is {half}, where {goal} are wanted"
        alike = [
            one
            for one, other in self.items()
            if one != name
            and other.verdict == diagnosis.verdict
            and not differ(_rate(other), _rate(diagnosis))
        ]
        also = f" ({listing(alike)} about as soon)" if alike else ""
        return f"{text}{also}.  {next(iter(suggestion_of(diagnosis)), '')}".rstrip()


def _rate(diagnosis: Diagnosis) -> tuple[float, Any]:
    return diagnosis.numbers["exponent"], diagnosis.numbers.get("exponent_error", float("nan"))
