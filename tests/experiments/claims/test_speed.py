"""Which cell is faster: every word on made-up times, and once real times of tiny calls."""

import math

import numpy as np
import pytest

from gatescope.experiments.claims import speed
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.speed import Size, Sizes, Timed, judge_faster, judge_published, judge_reason
from gatescope.experiments.claims.statement import SUITES, Scale, in_suites, statements

NOISE = 1 + np.linspace(-0.02, 0.02, 15)
MANY, WIDE = NOISE[::-1], 1 + np.linspace(-0.5, 0.5, 15)


def timed(*cases, others=0.01, load=0.2):
    """Return times of cases, each a mapping of cells to their times, in units of the LSTM's."""
    made = {
        f"case {k}": {
            cell: 0.01 * factor * (NOISE if cell == "lstm" else MANY) for cell, factor in case.items()
        }
        for k, case in enumerate(cases)
    }
    return Timed(made, others, load)


def case(gru=0.7, coupled=0.7, rnn=0.4):
    return {"lstm": 1.0, "gru": gru, "rnn": rnn, "lstm_coupled": coupled}


@pytest.mark.parametrize(
    ("cases", "word", "small"),
    [
        ([case(0.7)] * 3, "supported", False),
        ([case(0.9)] * 3, "supported", True),
        ([case(1.3)] * 3, "contradicted", False),
        ([case(0.7), case(0.7), case(1.3)], "mixed", False),
        ([case(1.0)] * 3, "equal", False),
        ([case(0.7), case(1.0), case(0.7 * WIDE), case(WIDE)], "undecided", False),
    ],
)
def test_every_word_of_10a(cases, word, small):
    finding = judge_faster(timed(*cases), "lstm", "gru", "lower")
    assert (finding.judgement.word, finding.judgement.small) == (word, small)
    assert not finding.preliminary
    assert "others took up to 1.0 % of the machine, load average before 0.20" in finding.judgement.reason
    assert {effect.arms for effect in finding.effects} == {("lstm", "gru")}


def test_every_word_of_10d():
    words = [
        judge_faster(timed(*[case(rnn=rnn)] * 3), "rnn", "lstm", "higher").judgement.word
        for rnn in (0.5, 1.0, 1.5, WIDE)
    ]
    assert words == ["supported", "equal", "contradicted", "undecided"]


@pytest.mark.parametrize(
    ("cases", "word"),
    [
        ([case(0.7, 0.7)] * 3, "contradicted"),
        ([case(0.7, 0.6)] * 3, "contradicted"),  # what is faster still costs nothing
        ([case(0.7, 0.8)] * 3, "supported"),
        ([case(0.7, 0.7), case(0.7, 0.8)], "mixed"),
        ([case(0.7, 0.735 * NOISE**2)] * 3, "undecided"),  # 5 % itself
        ([case(1.0, 0.8)] * 3, "undecided"),  # no gain that has a reason
    ],
)
def test_every_word_of_10c(cases, word):
    finding = judge_reason(timed(*cases))
    assert finding.judgement.word == word
    assert ("that a GRU is faster, for any reason, is equal" in finding.judgement.reason) == (
        cases[0]["gru"] == 1.0
    )


def test_the_fourth_block_and_the_rest_of_what_a_gru_saves():
    assert (
        "its fourth block makes 0.6 of the time"
        in judge_reason(timed(*[case(0.5, 0.7)] * 3)).judgement.reason
    )


@pytest.mark.parametrize(
    ("ratios", "word"),
    [
        ((0.9616, 0.9616), "supported"),
        ((0.8, 0.8), "contradicted"),
        ((1.1, 1.1), "contradicted"),
        ((0.9616, 0.8), "mixed"),
        ((0.9616 * WIDE[2:12], 0.8), "undecided"),  # holds 1, too
        ((0.8, math.nan), "undecided"),
    ],
)
def test_every_word_of_10b(ratios, word):
    base = 0.1 * NOISE[:10]
    seconds = np.array([[base, base[::-1] * ratio] for ratio in ratios])
    finding = judge_published(seconds, (1, 2), 0.0, math.nan)
    assert finding.judgement.word == word
    assert finding.judgement.reason.endswith("published 0.9616; others took up to 0.0 % of the machine")
    assert [effect.name for effect in finding.effects] == ["an epoch, 1 thread", "an epoch, 2 threads"]


def test_what_was_measured_beside_others_is_marked():
    finding = judge_faster(timed(*[case()] * 3, others=0.12), "lstm", "gru", "lower")
    assert finding.preliminary
    assert "; disturbed: others took up to 12.0 % of the machine" in finding.judgement.reason


def test_rows_with_times_come_before_any_training():
    letters = [each.suite for each in in_suites(statements())]
    assert {each.suite for each in statements(["10"])} == {"R"}
    assert [each.number for each in statements(["10"])] == ["10a", "10b", "10c", "10d"]
    assert letters.index("R") < letters.index("W")
    assert [*SUITES].index("R") < [*SUITES].index("W")


@pytest.mark.slow
def test_real_times(monkeypatch):
    monkeypatch.setattr(speed, "FAST", Sizes((Size(20, 3, 2, 5),), ("float64",), 3, 50))
    scale = Scale(seeds=2, preliminary=True)
    for verdict in run_claims(["10"], scale=scale):
        assert verdict.preliminary
        assert verdict.kind == "measured"
        assert all(effect.pairs == (2 if verdict.number == "10b" else 3) for effect in verdict.effects)
    assert {len(values) for case in speed.timed(scale).cases.values() for values in case.values()} == {3}
