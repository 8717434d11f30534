"""Two runs of one cell over the same inputs, such as before and after training: gates, time constants, half-lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_index
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.result import Result
from gatescope.datatypes.saturation import Saturation
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, with_error


@dataclass(frozen=True, kw_only=True, repr=False)
class TraceComparison(Result):
    """What gates do in two runs of one cell over the same inputs, sequence by sequence and unit by unit.

    Attributes
    ----------
    cell : str
    gates : tuple of str
        The K gates with values in (0, 1).
    gate : str
        The memory gate, found from the cell's equations; ``""`` if there is none.
    labels : (str, str)
        Names of the two runs.
    mean : (2, K, B, H) float64
        Mean value of each gate over the steps of a sequence.
    shut, open : (2, K, B, H) float64
        Fractions of these steps at which a gate was below `left`, and above `right`.
    rate : (2, B, H) float64
        -<ln kept>, in nats per step: the mean over the steps of what a unit's memory state keeps of itself, which is
        the memory gate or one minus that.  NaN without such a gate.
    lengths : (B,) int64
        Number of steps of each sequence.
    left, right : float
        Thresholds.
    complement : bool
        Whether a state keeps one minus the gate of itself.
    """

    cell: str
    gates: tuple[str, ...]
    gate: str
    labels: tuple[str, str]
    mean: Array
    shut: Array
    open: Array
    rate: Array
    lengths: Array
    left: float
    right: float
    complement: bool = False

    _axes: ClassVar[Mapping[str, str]] = {
        "gates": "(K,)",
        "labels": "(2,)",
        "mean": "(2, K, B, H) float64",
        "shut": "(2, K, B, H) float64",
        "open": "(2, K, B, H) float64",
        "rate": "(2, B, H) float64",
        "lengths": "(B,) int64",
    }
    _also: ClassVar[Mapping[str, str]] = {"time_constant": "(2, B, H)", "half_life": "(2, B, H)"}
    _dims: ClassVar[Mapping[str, str]] = {"2": "run"}
    _labels: ClassVar[Mapping[str, object]] = {"run": "labels", "gate": "gates"}
    _rows: ClassVar[str] = "mean"

    @property
    def time_constant(self) -> Array:
        """Return 1 / (1 - g), in steps, (2, B, H): g is the geometric mean of the fraction that a unit keeps."""
        with np.errstate(divide="ignore"):
            return np.asarray(-1 / np.expm1(-self.rate))

    @property
    def half_life(self) -> Array:
        """Return ln 2 / `rate`, in steps, (2, B, H): by the memory gate alone, as ``HalfLife.by_gate``."""
        return half_life_of(self.rate)

    def saturation(self, run: int) -> Saturation:
        """Return what `gatescope.saturation` says of one of the two runs, all sequences together."""
        at = check_index("run", run, 2, "runs")
        steps = int(self.lengths.sum())
        shut, opened = (
            np.einsum("kbh,b->kh", part[at], self.lengths / steps) for part in (self.shut, self.open)
        )
        return Saturation(
            cell=self.cell,
            gates=self.gates,
            shut=shut,
            open=opened,
            left=self.left,
            right=self.right,
            steps=steps,
            provenance=self.provenance,
        )

    def table(self) -> Table:
        """Return means over the sequences with their standard deviations: of both runs, and of the change."""
        rows: list[tuple[Any, ...]] = []
        for k, name in enumerate(self.gates):
            parts = {"mean value": self.mean, "fraction shut": self.shut, "fraction open": self.open}
            rows += [(f"{name}, {what}", *_spread(part[:, k].mean(axis=2))) for what, part in parts.items()]
        if self.gate:
            kept = f"1 - {self.gate}" if self.complement else self.gate
            for what, values in (("time constant", self.time_constant), ("half-life", self.half_life)):
                rows += [
                    (f"{what} by {kept}, slowest unit, steps", *_spread(values.max(axis=2))),
                    (f"{what} by {kept}, median unit, steps", *_spread(np.median(values, axis=2))),
                ]
        count = counted(len(self.lengths), "sequence")
        title = f"gates of {self.cell}, {' and '.join(self.labels)}: {counted(self.mean.shape[3], 'unit')}, {count}"
        return Table(("", *self.labels, "change"), rows, title)

    def summary(self) -> str:
        """Return what the table is of, and how to read it."""
        spread = " ± their standard deviation" if len(self.lengths) > 1 else ""
        return (
            f"{self.table().title}\nmeans over the sequences{spread}; shut: below {self.left:g}, "
            f"open: above {self.right:g}; time constant: 1 / (1 - g), half-life: ln 2 / -ln g, "
            "of the geometric mean g of what a unit keeps"
        )


def _spread(values: Array) -> tuple[str, str, str]:
    """Return mean and standard deviation over the sequences of (2, B) values, and of their differences."""
    with np.errstate(invalid="ignore"):  # of units that keep everything
        rows = (values[0], values[1], values[1] - values[0])
        several = len(values[0]) > 1
        return tuple(with_error(row.mean(), row.std(ddof=1) if several else np.nan) for row in rows)  # type: ignore[return-value]  # of three
