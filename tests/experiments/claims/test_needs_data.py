"""Statements 11b and 11c: every outcome on made-up losses, and the sizes between which a threshold is crossed."""

import numpy as np
import pytest
from helpers.arms import spread
from helpers.made_up_study import around, made_up_study

from gatescope.experiments.claims import needs_data
from gatescope.experiments.claims.needs_data import (
    THRESHOLDS,
    change_over_sizes,
    judge_large,
    judge_need,
    needed,
)
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.statement import Finding
from gatescope.experiments.seeds.judge import Judgement

SIZES = {"digits": [50, 200, 800], "adding": [100, 1000, 10_000]}


def losses(lstm, gru):
    """Return losses that fall as 1 / N, whose cells are at the threshold with so many times 200 or 1,000 sequences."""
    return {
        task: {
            cell: np.outer(1 / np.array(sizes), around(THRESHOLDS[task] * sizes[1] * factor))
            for cell, factor in (("lstm", lstm), ("gru", gru))
        }
        for task, sizes in SIZES.items()
    }


@pytest.mark.parametrize(
    ("lstm", "gru", "expected"),
    [
        (2, 1, "supported"),
        (1, 2, "contradicted"),
        (1.5, 1.5, "equal"),
        (1, 50, "contradicted"),  # no size will do for the GRU: by the fraction that any size does for
        (50, 50, "undecided"),  # for none: which decides nothing
        (0.1, 0.1, "undecided"),  # the smallest will do for both: no evidence that they need as many
    ],
)
def test_11b_on_constructed_numbers(lstm, gru, expected):
    finding = judge_need(losses(lstm, gru), SIZES)
    assert finding.judgement.word == expected
    assert {effect.arms for effect in finding.effects} == {("lstm", "gru")}
    if (lstm, gru) == (2, 1):
        assert finding.effects[0].mean == pytest.approx(np.log(0.5), abs=0.01)
        value, _ = finding.measured["digits, lstm: ln of the sequences needed"]
        assert np.exp(value) == pytest.approx(400, rel=0.01)


def test_tasks_that_go_both_ways_are_mixed():
    lstm, gru = losses(2, 1), losses(1, 2)
    finding = judge_need({"digits": lstm["digits"], "adding": gru["adding"]}, SIZES)
    assert finding.judgement.word == "mixed"


def test_sizes_between_which_the_threshold_is_crossed():
    rows = np.array(
        [[1.0, 0.01, 0.2, 0.2, np.nan], [0.1, 0.001, 0.2, 0.05, 0.05], [0.01, 0.2, 0.2, 0.2, 0.05]]
    )
    counts, beyond = needed([10, 100, 1000], rows, 0.1)
    assert beyond.tolist() == [0, -1, 1, 0, 0]
    # At the threshold itself; below from the start; never; the first time counts; a loss that is no number.
    assert counts.tolist() == [pytest.approx(100), 10, 1000, pytest.approx(10**1.5), 100]


@pytest.mark.parametrize(
    ("slope", "top", "expected", "small"),
    [
        (0.5, 0.5, "supported", False),
        (0.5, 0.05, "supported", True),  # at the top inside the margin
        (-0.5, 0.5, "contradicted", False),
        (0.5, -0.5, "contradicted", False),
        (0.0, 0.5, "equal", False),
        (0.5, 0.0, "equal", False),
        (0.0, 0.0, "equal", False),
    ],
)
def test_11c_on_constructed_numbers(slope, top, expected, small):
    finding = judge_large([spread(slope, 0.02)] * 2, [spread(top, 0.02)] * 3)
    assert (finding.judgement.word, finding.judgement.small) == (expected, small)
    assert len(finding.effects) == 5
    assert "more with more data: " in finding.judgement.reason
    wide = judge_large([spread(0.3, 1.0)] * 2, [spread(top, 0.02)] * 3).judgement
    assert wide.word == ("contradicted" if top < 0 else "undecided")
    assert (wide.needed is None) is (wide.word != "undecided")
    assert judge_large([spread(0.5, 0.02), spread(-0.5, 0.02)], [spread(0.5, 0.02)]).judgement.word == "mixed"


def test_a_line_through_ratios():
    sizes = [10, 100, 10_000]
    differences = np.outer(np.log(sizes), around(0.1)) + around(3)  # other levels, which do not count
    effect = change_over_sizes(sizes, differences, "change")
    np.testing.assert_allclose(effect.differences, around(0.1) * np.log(1000), rtol=1e-12)


def test_both_are_asked_of_a_study(monkeypatch):
    middle = {"digits": 200, "adding": 1000}

    def numbers(task, cell):
        n, kind = task.spec.examples, task.spec.task
        # The LSTM is worse on sets below the middle, and better above.
        better = (n / middle[kind]) ** 0.2 if cell == "lstm" else 1
        return {"test_loss": around(100 * THRESHOLDS[kind] / n / better)}

    long = Finding(judgement=Judgement(word="", reason=""), effects=(spread(0.5, 0.02, name="long"),))
    monkeypatch.setattr(needs_data, "final_loss", lambda study: long)
    need, large = (run_claims([n], study=made_up_study(numbers))[0] for n in ("11b", "11c"))
    assert (need.word, large.word) == ("supported", "supported")
    rises = [0.2 * np.log(1200 / 50), 0.2 * np.log(10_000 / 30)]
    tops = [0.2 * np.log(6), 0.2 * np.log(10), 0.5]
    assert [effect.mean for effect in large.effects] == pytest.approx(rises + tops, abs=1e-9)
    assert need.tuned["gru, adding, N = 1,000"] == {"lr": 0.01, "scheme": "pytorch", "at_edge": False}
