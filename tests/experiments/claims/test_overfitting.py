"""Statements 12a, 12b and 12c: every outcome on made-up losses."""

import numpy as np
import pytest
from helpers.made_up_study import around, made_up_study

from gatescope.experiments.claims.amounts import MIDDLE, NOISY
from gatescope.experiments.claims.overfitting import (
    Losses,
    judge_dropout,
    judge_gates,
    judge_overfits,
    losses_of,
)
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.seeds.judge import judge

TASKS = [f"task {k}" for k in range(4)]


def gap(size, train=0.1):
    """Return losses whose gap is near a size, and has that sign in all seeds."""
    return Losses(test=np.full(10, train) + around(size), train=np.full(10, train))


NONE = gap(0.0001)


@pytest.mark.parametrize(
    ("lstm", "gru", "expected"),
    [(0.4, 0.2, "supported"), (0.2, 0.4, "contradicted"), (0.2, 0.2, "equal"), (-0.1, -0.2, "undecided")],
)
def test_12a_on_constructed_numbers(lstm, gru, expected):
    assert judge_overfits({t: {"lstm": gap(lstm), "gru": gap(gru)} for t in TASKS}).judgement.word == expected


def test_12a_may_be_mixed():
    sizes = [(0.4, 0.2), (0.2, 0.4)]
    losses = {f"{k}": {"lstm": gap(a), "gru": gap(b)} for k, (a, b) in enumerate(sizes)}
    finding = judge_overfits(losses)
    assert finding.judgement.word == "mixed"
    assert [effect.arms for effect in finding.effects] == [("lstm", "gru")] * 2


def test_gaps_have_a_ratio_where_they_are_above_0():
    finding = judge_overfits(
        {"one": {"lstm": gap(0.4), "gru": gap(0.2)}, "two": {"lstm": gap(0.4), "gru": gap(-0.2)}}
    )
    ratio, difference = finding.effects
    assert (ratio.measure, ratio.mean) == ("log ratio", pytest.approx(np.log(0.5)))
    assert (difference.measure, difference.mean) == ("difference", pytest.approx(-0.6 / 0.1))
    assert finding.judgement.word == "supported"


def dropped(**cells):
    return {task: cells for task in TASKS}


@pytest.mark.parametrize(
    ("lstm", "gru", "expected", "which"),
    [
        ((0.4, 0.0001), (0.4, 0.0001), "supported", "all cells alike"),
        ((0.4, 0.0001), (0.4, 0.2), "supported", "only this cell"),  # reduced there, but not prevented
        ((0.4, 0.2), (0.4, 0.0001), "contradicted", "the other cell more"),
        ((0.4, 0.2), (0.4, 0.2), "contradicted", ""),
        ((0.2, 0.4), (0.2, 0.4), "contradicted", ""),
        ((0.4, 0.4), (0.4, 0.4), "contradicted", ""),  # nothing happens to it
        ((-0.1, -0.1), (-0.1, -0.1), "undecided", ""),  # there was nothing to prevent
    ],
)
def test_12b_on_constructed_numbers(lstm, gru, expected, which):
    finding = judge_dropout(dropped(lstm=tuple(map(gap, lstm)), gru=tuple(map(gap, gru))))
    assert (finding.judgement.word, finding.distinguishes) == (expected, which)
    assert len(finding.effects) == 4 * len(TASKS)


def test_12b_tells_what_is_reduced_from_what_is_prevented():
    finding = judge_dropout(dropped(lstm=(gap(0.4), gap(0.2)), gru=(gap(0.4), NONE)))
    assert "; reduces it: supported, " in finding.judgement.reason
    assert "of it is left: lstm, task 0: what is left 0.5 [" in finding.judgement.reason
    assert finding.judgement.reason.endswith("a GRU's gap: supported, prevented: supported")


def test_12b_where_the_gap_of_the_gru_is_reduced_more():
    lstm, gru = (gap(0.4), gap(0.03)), (gap(0.4), NONE)  # both inside the margin after it
    finding = judge_dropout(dropped(lstm=lstm, gru=gru))
    assert (finding.judgement.word, finding.distinguishes) == ("supported", "the other cell more")


