"""Verdicts as files: the folder is made, and what is no verdict is refused before a file is written."""

import dataclasses
import json

import pytest
from helpers.verdicts import made_verdict

from gatescope.errors import DtypeError, FileFormatError, ValueRangeError
from gatescope.experiments.claims.report import FILES, stored_verdicts, write_claims
from gatescope.experiments.claims.run import run_claims


def test_the_folder_is_made(tmp_path):
    files = write_claims(run_claims(["9a"]), tmp_path / "some" / "folder")
    assert [file.name for file in files] == list(FILES)
    assert json.loads(files[1].read_text())[0]["number"] == "9a"


def test_what_is_no_verdict_is_refused(tmp_path):
    (verdict,) = run_claims(["9a"])
    for verdicts, seen in ((verdict, "verdicts is a Verdict"), ([verdict, 1], r"verdicts\[1\] is an int")):
        with pytest.raises(DtypeError, match=f"{seen}; give what `run_claims` returns"):
            write_claims(verdicts, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def numbers(folder):
    return [record["number"] for record in json.loads((folder / "claims.json").read_text())]


def test_verdicts_of_other_statements_stay(tmp_path):
    first, again = made_verdict(number="38"), made_verdict(number="38", word="supported")
    later = made_verdict(number="9a", provenance={"gatescope": "0.2"})
    write_claims([first], tmp_path)
    assert stored_verdicts(tmp_path) == {"38": first}
    write_claims([later, again], tmp_path)
    assert numbers(tmp_path) == ["9a", "38"]  # in their order, whichever ran first
    assert stored_verdicts(tmp_path) == {"38": again, "9a": later}
    page = (tmp_path / "claims.html").read_text()
    of_one, _, of_other = page.partition("Where the numbers come from</h2>")[2].partition("0.2")
    assert 'href="#claim-9a"' in of_one
    assert 'href="#claim-38"' in of_other
    write_claims([], tmp_path)
    assert numbers(tmp_path) == ["9a", "38"]


def test_what_one_version_made_is_said_once(tmp_path):
    write_claims([made_verdict(number="38"), made_verdict(number="9a")], tmp_path)
    said = (tmp_path / "claims.html").read_text().partition("Where the numbers come from</h2>")[2]
    assert said.count("<dt>gatescope</dt>") == 1
    assert "#claim-38" not in said.partition("</section>")[0]


def test_the_quick_study_and_the_full_one_are_not_mixed(tmp_path):
    full = made_verdict(number="1a", kind="measured", provenance={"preliminary": False})
    disturbed = dataclasses.replace(full, number="10a", preliminary=True)  # of the full study all the same
    write_claims([full, disturbed], tmp_path)
    quick = dataclasses.replace(full, number="1b", preliminary=True, provenance={"preliminary": True})
    with pytest.raises(
        ValueRangeError, match=r"verdicts of the full study \(of 1a, 10a\).*quick.*another folder"
    ):
        write_claims([quick], tmp_path)
    write_claims([made_verdict(number="9a")], tmp_path)  # what is exact is so in both
    assert numbers(tmp_path) == ["1a", "9a", "10a"]
    write_claims([quick], tmp_path / "quick")
    with pytest.raises(ValueRangeError, match="verdicts of the quick study"):
        write_claims([full], tmp_path / "quick")


def test_a_file_of_another_statement_is_refused(tmp_path):
    write_claims([made_verdict(number="9a")], tmp_path)
    file = tmp_path / "verdicts" / "9a.npz"
    file.rename(tmp_path / "verdicts" / "9b.npz")
    with pytest.raises(
        FileFormatError, match=r"9b\.npz.*holds the verdict on statement 9a.*run that statement"
    ):
        write_claims([], tmp_path)
