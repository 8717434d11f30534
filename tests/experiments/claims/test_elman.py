"""Statement 33b: every outcome on made-up losses."""

import math

import numpy as np
import pytest
from helpers.arms import made_arm, spread

from gatescope.experiments.claims.elman import ONE, TEN, WHOLE, judge_elman
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.study import Study

MARGIN = math.log(1.10)
LEARNED, NOT_LEARNED = np.linspace(0.001, 0.002, 10), np.linspace(0.15, 0.17, 10)


def judged(mean, half, whole=LEARNED):
    one = spread(mean, half, margin=MARGIN, name="1 step back")
    ten = spread(0.0, 0.01, margin=MARGIN, name="10 steps back")
    return judge_elman(one, ten, {"all 20 steps back": whole, "1 step back": whole * 2})


@pytest.mark.parametrize(
    ("mean", "half", "whole", "word"),
    [
        (1.0, 0.1, LEARNED, "mixed"),
        (0.0, 0.02, LEARNED, "contradicted"),  # equal
        (-1.0, 0.1, LEARNED, "contradicted"),
        (0.05, 0.02, LEARNED, "contradicted"),  # a difference, but inside the margin
        (0.1, 0.5, LEARNED, "undecided"),
        (1.0, 0.1, NOT_LEARNED, "undecided"),
        (0.0, 0.02, NOT_LEARNED, "undecided"),
    ],
)
def test_every_outcome(mean, half, whole, word):
    finding = judged(mean, half, whole)
    assert finding.judgement.word == word
    assert finding.judgement.reason.startswith("Elman (1990)")
    assert ("which decides nothing" in finding.judgement.reason) == (whole is NOT_LEARNED)


def test_seeds_are_asked_for_only_where_they_would_decide():
    assert judged(0.1, 0.5).judgement.needed > 10
    assert judged(0.1, 0.5, NOT_LEARNED).judgement.needed is None


class MadeUp(Study):
    """A study in which the loss is the less, the further back the error goes."""

    def make(self, arms):
        """Make nothing."""

    def tuned(self, task, cell, scheme=None):
        return type("Setting", (), {"lr": 0.01, "scheme": "keras", "at_edge": False})()

    def arm(self, task, cell, scheme=None):
        scale = {WHOLE.name: 0.01, TEN.name: 0.05, ONE.name: 0.1}[task.name]
        return made_arm(cell, test_loss=scale * np.linspace(1, 1.1, 10))


def test_the_row_compares_both_windows_with_all_steps():
    (verdict,) = run_claims(["33b"], study=MadeUp(folder="nowhere"))
    assert verdict.word == "mixed"
    assert [effect.mean for effect in verdict.effects] == pytest.approx([math.log(10), math.log(5)])
    assert [effect.name for effect in verdict.effects] == ["1 step back, as Elman's", "10 steps back"]
    assert verdict.measured["all 20 steps back: test loss"][0] == pytest.approx(0.0105)
    assert set(verdict.tuned) == {f"rnn, {task.name}" for task in (WHOLE, TEN, ONE)}


def test_elmans_own_is_one_step_with_the_state_copied():
    assert (ONE.spec.window, ONE.spec.stateful) == (1, True)
    assert (TEN.spec.window, TEN.spec.stateful) == (10, True)
    assert (WHOLE.spec.window, WHOLE.spec.stateful) == (None, False)
