"""The page's table of verdicts says what the JSON says, and is of a full run."""

from __future__ import annotations

import dataclasses
import json

import pytest
from helpers.verdicts import all_words, for_the_front, made_verdict

from benchmarks import claims_table, table
from benchmarks.claims_table import NOT_MADE, folded, markdown
from gatescope.datatypes import Verdict
from gatescope.experiments.claims.run import chosen_statements
from gatescope.reporting.text import listing


def full(verdict: Verdict) -> Verdict:
    return dataclasses.replace(verdict, preliminary=False)


RECORDS = [full(verdict).record() for verdict in (*all_words(), *for_the_front())]


def test_every_verdict_is_a_row() -> None:
    text = markdown(json.loads(json.dumps(RECORDS)))
    rows = [line for line in text.split("\n") if line.startswith("| ")]
    assert len(rows) == len(RECORDS) + 2
    for record, row in zip(RECORDS, rows[2:], strict=True):
        assert row.startswith(
            f"| {record['number']} | {record['statement']} | {record['sources']} | **{record['text']}** |"
        )
        assert record["deciding"] in row
    counts = text.partition(".")[0]
    every = len(chosen_statements())
    assert counts.startswith(f"{len(RECORDS) - 2} of {every} statements put to the test: ")
    assert "2 not run" in counts
    said = text.partition("\n")[0]
    turning = [record["number"] for record in RECORDS if record["depends_on_init"]]
    assert f"another word is decided of {listing(turning)}." in said
    assert "Not yet run in full: 1b, " in said


def test_readme_folds_away_the_same_verdicts() -> None:
    first, *text = folded(RECORDS).split("\n")
    assert first == f"<details><summary>{markdown(RECORDS).partition('. ')[0]}.</summary>"
    rows = [line for line in text if line.startswith("| ")][2:]
    assert rows == [
        f"| {record['number']} | {record['statement']} | **{record['text']}** |" for record in RECORDS
    ]
    assert text[-1].startswith("Not yet run in full: 1b, ")
    assert text[-1].endswith("</details>")


def test_what_has_not_run_is_said() -> None:
    like = full(made_verdict(kind="measured", runs=1))
    every = [dataclasses.replace(like, number=each.number).record() for each in chosen_statements()]
    assert "Not yet run" not in markdown(every)
    assert "Not yet run in full: 49. " in markdown(every[:-1])


def test_before_the_full_run_it_says_so() -> None:
    assert markdown(None) == folded(None) == NOT_MADE


def test_what_is_smaller_is_refused() -> None:
    early = made_verdict(number="45", kind="measured", preliminary=True)
    with pytest.raises(ValueError, match="of no full run: 45"):
        markdown([early.record(), *RECORDS])
    with pytest.raises(ValueError, match="of no full run: 45"):
        folded([early.record(), *RECORDS])
    with pytest.raises(ValueError, match="nothing was measured"):
        markdown([made_verdict().record()])
    # Disturbed by other processes, but as large as it should be.
    disturbed = dataclasses.replace(early, provenance={"preliminary": False})
    assert "**contradicted, preliminary**" in markdown([disturbed.record()])


@pytest.mark.parametrize(
    ("path", "make"), [(table.README, table._claims_folded), (table.DOCS / "claims.md", table._claims)]
)
def test_the_pages_have_the_table_of_the_committed_run(path, make) -> None:
    page = path.read_text()
    assert table.replaced(page, make(claims_table.RESULTS), *table.markers("claims")) == page
