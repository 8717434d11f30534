"""Verdicts as a table and as files: two for a reader, one for a program, and one a verdict, which later runs add to."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gatescope.checks.numbers import check_type
from gatescope.datatypes import Verdict
from gatescope.datatypes.verdict import NOT_RUN
from gatescope.errors import FileFormatError, ValueRangeError
from gatescope.experiments.claims.page.page import page
from gatescope.experiments.claims.statement import order
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, listing
from gatescope.storage.atomic import as_path, atomic_write, check_folder

FILES = ("claims.md", "claims.json", "claims.html")
_VERDICTS = "verdicts"  # the folder with a file a verdict
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

    Each verdict has a file of its own as well, ``verdicts/NUMBER.npz``.  Those of other statements that are there
    stay, and are on the page too: a long study may be run in parts, and one statement again.

    Raises
    ------
    DtypeError
        If they are not a sequence of verdicts.
    FileFormatError
        If a file among the verdicts holds something else.
    OutputError
        If a file cannot be written.
    ValueRangeError
        If those that are there are of the quick study and these of the full one, or the other way round.
    """
    check_type("verdicts", verdicts, list, tuple, advice=_ADVICE)
    for number, verdict in enumerate(verdicts):
        check_type(f"verdicts[{number}]", verdict, Verdict, advice=_ADVICE)
    place = check_folder(folder, FILES)
    for quick in {verdict.quick for verdict in verdicts if verdict.has_scale}:
        check_scale(place, quick=quick)
    together = {**stored_verdicts(place), **{verdict.number: verdict for verdict in verdicts}}
    for verdict in verdicts:
        verdict.save(check_folder(place / _VERDICTS) / f"{verdict.number}.npz")
    shown = [together[number] for number in sorted(together, key=order)]
    numbers = json.dumps([each.record() for each in shown], indent=1, ensure_ascii=False, allow_nan=False)
    files = [place / name for name in FILES]
    for file, text in zip(files, (markdown(shown), f"{numbers}\n", page(shown)), strict=True):
        with atomic_write(file) as stream:
            stream.write(text.encode())
    return files


def stored_verdicts(folder: str | os.PathLike[str]) -> dict[str, Verdict]:
    """Return the verdicts by number that `write_claims` has put into a folder, which need not be there.

    Raises
    ------
    FileFormatError
        If a file there holds something else.
    """
    found = {}
    for file in (as_path(folder, "folder") / _VERDICTS).glob("*.npz"):
        verdict = Verdict.load(file)
        if verdict.number != file.stem:
            problem = f"holds the verdict on statement {verdict.number}"
            raise FileFormatError(problem, seen=file, advice="delete it, and run that statement again")
        found[verdict.number] = verdict
    return {number: found[number] for number in sorted(found, key=order)}


def check_scale(folder: str | os.PathLike[str], *, quick: bool) -> None:
    """Refuse a folder with verdicts of the full study for those of the quick one, and the other way round."""
    other = [v.number for v in stored_verdicts(folder).values() if v.has_scale and v.quick is not quick]
    if other:
        there, here = ("full", "quick") if quick else ("quick", "full")
        raise ValueRangeError(
            f"holds verdicts of the {there} study (of {listing(other)}), and these are of the {here} one",
            argument="out",
            seen=os.fspath(folder),
            advice="give another folder",
        )
