"""Interactions of cell and task, statement 6b: every outcome on made-up arms, and by hand."""

import math

import numpy as np
import pytest
from helpers.arms import made_arm
from helpers.studies import arm_on, fake_study

from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.complexity import COPYING_5, FLIP_FLOP_1, PAIRS, interaction
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.win_table import COPYING
from gatescope.experiments.seeds.judge import judge

MARGIN = math.log(1.25)
BASE = np.linspace(190, 210, 10)
HARDER = {tasks[1].name: name for name, tasks in PAIRS.items()}


def arms(first, second):
    return made_arm("lstm", updates=first), made_arm("gru", updates=second)


def test_an_interaction_by_hand():
    rng = np.random.default_rng(0)
    a, b, c, d = rng.uniform(100, 200, (4, 10))
    effect = interaction("more", arms(a, b), arms(c, d), "updates", margin=MARGIN)
    np.testing.assert_allclose(effect.differences, np.log(d / c) - np.log(b / a), rtol=1e-12)
    assert (effect.measure, effect.margin, effect.name) == ("log ratio", MARGIN, "more")


def test_an_advantage_that_is_the_same_is_equal_unless_runs_were_censored():
    both = arms(BASE, 3 * BASE[::-1]), arms(2 * BASE, 6 * BASE[::-1])
    assert interaction("", *both, "updates", margin=MARGIN).inside_margin
    one_short = arms([None, *BASE[1:]], 3 * BASE)
    censored = interaction("", one_short, both[1], "updates", margin=1e9)
    assert not censored.inside_margin
    assert censored.measure == "log ratio"


def test_where_many_runs_are_censored_fractions_are_compared():
    simple = arms(BASE, 2 * BASE)  # all reach it, and the GRU needs twice as long
    harder = arms([*BASE[:9], None], [None] * 8 + [*BASE[:2]])
    effect = interaction("", simple, harder, "updates", margin=MARGIN)
    np.testing.assert_array_equal(effect.differences, [1] * 8 + [0, -1])
    assert effect.measure == "difference"
    assert effect.sign == 1
    assert math.isnan(effect.margin)
    assert not effect.inside_margin
    assert effect.text() == "0.7 [0.217, 1.18]"


def test_where_nobody_learns_the_harder_task_an_advantage_on_the_simple_one_does_not_shrink():
    simple = arms(BASE, [None] * 10)  # which an LSTM alone learns
    floor = interaction("", simple, arms([None] * 10, [None] * 10), "updates", margin=MARGIN)
    assert floor.mean == -1  # and yet nothing is known
    assert floor.p == 1
    assert not floor.inside_margin
    assert judge([floor], claim="higher").word == UNDECIDED
    # Where an LSTM learns it, it does count.
    assert interaction("", arms(BASE, BASE), arms(BASE, [None] * 10), "updates", margin=MARGIN).p < 0.05


@pytest.mark.parametrize(("harder", "decides"), [(0.19, True), (0.295, False)])
def test_losses_near_those_of_who_knows_nothing_decide_nothing(harder, decides):
    def pair(first, second):
        noise = np.linspace(0.999, 1.001, 10)
        return made_arm("lstm", test_loss=first * noise), made_arm("gru", test_loss=second * noise[::-1])

    made = pair(0.1, 0.15), pair(harder, harder)
    effect = interaction("", *made, "test_loss", margin=0.1, baselines=(0.17, 0.297))
    assert effect.mean == pytest.approx(-math.log(1.5), abs=0.01)
    assert (effect.p < 0.05) == decides


def word(grows):
    """Return the verdict where a GRU needs 2 times as much on simple tasks, and on harder ones so many times more."""

    def made(task, cell, scheme):
        factor = 1.0 if cell == "lstm" else 2.0 * grows.get(HARDER.get(task.name, ""), 1.0)
        noise = np.linspace(0.98, 1.02, 10)[:: 1 if task.name in HARDER else -1] if cell == "gru" else 1.0
        values = 100 * factor * noise * np.ones(10)
        if task.metric == "test_loss":
            return arm_on(task, cell, n=10, test_loss=values)
        return arm_on(task, cell, n=10, updates=values)

    (verdict,) = run_claims(["6b"], study=fake_study(made))
    assert [effect.name for effect in verdict.effects] == [*PAIRS]
    assert all(effect.arms == ("lstm", "gru") for effect in verdict.effects)
    return verdict


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((2, 2, 2, 1), SUPPORTED),
        ((2, 2, 1, 1), UNDECIDED),
        ((0.5, 0.5, 0.5, 1), CONTRADICTED),
        ((2, 2, 2, 0.5), MIXED),
        ((1, 1, 1, 1), EQUAL),
    ],
)
def test_6b_on_constructed_arms(factors, expected):
    verdict = word(dict(zip(PAIRS, factors, strict=True)))
    assert verdict.word == expected
    means = [math.exp(effect.mean) for effect in verdict.effects]
    assert means == pytest.approx(factors, rel=1e-3)  # the noise of both tasks is the same, turned round


def test_the_simpler_tasks_remember_less():
    assert COPYING_5.spec == COPYING.spec.with_(arguments={**COPYING.spec.arguments, "memory": 5})
    assert COPYING_5.shortened().spec.arguments["memory"] == 5
    assert FLIP_FLOP_1.shortened().spec.arguments["channels"] == 1
    assert COPYING_5.shortened().name == "copying of 5, T = 50 (smaller)"
