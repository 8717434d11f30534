"""Whether an LSTM's time is worth it: every word on made-up effects, runs that are cut, and once real seconds."""

import math

import numpy as np
import pytest
from helpers.arms import made_arm, spread
from helpers.studies import arm_on, fake_study, model_of

from gatescope.datatypes import Arm
from gatescope.experiments.claims import worth
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.win_table import ADDING_100, CHORALES, COPYING
from gatescope.experiments.claims.worth import at_equal_time, judge_worth, update_seconds
from gatescope.experiments.seeds.statistics import by_share

BETTER, ALIKE, WORSE, OPEN = -0.5, 0.0, 0.5, None


def effects(**tasks):
    """Return a GRU's and an RNN's effect on each task; the margin is 0.2."""
    return {
        task: [
            spread(0.1 if mean is None else mean, 1.0 if mean is None else 0.05, name=f"{cell}, {task}")
            for cell, mean in zip(("gru", "rnn"), means, strict=True)
        ]
        for task, means in tasks.items()
    }


@pytest.mark.parametrize(
    ("tasks", "word", "count"),
    [
        ({"a": (BETTER, WORSE), "b": (WORSE, WORSE), "c": (WORSE, WORSE)}, "supported", 1),
        ({"a": (WORSE, ALIKE), "b": (WORSE, WORSE)}, "supported", 1),
        ({"a": (0.1, WORSE), "b": (WORSE, WORSE)}, "supported", 1),  # worse, by less than what matters
        ({"a": (ALIKE, WORSE), "b": (BETTER, BETTER)}, "supported", 2),
        ({"a": (WORSE, WORSE), "b": (WORSE, WORSE)}, "contradicted", 0),
        ({"a": (WORSE, WORSE), "b": (OPEN, WORSE)}, "undecided", 0),
        ({"a": (0.14, WORSE), "b": (WORSE, WORSE)}, "supported", 1),
        # Of one task it would do, of several that it is so on some has to bear Holm's correction.
        ({"a": (0.155, WORSE)}, "supported", 1),
        ({"a": (0.155, WORSE), "b": (WORSE, WORSE)}, "undecided", 0),
        ({"a": (0.18, WORSE), "b": (OPEN, OPEN)}, "undecided", 0),  # its interval leaves the margin
    ],
)
def test_every_word_of_49(tasks, word, count):
    finding = judge_worth(effects(**tasks))
    assert finding.judgement.word == word
    assert f"not worse on {count} of {len(tasks)} tasks" in finding.judgement.reason
    assert ("on most" in finding.judgement.reason) == (2 * count > len(tasks))
    assert len(finding.effects) == 2 * len(tasks)


def test_a_task_that_nobody_learns_shows_nothing():
    nobody = np.zeros(10, bool)
    both = [by_share(nobody, nobody, name=name) for name in ("gru, a", "rnn, a")]
    assert judge_worth({"a": both}).judgement.word == "undecided"


@pytest.mark.parametrize(("loss", "word"), [(0.2, "supported"), (0.295, "undecided")])
def test_losses_of_a_task_that_nobody_learns_show_nothing(loss, word):
    losses = [np.array([0.5, loss + seed / 1e5]) for seed in range(4)]
    cells = ("lstm", "gru", "rnn")
    arms = {
        cell: of_budget(made_arm(cell, validation_loss=losses, reached=[False] * 4), 20) for cell in cells
    }
    effects = at_equal_time(COPYING, arms, dict.fromkeys(cells, 0.001), 0.297)
    assert judge_worth({"copying": effects}).judgement.word == word


def test_seconds_to_the_target():
    base = np.linspace(190, 210, 10)
    arms = {"lstm": made_arm("lstm", updates=base), "gru": made_arm("gru", updates=base[::-1])}
    arms = {cell: of_budget(arm, 400) for cell, arm in arms.items()}
    (effect,) = at_equal_time(ADDING_100, arms, {"lstm": 0.005, "gru": 0.004})
    assert effect.name == "gru, adding, T = 100"
    assert effect.mean == pytest.approx(math.log(0.8), abs=1e-12)
    assert effect.arms == ("lstm", "gru")


def of_budget(arm, updates):
    runs = (type(run)(**{**vars(run), "spec": {**run.spec, "updates": updates}}) for run in arm.runs)
    return Arm(name=arm.name, runs=tuple(runs))


def test_what_is_reached_too_late_is_not_reached():
    # In the seconds of 400 updates of a GRU an LSTM does 200: half of its runs.
    lstm = of_budget(made_arm("lstm", updates=[190.0] * 5 + [210.0] * 5), 400)
    gru = of_budget(made_arm("gru", updates=[380.0] * 10), 400)
    (effect,) = at_equal_time(ADDING_100, {"lstm": lstm, "gru": gru}, {"lstm": 0.008, "gru": 0.004})
    assert effect.measure == "share"
    assert effect.reached == (0.5, 1)
    (whole,) = at_equal_time(ADDING_100, {"lstm": lstm, "gru": gru}, {"lstm": 0.004, "gru": 0.004})
    assert whole.reached == (1, 1)


@pytest.mark.parametrize(("task", "measure"), [(COPYING, "log ratio"), (CHORALES, "difference")])
def test_losses_until_the_time_is_over(task, measure):
    # Validations are after 10 and 20 updates: an LSTM that takes twice as long has made the first of them.
    losses = [np.array([0.5, 0.1 + seed / 100]) for seed in range(4)]
    arms = {
        cell: of_budget(made_arm(cell, validation_loss=losses, reached=[False] * 4), 20)
        for cell in ("lstm", "gru")
    }
    (effect,) = at_equal_time(task, arms, {"lstm": 0.002, "gru": 0.001})
    last = np.array([pair[1] for pair in losses])
    expected = np.log(last / 0.5) if measure == "log ratio" else last - 0.5
    np.testing.assert_allclose(effect.differences, expected, rtol=1e-14)
    assert effect.measure == measure


def test_the_whole_row_on_made_up_arms(monkeypatch):
    updates = {"lstm": 200.0, "gru": 190.0, "rnn": 390.0}

    def arms(task, cell, scheme):
        return arm_on(task, cell, n=10, updates=np.linspace(0.95, 1.05, 10) * updates[cell])

    monkeypatch.setattr(worth, "TASKS", (ADDING_100,))
    monkeypatch.setattr(worth, "update_seconds", lambda made: {"lstm": 4e-3, "gru": 3e-3, "rnn": 1e-3})
    (verdict,) = run_claims(["49"], study=fake_study(arms))
    assert verdict.word == "supported"
    assert [round(math.exp(effect.mean), 3) for effect in verdict.effects] == [0.713, 0.488]
    assert verdict.tuned["seconds of an update"] == {
        "adding, T = 100": {"lstm": "0.004", "gru": "0.003", "rnn": "0.001"}
    }
    assert "others took up to" in verdict.reason


@pytest.mark.slow
def test_seconds_are_measured():
    arms = {
        cell: arm_on(ADDING_100, cell, model=lambda seed, cell=cell: model_of(cell, ADDING_100))
        for cell in ("gru", "rnn")
    }
    seconds = update_seconds(arms)
    assert list(seconds) == ["gru", "rnn"]
    assert all(0 < value < 10 for value in seconds.values())
