"""The tables of verdicts of README and of the site, from the JSON of the full run of claims."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from gatescope.datatypes.verdict import NOT_RUN, WORDS
from gatescope.experiments.claims.run import chosen_statements
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, duration, listing

RESULTS = Path(__file__).resolve().parents[1] / "figures" / "claims" / "claims.json"  # and the page beside it
COMMAND = "gatescope claims --full --runs FOLDER --out figures/claims"
NOT_MADE = f"Not yet made: `{COMMAND}` makes them."


def markdown(records: list[dict[str, Any]] | None) -> str:
    """Return the site's table, and above it the counts; None is that there has been no full run."""
    if records is None:
        return NOT_MADE
    _check_full(records)
    spent = sum(record["seconds"] or 0.0 for record in records)
    turning = [record["number"] for record in records if record["depends_on_init"]]
    weights = f"With other initial weights another word is decided of {listing(turning)}. " if turning else ""
    rows = [
        (
            record["number"],
            record["statement"],
            record["sources"],
            f"**{record['text']}**",
            record["deciding"],
        )
        for record in records
    ]
    header = ("#", "statement", "who says it", "verdict", "what decides it")
    return (
        f"{_counts(records)} Runs that several share counted with each, {duration(spent)} of one core without tuning. "
        f"{weights}{_missing(records)}Letters are those of the texts, which the page names.\n\n"
        f"{Table(header, rows).markdown()}"
    )


def folded(records: list[dict[str, Any]] | None) -> str:
    """Return README's table, which is shorter and folded away below the counts."""
    if records is None:
        return NOT_MADE
    _check_full(records)
    rows = [(record["number"], record["statement"], f"**{record['text']}**") for record in records]
    return (
        f"<details><summary>{_counts(records)}</summary>\n\n{Table(('#', 'statement', 'verdict'), rows).markdown()}\n\n"
        f"{_missing(records)}</details>"
    )


def _check_full(records: list[dict[str, Any]]) -> None:
    """Refuse verdicts of a quick study."""
    trained = [record for record in records if record["kind"] in ("measured", "statistical")]
    small = [record["number"] for record in trained if "--full" not in record["command"]]
    if not trained or small:
        raise ValueError(f"it is of no full run: {listing(small) or 'nothing was measured'}")


def _counts(records: list[dict[str, Any]]) -> str:
    words = Counter(record["word"] for record in records)
    counts = listing(f"{words[word]} {word}" for word in WORDS if words[word])
    ran = sum(record["word"] != NOT_RUN for record in records)
    return f"{ran} of {counted(len(chosen_statements()), 'statement')} put to the test: {counts}."


def _missing(records: list[dict[str, Any]]) -> str:
    there = {record["number"] for record in records}
    rest = [each.number for each in chosen_statements() if each.number not in there]
    return f"Not yet run in full: {listing(rest)}. " if rest else ""
