"""The runs behind statistical statements: a cell on a task, tuned, over paired seeds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, TypeVar

from gatescope.checks.numbers import check_above_zero, check_count, check_fields, check_flag, check_type
from gatescope.datatypes import Arm, Effect, SeedRun, Tuned
from gatescope.errors import ShapeError
from gatescope.experiments.executors import check_executor, part_of
from gatescope.experiments.seeds.code import packages_missing
from gatescope.experiments.seeds.data import run_data
from gatescope.experiments.seeds.runs import make_arm, make_runs
from gatescope.experiments.seeds.sizes import WITHIN, equal_parameters
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import OF_LOSSES, effect
from gatescope.experiments.seeds.tuning import (
    LEARNING_RATES,
    TUNING_SEEDS,
    Grid,
    schemes_of,
    tune,
    tune_together,
    tuned_spec,
)
from gatescope.storage.atomic import as_path

FULL_SEEDS, FULL_UNITS = 10, 32
QUICK_UNITS, QUICK_RATES = 16, (1e-2,)
_QUICK_WITHIN = 0.10  # of a common number of parameters
SCHEMES = ("pytorch", "keras", "chrono")  # of which a cell without a memory gate has no chrono
QUICK_SCHEMES = ("pytorch", "chrono")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class StudyTask:
    """A task as all cells get it.

    Attributes
    ----------
    name : str
    spec : RunSpec
        Of any cell; cell, units, learning rate, initial weights and seed are the study's.
    metric : str
        By which two arms are compared, see `gatescope.experiments.seeds.statistics.effect`.  Without a target
        in `spec` every run has the whole budget: so for ``"counted"``, where one that stops at a loss may fail n = 1.
    margin : float
        What is too small to matter.
    memory : float
        How many steps the task's longest memory lasts: the constant of chrono weights.
    tuned_on : StudyTask, optional
        The task whose best settings are taken, as for a row of sizes or of noise, all tuned on one of them.
    quick : mapping
        Fields of `spec` that are others in a quick study, and `name` and `memory`; of `arguments` those that are named.
        Without a name of its own the smaller task is called "... (smaller)".
    """

    name: str
    spec: RunSpec
    metric: str
    margin: float
    memory: float
    tuned_on: StudyTask | None = None
    quick: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def shortened(self) -> StudyTask:
        """Return the task of a quick study."""
        if not self.quick:
            return self
        fields = {"name": f"{self.name} (smaller)", "memory": self.memory, **self.quick}
        own = {name: fields.pop(name) for name in ("name", "memory")}
        for name in ("arguments", "training_arguments"):
            if name in fields:
                fields[name] = {**getattr(self.spec, name), **fields[name]}
        return dataclasses.replace(self, spec=self.spec.with_(**fields), quick={}, **own)


@dataclass(frozen=True)
class StudyCell:
    """A cell as a study runs it; its plain name stands for one with nothing else.

    Attributes
    ----------
    name : str
        Of the arm.
    cell : str
    units : int, optional
        Default: the study's.
    layers : int
    clamp : mapping of str to float
        Gates that keep a value: an ablation.
    biases : sequence of mapping
        Shifts of initial biases, each of which is tried in tuning.
    schemes : sequence of str, optional
        Of initial weights, each of which is tried.  Default: those of the protocol.
    in_turns : bool
        Whether the learning rate is tuned with each of the biases at the first scheme alone, and then the scheme with
        the best of these, rather than all with all.
    """

    name: str
    cell: str
    _: KW_ONLY
    units: int | None = None
    layers: int = 1
    clamp: Mapping[str, float] = field(default_factory=dict, hash=False)
    biases: Sequence[Mapping[str, float]] = field(default=({},), hash=False)
    schemes: Sequence[str] | None = field(default=None, hash=False)
    in_turns: bool = False


Cell = str | StudyCell


def _tuned_on(task: StudyTask) -> StudyTask:
    """Return the task that another is tuned on."""
    while task.tuned_on is not None:
        task = task.tuned_on
    return task


def study_cell(cell: Cell) -> StudyCell:
    """Return a cell that may be named alone."""
    return StudyCell(cell, cell) if isinstance(cell, str) else cell


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where the runs of a study are kept, and how many there are.

    A scheme of initial weights that is just ``"chrono"`` has the memory of the task as its constant.

    Attributes
    ----------
    folder : path
    seeds : int
        Seeds 0, 1, ..., at most 1,000: those of tuning are from there on.
    quick : bool
        Whether tasks are smaller, as `StudyTask.quick` says, and only the initial weights of PyTorch and chrono are
        tried, with one seed; with fewer `units` and one learning rate, unless they are given.
    units : int
        Of every cell: arms of equal width.  Default: 32, of a quick study 16.
    lr : sequence of float
        Learning rates that are tried.  Default: four, of a quick study 0.01 alone.
    executor, part, progress
        As for `make_runs`.
    used : dict of RunSpec to SeedRun
        The runs of all arms that were asked for; a statement clears it, and its verdict tells what it stands on.
    """

    folder: str | os.PathLike[str]
    seeds: int = FULL_SEEDS
    quick: bool = False
    units: int = None  # type: ignore[assignment]  # it depends on `quick`
    lr: Sequence[float] = None  # type: ignore[assignment]
    executor: Executor | None = None
    part: str | None = None
    progress: bool = False
    used: dict[RunSpec, SeedRun] = field(default_factory=dict, init=False, repr=False, compare=False)
    _read: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, quick=check_flag, progress=check_flag)
        as_path(self.folder, "folder")
        check_executor(self.executor, None)
        part_of(self.part, 0)
        units, lr = (QUICK_UNITS, QUICK_RATES) if self.quick else (FULL_UNITS, LEARNING_RATES)
        for name, default in (("units", units), ("lr", lr)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        check_fields(self, seeds=partial(check_count, most=min(TUNING_SEEDS)), units=check_count, lr=_rates)

    @property
    def preliminary(self) -> bool:
        """Return whether it is smaller than the full one."""
        smaller = self.seeds < FULL_SEEDS or self.units < FULL_UNITS or len(self.lr) < len(LEARNING_RATES)
        return self.quick or smaller

    @property
    def schemes(self) -> tuple[str, ...]:
        """Return the schemes of initial weights that are tried for a cell with a memory gate."""
        return QUICK_SCHEMES if self.quick else SCHEMES

    def task(self, task: StudyTask) -> StudyTask:
        """Return a task as this study runs it, with the name that it has here."""
        return task.shortened() if self.quick else task

    def spec(self, task: StudyTask, cell: Cell) -> RunSpec:
        """Return the spec of a cell on a task, not yet tuned."""
        one, sized = study_cell(cell), self.task(task)
        units = self.units if one.units is None else one.units
        return sized.spec.with_(cell=one.cell, hidden_size=units, layers=one.layers, clamp=one.clamp)

    def grid(self, task: StudyTask, cell: Cell, scheme: str | None = None) -> Grid:
        """Return what is tried for a cell on a task: all schemes of initial weights, or one of them."""
        one, memory = study_cell(cell), self.task(task).memory
        if scheme is not None:
            schemes: Sequence[str] = (scheme,)
        elif one.schemes is not None:
            schemes = one.schemes
        else:
            left_out = {*SCHEMES} - {*self.schemes}
            schemes = [name for name in schemes_of(one.cell, memory) if name not in left_out]
        whole = [f"chrono({memory:g})" if name == "chrono" else name for name in schemes]
        grid = Grid(schemes=whole, lr=self.lr, biases=one.biases, in_turns=one.in_turns)
        return dataclasses.replace(grid, again=0) if self.quick else grid

    def tuned(self, task: StudyTask, cell: Cell, scheme: str | None = None) -> Tuned:
        """Return the best setting of a cell on a task: over all schemes of initial weights, or with one of them."""
        task = _tuned_on(task)
        spec, grid = self.spec(task, cell), self.grid(task, cell, scheme)
        return self._once((spec, repr(grid)), lambda: tune(spec, grid, self.folder, **self._how))

    def arm(self, task: StudyTask, cell: Cell, scheme: str | None = None) -> Arm:
        """Return the runs of a cell on a task with its best setting."""
        return self._arm(task, cell, tuned_spec(self.spec(task, cell), self.tuned(task, cell, scheme)))

    def fixed(self, task: StudyTask, cell: Cell, **setting: Any) -> Arm:
        """Return the runs of a cell on a task with fields of the spec, as lr and scheme, that are said, not tuned."""
        return self._arm(task, cell, self.spec(task, cell).with_(**setting))

    def _arm(self, task: StudyTask, cell: Cell, spec: RunSpec) -> Arm:
        name = f"{study_cell(cell).name} on {self.task(task).name}"
        seeds = range(self.seeds)
        arm = self._once((spec, name), lambda: make_arm(name, spec, seeds, self.folder, **self._how))
        self.used.update((spec.with_(seed=run.seed), run) for run in arm.runs)
        return arm

    def make(self, arms: Iterable[tuple[StudyTask, Cell] | tuple[StudyTask, Cell, str | None]]) -> None:
        """Make all runs that the arms of tasks and cells, and of schemes, need, in as few rounds as one of them has.

        What asks for an arm afterwards finds it; asked for one by one, each would wait for its own slowest run.  Tasks
        whose packages are not installed are left out: who asks for them is told.
        """
        several = [
            (task, cell, next(iter(scheme), None))
            for task, cell, *scheme in arms
            if not packages_missing(task.spec.task)
        ]
        grids: dict[Any, tuple[RunSpec, Grid]] = {}
        for task, cell, scheme in several:
            source = _tuned_on(task)
            spec, grid = self.spec(source, cell), self.grid(source, cell, scheme)
            if (key := (spec, repr(grid))) not in self._read:
                grids[key] = (spec, grid)
        tuned = tune_together([*grids.values()], self.folder, **self._how)
        self._read.update(zip(grids, tuned, strict=True))
        chosen = [
            tuned_spec(self.spec(task, cell), self.tuned(task, cell, scheme))
            for task, cell, scheme in several
        ]
        make_runs(
            [spec.with_(seed=seed) for spec in chosen for seed in range(self.seeds)], self.folder, **self._how
        )

    def effect(self, task: StudyTask, first: Cell, second: Cell, scheme: str | None = None) -> Effect:
        """Return how the second cell differs from the first on a task."""
        one, other = (self.arm(task, cell, scheme) for cell in (first, second))
        how: dict[str, Any] = {"margin": task.margin, "name": self.task(task).name}
        compared = effect(one, other, task.metric, **how)
        if compared.inside_margin and task.metric in OF_LOSSES:  # not because neither has learned anything
            known = effect(one, other, task.metric, baseline=self.baseline(task), **how)
            note = "" if known.inside_margin else ", which is hardly learned"
            compared = dataclasses.replace(known, name=f"{known.name}{note}")
        return dataclasses.replace(compared, arms=tuple(study_cell(cell).name for cell in (first, second)))

    def baseline(self, task: StudyTask) -> float:
        """Return the test loss of who knows nothing of a sequence; NaN if the task states none."""
        spec = self.spec(task, "gru")
        return self._once(("baseline", spec), lambda: run_data(spec).test.baseline)

    def sizes(self, task: StudyTask, cells: Sequence[Cell]) -> dict[str, int]:
        """Return for each cell, by its name, the units of models of equally many parameters as the study's GRU.

        Within 3 % of a common number; of the few units of a quick study within 10 %.
        """
        models = {one.name: one for one in map(study_cell, cells)}
        data = run_data(self.spec(task, "gru")).validation
        return equal_parameters(
            {name: (one.cell,) * one.layers for name, one in models.items()},
            hidden_size=self.units,
            input_size=data.input_size,
            heads=data,
            clamps={name: one.clamp for name, one in models.items()},
            within=_QUICK_WITHIN if self.quick else WITHIN,
        )

    @property
    def _how(self) -> dict[str, Any]:
        return {"executor": self.executor, "part": self.part, "progress": self.progress}

    def _once(self, key: Any, make: Callable[[], Made]) -> Made:
        """Return what was read before: rows share arms, and each is tens of files."""
        if key not in self._read:
            self._read[key] = make()
        read: Made = self._read[key]
        return read


def _rates(name: str, rates: Any) -> tuple[float, ...]:
    """Return learning rates, at least one."""
    advice = "give learning rates, as in (0.003, 0.01)"
    check_type(name, rates, list, tuple, advice=advice)
    if not rates:
        raise ShapeError("is empty", argument=name, advice=advice)
    return tuple(check_above_zero(f"{name}[{k}]", rate) for k, rate in enumerate(rates))
