"""Whether LSTM and GRU count as far beyond what they were trained on as Weiss, Goldberg and Yahav saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gatescope.datatypes import PublishedNumber
from gatescope.experiments.claims.expressive import COUNTED
from gatescope.experiments.claims.published.row import row
from gatescope.experiments.claims.study import Study, StudyTask
from gatescope.experiments.seeds.training import COUNTED as TRIED
from gatescope.reporting.text import number

SOURCE = "Weiss, Goldberg, Yahav (ACL 2018)"
FACTORS = (
    2.56,
    2.0,
)  # the largest n over that of training: 256 over 100 of two letters, 100 over 50 of three
PUBLISHED = {"lstm": 1.0, "gru": 0.0}  # whether it is followed


def measured(study: Study, _: Path | None = None) -> tuple[PublishedNumber, ...]:
    """Return the share of runs that count so far, of the runs of statement 17a."""
    return tuple(
        _row(study, task, factor, cell, published)
        for cell, published in PUBLISHED.items()
        for task, factor in zip(COUNTED, FACTORS, strict=True)
    )


def _row(study: Study, task: StudyTask, factor: float, cell: str, published: float) -> PublishedNumber:
    most, far = trained_to(study, task), study.arm(task, cell).values("counted_to")
    what = f"share that counts to {number(factor)} times what it was trained on, {cell} on {study.task(task).name}"
    why = (
        f"theirs: one network of 10 units, n up to 100 in training, of three letters 50; ours: {study.units} units, n "
        f"up to {most}, and all smaller n have to be followed, too; they count to a median of {np.median(far):g}, "
        f"{far.min():g} to {far.max():g}, of {TRIED:,} tried"
    )
    return row(what, published, SOURCE, far >= factor * most, why)


def trained_to(study: Study, task: StudyTask) -> int:
    """Return the largest n of a task's training data."""
    arguments = study.task(task).spec.arguments
    longest = (arguments["steps"] - 1) // arguments["letters"]
    return int(arguments["n_max"] or longest)
