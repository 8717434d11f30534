"""Verdicts as a table and as files: two for a reader, one for a program."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gatescope.checks.numbers import check_type
from gatescope.datatypes import Verdict
from gatescope.datatypes.verdict import NOT_RUN
from gatescope.experiments.claims.page.page import page
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, listing
from gatescope.storage.atomic import as_path, atomic_write, check_folder

FILES = ("claims.md", "claims.json", "claims.html")
_ADVICE = "give what `run_claims` returns"


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """Return a row a verdict: number, statement, sources, verdict."""
    rows = [(v.number, v.statement, v.sources, v.text) for v in verdicts]
    words = Counter(verdict.word for verdict in verdicts)
    apart = words.pop(NOT_RUN, 0)
    counts = listing(f"{count} {word}" for word, count in words.most_common()) or "none has run"
    return Table(
        ("#", "statement", "sources", "verdict"),
        rows,
        f"{counted(len(rows) - apart, 'statement')}: {counts}{f'; {apart} not run' if apart else ''}",
    )


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the table, and what each verdict stands on, in Markdown."""
    rows = [(v.number, v.statement, v.sources, v.text, v.deciding, v.n) for v in verdicts]
    header = ("#", "statement", "sources", "verdict", "number", "n")
    parts = [f"# {verdicts_table(verdicts).title}", Table(header, rows).markdown()]
    for verdict in verdicts:
        title = f"## {verdict.number} {verdict.statement} ({verdict.sources}): {verdict.text}"
        parts += [
            title,
            f"{verdict.criterion}\n\nMeasured: {verdict.reason}. `{verdict.command}`",
            verdict.table().markdown(),
        ]
    return "\n\n".join(parts) + "\n"


def write_claims(verdicts: Sequence[Verdict], folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``claims.md``, ``claims.json`` and ``claims.html`` into a folder, which is made; each whole or not at all.

    Raises
    ------
    DtypeError
        If they are not a sequence of verdicts.
    OutputError
        If a file cannot be written.
    """
    check_type("verdicts", verdicts, list, tuple, advice=_ADVICE)
    for number, verdict in enumerate(verdicts):
        check_type(f"verdicts[{number}]", verdict, Verdict, advice=_ADVICE)
    check_folder(folder, FILES)
    records = [verdict.record() for verdict in verdicts]
    numbers = json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    texts = (markdown(verdicts), numbers, page(verdicts))
    files = [as_path(folder, "folder") / name for name in FILES]
    for file, text in zip(files, texts, strict=True):
        with atomic_write(file) as stream:
            stream.write(text.encode())
    return files
