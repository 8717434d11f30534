"""Verdicts as files: the folder is made, and what is no verdict is refused before a file is written."""

import json

import pytest

from gatescope.errors import DtypeError
from gatescope.experiments.claims.report import FILES, write_claims
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
