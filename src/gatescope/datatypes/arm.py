"""An arm of a study: the runs of one cell with one setting, a run a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result
from gatescope.datatypes.seed_run import SeedRun
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, number, percent


@dataclass(frozen=True, kw_only=True, repr=False)
class Arm(Result):
    """Runs whose specs differ in the seed alone; n seeds.

    Attributes
    ----------
    name : str
    runs : tuple of SeedRun
        At least one; no seed twice.

    Raises
    ------
    ShapeError
        If there are no runs.
    ValueRangeError
        If they differ in more than the seed, or two have the same.
    """

    name: str
    runs: tuple[SeedRun, ...]

    def __post_init__(self) -> None:
        if not self.runs:
            raise ShapeError("is empty", argument="runs", advice="give at least one run")
        first, *others = (_without_seed(run) for run in self.runs)
        if any(other != first for other in others):
            advice = "give runs of one spec"
            raise ValueRangeError("differ in more than their seeds", argument="runs", advice=advice)
        seeds = self.seeds.tolist()
        if len(set(seeds)) < len(seeds):
            raise ValueRangeError("have a seed twice", argument="runs", seen=seeds, advice="give each once")

    @property
    def seeds(self) -> Array:
        """Return the seeds (n,)."""
        return np.array([run.seed for run in self.runs], np.int64)

    @property
    def reached(self) -> Array:
        """Return which runs reached their target (n,)."""
        return np.array([run.reached for run in self.runs], np.bool_)

    @property
    def censored(self) -> float:
        """Return the fraction of the runs that did not reach it."""
        return float((~self.reached).mean())  # not 1 - 0.7, which is more than 0.3

    def values(self, name: str) -> Array:
        """Return a number of every run (n,), by its name in `SeedRun`."""
        return np.array([getattr(run, name) for run in self.runs], np.float64)

    def summary(self) -> str:
        """Return how many runs there are, how many reached the target, and the medians."""
        text = f"{self.name}: {counted(len(self.runs), 'run')}"
        if self.runs[0].spec.get("target_loss") is not None:
            median = number(np.median(self.values("updates")))
            text += f", {percent(self.reached.mean())} reached the target, median {median} updates"
        return f"{text}\nmedian test loss {number(np.median(self.values('test_loss')))}"

    def table(self) -> Table:
        """Return a row a run."""
        rows = [
            (run.seed, run.outcome(), run.best_validation_loss, run.test_loss, percent(run.test_accuracy))
            for run in self.runs
        ]
        header = ("seed", "outcome", "best validation loss", "test loss", "test accuracy")
        return Table(header, rows, self.summary().partition("\n")[0])


def _without_seed(run: SeedRun) -> tuple[dict[str, Any], str]:
    return {name: value for name, value in run.spec.items() if name != "seed"}, run.code
