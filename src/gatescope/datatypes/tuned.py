"""The setting that was chosen for an arm, and all that were tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table
from gatescope.reporting.text import number, percent


@dataclass(frozen=True, kw_only=True, repr=False)
class Tuned(Result):
    """The best of several settings, by seeds that are used for nothing else; P points, the best first.

    Attributes
    ----------
    cell, task : str
    lr : float
    scheme : str
        Of the initial weights.
    biases : mapping of str to float
        Shifts of the initial biases by gate.
    at_edge : bool
        Whether the learning rate is the smallest or the greatest that was tried, so that others might be better yet.
    points : tuple of mapping
        Learning rate, scheme and biases of each point.
    reached : (P,) float64
        Fraction of its runs that reached the target.
    updates : (P,) float64
        Median updates to the target; of a run that did not reach it how many it had.
    validation_loss : (P,) float64
        Mean over the runs of the least validation loss.
    seeds : (P,) int64
        How many runs a point had.
    """

    cell: str
    task: str
    lr: float
    scheme: str
    biases: Mapping[str, float]
    at_edge: bool
    points: tuple[Mapping[str, Any], ...]
    reached: Array
    updates: Array
    validation_loss: Array
    seeds: Array

    _axes: ClassVar[Mapping[str, str]] = {
        "points": "(P,)",
        "reached": "(P,) float64",
        "updates": "(P,) float64",
        "validation_loss": "(P,) float64",
        "seeds": "(P,) int64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"P": "point"}

    def summary(self) -> str:
        """Return what was chosen, and whether it lies at the edge of what was tried."""
        chosen = f"{self.cell} on {self.task}: learning rate {number(self.lr)}, initial weights {self.scheme}"
        if self.biases:
            chosen += ", biases " + ", ".join(f"{gate} {value:+g}" for gate, value in self.biases.items())
        return f"{chosen}\nat the edge of what was tried: another may be better" if self.at_edge else chosen

    def table(self) -> Table:
        """Return all points, the best first."""
        rows = [
            (
                point["lr"],
                point["scheme"],
                dict(point["biases"]) or None,
                percent(reached),
                updates,
                loss,
                seeds,
            )
            for point, reached, updates, loss, seeds in zip(
                self.points, self.reached, self.updates, self.validation_loss, self.seeds, strict=True
            )
        ]
        header = (
            "learning rate",
            "initial weights",
            "biases",
            "reached",
            "updates",
            "validation loss",
            "runs",
        )
        return Table(header, rows, self.summary().partition("\n")[0])
