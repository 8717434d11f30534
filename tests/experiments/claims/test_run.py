"""What `run_claims` refuses before anything runs, and what of a quick study other processes do."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gatescope.datatypes.verdict import SUPPORTED
from gatescope.errors import DtypeError
from gatescope.experiments.claims import run
from gatescope.experiments.claims.statement import SUITES, Finding, Statement, statements
from gatescope.experiments.claims.study import Study
from gatescope.experiments.executors import LOST, Processes
from gatescope.experiments.seeds.judge import Judgement


@pytest.mark.parametrize("name", ["scale", "study", "log", "after"])
def test_an_argument_of_another_type_is_named(name):
    with pytest.raises(DtypeError, match=f"{name} is an int; give a"):
        run.run_claims(["9a"], **{name: 3})


@pytest.fixture
def made_up(monkeypatch):
    """Put four statements in place of all; return who tested which: its thread, and the study's part and executor."""
    seen = {}

    def tested(number):
        def test(study):
            seen[number] = threading.current_thread() is threading.main_thread(), study.part, study.executor
            return Finding(judgement=Judgement(word=SUPPORTED, reason="so it is"))

        return test

    some = [("1a", "W", False), ("2", "L", False), ("3", "L", False), ("4", "W", True)]
    made = {
        number: Statement(
            number=number,
            text="it is so",
            sources="P",
            kind="statistical",
            criterion="",
            suite=suite,
            test=tested(number),
            timed=timed,
        )
        for number, suite, timed in some
    }
    monkeypatch.setattr(run, "statements", lambda only=None: tuple(made[number] for number in only or made))
    return seen


def test_statements_of_a_quick_study_are_tested_at_once_and_those_with_times_alone_after_them(
    made_up, tmp_path
):
    lines, numbers = [], []
    with ThreadPoolExecutor(1) as executor:
        study = Study(folder=tmp_path, quick=True, executor=executor)
        verdicts = run.run_claims(
            study=study, log=lines.append, after=lambda some: numbers.append([one.number for one in some])
        )
    assert [verdict.number for verdict in verdicts] == ["1a", "2", "3", "4"]
    # One process has what shares runs; it makes them itself, and two begin with different ones.
    assert made_up == {
        "1a": (False, "1/2", None),
        "2": (False, "2/2", None),
        "3": (False, "2/2", None),
        "4": (True, None, executor),
    }
    assert numbers == [["1a"], ["1a", "2"], ["1a", "2", "3"], ["1a", "2", "3", "4"]]
    assert [line[:20] for line in lines] == [
        f"statement {k}, {n} of 4:"[:20] for n, k in enumerate(("1a", "2", "3", "4"), 1)
    ]


def test_a_part_that_was_asked_for_stays(made_up, tmp_path):
    with ThreadPoolExecutor(1) as executor:
        run.run_claims(study=Study(folder=tmp_path, quick=True, executor=executor, part="3/8"))
    assert {part for _, part, _ in made_up.values()} == {"3/8"}


def test_the_full_study_gives_its_processes_runs_alone(made_up, tmp_path):
    with ThreadPoolExecutor(1) as executor:
        run.run_claims(study=Study(folder=tmp_path, executor=executor))
    assert set(made_up.values()) == {(True, None, executor)}


def test_statements_that_kill_a_process_are_tested_here(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "each", lambda _work, items, _executor: ((k, LOST) for k in range(len(items))))
    with ThreadPoolExecutor(1) as executor:
        verdicts = run.run_claims(study=Study(folder=tmp_path, quick=True, executor=executor))
    assert len(verdicts) == 4
    assert set(made_up.values()) == {(True, None, executor)}


def test_an_interrupt_calls_off_what_has_not_begun(made_up, tmp_path):
    def stop(_verdicts):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
        run.run_claims(study=Study(folder=tmp_path, quick=True, executor=executor), after=stop)
    assert "4" not in made_up


def test_every_suite_that_is_tested_at_once_has_a_place():
    assert {one.suite for one in statements()} == set(run._AT_ONCE) == {*SUITES} - {"B"}
    assert {one.number for one in statements() if one.timed} == {"10a", "10b", "10c", "10d", "49"}


@pytest.mark.slow
def test_processes_come_to_the_words_that_one_comes_to(tmp_path):
    numbers = ["9a", "9b", "26", "31", "48"]
    with Processes(2) as executor:
        study = Study(folder=tmp_path, quick=True, executor=executor)
        at_once = run.run_claims(numbers, study=study)
    alone = run.run_claims(numbers)
    assert [dataclasses.replace(one, seconds=0) for one in at_once] == [
        dataclasses.replace(one, seconds=0) for one in alone
    ]
