"""Training sets of several sizes, noisy ones, biased ones, and dropout: the runs that several statements share.

Each cell is tuned once, on the clean set of a middle size; every run has the same number of updates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

from gatescope.experiments.claims.study import Cell, Study, StudyCell, StudyTask
from gatescope.experiments.claims.trained import settings
from gatescope.experiments.seeds.spec import RunSpec

LOSS = math.log(1.10)  # a ratio of losses, or of gaps, that is too small to matter
NO_RESET = StudyCell("gru, no reset gate", "gru", clamp={"r": 1.0})
_ANY: dict[str, Any] = {"cell": "lstm", "hidden_size": 32, "lr": 0.01, "updates": 1200, "batch_size": 50}
_MIDDLE, _SMALL = {"digits": 200, "adding": 1000}, {"digits": 100, "adding": 100}


def _clean(kind: str, sizes: Collection[int], memory: float, **options: Any) -> dict[int, StudyTask]:
    quick = {"updates": 240, **options.pop("quick", {})}

    def task(count: int, tuned_on: StudyTask | None) -> StudyTask:
        return StudyTask(
            name=f"{kind}, N = {count:,}",
            spec=RunSpec(task=kind, examples=count, **_ANY, **options),
            metric="test_loss",
            margin=LOSS,
            memory=memory,
            tuned_on=tuned_on,
            quick=quick,
        )

    middle = task(_MIDDLE[kind], None)
    return {count: middle if count == _MIDDLE[kind] else task(count, middle) for count in sizes}


# Of adding one size below the 100 from which on it is asked for: with 100 a GRU is at the threshold of 11b already.
BY_SIZE = {
    "digits": _clean("digits", (50, 100, 200, 400, 800, 1200), 8),
    "adding": _clean(
        "adding",
        (30, 100, 300, 1000, 3000, 10_000),
        50,
        arguments={"steps": 50},
        quick={"arguments": {"steps": 20}, "memory": 20},
    ),
}
QUICK_SIZES = {"digits": (50, 100, 200, 1200), "adding": (30, 100, 1000, 10_000)}
MIDDLE = {kind: tasks[_MIDDLE[kind]] for kind, tasks in BY_SIZE.items()}
SMALL = {kind: tasks[_SMALL[kind]] for kind, tasks in BY_SIZE.items()}


def by_size(study: Study) -> dict[str, dict[int, StudyTask]]:
    """Return the tasks of each kind by how many sequences they have; a quick study has four of the six sizes."""
    sizes = QUICK_SIZES if study.quick else BY_SIZE
    return {kind: {count: tasks[count] for count in sizes[kind]} for kind, tasks in BY_SIZE.items()}


def like(task: StudyTask, name: str, **changes: Any) -> StudyTask:
    """Return a task that differs from another in fields of its spec, with the settings tuned for the other."""
    changed = task.spec.with_(**changes)
    return dataclasses.replace(
        task, name=f"{task.name}, {name}", spec=changed, tuned_on=task.tuned_on or task
    )


def _noisy(task: StudyTask) -> tuple[StudyTask, ...]:
    labels = (like(task, f"label noise {noise}", label_noise=noise) for noise in (0.2, 0.4))
    inputs = (like(task, f"input noise {noise}", input_noise=noise) for noise in (0.3, 0.6))
    return (*labels, *inputs)


NOISY = {kind: _noisy(task) for kind, task in MIDDLE.items()}


def noisy_of(study: Study) -> dict[str, tuple[StudyTask, ...]]:
    """Return the noisy tasks of each kind; a quick study has the stronger noise of labels and of inputs alone."""
    return {kind: tasks[1::2] if study.quick else tasks for kind, tasks in NOISY.items()}


BIASED = {
    "digits": like(MIDDLE["digits"], "half of them rare", training_arguments={"rare": 0.1}),
    "adding": like(MIDDLE["adding"], "numbers up to 0.5", training_arguments={"largest": 0.5}),
}
_DROPOUTS = {"dropout of outputs": {"outputs": 0.5}, "recurrent dropout": {"recurrent": 0.3}}
DROPOUT = {
    kind: tuple(like(task, name, dropout=rates) for name, rates in _DROPOUTS.items())
    for kind, task in SMALL.items()
}


def tuned_settings(study: Study, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the settings of cells, tuned on the clean sets of a middle size."""
    return settings(
        study, *((study.task(task), cell, None) for task, cell in product(MIDDLE.values(), cells))
    )