def test_12b_where_one_gap_is_below_0():
    lstm, gru = (gap(0.4), gap(0.03)), (gap(0.4), gap(-0.1))
    finding = judge_dropout(dropped(lstm=lstm, gru=gru))
    assert (finding.judgement.word, finding.distinguishes) == ("supported", "the other cell more")


def test_12b_reduced_here_and_raised_there_is_mixed():
    both = {"one": (gap(0.4), gap(0.2)), "other": (gap(0.2), gap(0.4))}
    finding = judge_dropout({task: {"lstm": pair, "gru": pair} for task, pair in both.items()})
    assert finding.judgement.word == "mixed"


def without(size):
    return {cell: {task: gap(size) for task in TASKS[:2]} for cell in ("no reset", "leaky", "rnn")}


@pytest.mark.parametrize(
    ("gru", "others", "expected"),
    [
        (0.4, 0.8, "contradicted"),  # it overfits, if less than without its gates
        (0.0001, 0.4, "supported"),
        (0.0001, 0.0001, "contradicted"),  # it does not, and neither do those without gates
        (0.008, 0.001, "contradicted"),  # nor as little as these
    ],
)
def test_12c_on_constructed_numbers(gru, others, expected):
    finding = judge_gates({task: gap(gru) for task in TASKS}, without(others))
    assert finding.judgement.word == expected
    assert len(finding.effects) == 4 + 3 * 2


WIDE = Losses(test=0.1 * np.exp(np.linspace(0.01, 0.3, 10)), train=np.full(10, 0.1))


@pytest.mark.parametrize(
    ("rest", "expected"), [(gap(0.05), "contradicted"), (gap(0.004), "supported"), (WIDE, "undecided")]
)
def test_12c_is_not_contradicted_by_one_set_of_four(rest, expected):
    # On the three others it is above for sure, but by what does not matter, or by who knows how much.
    finding = judge_gates(dict(zip(TASKS, [gap(0.05), rest, rest, rest], strict=True)), without(0.4))
    assert judge(finding.effects[:4], claim="higher").word == "supported"
    assert finding.judgement.word == expected


def test_12c_may_be_undecided():
    wide = Losses(test=0.1 * np.exp(np.linspace(-1, 1.4, 10)), train=np.full(10, 0.1))
    assert judge_gates(dict.fromkeys(TASKS, wide), without(0.4)).judgement.word == "undecided"
    # It does not overfit, but whether gates have to do with it the others are too far apart to say.
    unknown = {cell: dict.fromkeys(TASKS[:2], wide) for cell in ("no reset", "leaky", "rnn")}
    finding = judge_gates(dict.fromkeys(TASKS, NONE), unknown)
    assert finding.judgement.word == judge(finding.effects[4:], claim="lower").word == "undecided"


def test_noise_of_numbers_is_added_where_it_was_not():
    study = made_up_study(lambda *_: {"final_test_loss": [0.5] * 3, "final_train_loss": [0.2] * 3})
    noisy = {kind: losses_of(study, tasks[0], "lstm").gap.tolist() for kind, tasks in NOISY.items()}
    assert noisy["digits"] == pytest.approx([0.3] * 3)
    assert noisy["adding"] == pytest.approx([0.3 + 0.2**2] * 3)
    assert losses_of(study, MIDDLE["adding"], "lstm").gap.tolist() == pytest.approx([0.3] * 3)


def test_all_three_are_asked_of_a_study():
    def numbers(task, cell):
        train = np.full(10, 0.1)
        size = 0.1 if task.spec.dropout else 0.2 if cell == "gru" else 0.4
        return {"final_test_loss": train + around(size), "final_train_loss": train}

    verdicts = [run_claims([n], study=made_up_study(numbers))[0] for n in ("12a", "12b", "12c")]
    assert [v.word for v in verdicts] == ["supported", "contradicted", "contradicted"]
    assert [len(v.effects) for v in verdicts] == [12, 16, 10]
    assert verdicts[0].effects[0].name == "digits, N = 50"
    assert "leaky, digits, N = 200" in verdicts[2].tuned
    assert {e.arms[0] for e in verdicts[2].effects[4:]} == {"gru, no reset gate", "leaky", "rnn"}
