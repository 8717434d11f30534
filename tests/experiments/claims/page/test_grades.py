"""How sure an effect is said to be, in the unit of its margin."""

import dataclasses

import numpy as np
from helpers.arms import made_arm, spread

from gatescope.experiments.claims.page.grades import CERTAINLY, EQUAL, NO_EVIDENCE, PROBABLY, graded, in_words
from gatescope.experiments.seeds.statistics import by_share, effect, paired


def grade(one):
    ((name, _),) = graded([one])
    return name


def test_certain_is_what_lies_outside_the_margin():
    assert grade(spread(0.5, 0.1)) == CERTAINLY
    assert grade(spread(0.25, 0.1)) == PROBABLY
    assert grade(spread(0.0, 0.1)) == EQUAL
    assert grade(spread(0.2, 0.5)) == NO_EVIDENCE


def test_points_are_graded_by_points():
    # Half as many wrong answers of 1,000, which is about a point: whether it matters is not certain.
    def arm(cell, wrong):
        return made_arm(cell, test_accuracy=1 - np.array(wrong) / 1000, test_answers=[1000] * 10)

    first, second = arm("lstm", [20] * 10), arm("gru", [7, 8, 9, 10, 11] * 2)
    compared = effect(first, second, "points", margin=0.0112)
    assert not compared.inside_margin
    assert compared.high < -0.0112  # of ln
    assert grade(compared) == PROBABLY


def test_stopped_runs_count_with_the_budget_where_one_is_sure():
    assert grade(paired(np.linspace(0.5, 0.6, 10), margin=0.2, in_margins=np.array([]))) == CERTAINLY


def test_shares_say_what_is_more_often():
    all_, none = np.ones(10, bool), np.zeros(10, bool)
    compared = dataclasses.replace(by_share(all_, none, name="adding"), arms=("lstm", "gru"))
    assert in_words([compared]) == "gru against lstm: certainly reaching it less often on adding."
