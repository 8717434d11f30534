"""How far LSTM and GRU count beyond what they were trained to, as Weiss, Goldberg and Yahav did."""

from __future__ import annotations

from pathlib import Path

from gatescope.datatypes import PublishedNumber
from gatescope.experiments.claims.expressive import COUNTED
from gatescope.experiments.claims.published.row import row
from gatescope.experiments.claims.study import Study, StudyTask
from gatescope.experiments.seeds.training import COUNTED as TRIED

SOURCE = "Weiss, Goldberg, Yahav (ACL 2018)"
# Times the largest n of training: 256 of 100 and 100 of 50; of the GRU that it does not generalize.
PUBLISHED = {"lstm": (2.56, 2.0), "gru": (1.0, 1.0)}
_WHAT = {"lstm": "", "gru": " (published: not beyond 1)"}


def measured(study: Study, _: Path | None = None) -> tuple[PublishedNumber, ...]:
    """Return how many times as far as in training both cells count, in the runs of statement 17a."""
    return tuple(
        _row(study, task, cell, published)
        for cell, numbers in PUBLISHED.items()
        for task, published in zip(COUNTED, numbers, strict=True)
    )


def _row(study: Study, task: StudyTask, cell: str, published: float) -> PublishedNumber:
    arm, most = study.arm(task, cell), trained_to(study, task)
    what = f"counts so many times as far as in training, {cell} on {study.task(task).name}{_WHAT[cell]}"
    why = (
        f"theirs has 10 units and saw n up to 100, of three letters 50, and is tried up to the published n; ours has "
        f"{study.units}, saw n up to {most} and is tried up to {TRIED:,}; all smaller n have to be followed, too"
    )
    return row(what, published, SOURCE, arm.values("counted_to") / most, why)


def trained_to(study: Study, task: StudyTask) -> int:
    """Return the largest n of a task's training data."""
    arguments = study.task(task).spec.arguments
    longest = (arguments["steps"] - 1) // arguments["letters"]
    return int(arguments["n_max"] or longest)
