"""Statement 18a: every outcome on made-up arms, and how many units all depths get."""

import numpy as np
import pytest

from gatescope.errors import ValueRangeError
from gatescope.experiments.claims import depth
from gatescope.experiments.claims.depth import judge_depth
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.study import Study

SHORT, LONG = "adding, T = 100", "adding, T = 200"
NEVER, ALWAYS = [0, 0, 0, 0], [10, 10, 10, 10]


def arms(counts):
    """Return which of ten runs reached the target, by depth, from how many did."""
    return {d: np.arange(10) < count for d, count in enumerate(counts, 1)}


def judged(**counts):
    cells = {(SHORT, cell): arms(each) for cell, each in counts.items()}
    return judge_depth(cells)


@pytest.mark.parametrize(
    ("rnn", "lstm", "word"),
    [
        ([0, 10, 10, 10], ALWAYS, "supported"),
        ([0, 0, 0, 10], NEVER, "supported"),  # one depth that learns it is enough
        ([0, 5, 5, 5], ALWAYS, "undecided"),  # more often by no test, and in no more than half
        ([3, 7, 6, 6], ALWAYS, "undecided"),
        (NEVER, ALWAYS, "contradicted"),
        ([1, 0, 1, 1], ALWAYS, "contradicted"),
        ([0, 0, 0, 2], ALWAYS, "undecided"),  # of which the bound is 0.56
        ([2, 9, 9, 9], ALWAYS, "undecided"),  # 7 more of 10, p 0.016, and six tests
        (ALWAYS, ALWAYS, "undecided"),
        (NEVER, NEVER, "undecided"),
        ([6, 10, 10, 10], ALWAYS, "undecided"),  # one layer reaches it
        (ALWAYS, [10, 0, 0, 0], "undecided"),
    ],
)
def test_every_outcome(rnn, lstm, word):
    assert judged(rnn=rnn, lstm=lstm).judgement.word == word


def test_where_nothing_can_be_said_the_reason_says_why():
    assert "which leaves depth nothing to resolve" in judged(rnn=ALWAYS, lstm=ALWAYS).judgement.reason
    assert "which decides nothing" in judged(rnn=NEVER, lstm=NEVER).judgement.reason
    worse = judged(rnn=ALWAYS, lstm=[10, 0, 10, 0]).judgement.reason
    assert worse.endswith(f"less often: lstm, {SHORT}: 2 layers against 1, lstm, {SHORT}: 4 layers against 1")


def test_a_task_that_nobody_learns_says_nothing_beside_one_that_is_learned():
    reached = {
        (task, cell): arms(ALWAYS if (task, cell) == (SHORT, "lstm") else NEVER)
        for task in (SHORT, LONG)
        for cell in ("rnn", "lstm")
    }
    finding = judge_depth(reached)
    assert finding.judgement.word == "contradicted"
    assert finding.judgement.reason.startswith("1 place of 4")
    assert len(finding.effects) == 2 * 2 * 3
    assert finding.measured[f"rnn, {LONG}, 1 layer: share that reached the target"][0] == 0
    assert finding.seeds == 10


class MadeUp(Study):
    """A study whose arms nobody trained: LSTMs reach the target, RNNs of several layers alone."""

    def sizes(self, task, cells):
        if self.units < 34:
            raise ValueRangeError("has no models near it")
        return {cell.name: 10 * cell.layers for cell in cells}

    def make(self, arms):
        """Make nothing."""

    def tuned(self, task, cell, scheme=None):
        return type("Setting", (), {"lr": 0.01, "scheme": "keras", "at_edge": False})()

    def arm(self, task, cell, scheme=None):
        reaches = cell.cell == "lstm" or cell.layers > 1
        return type("Arm", (), {"reached": np.full(self.seeds, reaches)})()


def test_the_row_asks_for_all_depths_with_the_fewest_units_that_all_can_have():
    cells = depth.sized(MadeUp(folder="nowhere"))
    assert [cell.units for cell in cells] == [10, 20, 30, 40] * 2
    (verdict,) = run_claims(["18a"], study=MadeUp(folder="nowhere"))
    assert verdict.word == "supported"
    assert "rnn, 4 layers of 40 units, adding, T = 200" in verdict.tuned
    with pytest.raises(ValueRangeError, match="no number of parameters near it that all depths can have"):
        depth.sized(MadeUp(folder="nowhere", units=11))


def test_a_quick_study_has_fewer_depths_and_one_task():
    (verdict,) = run_claims(["18a"], study=MadeUp(folder="nowhere", quick=True, units=34))
    assert [effect.name[:4] for effect in verdict.effects] == ["rnn,", "lstm"]
    assert verdict.preliminary


@pytest.mark.slow
def test_all_depths_have_as_many_parameters(tmp_path):
    from gatescope.recurrence.initialization import init_stack

    study = Study(folder=tmp_path)
    heads = study.spec(depth.ADDING_100, "rnn").maker(steps=100, sequences=2)
    counts = [
        init_stack((cell.cell,) * cell.layers, hidden_size=cell.units, heads=heads).count()
        for cell in depth.sized(study)
    ]
    assert max(counts) / min(counts) < 1.03 / 0.97
