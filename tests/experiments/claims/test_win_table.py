"""Statements about which cell does better: every outcome on made-up arms, and once with real runs of a tiny task."""

import functools
import hashlib
import math

import numpy as np
import pytest
from helpers.arms import SPEC, made_arm

import gatescope as gs
from gatescope.errors import MissingPackageError, ValueRangeError
from gatescope.experiments.claims import win_table
from gatescope.experiments.claims.report import verdicts_table
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.statement import statements
from gatescope.experiments.claims.study import SCHEMES, Study, StudyTask
from gatescope.experiments.seeds.data import run_data
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import effect

TASKS = (*win_table.LONG, *win_table.OTHERS)
NUMBERS = ["6a", "7a", "7b", "8a", "8b", "11a", "37"]


class MadeUp(Study):
    """A study whose second cell needs `ratio(task, scheme)` of what the first one needs, give or take a little."""

    def make(self, arms):
        assert all(task in TASKS and cell in ("lstm", "gru", "rnn") for task, cell, *_ in arms)

    def tuned(self, task, cell, scheme=None):
        return type("Setting", (), {"lr": 0.01, "scheme": scheme or "pytorch", "at_edge": False})()

    def effect(self, task, first, second, scheme=None):
        compared, arms = made_up_effect(task, first, second, self.ratio(task, scheme))
        for cell, arm in zip((first, second), arms, strict=True):
            spec = task.spec.with_(cell=cell, scheme=scheme or "pytorch", lr=0.02 if scheme is None else 0.01)
            self.used.update((spec.with_(seed=run.seed), run) for run in arm.runs)
        return compared


@functools.cache
def made_up_effect(task, first, second, ratio):
    base = np.linspace(190, 210, 10)
    if task.metric == "updates":
        arms = [made_arm(first, updates=base), made_arm(second, updates=base[::-1] * ratio)]
    else:
        # Of 1,000 answers 100 to 200 are wrong; losses in nats, that differ by 0.2 for a ratio of 2.
        columns = [
            {
                "test_loss": 0.4 + scale * 0.2 + base / 1e5,
                "test_accuracy": 0.9 - 0.05 * scale - base / 1e5,
                "test_answers": [1000] * 10,
            }
            for scale in (0, math.log2(ratio))
        ]
        arms = [made_arm(cell, **column) for cell, column in zip((first, second), columns, strict=True)]
    return effect(*arms, task.metric, margin=task.margin, name=task.name), arms


def verdicts(ratio, numbers=NUMBERS):
    study = MadeUp(folder="nowhere")
    object.__setattr__(study, "ratio", ratio)
    return {verdict.number: verdict for verdict in run_claims(numbers, study=study)}


def words(ratio):
    return {number: verdict.word for number, verdict in verdicts(ratio).items()}


def test_where_the_second_cell_is_better_everywhere():
    assert words(lambda *_: 0.5) == {
        "6a": "contradicted",
        "7a": "contradicted",
        "7b": "contradicted",
        "8a": "contradicted",
        "8b": "supported",
        "11a": "supported",
        "37": "supported",
    }


def test_where_it_is_worse_everywhere():
    assert words(lambda *_: 2.0) == {
        "6a": "supported",
        "7a": "contradicted",
        "7b": "contradicted",
        "8a": "supported",
        "8b": "contradicted",
        "11a": "contradicted",
        "37": "contradicted",
    }


def test_where_nothing_matters():
    assert words(lambda *_: 1.0) == {**dict.fromkeys(NUMBERS, "equal"), "7b": "contradicted"}


def test_where_each_is_better_at_something():
    turned = words(lambda task, _: 2.0 if task in win_table.LONG else 0.5)
    assert turned == {
        "6a": "supported",
        "7a": "contradicted",
        "7b": "supported",
        "8a": "mixed",
        "8b": "mixed",
        "11a": "mixed",
        "37": "mixed",
    }


