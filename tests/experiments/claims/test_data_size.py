"""Statement 14a: every outcome on constructed numbers, and rates after training on sets of several sizes."""

import dataclasses

import numpy as np
import pytest
from helpers.arms import SPEC, made_run
from helpers.made_up_study import around, made_up_study

import gatescope as gs
from gatescope.datatypes import Arm
from gatescope.experiments.claims import data_size
from gatescope.experiments.claims.amounts import BY_SIZE
from gatescope.experiments.claims.data_size import Rates, judge_size
from gatescope.experiments.claims.trained import data_of

SIZES = (100, 1000, 10_000)


def rates(rise, level=0.1, spread=0.02):
    """Return rates that rise by so much from the smallest set to the largest."""
    steps = np.outer([0, 0.5, 1], around(rise, spread) if rise else (around(1, spread) - 1) / 10)
    return Rates(SIZES, level + steps)


@pytest.mark.parametrize(
    ("gru", "lstm", "expected", "which"),
    [
        (0.05, 0.05, "supported", "all cells alike"),
        (0.05, 0.0, "supported", "only this cell"),
        (0.0, 0.05, "contradicted", ""),
        (-0.05, 0.0, "contradicted", ""),
        (
            0.001,
            0.0,
            "supported",
            "",
        ),  # a small rise that is sure is one, and lost in the spread of the other
    ],
)
def test_14a_on_constructed_numbers(gru, lstm, expected, which):
    after = {"gru": rates(gru), "lstm": rates(lstm)}
    finding = judge_size({"more": 0.0}, {"others": 1e14}, after)
    assert (finding.judgement.word, finding.distinguishes) == (expected, which)
    assert finding.judgement.small is (gru == 0.001)
    assert finding.seeds == 10
    assert finding.measured["gru: rise of the rate with ln N"].value == pytest.approx(gru, abs=1e-3)
    assert finding.measured["lstm, N = 10,000: rate"].value == pytest.approx(0.1 + lstm, abs=1e-2)


def test_a_gradient_that_grows_with_every_set_does_not_vanish():
    growing = {"gru": rates(0.05, level=-0.3), "lstm": rates(0.0)}
    assert judge_size({"more": 0.0}, {"others": 1e14}, growing).judgement.word == "undecided"


def test_14a_takes_one_word_beside_another_for_no_difference():
    after = {"gru": rates(0.004), "lstm": rates(0.0035, spread=1.8)}
    assert [each.word for each in after.values()] == ["supported", "contradicted"]
    assert judge_size({"more": 0.0}, {"others": 1e14}, after).distinguishes == ""


def test_14a_where_the_rise_is_not_known():
    wide = {"gru": rates(0.01, spread=5), "lstm": rates(0.0)}
    assert judge_size({"more": 0.0}, {"others": 1e14}, wide).judgement.word == "undecided"


@pytest.mark.parametrize(("apart", "control"), [(0.0, 1e14), (1e6, 1e14), (0.0, 0.0)])
@pytest.mark.parametrize("known", [False, True])
def test_14a_takes_both_halves(apart, control, known):
    after = {"gru": rates(0.0), "lstm": rates(0.0)} if known else None
    finding = judge_size({"more": apart}, {"others": control}, after)
    whole = known and apart == 0 and control > 0
    assert finding.judgement.word == ("contradicted" if whole else "undecided")
    left_out = "after training it was not measured" in finding.judgement.reason
    assert left_out is (not known and apart == 0 and control > 0)


@pytest.mark.slow  # compiles a kernel
def test_rates_of_trained_networks_by_hand(monkeypatch):
    monkeypatch.setattr(data_size, "_SEQUENCES", 2)
    tasks = dict(list(BY_SIZE["adding"].items())[:2])
    monkeypatch.setattr(data_size, "by_size", lambda _: {"adding": tasks})
    seen = []

    def arm(task, cell):
        spec = SPEC.with_(cell=cell)
        seen.append((task.spec.examples, cell))
        models = [gs.init_stack(cell, hidden_size=5, heads=gs.tasks.adding(steps=6), seed=s) for s in (0, 1)]
        runs = (dataclasses.replace(made_run(spec.with_(seed=s)), model=m) for s, m in enumerate(models))
        return Arm(name=cell, runs=tuple(runs))

    study = made_up_study(None)
    object.__setattr__(study, "arm", arm)
    got = data_size._rates_after(study, "gru")
    assert seen == [(30, "gru"), (100, "gru")]
    assert (list(got.sizes), got.values.shape) == ([30, 100], (2, 2))
    run = arm(tasks[30], "gru").runs[1]
    inputs = data_of(run, sequences=2).inputs
    flow = gs.gradient_flow(run.model.astype("float64"), inputs, of="joint", wrt="joint", seed=1)
    fallen = [flow.log_norm[0, b] - flow.log_norm[-1, b] for b in range(2)]
    assert got.values[0, 1] == pytest.approx(np.mean(fallen) / 6, rel=1e-12)
