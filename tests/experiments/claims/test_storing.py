"""Whether trained cells store: every outcome on made-up rates, and half-lives of gates that are known."""

import math

import numpy as np
import pytest
from helpers.studies import arm_on, fake_study, model_of

from gatescope.datatypes.verdict import ALIKE, ONLY, OTHER
from gatescope.experiments.claims import storing
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.storing import BEST, Lives, judge_storing
from gatescope.experiments.claims.win_table import ADDING_400

STEPS = 400


def lives(long, *, n=10, learned=None):
    """Return rates of n seeds, in `long` of which the slowest unit's half-life is 1.25 of half of the task."""
    half = np.where(np.arange(n) < long, 250.0, 150.0)
    rate = math.log(2) / half
    return Lives(rate, 10 * rate, 2 * rate, np.arange(n) < (n if learned is None else learned))


def cell(long, *, before=0, **by_init):
    schemes = {scheme: lives(by_init.get(scheme, long)) for scheme in ("pytorch", "keras", "chrono")}
    return {"before": {BEST: lives(before)}, "after": {BEST: lives(long), **schemes}}


@pytest.mark.parametrize(
    ("lstm", "gru", "expected", "which"),
    [
        (10, 0, "supported", ONLY),
        (10, 10, "supported", ALIKE),
        (0, 10, "contradicted", OTHER),
        (10, 7, "supported", ""),  # McNemar's test tells them not apart
        (10, 5, "supported", ""),
        (10, 4, "supported", ONLY),
        (7, 10, "contradicted", ""),
        (7, 7, "contradicted", ""),
        (8, 10, "undecided", ""),
        (10, 9, "supported", ""),  # of the other nothing is decided
    ],
)
def test_5_on_constructed_numbers(lstm, gru, expected, which):
    finding = judge_storing({"lstm": cell(lstm), "gru": cell(gru)}, "lstm", STEPS)
    assert (finding.judgement.word, finding.distinguishes) == (expected, which)
    assert (
        f"above 200 steps in {lstm} of 10 seeds after training, in 0 of 10 before" in finding.judgement.reason
    )
    assert not finding.depends_on_init
    turned = judge_storing({"lstm": cell(gru), "gru": cell(lstm)}, "gru", STEPS)
    assert (turned.judgement.word, turned.distinguishes) == (expected, which)


def test_5_says_what_the_numbers_are():
    finding = judge_storing({"lstm": cell(10, before=4), "gru": cell(0)}, "lstm", STEPS)
    assert "in 4 of 10 before" in finding.judgement.reason
    assert (
        "slowest unit 250 steps, median unit 25 steps, by the adjoint 125 steps" in finding.judgement.reason
    )
    value, error = finding.measured["lstm, after training, best weights: rate of the adjoint"]
    assert (value, error) == pytest.approx((2 * math.log(2) / 250, 0), abs=1e-12)
    assert len(finding.measured) == 2 * 5 * 3


def test_5_of_adjoints_without_a_single_rate():
    one = cell(10)
    rates = np.array([math.nan] * 4 + [0.01] * 6)
    one["after"][BEST] = one["after"][BEST]._replace(adjoint=rates)
    finding = judge_storing({"lstm": one, "gru": cell(0)}, "lstm", STEPS)
    assert "by the adjoint 69.31 steps" in finding.judgement.reason
    one["after"][BEST] = one["after"][BEST]._replace(adjoint=rates * math.nan)
    finding = judge_storing({"lstm": one, "gru": cell(0)}, "lstm", STEPS)
    assert "by the adjoint at no single rate" in finding.judgement.reason
    assert finding.judgement.word == "supported"


def test_5_depends_on_initial_weights():
    finding = judge_storing({"lstm": cell(10, pytorch=0), "gru": cell(0)}, "lstm", STEPS)
    assert (finding.judgement.word, finding.depends_on_init) == ("supported", True)
    undecided = judge_storing({"lstm": cell(10, pytorch=9), "gru": cell(0)}, "lstm", STEPS)
    assert not undecided.depends_on_init


def test_5_of_runs_that_did_not_learn_is_undecided():
    for learned, expected in ((4, "undecided"), (5, "supported")):
        one = cell(10)
        one["after"][BEST] = lives(10, learned=learned)
        finding = judge_storing({"lstm": one, "gru": cell(0)}, "lstm", STEPS)
        assert finding.judgement.word == expected
        assert f"{learned} of 10 runs learned the task" in finding.judgement.reason


@pytest.mark.slow  # compiles kernels of its own
def test_half_lives_of_gates_that_are_known(monkeypatch):
    monkeypatch.setattr(storing, "untrained", storing.trained)

    def arms(task, cell, scheme):
        """GRUs without weights: z of the units is the sigmoid of these biases, whatever comes in."""

        def model(seed):
            empty = model_of(cell, task).layers[0]
            bias = np.zeros_like(empty.bias_ih)
            bias[4:8] = [0, 1, 2, 6 + seed] if cell == "gru" else 0
            changes = {name: 0 * getattr(empty, name) for name in ("weight_ih", "weight_hh", "bias_hh")}
            return model_of(cell, task, bias_ih=bias, **changes)

        return arm_on(task, cell, scheme=scheme or "pytorch", model=model)

    (verdict,) = run_claims(["5b"], study=fake_study(arms, seeds=2))
    rates = {biases: [math.log1p(math.exp(-b)) for b in biases] for biases in ((6, 7), (1.5,))}
    value, _ = verdict.measured["gru, after training, best weights: rate of the slowest unit's gate"]
    assert value == pytest.approx(np.mean(rates[6, 7]), rel=1e-5)  # the model is in float32, and z is near 1
    median, _ = verdict.measured["gru, after training, best weights: rate of the median unit's gate"]
    assert median == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2, rel=1e-6)
    # An LSTM whose f is 1/2 forgets at once; but two seeds cannot tell the cells apart.
    assert (verdict.word, verdict.distinguishes) == ("supported", "")
    assert verdict.preliminary
    assert ADDING_400.spec.arguments["steps"] / 2 < math.log(2) / rates[6, 7][0]
