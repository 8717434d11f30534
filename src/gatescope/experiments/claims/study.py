"""The runs behind statistical statements: a cell on a task, tuned, over paired seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from gatescope.checks.numbers import check_count, check_fields
from gatescope.datatypes import Arm, Effect, SeedRun, Tuned
from gatescope.experiments.seeds.runs import make_arm
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import effect
from gatescope.experiments.seeds.tuning import (
    LEARNING_RATES,
    TUNING_SEEDS,
    Grid,
    schemes_of,
    tune,
    tuned_spec,
)

FULL_SEEDS, FULL_UNITS = 10, 32


@dataclass(frozen=True, kw_only=True)
class StudyTask:
    """A task as all cells get it.

    Attributes
    ----------
    name : str
    spec : RunSpec
        Of any cell; cell, units, learning rate, initial weights and seed are the study's.
    metric : str
        By which two arms are compared, see `gatescope.experiments.seeds.statistics.effect`.
    margin : float
        What is too small to matter.
    memory : float
        How many steps the task's longest memory lasts: the constant of chrono weights.
    """

    name: str
    spec: RunSpec
    metric: str
    margin: float
    memory: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where the runs of a study are kept, and how many there are.

    Attributes
    ----------
    folder : path
    seeds : int
        Seeds 0, 1, ..., at most 1,000: those of tuning are from there on.
    units : int
        Of every cell: arms of equal width.
    lr : sequence of float
        Learning rates that are tried.
    executor, progress
        As for `make_runs`.
    used : dict of RunSpec to SeedRun
        The runs of all arms that were asked for; a statement clears it, and its verdict tells what it stands on.
    """

    folder: str | os.PathLike[str]
    seeds: int = FULL_SEEDS
    units: int = FULL_UNITS
    lr: Sequence[float] = LEARNING_RATES
    executor: Executor | None = None
    progress: bool = False
    used: dict[RunSpec, SeedRun] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, seeds=partial(check_count, most=min(TUNING_SEEDS)), units=check_count)

    @property
    def preliminary(self) -> bool:
        """Return whether it is smaller than the full one."""
        return self.seeds < FULL_SEEDS or self.units < FULL_UNITS or len(self.lr) < len(LEARNING_RATES)

    def spec(self, task: StudyTask, cell: str) -> RunSpec:
        """Return the spec of a cell on a task, not yet tuned."""
        return task.spec.with_(cell=cell, hidden_size=self.units)

    def tuned(self, task: StudyTask, cell: str, scheme: str | None = None) -> Tuned:
        """Return the best setting of a cell on a task: over all schemes of initial weights, or with one of them."""
        schemes = schemes_of(cell, task.memory) if scheme is None else (scheme,)
        grid = Grid(schemes=schemes, lr=self.lr)
        spec = self.spec(task, cell)
        return tune(spec, grid, self.folder, executor=self.executor, progress=self.progress)

    def arm(self, task: StudyTask, cell: str, scheme: str | None = None) -> Arm:
        """Return the runs of a cell on a task with its best setting."""
        spec = tuned_spec(self.spec(task, cell), self.tuned(task, cell, scheme))
        arm = make_arm(
            f"{cell} on {task.name}",
            spec,
            range(self.seeds),
            self.folder,
            executor=self.executor,
            progress=self.progress,
        )
        self.used.update((spec.with_(seed=run.seed), run) for run in arm.runs)
        return arm

    def effect(self, task: StudyTask, first: str, second: str, scheme: str | None = None) -> Effect:
        """Return how the second cell differs from the first on a task."""
        one, other = (self.arm(task, cell, scheme) for cell in (first, second))
        return effect(one, other, task.metric, margin=task.margin, name=task.name)
