"""Music, note by note, in the setting of Chung, Gulcehre, Cho and Bengio."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array, PublishedNumber
from gatescope.experiments.claims.published.row import missing, row
from gatescope.experiments.claims.study import Study, StudyCell, StudyTask
from gatescope.experiments.claims.win_table import NATS
from gatescope.experiments.seeds.spec import RunSpec

SOURCE = "Chung, Gulcehre, Cho, Bengio (2014), table 2"
UNITS = {"rnn": 100, "gru": 46, "lstm": 36}  # theirs: about as many parameters
_AT_THE_END = 0.9  # of the validations: with its best one after that, a run had not come to its end


class Archive(NamedTuple):
    """An archive of music: its file, the published loss of each cell in nats a step, and how it is trained here."""

    name: str
    file: str
    published: dict[str, float]
    lr: float
    batch_size: int
    updates: int
    seeds: int


ARCHIVES = (
    Archive("JSB chorales", "JSB_Chorales.mat", {"rnn": 9.10, "gru": 8.54, "lstm": 8.67}, 3e-3, 8, 3000, 5),
    Archive("Nottingham", "Nottingham.mat", {"rnn": 3.13, "gru": 3.23, "lstm": 3.20}, 1e-2, 10, 7000, 3),
)


def archive_task(archive: Archive, folder: Path) -> StudyTask:
    """Return next-step prediction over an archive, trained as the published was where that is known."""
    spec = RunSpec(
        task="piano_roll",
        arguments={"path": str(folder / archive.file)},
        cell="lstm",
        hidden_size=UNITS["lstm"],
        lr=archive.lr,
        optimizer="rmsprop",
        clip_norm=1.0,
        weight_noise=0.075,
        batch_size=archive.batch_size,
        updates=archive.updates,
        validate_every=50,
    )
    return StudyTask(name=archive.name, spec=spec, metric="nats", margin=NATS, memory=60)


def measured(study: Study, folder: Path | None) -> tuple[PublishedNumber, ...]:
    """Return the published losses beside ours; of an archive that is not there, the published alone."""
    return tuple(each for archive in ARCHIVES for each in _archive(study, archive, folder))


def _archive(study: Study, archive: Archive, folder: Path | None) -> list[PublishedNumber]:
    names = {cell: f"nats a step, {archive.name}, {cell} of {units} units" for cell, units in UNITS.items()}
    if folder is None or not (folder / archive.file).is_file():
        why = f"it needs the file {archive.file}, which is yours to get: give its folder, with --archives"
        return [missing(names[cell], archive.published[cell], SOURCE, why) for cell in UNITS]
    few = dataclasses.replace(study, seeds=min(archive.seeds, study.seeds))
    task = archive_task(archive, folder)
    rows = []
    for cell, units in UNITS.items():
        arm = few.fixed(task, StudyCell(f"{cell} of {units} units", cell, units=units), lr=archive.lr)
        falling = sum(_was_falling(run.validation_loss) for run in arm.runs)
        why = (
            f"theirs: RMSProp, the best of ten rates, early stopping, one run; ours: a rate of {archive.lr:g}, "
            f"the best validation of {archive.updates:,} updates of {archive.batch_size} pieces, in {falling} of "
            f"{len(arm.runs)} runs at the very end, and so not the best there is; in both weight noise 0.075 and "
            "gradients clipped to 1"
        )
        rows.append(row(names[cell], archive.published[cell], SOURCE, arm.values("test_loss"), why))
    return rows


def _was_falling(validation_loss: Array) -> bool:
    """Return whether the best validation is one of the last."""
    return bool(np.argmin(validation_loss) >= _AT_THE_END * (len(validation_loss) - 1))
