"""Rectified units that begin with the identity, on adding: as Le, Jaitly and Hinton had them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from gatescope.datatypes import PublishedNumber
from gatescope.experiments.claims.published.row import row
from gatescope.experiments.claims.study import Study, StudyCell, StudyTask
from gatescope.experiments.claims.win_table import ADDING_100
from gatescope.reporting.text import number

SOURCE = "Le, Jaitly, Hinton (2015), adding: solved up to T = 300"
STEPS, UNITS, SEEDS = (100, 200, 300), 100, 5
CELL = StudyCell("rnn_relu of 100 units", "rnn_relu", units=UNITS, schemes=("identity",))


def adding_task(steps: int) -> StudyTask:
    """Return adding over so many steps, with a budget that is the same for all."""
    spec = ADDING_100.spec.with_(arguments={"steps": steps}, updates=6000)
    return dataclasses.replace(ADDING_100, name=f"adding, T = {steps}", spec=spec, memory=steps)


def measured(study: Study, _: Path | None = None) -> tuple[PublishedNumber, ...]:
    """Return the share of runs that solve adding, beside the published, which is all that were shown."""
    few = dataclasses.replace(study, seeds=min(SEEDS, study.seeds))
    tasks = {steps: adding_task(steps) for steps in STEPS}
    few.make((task, CELL) for task in tasks.values())
    rows = []
    for steps, task in tasks.items():
        arm, best = few.arm(task, CELL), few.tuned(task, CELL)
        budget = task.spec.updates
        why = (
            f"theirs: SGD, minibatches of 16, the best of several rates and clips, and far more updates; "
            f"ours: Adam, minibatches of 50, the best of {len(best.points)} rates ({number(best.lr)}), at "
            f"most {budget:,} updates, to a loss of {number(task.spec.target_loss)}; median loss in the end "
            f"{number(np.median(arm.values('test_loss')))}"
        )
        rows.append(row(f"share that solves adding, T = {steps}, {CELL.name}", 1.0, SOURCE, arm.reached, why))
    return tuple(rows)
