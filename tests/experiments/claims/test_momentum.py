"""Statement 19: every outcome on made-up losses."""

import numpy as np
import pytest
from helpers.made_up_study import made_up_study

from gatescope.experiments.claims.momentum import judge_optimizers
from gatescope.experiments.claims.run import run_claims

GOOD, BAD = np.linspace(0.1, 0.2, 10), np.linspace(2.2, 2.3, 10)


@pytest.mark.parametrize(
    ("sgd", "rmsprop", "adam", "expected"),
    [
        (GOOD, GOOD, GOOD, "contradicted"),
        (GOOD, BAD, BAD, "contradicted"),
        (BAD, BAD, GOOD, "supported"),
        (BAD, GOOD, GOOD, "undecided"),  # RMSprop has no momentum either
        (np.where(np.arange(10) < 9, GOOD, BAD), GOOD, GOOD, "undecided"),
        (BAD, BAD, BAD, "undecided"),
        (np.full(10, np.nan), BAD, GOOD, "supported"),  # diverged
    ],
)
def test_19_on_constructed_numbers(sgd, rmsprop, adam, expected):
    finding = judge_optimizers({"sgd": sgd, "rmsprop": rmsprop, "adam": adam})
    assert finding.judgement.word == expected


def test_it_is_asked_of_a_study():
    def numbers(task, cell, *, optimizer, lr):
        assert cell == "lstm"
        return {"test_loss": BAD if optimizer == "rmsprop" else GOOD}

    (verdict,) = run_claims(["19"], study=made_up_study(numbers))
    assert verdict.word == "contradicted"
    assert "sgd 100.0 % (mean loss 0.15)" in verdict.reason
    assert verdict.measured["rmsprop: test loss"][0] == pytest.approx(2.25)
