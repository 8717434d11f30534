"""Statements on the 20,000-step experiment: every outcome on made-up curves, and the verdicts of the committed runs."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gatescope.datatypes import LongSeriesResult
from gatescope.experiments.claims import long_loss
from gatescope.experiments.claims.long_loss import judge_final_loss, judge_volatility
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.study import Study

COMMITTED = Path(__file__).parents[3] / "figures" / "data" / "long_series.npz"


@pytest.fixture(scope="module")
def curves():
    return LongSeriesResult.load(COMMITTED)


def made(curves, *, ratio=1.0, noise=(0.01, 0.01)):
    """Return curves that end at 1 and at about `ratio`, with noise of the logarithm of each cell."""
    rng = np.random.default_rng(0)
    cells, seeds, epochs = 2, 10, 500
    level = np.log([1.0, ratio])[:, None, None] + rng.normal(0, 0.01, (cells, seeds, 1))
    loss = np.exp(level + np.array(noise)[:, None, None] * rng.standard_normal((cells, seeds, epochs)))
    return dataclasses.replace(
        curves,
        loss=loss,
        gradient_norm=loss,
        clipped=loss,
        seeds=np.arange(10),
        cells=("lstm", "gru"),
        status=(("finished",) * 10,) * 2,
        seconds=np.ones((2, 10)),
    )


@pytest.mark.parametrize(
    ("ratio", "word", "once"),
    [(0.8, "supported", "in 100.0 %"), (1.25, "contradicted", "in 0.0 %"), (1.0, "equal", "in ")],
)
def test_final_losses(ratio, word, once, curves):
    finding = judge_final_loss(made(curves, ratio=ratio))
    assert finding.judgement.word == word
    assert f"a lower loss of the GRU {once}" in finding.judgement.reason
    assert finding.preliminary  # 500 epochs


@pytest.mark.parametrize(
    ("noise", "word"),
    [((0.04, 0.01), "supported"), ((0.01, 0.04), "contradicted"), ((0.02, 0.02), "equal")],
)
def test_volatility(noise, word, curves):
    assert judge_volatility(made(curves, noise=noise)).judgement.word == word


def test_a_run_that_diverged_decides_nothing(curves):
    broken = made(curves, ratio=0.8)
    broken.loss[0, 3, 400:] = np.nan
    for judge in (judge_final_loss, judge_volatility):
        assert judge(broken).judgement.word == "undecided"


def test_the_committed_runs(curves):
    """The ratios are those of the experiment's own table, with a bootstrap's intervals; here Student's, by hand."""
    final, volatile = judge_final_loss(curves), judge_volatility(curves)
    assert (final.judgement.word, final.preliminary) == ("equal", False)
    assert (volatile.judgement.word, volatile.judgement.needed > 10) == ("undecided", True)
    for finding, values, order in (
        (final, curves.final_loss(), ("gru", "lstm")),
        (volatile, curves.volatility(), ("lstm", "gru")),
    ):
        (effect,) = finding.effects
        over, under = (values[curves.index(cell)] for cell in order)
        d = np.log(over / under)
        half = 2.2621572 * d.std(ddof=1) / np.sqrt(10)
        assert (effect.low, effect.high) == pytest.approx((d.mean() - half, d.mean() + half), rel=1e-6)
        assert np.exp(effect.mean) == pytest.approx(curves.ratio(values, *order).value, rel=1e-12)


def test_the_study_makes_the_runs(curves, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        long_loss, "run_long_series", lambda *args, **options: asked.append((args, options)) or curves
    )
    verdicts = run_claims(["27a", "28a"], study=Study(folder=tmp_path, part="1/2"))
    options = {"cells": ("lstm", "gru"), "seeds": 10, "executor": None, "part": "1/2", "progress": False}
    assert asked == [((tmp_path / "long-series",), options)] * 2
    assert [verdict.number for verdict in verdicts] == ["27a", "28a"]
    assert [verdict.preliminary for verdict in verdicts] == [False, False]
    assert [verdict.runs for verdict in verdicts] == [20, 20]
    assert all(len(verdict.code) == 16 for verdict in verdicts)
    assert verdicts[0].seconds == pytest.approx(curves.seconds.sum() * 1000)


def test_a_quick_study_makes_smaller_runs(curves, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        long_loss, "run_long_series", lambda *args, **options: asked.append((args, options)) or curves
    )
    run_claims(["27a"], study=Study(folder=tmp_path, quick=True, seeds=3))
    (((folder,), options),) = asked
    assert folder == tmp_path / "long-series"
    assert (options["steps"], options["epochs"], options["seeds"]) == (1000, 200, 3)
