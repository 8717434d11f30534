"""``gatescope claims``: a table, files, and what is refused."""

import json

import numpy as np

from gatescope.experiments.claims.study import FULL_SEEDS


def test_some_statements(invoke, tmp_path):
    done = invoke("claims", "--only", "9a, 26", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert "3 statements: 3 supported" in done.stdout
    assert "9a supported: largest difference 0 roundings" in done.stdout
    records = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert [record["number"] for record in records] == ["9a", "26a", "26b"]
    assert (tmp_path / "out" / "claims.md").read_text().startswith("# 3 statements: 3 supported\n")
    assert 'id="claim-26b"' in (tmp_path / "out" / "claims.html").read_text()
    assert "claims.html (" in done.stdout


def test_numbers_that_there_are_not(invoke):
    done = invoke("claims", "--only", "9a,50")
    assert done.exit_code == 2
    assert "--only '50' is not known; the numbers are 1a, 1b, 2a, 3" in done.stderr


def test_statements_that_training_decides(invoke, tmp_path, monkeypatch):
    seen = []

    def run(_numbers, *, study=None, scale=None, log=None):
        seen.append(study)
        return ()

    done = invoke("claims", "--only", "6a")
    assert done.exit_code == 2
    assert (
        "--only names statements that many training runs decide: 6a; give --runs, or other numbers"
        in done.stderr
    )
    done = invoke("claims", "--seeds", "3")
    assert done.exit_code == 2
    assert "--seeds 3 has no effect without --runs" in done.stderr
    monkeypatch.setattr("gatescope.experiments.claims.run.run_claims", run)
    folder = str(tmp_path / "runs")
    assert invoke("claims", "--runs", folder, "--seeds", "3", "--workers", "1").exit_code == 0
    assert invoke("claims", "--runs", folder).exit_code == 0
    assert [(study.seeds, study.units, study.executor.workers) for study in seen[:1]] == [(3, 32, 1)]
    assert (seen[1].seeds, seen[1].preliminary) == (FULL_SEEDS, False)


def test_what_is_measured_is_preliminary_but_in_full(invoke, monkeypatch):
    from gatescope.experiments.claims import decay, statement

    scales = []

    def of(scale):
        scales.append(scale)
        return {"gaussian(1)": decay.Decay(*np.array([[-0.5, -0.4]] * 3))}

    monkeypatch.setattr(decay, "_decays", of)
    for options, text in (([], "contradicted, preliminary"), (["--fast"], "contradicted, preliminary")):
        done = invoke("claims", "--only", "1b", *options)
        assert f"1b {text}: the exponent" in done.stdout, done.output
    assert "1b contradicted: the exponent" in invoke("claims", "--only", "1b", "--full").stdout
    assert scales == [statement.FAST, statement.FAST, statement.FULL]
