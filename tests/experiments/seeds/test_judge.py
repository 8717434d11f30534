"""Every word that `judge` can say, on constructed numbers, and on both sides of every border."""

import math

import numpy as np
import pytest
from helpers.arms import spread

from gatescope.errors import ShapeError, UnknownNameError
from gatescope.experiments.seeds.judge import (
    depends_on_init,
    judge,
    judge_exact,
)
from gatescope.experiments.seeds.statistics import by_share, paired

LOWER = spread(-0.5, 0.1, name="lower")
HIGHER = spread(0.5, 0.1, name="higher")
SAME = spread(0.0, 0.1, name="same")
WIDE = spread(0.1, 0.5, name="wide")
SMALL = spread(-0.1, 0.05, name="small")
NOBODY = by_share(np.zeros(10), np.zeros(10), name="nobody")


@pytest.mark.parametrize(
    ("effects", "lower", "higher", "equal"),
    [
        ([LOWER], "supported", "contradicted", "contradicted"),
        ([HIGHER], "contradicted", "supported", "contradicted"),
        ([SAME], "equal", "equal", "equal"),
        ([WIDE], "undecided", "undecided", "undecided"),
        ([SMALL], "supported", "contradicted", "equal"),
        ([NOBODY], "undecided", "undecided", "undecided"),
        ([LOWER, HIGHER], "mixed", "mixed", "contradicted"),
        ([LOWER, HIGHER, SAME, SAME, SAME], "mixed", "mixed", "equal"),
        ([LOWER, LOWER, SAME], "supported", "contradicted", "contradicted"),
        ([LOWER, SAME, SAME], "equal", "equal", "equal"),
        ([LOWER, SAME], "undecided", "undecided", "undecided"),
        ([LOWER, WIDE], "undecided", "undecided", "undecided"),
        ([LOWER, LOWER, WIDE], "supported", "contradicted", "contradicted"),
        ([NOBODY, LOWER, LOWER], "supported", "contradicted", "contradicted"),
    ],
)
def test_words(effects, lower, higher, equal):
    judgements = [judge(effects, claim=claim) for claim in ("lower", "higher", "equal")]
    assert [each.word for each in judgements] == [lower, higher, equal]
    assert [each.claim for each in judgements] == ["lower", "higher", "equal"]


@pytest.mark.parametrize(
    ("on", "effects", "word"),
    [
        ("any", [LOWER, WIDE, WIDE], "supported"),
        ("any", [HIGHER, WIDE, WIDE], "contradicted"),
        ("any", [LOWER, HIGHER, WIDE], "mixed"),
        ("all", [LOWER, LOWER, WIDE], "undecided"),
        ("all", [LOWER, LOWER, LOWER], "supported"),
        ("most", [LOWER, LOWER, WIDE, WIDE], "undecided"),
        ("most", [LOWER, LOWER, LOWER, WIDE], "supported"),
    ],
)
def test_on_how_many_tasks(on, effects, word):
    assert judge(effects, claim="lower", on=on).word == word


def test_the_border_of_the_t_interval():
    d = np.arange(1.0, 11) ** 3  # skewed, so flips are the more certain of the two
    d = (d - d.mean()) / (
        d.std(ddof=1) / math.sqrt(10) * 2.2621572
    )  # whose 95 % interval reaches 1 to both sides
    for mean, word in ((1.001, "supported"), (0.999, "undecided")):
        effect = paired(d + mean, margin=0.1)
        assert effect.p_flip < 0.05
        assert judge([effect], claim="higher").word == word


def test_both_tests_must_agree():
    steady = np.array([0.3, 0.31, 0.29, 0.3, 0.3])  # t is certain, five flips cannot be
    by_t = paired(steady, margin=0.1)
    assert by_t.p_t < 1e-6
    assert by_t.p_flip == 1 / 16
    assert judge([by_t], claim="higher").word == "undecided"
    assert judge([paired(np.append(steady, 0.3), margin=0.1)], claim="higher").word == "supported"
    skewed = np.array([0.01] * 9 + [5.0])  # all of one sign, so flips are certain and t is not
    by_flips = paired(skewed, margin=0.1)
    assert by_flips.p_flip < 0.01 < 0.3 < by_flips.p_t
    assert judge([by_flips], claim="higher").word == "undecided"


