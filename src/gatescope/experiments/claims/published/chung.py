"""Music, note by note, in the setting of Chung, Gulcehre, Cho and Bengio."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from gatescope.datatypes import PublishedNumber
from gatescope.experiments.claims.published.row import missing, row
from gatescope.experiments.claims.study import Study, StudyCell, StudyTask
from gatescope.experiments.claims.win_table import NATS
from gatescope.experiments.seeds.spec import RunSpec

SOURCE = "Chung, Gulcehre, Cho, Bengio (2014), table 2"
UNITS = {"rnn": 100, "gru": 46, "lstm": 36}  # theirs: about as many parameters
_SETTING: dict[str, Any] = {"lr": 3e-3, "scheme": "pytorch"}


class Archive(NamedTuple):
    """An archive of music: its file, the published loss of each cell in nats a step, and how it is trained here."""

    name: str
    file: str
    published: dict[str, float]
    batch_size: int
    updates: int
    seeds: int


ARCHIVES = (
    Archive("JSB chorales", "JSB_Chorales.mat", {"rnn": 9.10, "gru": 8.54, "lstm": 8.67}, 8, 3000, 5),
    Archive("Nottingham", "Nottingham.mat", {"rnn": 3.13, "gru": 3.23, "lstm": 3.20}, 50, 1500, 3),
)


def archive_task(archive: Archive, folder: Path) -> StudyTask:
    """Return next-step prediction over an archive, trained as the published was where that is known."""
    spec = RunSpec(
        task="piano_roll",
        arguments={"path": str(folder / archive.file)},
        cell="lstm",
        hidden_size=UNITS["lstm"],
        **_SETTING,
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
    why = (
        f"theirs: RMSProp, the best of ten learning rates, early stopping, one run; ours: {_SETTING['lr']:g}, "
        f"the best validation of {task.spec.updates:,} updates of {archive.batch_size} pieces; weight noise 0.075 and "
        "gradients clipped to 1 in both"
    )
    rows = []
    for cell, units in UNITS.items():
        arm = few.fixed(task, StudyCell(f"{cell} of {units} units", cell, units=units), **_SETTING)
        rows.append(row(names[cell], archive.published[cell], SOURCE, arm.values("test_loss"), why))
    return rows
