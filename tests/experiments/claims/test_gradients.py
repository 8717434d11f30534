"""Statements on vanishing and exploding gradients: every outcome on made-up rates, and the rates by hand."""

import numpy as np
import pytest

from gatescope.experiments.claims import gradients
from gatescope.experiments.claims.gradients import (
    Rate,
    judge_dealing,
    judge_explosion,
    judge_exponential,
    judge_threshold,
    rates,
    threshold,
)
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.statement import Scale

SMALL = Scale(many_units=5, long_steps=300, seeds=3)


def rate(mean, *, error=0.01, off=0.0, better=1.0):
    """Return rates of ten seeds with this mean and error, and slopes off by so many errors of the difference."""
    spread = np.linspace(-1, 1, 10)
    spread *= error * np.sqrt(10) / spread.std(ddof=1)
    return Rate(
        exponents=mean + spread,
        slopes=mean + spread[::-1] + 2 * off * error,
        better=np.full(10, better),
    )


def test_three_standard_errors_decide():
    assert rate(0.031).decided
    assert not rate(0.029).decided
    assert rate(0.031).explodes
    assert not rate(-0.031).explodes
    assert rate(-0.5, off=2.9).agrees
    assert not rate(-0.5, off=3.1).agrees
    assert not rate(-0.5, better=-1.0).agrees  # a power law fits better
    assert not rate(0.001, off=-1.0).agrees  # another sign


@pytest.mark.parametrize(
    ("by_scheme", "word"),
    [
        ({"a": rate(-0.5), "b": rate(0.1)}, "supported"),
        ({"a": rate(-0.5), "edge": rate(0.01, off=10)}, "supported"),  # at the edge there is no slope
        ({"a": rate(-0.5), "b": rate(-0.1, off=4)}, "contradicted"),
        ({"a": rate(-0.5, better=-1.0)}, "contradicted"),
        ({"edge": rate(0.01)}, "undecided"),
    ],
)
def test_1a(by_scheme, word):
    finding = judge_exponential(by_scheme)
    assert finding.judgement.word == word
    assert set(finding.numbers) == set(by_scheme)


@pytest.mark.parametrize(
    ("means", "word"),
    [
        ((-0.5, 0.01, 0.1), "supported"),
        ((-0.5, -0.4, -0.3), "contradicted"),
        ((-0.5, 0.1, 0.01), "undecided"),
    ],
)
def test_1b(means, word):
    assert judge_explosion({str(k): rate(mean) for k, mean in enumerate(means)}).judgement.word == word


def by_cell(**first):
    """Return rates of cells that explode from so many gains on; None at none."""
    return {
        cell: {gain: rate(0.1 if start is not None and gain >= start else -0.1) for gain in gradients.GAINS}
        for cell, start in first.items()
    }


@pytest.mark.parametrize(
    ("lstm", "gru", "rnn", "badly", "distinguishes", "deals"),
    [
        (4, 4, 2, "supported", "the other cell more", "contradicted"),
        (2, 4, 2, "supported", "all cells alike", "contradicted"),
        (8, None, None, "supported", "only this cell", "undecided"),  # an RNN that never explodes is no worse
        (8, 8, 2, "supported", "the other cell more", "supported"),
        (None, 4, 2, "contradicted", "", "supported"),
        (None, None, None, "contradicted", "", "undecided"),
        (8, 8, 8, "supported", "all cells alike", "undecided"),
    ],
)
def test_15(lstm, gru, rnn, badly, distinguishes, deals):
    cells = by_cell(lstm=lstm, gru=gru, rnn=rnn)
    finding = judge_threshold(cells)
    assert (finding.judgement.word, finding.distinguishes) == (badly, distinguishes)
    assert judge_dealing(cells).judgement.word == deals
    assert len(finding.numbers) == 3 * len(gradients.GAINS)


def test_thresholds():
    assert threshold({0.5: rate(-0.1), 1.0: rate(0.1), 2.0: rate(0.2)}) == 1.0
    assert threshold({0.5: rate(-0.1)}) == np.inf


@pytest.mark.slow  # exponents compile
def test_the_rates_of_an_rnn_by_hand():
    seen = rates("rnn", "gaussian(2.0)", SMALL)
    for seed in range(SMALL.seeds):
        params = gradients._fresh("rnn", "gaussian(2.0)", SMALL, seed)
        x = np.random.default_rng([seed, 1]).standard_normal((SMALL.long_steps, 1))
        h, jacobians = np.zeros(5), []
        for each in x:
            h = np.tanh(params.weight_ih @ each + params.bias_ih + params.weight_hh @ h + params.bias_hh)
            jacobians.append((1 - h**2)[:, None] * params.weight_hh)
        v, grown = np.ones(5) / np.sqrt(5), []
        for jacobian in jacobians:
            v = jacobian @ v
            grown.append(np.log(np.linalg.norm(v)))
            v /= np.linalg.norm(v)
        # Another direction and no transient left out: the rate is the same but for a few steps of several hundred.
        assert seen.exponents[seed] == pytest.approx(np.mean(grown[50:]), abs=0.05)
        assert seen.slopes[seed] == pytest.approx(seen.exponents[seed], abs=0.1)


@pytest.mark.slow  # as above
def test_a_small_run():
    verdicts = {v.number: v for v in run_claims(["1"], scale=SMALL)}
    assert verdicts["1a"].kind == "measured"
    assert verdicts["1b"].word in ("supported", "undecided")  # of five units and three seeds
    assert list(verdicts["1a"].numbers) == list(gradients.RNN_SCHEMES)
    assert "gaussian(0.5) −" in verdicts["1a"].reason
