"""How often gates are shut or open (Karpathy, Johnson and Fei-Fei 2015, section 4.2)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result, index_of
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, percent

SHUT, OPEN = 0.1, 0.9  # a gate is shut below, and open above
_OFTEN = 0.9  # fraction of the steps


@dataclass(frozen=True, kw_only=True, repr=False)
class Saturation(Result):
    """Fractions of the steps at which each unit's gates are shut and open, over all sequences of a run.

    Attributes
    ----------
    cell : str
    gates : tuple of str
        The K gates that were looked at.
    shut, open : (K, H) float64
        Fractions in [0, 1] of the steps at which a gate was below `left`, and above `right`.
    left, right : float
        Thresholds.  A value that is one of them is neither shut nor open.
    steps : int
        How many steps there were, those of all sequences together.
    """

    cell: str
    gates: tuple[str, ...]
    shut: Array
    open: Array
    left: float
    right: float
    steps: int

    _axes: ClassVar[Mapping[str, str]] = {
        "gates": "(K,)",
        "shut": "(K, H) float64",
        "open": "(K, H) float64",
    }

    def gate(self, name: str) -> tuple[Array, Array]:
        """Return the fractions shut and open of one gate, (H,) each."""
        row = index_of(self.gates, name, "these gates were counted:")
        return self.shut[row], self.open[row]

    def means(self) -> dict[str, tuple[float, float]]:
        """Return the mean fractions shut and open over the units, by gate."""
        return {
            name: (float(self.shut[k].mean()), float(self.open[k].mean()))
            for k, name in enumerate(self.gates)
        }

    def saturated(self) -> float | None:
        """Return the fraction of all gate values that are shut or open, the mean over gates; None without gates."""
        means = self.means().values()
        return statistics.fmean(shut + opened for shut, opened in means) if means else None

    def table(self) -> Table:
        """Return the mean fractions of each gate, and how many units are shut or open at over 90 % of the steps."""
        rows = [
            (name, *map(percent, means), *(np.count_nonzero(part > _OFTEN) for part in self.gate(name)))
            for name, means in self.means().items()
        ]
        title = (
            f"gates of {self.cell}, {counted(self.shut.shape[1], 'unit')} over {counted(self.steps, 'step')}: "
            f"shut below {self.left:g}, open above {self.right:g}"
        )
        often = f"at over {_OFTEN:.0%} of the steps"
        return Table(("gate", "shut", "open", f"units shut {often}", f"units open {often}"), rows, title)

    def summary(self) -> str:
        """Return what the table is of, and the fraction of all values that are saturated."""
        return f"{self.table().title}\n{percent(self.saturated())} of all gate values are saturated"
