"""The 20,000-step experiment as files and sentences: the result, its curves, the table beside the published values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gatescope.datatypes.long_series import HOLD, PUBLISHED_SIZE, PUBLISHED_UNITS, LongSeriesResult
from gatescope.experiments.long_series.published import (
    COMPARED,
    RULES,
    SOURCE,
    Row,
    beside_published,
    choices,
)
from gatescope.storage.atomic import atomic_write

COLUMNS = ("", "published", "measured here", "agrees")
FILES = ("result.npz", "curves.png", "curves.svg", "table.md")
PRELIMINARY = "preliminary"


def title(result: LongSeriesResult) -> str:
    """What was run, and that it is preliminary, if so."""
    seeds, size = len(result.seeds), f"{result.sequences} series x {result.steps:,} steps"
    cells = ", ".join(cell.upper() for cell in result.cells)
    text = f"{cells} on {size}: {result.epochs:,} epochs, {seeds} seed{'' if seeds == 1 else 's'}"
    if result.hidden_size != PUBLISHED_UNITS:
        text += f", {result.hidden_size} unit{'' if result.hidden_size == 1 else 's'}"
    return f"{PRELIMINARY}: {text}" if result.preliminary else text


def sentences(result: LongSeriesResult) -> list[str]:
    """How the table is to be read, and what was chosen."""
    full = PUBLISHED_SIZE
    notes = [
        f"{PRELIMINARY}: the full experiment has {full['sequences']} series of {full['steps']:,} steps, "
        f"{full['epochs']:,} epochs, {full['seeds']} seeds and {PUBLISHED_UNITS} units."
    ]
    many = "means over seeds [95 % bootstrap interval]; a quotient is the geometric mean over pairs of a seed"
    return [
        *(notes if result.preliminary else []),
        f"Published: {SOURCE}, numbers read off its curves. {COMPARED}",
        f"Measured here: {many}. A curve is lower where its running median is, for {HOLD} epochs at least.",
        *RULES,
        *_ended(result),
        *choices(result),
    ]


def _ended(result: LongSeriesResult) -> list[str]:
    """Runs that diverged are missing from the numbers, which has to be told."""
    return [
        f"{cell.upper()}: {count} of {len(result.seeds)} runs diverged and are missing from there on."
        for cell, count in zip(result.cells, result.diverged().tolist(), strict=True)
        if count
    ]


def markdown(result: LongSeriesResult) -> str:
    """The title, the table and the sentences, in Markdown."""
    lines: Sequence[Sequence[str]] = [COLUMNS, ("---",) * len(COLUMNS), *beside_published(result)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    points = "\n".join(f"- {sentence}" for sentence in sentences(result))
    return f"# {title(result)}\n\n{table}\n\n{points}\n"


def rows(result: LongSeriesResult) -> list[Row]:
    """The table, for a terminal."""
    return beside_published(result)


def write_report(result: LongSeriesResult, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``result.npz``, the curves as ``curves.png`` and ``.svg``, and ``table.md``; each whole or not at all.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    from gatescope import plotting
    from gatescope.plotting.long_series import plot_long_series

    place = Path(folder)
    files = [place / "result.npz"]
    result.save(files[0])
    with plotting.style():
        figure = plotting.new_figure(8.6, 6.8)
        plot_long_series(result, fig=figure)
    files += plotting.save_figure(figure, place / "curves")
    files.append(place / "table.md")
    with atomic_write(files[-1]) as stream:
        stream.write(markdown(result).encode())
    return files
