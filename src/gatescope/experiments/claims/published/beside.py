"""Published numbers and ours, put beside the verdicts on the statements that they are about."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from gatescope.datatypes import PublishedNumber, Verdict
from gatescope.experiments.claims.published import chung, le, streams, tallec, weiss
from gatescope.experiments.claims.study import Study

Measure = Callable[[Study, Path | None], tuple[PublishedNumber, ...]]


class Source(NamedTuple):
    """What a text published, the statement that it stands beside, and the function that measures the same."""

    number: str
    name: str
    measure: Measure


# Cheap ones first.
SOURCES = (
    Source("45", "streams that agree", streams.measured),
    Source("17a", "counting", weiss.measured),
    Source("36", "adding with rectified units", le.measured),
    Source("37", "music", chung.measured),
    Source("2b", "copying with chrono biases", tallec.measured),
)


def beside_published(
    verdicts: Sequence[Verdict],
    study: Study,
    *,
    archives: str | os.PathLike[str] | None = None,
    log: Callable[[str], None] | None = None,
) -> tuple[Verdict, ...]:
    """Return verdicts with published numbers beside them, after those that they have; of a quick study, as they are.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Only what stands beside one of these is measured.
    study : Study
        Where the runs are kept, and at most how many seeds there are.
    archives : path, optional
        A folder with ``JSB_Chorales.mat`` and ``Nottingham.mat``, which nobody may pass on.  Without it, or one of
        these, what needs it is not measured, and says so.
    log : callable, optional
        Called with a line before every source.
    """
    if study.quick:
        return tuple(verdicts)
    folder = None if archives is None else Path(archives).absolute()  # workers may run elsewhere
    numbers: dict[str, list[PublishedNumber]] = {}
    known = {verdict.number for verdict in verdicts}
    for source in SOURCES:
        if source.number in known:
            if log is not None:
                log(f"published numbers beside statement {source.number}: {source.name}")
            numbers.setdefault(source.number, []).extend(source.measure(study, folder))
    return tuple(
        dataclasses.replace(verdict, published=(*verdict.published, *numbers.get(verdict.number, ())))
        for verdict in verdicts
    )