def test_the_border_of_the_margin():
    half_90 = 0.1 * 1.8331129 / 2.2621572
    for margin, word in ((half_90 * 1.0001, "equal"), (half_90 * 0.9999, "undecided")):
        assert judge([spread(0.0, 0.1, margin=margin)], claim="lower").word == word


def test_holm_over_the_tasks():
    weak = spread(-0.3, 0.25, margin=0.1, name="weak")  # p about 0.024, as one of three is not enough
    assert 0.05 / 3 < weak.p < 0.05
    assert judge([weak], claim="lower").word == "supported"
    assert judge([weak, WIDE, WIDE], claim="lower", on="any").word == "undecided"
    assert judge([weak, LOWER, LOWER], claim="lower", on="all").word == "supported"


def test_small_differences_say_so():
    assert judge([SMALL], claim="lower").small
    assert judge([SMALL], claim="equal").small
    assert not judge([LOWER], claim="lower").small
    assert not judge([SMALL, LOWER], claim="lower").small
    for side in (LOWER, SMALL):  # both ways, of which one may not matter
        mixed = judge([side, side, HIGHER], claim="lower")
        assert (mixed.word, mixed.small) == ("mixed", side is SMALL)
    assert not judge([SMALL, LOWER, HIGHER], claim="lower").small
    assert not judge([SAME], claim="equal").small


def test_what_is_undecided_says_which_n_would_do():
    result = judge([WIDE, LOWER], claim="lower")
    assert result.needed > 10
    assert f"about {result.needed} seeds would do" in result.reason
    assert judge([LOWER, SAME], claim="lower").reason.endswith("they do not say the same")
    hopeless = judge([spread(0.2, 100.0, margin=0.2)], claim="lower")
    assert hopeless.needed is None
    assert "no number of seeds" in hopeless.reason
    assert judge([LOWER], claim="lower").needed is None


def test_a_task_that_nobody_or_everybody_learns_decides_nothing():
    for reached in (np.zeros(10), np.ones(10)):
        result = judge([by_share(reached, reached)], claim="lower")
        assert result.word == "undecided"
        assert "decides nothing" in result.reason


def test_by_the_share_that_reached():
    result = judge([by_share(np.zeros(10), np.ones(10), name="xor")], claim="lower")
    assert result.word == "supported"
    assert "xor 0.0 % against 100.0 % reached the target" in result.reason
    five = by_share(np.zeros(5), np.ones(5))  # p = 1/16
    assert judge([five], claim="lower").word == "undecided"


@pytest.mark.parametrize(
    ("equal", "control", "supports", "word"),
    [
        (0.0, 1e9, True, "supported"),
        (16.0, 16.1, True, "supported"),
        (16.1, 1e9, True, "contradicted"),
        (0.0, 1e9, False, "contradicted"),
        (1e9, 1e9, False, "supported"),
        (0.0, 16.0, True, "undecided"),
        (0.0, math.nan, True, "undecided"),
        (math.nan, 1e9, True, "undecided"),
        (math.inf, 1e9, True, "undecided"),
        (math.inf, 1e9, False, "undecided"),
        (0.0, math.inf, True, "undecided"),
    ],
)
def test_exact_rows(equal, control, supports, word):
    assert judge_exact({"a": equal, "b": 0.0}, {"c": control, "d": 1e12}, supports=supports).word == word


def test_an_exact_row_needs_a_control():
    with pytest.raises(ShapeError, match="a control could have failed"):
        judge_exact({"a": 0.0}, {})


@pytest.mark.parametrize(
    ("words", "depends"),
    [
        ({"pytorch": "supported", "keras": "supported"}, False),
        ({"pytorch": "supported", "keras": "contradicted"}, True),
        ({"pytorch": "supported", "keras": "equal"}, True),
        ({"pytorch": "supported", "keras": "undecided"}, False),
        ({}, False),
    ],
)
def test_initial_weights(words, depends):
    assert depends_on_init(words) is depends


def test_what_cannot_be_judged():
    with pytest.raises(ShapeError, match="is empty"):
        judge([], claim="lower")
    with pytest.raises(UnknownNameError, match="choose from lower, higher, equal"):
        judge([LOWER], claim="better")
