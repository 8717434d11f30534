"""The 20,000-step experiment as files and sentences: the result, its curves, the table beside published values."""

from __future__ import annotations

import os
from pathlib import Path

from gatescope.datatypes import LongSeriesResult
from gatescope.datatypes.long_series import PUBLISHED_SIZE, PUBLISHED_UNITS, STAY
from gatescope.experiments.long_series.published import COMPARED, RULES, SOURCE, beside_published, choices
from gatescope.reporting.table import Table
from gatescope.storage.atomic import as_path, atomic_write

COLUMNS = ("", "published", "measured here", "agrees")
FILES = ("result.npz", "curves.png", "curves.svg", "table.md")


def table(result: LongSeriesResult) -> Table:
    """Return what was measured beside what was published."""
    return Table(COLUMNS, beside_published(result), result.summary().partition("\n")[0])


def sentences(result: LongSeriesResult) -> list[str]:
    """Return how the table is to be read, and what was chosen."""
    full = PUBLISHED_SIZE
    notes = [
        f"preliminary: the full experiment has {full['sequences']} series of {full['steps']:,} steps, "
        f"{full['epochs']:,} epochs, {full['seeds']} seeds and {PUBLISHED_UNITS} units."
    ]
    means = (
        "means over seeds [95 % bootstrap interval]; a quotient is the geometric mean over pairs of a seed"
    )
    return [
        *(notes if result.preliminary else []),
        f"Published: {SOURCE}, numbers read off its curves. {COMPARED}",
        f"Measured here: {means}. A curve is lower where its running median is, for {STAY} epochs at least.",
        *RULES,
        *result.summary().splitlines()[1:],
        *choices(result),
    ]


def markdown(result: LongSeriesResult) -> str:
    """Return the title, the table and the sentences, in Markdown."""
    beside = table(result)
    points = "\n".join(f"- {sentence}" for sentence in sentences(result))
    return f"# {beside.title}\n\n{beside.markdown()}\n\n{points}\n"


def write_report(result: LongSeriesResult, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``result.npz``, the curves as ``curves.png`` and ``.svg``, and ``table.md``; each whole or not at all.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    from gatescope import plotting
    from gatescope.plotting.long_series import plot_long_series

    path = as_path(folder, "folder")
    files = [path / "result.npz"]
    result.save(files[0])
    with plotting.style():
        figure = plotting.new_figure(8.6, 6.8)
        plot_long_series(result, fig=figure)
    files += plotting.save_figure(figure, path / "curves")
    files.append(path / "table.md")
    with atomic_write(files[-1]) as stream:
        stream.write(markdown(result).encode())
    return files
