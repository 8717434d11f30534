"""How long each layer of a stack remembers, and how long the whole does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.half_life import HalfLife, differ, half_life_of
from gatescope.reporting.table import Table
from gatescope.reporting.text import listing, steps, with_error


@dataclass(frozen=True, kw_only=True, repr=False)
class HalfLifeByLayer(ByLayer[HalfLife]):
    """Half-lives of every layer and direction of a stack on what it really receives, and of the whole.

    Attributes
    ----------
    names : tuple of str
    results : tuple of HalfLife
    whole : HalfLife or None
        Of the joint state of all layers: its units are those of all layers that have a memory gate, one layer after
        the other.  None of a stack that does not go one way: a gradient then goes back and forth in time, and there is
        no rate at which it decays.
    """

    results: tuple[HalfLife, ...]
    whole: HalfLife | None = None

    def ranking(self) -> tuple[tuple[str, float, float], ...]:
        """Return name, rate and error of each layer, the longest memory first.

        The rate is minus the leading exponent, in nats per step, the mean over the sequences.
        """
        rows = []
        for name, life in self.items():
            error = float(np.sqrt(np.mean(life.exponent_error**2) / life.exponent_error.size))
            rows.append((name, float(life.exponent_rate.mean()), error))
        return tuple(sorted(rows, key=lambda row: row[1]))

    def _tables(self) -> dict[str, Table]:
        whole = {} if self.whole is None or len(self) == 1 else {"the whole": self.whole.table()}
        return {**super()._tables(), **whole}

    def _title(self) -> str:
        whole = self.whole
        cells = listing(life.cell for life in self.results) if whole is None else whole.cell
        return f"half-life of the gradient, {cells}"

    def _together(self) -> list[str]:
        return [self._longest(), *self._of_the_whole()]

    def _longest(self) -> str:
        """Return which layer remembers longest, if the errors tell."""
        first, *others = self.ranking()
        alike = [name for name, *rate in others if not differ((first[1], first[2]), (rate[0], rate[1]))]
        doubts = [(name, text) for name, *_ in self.ranking() for text in self[name].exponent_doubt if text]
        rates = listing(f"{name} {with_error(rate, error)}" for name, rate, error in self.ranking())
        by = f"by minus the leading exponents, nats per step: {rates}"
        half = f"a half-life of {steps(half_life_of(first[1]))}" if first[1] > 0 else "without decay"
        if not others:
            text = f"{first[0]}, the one layer: {half}"
        elif alike:
            text = f"{listing([first[0], *alike])} remember longest, about alike, {half}; {by}"
        else:
            text = f"{first[0]} remembers longest, {half}; {by}"
        return f"{text}; this may change, for of {doubts[0][0]}: {doubts[0][1]}" if doubts else text

    def _of_the_whole(self) -> list[str]:
        if self.whole is None:
            return [
                "the whole has no half-life: its layers do not all go one way, so that a gradient goes back and forth "
                "in time; each direction is measured by itself, on what it receives"
            ]
        if len(self) == 1:
            return []
        title, *lines = self.whole.summary().splitlines()
        return [f"the whole, {title}", *(f"  {line.strip()}" for line in lines)]
