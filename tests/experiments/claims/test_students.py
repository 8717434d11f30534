"""Statement 21: every outcome on made-up students, the exact bound, and what is trained."""

import math

import numpy as np
import pytest
from helpers.arms import made_run, spread

from gatescope.experiments.claims import students as module
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.statement import FAST
from gatescope.experiments.claims.students import SIZES, Students, judge_students, one_step
from gatescope.experiments.claims.study import Study
from gatescope.experiments.seeds.statistics import paired

SAME, APART = {"LSTM": 0.0}, {"GRU": 1e14}
WORSE, ALIKE, BETTER, OPEN = (1.0, 0.1), (0.0, 0.02), (-1.0, 0.1), (0.1, 0.9)


def three(outcomes):
    outcomes = [outcomes] * 3 if isinstance(outcomes[0], float) else outcomes
    return tuple(
        spread(mean, half, margin=math.log(1.10), name=f"{units} units")
        for units, (mean, half) in zip(SIZES, outcomes, strict=True)
    )


def fits(of_gru, of_lstm, left=0.01):
    return Students(
        of_gru=three(of_gru), of_lstm=three(of_lstm), left={"6 units: variance left": np.full(10, left)}
    )


@pytest.mark.parametrize(
    ("of_gru", "of_lstm", "word"),
    [
        (ALIKE, WORSE, "supported"),
        (BETTER, WORSE, "supported"),
        (WORSE, WORSE, "contradicted"),  # neither contains the other
        (WORSE, BETTER, "contradicted"),
        (ALIKE, ALIKE, "contradicted"),
        (ALIKE, BETTER, "contradicted"),
        (OPEN, WORSE, "undecided"),
        (ALIKE, OPEN, "undecided"),
        (OPEN, ALIKE, "contradicted"),
        ([BETTER, ALIKE, WORSE], WORSE, "mixed"),
        (ALIKE, [WORSE, WORSE, BETTER], "mixed"),
        ([ALIKE, ALIKE, OPEN], [WORSE, WORSE, OPEN], "supported"),  # most sizes
    ],
)
def test_every_outcome(of_gru, of_lstm, word):
    finding = judge_students(fits(of_gru, of_lstm), SAME, APART)
    assert finding.judgement.word == word
    assert len(finding.effects) == 6


def test_controls_that_learn_nothing_decide_nothing():
    finding = judge_students(fits(ALIKE, WORSE, left=0.9), SAME, APART)
    assert finding.judgement.word == "undecided"
    assert finding.judgement.reason.endswith("leave more than 50.0 %: 6 units: variance left")
    assert finding.judgement.needed is None
    assert judge_students(fits(ALIKE, WORSE, left=math.nan), SAME, APART).judgement.word == "undecided"


@pytest.mark.parametrize(("equalities", "controls"), [({"LSTM": 99.0}, APART), (SAME, {"GRU": 0.0})])
def test_a_bound_that_does_not_hold_supports_nothing(equalities, controls):
    assert judge_students(fits(ALIKE, WORSE), equalities, controls).judgement.word == "undecided"


def test_seeds_are_asked_for_where_they_would_decide():
    assert judge_students(fits(ALIKE, (0.1, 0.9)), SAME, APART).judgement.needed > 10
    # Where the one half would take more than anybody runs, those that would do for the other decide nothing.
    assert judge_students(fits((1e-4, 500.0), (0.1, 0.9)), SAME, APART).judgement.needed is None


def test_in_one_step_an_lstm_gives_tanh_1_at_most_and_a_gru_more():
    equalities, controls = one_step(FAST)
    assert max(equalities.values()) <= 1
    (gru,) = controls.values()
    assert gru == pytest.approx((1 - math.tanh(1)) / np.finfo(float).eps, rel=1e-6)  # it gives 1


def test_the_advantage_is_how_much_better_an_lstm_learns_a_gru_than_a_gru_an_lstm():
    d = {name: np.linspace(low, low + 0.1, 5) for name, low in (("gru", 0.2), ("lstm", 0.9))}
    effects = {name: (paired(each, margin=0.1),) * 3 for name, each in d.items()}
    advantage = Students(of_gru=effects["gru"], of_lstm=effects["lstm"], left={}).advantage()
    assert [effect.name for effect in advantage] == [
        f"gru as lstm against lstm as gru, {u} units" for u in SIZES
    ]
    np.testing.assert_allclose(advantage[0].differences, 0.7)  # above 0: the LSTM is ahead


class MadeUp(Study):
    """A study in which any student learns a GRU as well, and a GRU learns an LSTM half as well; restarts differ."""

    def tuned(self, task, cell, scheme=None):
        setting = {"lr": 0.01, "scheme": "keras", "biases": {}, "at_edge": False}
        return type("Setting", (), setting)()


def made_runs(specs, folder, **_):
    runs = []
    for spec in specs:
        teacher, student = spec.arguments["cell"], spec.cell
        loss = 0.002 if (teacher, student) == ("lstm", "gru") else 0.001
        loss *= 1 + 0.001 * (spec.arguments["teacher"] * spec.hidden_size % 7)
        # Validation and test rank restarts the other way round: what is chosen is seen to be by validation.
        restart = spec.seed % module.RESTARTS
        run = made_run(
            spec, test_loss=loss * 2.0**-restart, validation_loss=np.array([0.5, 0.1 * 2.0**restart])
        )
        runs.append(run)
    return tuple(runs)


def test_the_best_restart_by_validation_is_compared_teacher_by_teacher(monkeypatch):
    monkeypatch.setattr(module, "make_runs", made_runs)
    study = MadeUp(folder="nowhere")
    (verdict,) = run_claims(["21"], study=study)
    assert verdict.word == "supported"
    assert [effect.mean for effect in verdict.effects] == pytest.approx([0] * 3 + [math.log(2)] * 3)
    assert verdict.runs == 2 * 2 * 3 * 3 * 10  # kinds, students, sizes, restarts, teachers
    assert set(verdict.tuned) == {
        f"{cell} of 12 units, students of {teacher}"
        for cell in ("gru", "lstm")
        for teacher in ("a GRU", "an LSTM")
    }
    (left,) = {
        value for name, (value, _) in verdict.measured.items() if name.startswith("students of a GRU, 6")
    }
    assert 0.0005 < left < 0.2
    specs = [spec for spec in study.used if (spec.cell, spec.hidden_size) == ("gru", 6)]
    assert {(spec.seed, spec.arguments["teacher"]) for spec in specs} == {(k, k // 3) for k in range(30)}


def test_a_quick_study_starts_each_student_once(monkeypatch):
    monkeypatch.setattr(module, "make_runs", made_runs)
    (verdict,) = run_claims(["21"], study=MadeUp(folder="nowhere", seeds=2, quick=True))
    assert verdict.runs == 2 * 2 * 2 * 2  # and of two sizes alone
    assert [name[:25] for name in verdict.measured] == [
        f"students of {kind}, {units} units"[:25] for kind in ("a GRU", "an LSTM") for units in (6, 12)
    ]
