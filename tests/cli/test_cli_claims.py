"""``gatescope claims``: a table, files, and what is refused."""

import dataclasses
import json
import re
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.verdicts import made_verdict

from gatescope.experiments.claims.report import write_claims
from gatescope.experiments.claims.study import FULL_SEEDS, QUICK_UNITS


def test_some_statements(invoke, tmp_path):
    done = invoke("claims", "--only", "9a, 26", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert "3 statements: 3 supported" in done.stdout
    assert (
        "9a supported: what has to be equal is so to 0 roundings, of 16 allowed; controls, which"
        in done.stdout
    )
    records = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert [record["number"] for record in records] == ["9a", "26a", "26b"]
    assert (tmp_path / "out" / "claims.md").read_text().startswith("# 3 statements: 3 supported\n")
    assert 'id="claim-26b"' in (tmp_path / "out" / "claims.html").read_text()
    assert "claims.html (" in done.stdout


def test_numbers_that_there_are_not(invoke):
    done = invoke("claims", "--only", "9a,50")
    assert done.exit_code == 2
    assert "--only '50' is not known; the numbers are 1a, 1b, 2a" in done.stderr
    done = invoke("claims", "--only", " , ")
    assert done.exit_code == 2
    assert "--only ' , ' names no statement; give numbers, as in 9a,40" in done.stderr
    assert "1 statement: 1 supported" in invoke("claims", "--only", "9a,,").stdout


def test_a_page_of_the_full_study_takes_no_quick_verdicts(invoke, tmp_path):
    page = ("--out", tmp_path / "out")
    invoke("claims", "--only", "9a", *page)
    full = made_verdict(number="1a", kind="measured", provenance={"preliminary": False})
    write_claims([full], tmp_path / "out")
    refused = invoke("claims", "--only", "1b", *page)
    assert refused.exit_code == 2
    assert "holds verdicts of the full study (of 1a), and these are of the quick one" in refused.stderr
    assert invoke("claims", "--only", "26a", *page).exit_code == 0  # an exact one has no size
    records = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert [record["number"] for record in records] == ["1a", "9a", "26a"]


@pytest.fixture
def studies(monkeypatch):
    """Return the studies that a command would have run."""
    seen = []

    def run(_numbers, *, study=None, scale=None, log=None, after=None):
        seen.append(study)
        return ()

    monkeypatch.setattr("gatescope.experiments.claims.run.run_claims", run)
    return seen


def test_without_options_a_quick_study_runs_in_a_folder_that_goes_away(invoke, studies):
    done = invoke("claims", "--only", "6a")
    assert done.exit_code == 0
    (study,) = studies
    assert (study.quick, study.preliminary, study.seeds, study.units) == (True, True, FULL_SEEDS, QUICK_UNITS)
    assert not Path(study.folder).exists()
    assert "statements" not in done.stdout.partition("0 statements")[0]  # no plan
    assert re.search(r"^took \d", done.stdout, re.MULTILINE)


def test_a_full_study_has_a_folder_and_says_its_plan_first(invoke, studies, tmp_path):
    done = invoke("claims", "--full")
    assert done.exit_code == 2
    assert "--runs is needed with --full: hours of training runs are made there" in done.stderr
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "one.npz").touch()
    done = invoke("claims", "--full", "--only", "6a,41", "--runs", folder, "--workers", "2")
    assert done.exit_code == 0, done.output
    assert (
        "2 statements, at most 8,970 core-seconds: 75 min on 2 cores; 1 training run there already"
        in flat(done)
    )
    assert studies[0].executor.workers == 2
    assert not studies[0].preliminary
    few = invoke("claims", "--full", "--only", "6a", "--runs", folder, "--seeds", "3", "--units", "8")
    assert few.exit_code == 0
    assert (studies[1].seeds, studies[1].units, studies[1].preliminary) == (3, 8, True)