def test_initial_weights_that_turn_it_are_said():
    ratios = {"pytorch": 2.0, "keras": 0.5, None: 0.5}
    (verdict,) = verdicts(lambda _, scheme: ratios.get(scheme, 0.5), ["6a"]).values()
    assert verdict.depends_on_init
    assert verdict.text == "contradicted, depends on initial weights"
    assert verdict.tuned["by initial weights"] == {
        "pytorch": "supported",
        "keras": "contradicted",
        "chrono": "contradicted",
    }
    (alike,) = verdicts(lambda *_: 0.5, ["6a"]).values()
    assert not alike.depends_on_init


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("7a", ("contradicted", "contradicted", "equal")),
        ("7b", ("contradicted", "contradicted", "contradicted")),
        ("8a", ("supported", "contradicted", "equal")),
        ("8b", ("contradicted", "supported", "equal")),
        ("11a", ("contradicted", "supported", "equal")),
    ],
)
def test_so_are_they_of_every_row_of_two_cells(number, words):
    ratios = {"pytorch": 2.0, "keras": 0.5, "chrono": 1.0, None: 0.5}
    (verdict,) = verdicts(lambda _, scheme: ratios[scheme], [number]).values()
    assert tuple(verdict.tuned["by initial weights"].values()) == words
    assert verdict.depends_on_init == (len({*words}) > 1)
    tasks = 4 if number == "11a" else 5  # of those with a target, copying has none
    assert len(verdict.by_init) == 3 * tasks


def test_a_verdict_says_which_code_made_its_runs():
    made = verdicts(lambda *_: 0.5).values()
    assert {verdict.code for verdict in made} == {hashlib.sha256(b"code").hexdigest()[:16]}


def test_a_run_that_two_comparisons_share_counts_once():
    counts = {number: verdict.runs for number, verdict in verdicts(lambda *_: 0.5).items()}
    by_init = len(SCHEMES) * len(win_table.BY_INIT)
    assert counts["8b"] == 2 * 10 * (len(TASKS) + by_init)
    assert counts["37"] == 3 * 10 * len(TASKS)  # those of the RNN stand beside both
    assert counts["6a"] == 2 * 10 * (len(win_table.LONG) + by_init)


def test_an_rnn_is_compared_with_both():
    (verdict,) = verdicts(lambda *_: 0.5, ["37"]).values()
    assert len(verdict.effects) == 2 * len(TASKS)
    assert verdict.effects[0].name == "lstm, adding, T = 100"


def test_an_rnn_is_worse_than_both_or_it_is_not_said(monkeypatch):
    def one_alone(study, task, first, second, scheme=None):
        better = second == "lstm" or task is win_table.LONG[0]
        return made_up_effect(task, first, second, 0.5 if better else 1.0)[0]

    monkeypatch.setattr(MadeUp, "effect", one_alone)
    (verdict,) = run_claims(["37"], study=MadeUp(folder="nowhere"))
    assert sum(effect.sign < 0 and effect.p < 0.002 for effect in verdict.effects) == len(TASKS) + 1
    assert verdict.word == "undecided"
    assert verdict.reason.startswith("lstm supported, gru equal; lstm: lower on 13, ")
    assert "; gru: lower on 1, " in verdict.reason


def test_where_one_of_both_is_better_and_worse_it_is_mixed(monkeypatch):
    def gru_worse_on_one(study, task, first, second, scheme=None):
        worse = second == "gru" and task is TASKS[-1]
        return made_up_effect(task, first, second, 2.0 if worse else 0.5)[0]

    monkeypatch.setattr(MadeUp, "effect", gru_worse_on_one)
    (verdict,) = run_claims(["37"], study=MadeUp(folder="nowhere"))
    assert verdict.word == "mixed"
    assert verdict.reason.startswith("lstm supported, gru mixed; lstm: lower on 13, ")
    assert "; gru: lower on 12, higher on 1, " in verdict.reason


