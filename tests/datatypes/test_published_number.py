"""A published number stands beside ours, and agrees if one more run of ours may give it."""

import dataclasses
import json
import math

import numpy as np
import pytest

import gatescope as gs
from gatescope.datatypes import PublishedNumber, Verdict

ROW = {"what": "loss of an LSTM", "published": 8.67, "source": "a paper", "why": "another optimizer"}
FIELDS = {
    "number": "37",
    "statement": "gates win",
    "sources": "D",
    "kind": "statistical",
    "criterion": "lower on most",
    "word": "supported",
    "reason": "",
}


def beside(runs, published):
    runs = np.asarray(runs)
    error = runs.std(ddof=1) / np.sqrt(len(runs))
    return PublishedNumber(
        **ROW | {"published": published}, measured=float(runs.mean()), error=float(error), seeds=len(runs)
    )


@pytest.mark.parametrize(("count", "agreeing"), [(3, 0.95), (10, 0.95)])
def test_of_runs_of_the_same_experiment_95_in_100_agree(count, agreeing):
    draws = np.random.default_rng(0).normal(8.67, 0.05, (2000, count + 1))
    share = np.mean([beside(row[1:], row[0]).agrees for row in draws])
    assert share == pytest.approx(agreeing, abs=3 * math.sqrt(0.05 * 0.95 / 2000))  # three errors of a share


def test_it_differs_where_no_run_comes_near():
    near, far = beside([8.6, 8.7, 8.65], 8.67), beside([8.6, 8.7, 8.65], 9.1)
    assert (near.agrees, far.agrees) == (True, False)
    assert [row.row()[3] for row in (near, far)] == ["yes", "no"]


def test_one_run_cannot_say():
    alone = PublishedNumber(**ROW, measured=8.6, seeds=1)
    nothing = PublishedNumber(**ROW)
    overflown = PublishedNumber(**ROW, measured=math.inf, error=math.nan, seeds=5)
    assert [each.agrees for each in (alone, nothing, overflown)] == [None] * 3
    assert nothing.row()[2:4] == ("not measured", "-")
    assert nothing.table().rows == [nothing.row()]


@pytest.mark.parametrize(
    ("solved", "published", "agrees"),
    [
        (1, 1.0, None),  # one run of five, where all were published: no run of ours would be out of place
        (4, 1.0, None),
        (1, 0.0, None),
        (0, 1.0, False),
        (5, 1.0, True),
        (0, 0.0, True),
    ],
)
def test_shares_of_few_runs_neither_agree_nor_differ(solved, published, agrees):
    assert beside(np.arange(5) < solved, published).agrees is agrees
    assert beside(np.arange(10) < 9, 1.0).agrees is True
    assert beside(np.arange(10) < 9, 0.0).agrees is False


def test_runs_that_are_all_alike_agree_with_their_own_number_alone():
    assert beside([1.0, 1.0, 1.0], 1.0).agrees
    assert not beside([1.0, 1.0, 1.0], 0.99).agrees


def test_a_verdict_shows_saves_and_records_it(tmp_path):
    verdict = Verdict(**FIELDS, published=(beside([8.6, 8.7], 8.67), PublishedNumber(**ROW)))
    verdict.save(tmp_path / "verdict.npz")
    assert gs.load(tmp_path / "verdict.npz") == verdict
    assert [row[::2] for row in verdict.table().rows] == [("loss of an LSTM", "published: 8.67")] * 2
    measured, missing = json.loads(json.dumps(verdict.record(), allow_nan=False))["published"]
    assert measured["agrees"]
    assert measured["measured"] == pytest.approx(8.65)
    assert (missing["agrees"], missing["measured"], missing["why"]) == (None, None, "another optimizer")
    assert dataclasses.replace(verdict, published=()).record()["published"] == []