def test_published_numbers_stand_beside_a_full_run(invoke, studies, tmp_path, monkeypatch):
    asked = []

    def beside(verdicts, study, *, archives=None, log=None):
        asked.append((study.seeds, archives))
        return verdicts

    monkeypatch.setattr("gatescope.experiments.claims.published.beside.beside_published", beside)
    options = ("--only", "37,41", "--runs", tmp_path / "runs", "--seeds", "4", "--workers", "1")
    done = invoke("claims", "--full", *options, "--archives", tmp_path)
    assert done.exit_code == 0, done.output
    assert re.search(r"B\W+published settings\W+37", done.stdout)
    assert asked == [(4, tmp_path)]
    lost = invoke("claims", "--full", *options, "--archives", tmp_path / "none")
    assert lost.exit_code == 2
    assert "is no folder; give the one that JSB_Chorales.mat" in lost.stderr
    assert "--archives" in invoke("claims", "--only", "37", "--archives", tmp_path).stderr


def test_statements_that_train_nothing_need_no_folder(invoke, studies):
    assert invoke("claims", "--full", "--only", "9a").exit_code == 0
    assert studies == [None]
    refused = invoke("claims", "--only", "9a", "--seeds", "3")
    assert refused.exit_code == 2
    assert "--seeds 3 has no effect with these statements, which train nothing" in refused.stderr


def test_runs_are_shared_over_a_folder(invoke, studies, tmp_path):
    for option, value in (("--part", "1/2"), ("--scheduler", "tcp://127.0.0.1:1")):
        refused = invoke("claims", "--only", "6a", option, value)
        assert refused.exit_code == 2
        assert f"{option} '{value}' has no effect without --runs" in refused.stderr
        assert "give --runs a folder" in refused.stderr
    assert invoke("claims", "--only", "6a", "--runs", "shared", "--part", "1/2").exit_code == 0
    assert studies[0].part == "1/2"
    assert studies[0].folder == tmp_path / "shared"  # wherever a worker is
    refused = invoke("claims", "--only", "6a", "--runs", tmp_path, "--part", "3/2")
    assert refused.exit_code == 2
    assert "--part '3/2' is no part" in refused.stderr
    refused = invoke("claims", "--only", "6a", "--runs", tmp_path, "--scheduler", "here")
    assert refused.exit_code == 2
    assert "--scheduler 'here' is no address" in refused.stderr
    refused = invoke("claims", "--only", "6a", "--runs", tmp_path, "--scheduler", "tcp://h:1", "--workers", 2)
    assert refused.exit_code == 2
    assert "--workers 2 has no effect with --scheduler, which has its own" in refused.stderr


def test_a_file_is_no_folder_of_runs(invoke, studies, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused = invoke("claims", "--only", "6a", "--runs", tmp_path / "file")
    assert refused.exit_code == 2
    assert "--runs" in refused.stderr
    assert "is a file, not a folder; choose another name" in refused.stderr
    assert (tmp_path / "file").read_text() == "mine"
    assert not studies


def test_a_scheduler_makes_the_runs(invoke, studies, tmp_path, monkeypatch):
    addresses, executor = [], Executor()

    @contextmanager
    def connected(address):
        addresses.append(address)
        yield executor

    monkeypatch.setattr("gatescope.experiments.executors._connected", connected)
    assert invoke("claims", "--only", "6a", "--runs", tmp_path, "--scheduler", "tcp://host:1").exit_code == 0
    assert (addresses, studies[0].executor) == (["tcp://host:1"], executor)


def test_an_interrupted_run_leaves_a_page(invoke, tmp_path, monkeypatch):
    from gatescope.experiments.claims import statement

    def interrupt(_scale):
        raise KeyboardInterrupt

    last = statement._STATEMENTS["26b"]
    monkeypatch.setitem(statement._STATEMENTS, "26b", dataclasses.replace(last, test=interrupt))
    done = invoke("claims", "--only", "9a,26", "--out", tmp_path / "out")
    assert done.exit_code != 0
    records = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert [record["number"] for record in records] == ["9a", "26a"]
    assert 'id="claim-26a"' in (tmp_path / "out" / "claims.html").read_text()


def test_an_interrupted_study_says_from_where_it_resumes(invoke, tmp_path, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("gatescope.experiments.claims.run.run_claims", interrupt)
    done = invoke("claims", "--only", "6a", "--runs", tmp_path / "runs", "--workers", "1")
    assert done.exit_code == 130
    assert f"interrupted; the same command resumes from the runs in {tmp_path / 'runs'}" in done.stderr
    done = invoke("claims", "--only", "6a", "--workers", "1")  # whose folder goes away
    assert done.exit_code == 130
    assert "resumes" not in done.stderr


def flat(done):
    return " ".join(done.stdout.split())


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
