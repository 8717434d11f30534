"""Copying by an LSTM, with chrono biases and with a forget bias of 1: as Tallec and Ollivier had it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from gatescope import tasks
from gatescope.datatypes import PublishedNumber
from gatescope.experiments.claims.published.row import row
from gatescope.experiments.claims.study import Study, StudyCell, StudyTask
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.reporting.text import number

SOURCE = "Tallec, Ollivier (ICLR 2018), copying: solved with chrono biases alone"
STEPS, UNITS, SEEDS, SOLVED = 100, 128, 3, 0.1  # of the loss without memory
CELL = StudyCell("lstm of 128 units", "lstm", units=UNITS)
PUBLISHED = {
    "chrono(110)": 1.0,
    "keras": 0.0,
}  # shares that solve it; Keras's forget bias is 1, the usual one
_SETTING: dict[str, Any] = {"lr": 3e-3}


def copying_task() -> StudyTask:
    """Return copying over 100 steps, solved at a tenth of the loss of an answer without memory."""
    target = SOLVED * tasks.copying(steps=STEPS, sequences=1).baseline
    spec = RunSpec(
        task="copying",
        arguments={"steps": STEPS},
        cell="lstm",
        hidden_size=UNITS,
        **_SETTING,
        updates=12_000,
        validate_every=50,
        target_loss=target,
    )
    return StudyTask(
        name=f"copying, T = {STEPS}", spec=spec, metric="updates", margin=math.log(1.25), memory=110
    )


def measured(study: Study, _: Path | None = None) -> tuple[PublishedNumber, ...]:
    """Return the share of runs that solve it, beside the published."""
    few, task = dataclasses.replace(study, seeds=min(SEEDS, study.seeds)), copying_task()
    rows = []
    for scheme, published in PUBLISHED.items():
        arm = few.fixed(task, CELL, scheme=scheme, **_SETTING)
        updates = np.median(arm.values("updates"))
        why = (
            f"theirs over 500 and 2,000 steps, by RMSProp; ours over {STEPS}, which takes minutes, by Adam at "
            f"{_SETTING['lr']:g}, at most {task.spec.updates:,} updates; solved is a tenth of the loss without memory, "
            f"{number(task.spec.target_loss)}: median updates {updates:,.0f}"
        )
        what = f"share that solves copying, T = {STEPS}, {CELL.name}, {scheme} weights"
        rows.append(row(what, published, SOURCE, arm.reached, why))
    return tuple(rows)
