"""``gatescope claims``: a table, files, and what is refused."""

import json


def test_some_statements(invoke, tmp_path):
    done = invoke("claims", "--only", "9a, 26", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert "3 statements: 3 supported" in done.stdout
    assert "9a supported: largest difference 0 roundings" in done.stdout
    records = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert [record["number"] for record in records] == ["9a", "26a", "26b"]
    assert (tmp_path / "out" / "claims.md").read_text().startswith("# 3 statements: 3 supported\n")


def test_numbers_that_there_are_not(invoke):
    done = invoke("claims", "--only", "9a,50")
    assert done.exit_code == 2
    assert "--only '50' is not known; the numbers are 1a, 1b" in done.stderr
