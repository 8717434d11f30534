"""Which cell is more expressive, statement 17a: every outcome of both halves, and a study of made-up arms."""

import math

import numpy as np
import pytest
from helpers.arms import spread
from helpers.studies import arm_on, fake_study

from gatescope.experiments.claims import expressive
from gatescope.experiments.claims.expressive import COUNTED, judge_expressive
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.students import Students

LESS, MORE, ALIKE = spread(-1.0, 0.2), spread(1.0, 0.2), spread(0.0, 0.1)
LEFT = {"own kind": np.full(10, 0.1)}
OPEN, LITTLE = spread(0.1, 0.3), spread(-0.1, 0.05)


@pytest.mark.parametrize(
    ("counted", "fitted", "expected"),
    [
        (LESS, LESS, "supported"),
        (MORE, MORE, "contradicted"),
        (LESS, MORE, "mixed"),
        (MORE, LESS, "mixed"),
        (ALIKE, ALIKE, "equal"),
        (LESS, ALIKE, "mixed"),
        (MORE, ALIKE, "contradicted"),
        (OPEN, MORE, "contradicted"),
        (OPEN, LESS, "undecided"),
        (ALIKE, OPEN, "undecided"),
    ],
)
def test_17a_on_constructed_numbers(counted, fitted, expected):
    finding = judge_expressive([counted, counted], [fitted], LEFT)
    assert finding.judgement.word == expected
    assert "that it counts further: " in finding.judgement.reason
    assert len(finding.effects) == 3
    assert (finding.judgement.needed is not None) is (expected == "undecided")


def test_17a_needs_students_that_learn_their_own_kind():
    for counted, expected in ((LESS, "undecided"), (MORE, "contradicted")):
        finding = judge_expressive([counted] * 2, [LESS], {"own kind": np.full(10, 0.5)})
        assert finding.judgement.word == expected
        assert finding.judgement.reason.endswith("leave more than 50.0 %: own kind")
        assert finding.measured["own kind"].value == 0.5


def test_17a_is_small_if_both_halves_are():
    assert judge_expressive([LITTLE] * 2, [LITTLE], LEFT).judgement.small
    assert not judge_expressive([LITTLE] * 2, [LESS], LEFT).judgement.small


def test_17a_of_a_study(monkeypatch):
    as_gru, as_lstm = (
        spread(0.1, 0.05),
        spread(0.8, 0.05),
    )  # LSTMs lose 1.1 times as much as GRUs, GRUs 2.2 times
    fits = Students(of_gru=(as_gru,) * 3, of_lstm=(as_lstm,) * 3, left=LEFT)
    monkeypatch.setattr(expressive, "students", lambda study: fits)
    counts = {"lstm": 300 + np.arange(10), "gru": 60 + np.arange(10)}
    study = fake_study(lambda task, cell, scheme: arm_on(task, cell, n=10, counted_to=counts[cell].tolist()))
    (verdict,) = run_claims(["17a"], study=study)
    assert verdict.word == "supported"
    names = [effect.name for effect in verdict.effects]
    assert names[:3] == [
        "a^n b^n, counting on",
        "a^n b^n c^n, counting on",
        "lstm as gru against gru as lstm, 6 units",
    ]
    by_hand = np.log((60.5 + np.arange(10)) / (300.5 + np.arange(10)))
    np.testing.assert_allclose(verdict.effects[0].differences, by_hand, rtol=1e-12)
    assert math.isclose(verdict.effects[0].margin, math.log(1.25))
    assert verdict.effects[2].mean == pytest.approx(-0.7)


def test_counting_has_the_whole_budget_and_no_target():
    for task in (*COUNTED, *(task.shortened() for task in COUNTED)):
        assert task.spec.target_loss is None
        assert task.metric == "counted"
