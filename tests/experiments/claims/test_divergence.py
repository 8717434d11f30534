"""Statement 15b: every outcome on made-up answers, what counts as divergence, and stable rates."""

import dataclasses

import numpy as np
import pytest
from helpers.arms import made_run
from helpers.made_up_study import made_up_study

from gatescope.experiments.claims.divergence import (
    CELLS,
    GAINS,
    QUICK_GAINS,
    QUICK_RATES,
    RATES,
    diverged,
    judge_divergence,
    stable_rates,
)
from gatescope.experiments.claims.run import run_claims


def from_rate(rate, share=1.0, gains=GAINS, rates=RATES):
    """Return answers of a cell that diverges with a fraction of ten seeds at rates of sgd from one on."""
    seeds = np.arange(10) < share * 10
    return {
        name: np.array([[seeds & (name == "sgd" and lr >= rate) for lr in each]] * len(gains))
        for name, each in rates.items()
    }


NEVER = 99


@pytest.mark.parametrize(
    ("lstm", "others", "expected", "which"),
    [
        (1.0, 1.0, "supported", "all cells alike"),
        (1.0, 0.3, "supported", "the other cell more"),
        (0.3, 1.0, "supported", ""),  # the LSTM more, for which there is no word
        (1.0, NEVER, "supported", "only this cell"),
        (NEVER, 1.0, "contradicted", "the other cell more"),
        (NEVER, NEVER, "contradicted", ""),
        (0.01, 0.01, "undecided", ""),  # at every rate: it is not that the rate is too high
    ],
)
def test_15b_on_constructed_numbers(lstm, others, expected, which):
    finding = judge_divergence({cell: from_rate(lstm if cell == "lstm" else others) for cell in CELLS})
    assert (finding.judgement.word, finding.distinguishes) == (expected, which)
    assert len(finding.measured) == 3 * (4 * 7 + 4)
    assert finding.seeds == 10


@pytest.mark.parametrize(
    ("lstm", "others", "expected", "which"),
    [
        (0.3, 3.0, "supported", ""),
        (3.0, 0.3, "supported", "the other cell more"),
        (3.0, NEVER, "supported", "only this cell"),
        (NEVER, NEVER, "contradicted", ""),
        (0.03, 0.03, "undecided", ""),
    ],
)
def test_fewer_gains_and_rates_of_a_quick_study_tell_them_apart(lstm, others, expected, which):
    few = {"gains": QUICK_GAINS, "rates": QUICK_RATES}
    answers = {cell: from_rate(lstm if cell == "lstm" else others, **few) for cell in CELLS}
    finding = judge_divergence(answers, **few)
    assert (finding.judgement.word, finding.distinguishes) == (expected, which)
    assert len(finding.measured) == 3 * (2 * 5 + 2)


def test_one_cell_that_diverges_sooner_is_enough_though_another_does_later():
    finding = judge_divergence({"lstm": from_rate(1.0), "gru": from_rate(3.0), "rnn": from_rate(0.3)})
    assert [effect.sign for effect in finding.effects] == [1, -1]
    assert (finding.judgement.word, finding.distinguishes) == ("supported", "the other cell more")


def test_few_seeds_that_diverge_decide_nothing():
    finding = judge_divergence({cell: from_rate(1.0, share=0.3) for cell in CELLS})
    assert (finding.judgement.word, finding.distinguishes) == ("undecided", "")
    assert finding.judgement.reason.startswith("at its worst rate and gain 30.0 % of an LSTM's runs diverge")


def test_adam_counts_too():
    own = from_rate(NEVER)
    own["adam"][0, 1] = True
    finding = judge_divergence({"lstm": own, "gru": from_rate(NEVER), "rnn": from_rate(NEVER)})
    assert (finding.judgement.word, finding.distinguishes) == ("supported", "only this cell")


def test_what_diverges():
    assert not diverged(made_run())
    assert not diverged(made_run(training_loss=np.array([10.0, 9.0])))  # ten times the first is not more
    assert diverged(made_run(training_loss=np.array([10.1, 0.5])))  # whatever comes after it
    assert diverged(dataclasses.replace(made_run(), status="diverged"))


def test_stable_rates_end_at_the_first_that_is_not():
    unstable = np.array([[[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]], bool)
    assert stable_rates([0.3, 1, 3], unstable).tolist() == [[0.3, 0.1, 1, 3]]


def test_it_is_asked_of_a_study():
    def numbers(task, cell, *, optimizer, lr, scheme):
        assert task.spec.clip_norm is None
        bad = lr >= (0.3 if cell == "rnn" else 1) and scheme != "gaussian(0.5)"
        return {"training_loss": [np.array([20.0 if bad else 0.5])] * 10}

    (verdict,) = run_claims(["15b"], study=made_up_study(numbers))
    assert (verdict.word, verdict.distinguishes) == ("supported", "the other cell more")
    assert verdict.measured["lstm, sgd, gain 1, lr 1: diverged"] == (1, 0)
    assert verdict.measured["lstm, sgd, gain 0.5, lr 3: diverged"] == (0, 0)
    assert len(verdict.measured) == 3 * (4 * 7 + 4)