def test_without_a_study_these_are_left_out():
    assert {each.number for each in statements() if each.trains} > {*NUMBERS, "27a", "28a"}
    with pytest.raises(ValueRangeError, match="many training runs decide: 6a, 7a, 7b"):
        run_claims(["6a", "7", "9a"])


@pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])
def test_the_tasks_are_runs(task):
    assert task.spec.updates % task.spec.validate_every == 0
    assert (task.metric == "updates") == (task.spec.target_loss is not None)
    quick = task.shortened()
    assert (quick.metric, quick.spec.target_loss) == (task.metric, task.spec.target_loss)
    assert quick.spec.updates <= 800
    if steps := quick.spec.arguments.get("steps"):
        assert steps <= 100
        assert quick.memory <= steps * 2
    assert {**quick.spec.arguments, **task.spec.arguments} == task.spec.arguments


@pytest.mark.slow
def test_a_small_study_from_beginning_to_end(tmp_path, monkeypatch):
    tiny = StudyTask(
        name="tiny", spec=SPEC.with_(updates=10, target_loss=None), metric="test_loss", margin=0.1, memory=6
    )
    for name in ("LONG", "OTHERS", "BY_INIT"):
        monkeypatch.setattr(win_table, name, (tiny,) if name == "LONG" else ())
    study = Study(folder=tmp_path, seeds=2, units=5, lr=(0.01,))
    (verdict,) = run_claims(["8b"], study=study)
    assert verdict.preliminary
    (seen,) = verdict.effects
    arms = [study.arm(tiny, cell) for cell in ("lstm", "gru")]
    losses = [[gs.evaluate(run.model, held_back(run)).loss for run in arm.runs] for arm in arms]
    np.testing.assert_allclose(seen.differences, np.log(losses[1]) - np.log(losses[0]), rtol=1e-12)
    assert verdict.tuned["gru, tiny"]["scheme"] == arms[1].runs[0].spec["scheme"]
    files = len(list(tmp_path.iterdir()))
    assert verdict.runs == 4
    assert (
        verdict.code
        == hashlib.sha256(
            "".join(sorted({run.code for arm in arms for run in arm.runs})).encode()
        ).hexdigest()[:16]
    )
    assert verdict.seconds == sum(run.seconds for arm in arms for run in arm.runs)
    assert verdict.command == "gatescope claims --only 8b --full --seeds 2 --units 5 --runs FOLDER"
    assert files == 2 * (3 + 3 + 2)  # three schemes, again with the second tuning seed, and two seeds
    assert run_claims(["8b"], study=study) == (verdict,)
    assert len(list(tmp_path.iterdir())) == files


def held_back(run):

    return run_data(RunSpec(**run.spec)).test


def test_a_package_that_is_not_there_leaves_the_others_alone(monkeypatch):
    def missing(*_, **__):
        raise MissingPackageError("needs scikit-learn", advice='pip install "gatescope[digits]"')

    study = MadeUp(folder="nowhere")
    monkeypatch.setattr(MadeUp, "effect", missing)
    (verdict, exact) = run_claims(["8b", "9a"], study=study)
    assert (verdict.text, exact.word) == ("not run", "supported")
    assert verdict.reason == 'needs scikit-learn; pip install "gatescope[digits]"'
    assert (verdict.runs, verdict.code) == (0, "")
    assert verdicts_table([verdict, exact]).title == "1 statement: 1 supported; 1 not run"


def test_a_study_has_seeds_and_units():
    for sizes in ({"seeds": 0}, {"units": -1}, {"seeds": 1001}):  # the last of 1,001 is one of tuning
        with pytest.raises(
            ValueRangeError, match=rf"at least 1|{sizes.get('seeds')} must be .* from 1 to 1000"
        ):
            Study(folder="nowhere", **sizes)
    assert Study(folder="nowhere", seeds=5).preliminary
    assert not Study(folder="nowhere").preliminary
