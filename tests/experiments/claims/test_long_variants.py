"""Statements 27b and 28b: every outcome on made-up numbers, and which runs a study is asked for."""

import numpy as np
import pytest

from gatescope.datatypes import LongSeriesResult
from gatescope.experiments.claims import long_loss, long_variants
from gatescope.experiments.claims.long_variants import ARMS, FEW, judge_gates, judge_rates
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.study import Study, study_cell
from gatescope.experiments.claims.variant_cells import gates_of, is_coupled

NOISE = np.random.default_rng(0).normal(0, 1, 10)
GATES = {study_cell(cell).name: gates_of(cell) for cell in ARMS}
IS_COUPLED = {study_cell(cell).name: is_coupled(cell) for cell in ARMS}


def losses(*ratios, noise=0.005):
    """Return losses of LSTM and GRU at as many learning rates, whose quotients are about these."""
    lstm = np.linspace(0.9, 1.1, 10)
    return {
        10.0 ** (k - 3): (lstm * (1 + k), lstm * (1 + k) * ratio * np.exp(noise * NOISE))
        for k, ratio in enumerate(ratios)
    }


@pytest.mark.parametrize(
    ("ratios", "noise", "word"),
    [
        ((0.8, 1.2, 1.0), 0.005, "contradicted"),
        ((0.8, 0.7, 0.9), 0.005, "supported"),
        ((1.3, 1.2, 1.1), 0.005, "supported"),  # the other way, but always
        ((1.0, 1.01, 0.99), 0.005, "supported"),  # equal at each
        ((0.8, 1.01, 1.01), 0.005, "undecided"),  # higher for certain, but too little to matter
        ((0.8, 1.0, 1.0), 0.005, "undecided"),  # lower at one, equal at the others: no sign has changed
        ((0.9, 1.1, 1.0), 0.5, "undecided"),  # too much noise to tell
    ],
)
def test_27b_on_constructed_numbers(ratios, noise, word):
    finding = judge_rates(losses(*ratios, noise=noise))
    assert finding.judgement.word == word
    assert [effect.name for effect in finding.effects] == [f"learning rate {r:g}" for r in (0.001, 0.01, 0.1)]
    assert finding.seeds == 10


def test_27b_compares_each_cell_at_its_best_rate_beside():
    ((name, (value, error)),) = judge_rates(losses(1.5, 0.5, 1.2)).measured.items()
    # The LSTM does best at the first rate, the GRU with 2 x 0.5 at the second: a quotient of 1.
    assert name.endswith("each at its best learning rate")
    assert value == pytest.approx(0, abs=3 * error)


def test_a_rate_at_which_runs_diverged_is_not_the_best():
    diverged = losses(0.5, 0.8)
    diverged[0.001][1][2] = np.nan
    ((_, (value, _)),) = judge_rates(diverged).measured.items()
    assert value == pytest.approx(np.log(2 * 0.8), abs=0.05)


def volatility(by_gates, *, freed=0.0, coupled_too=1.0):
    """Return what rises by `by_gates` a gate (`coupled_too` times that where coupled), and by `freed` without."""
    values = {}
    for k, (name, gates) in enumerate(GATES.items()):
        level = by_gates * gates * (coupled_too if IS_COUPLED[name] else 1) + (
            0 if IS_COUPLED[name] else freed
        )
        values[name] = np.exp(level + 0.01 * np.roll(NOISE, k))
    return values


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (volatility(0.3), "supported"),
        (volatility(-0.3), "contradicted"),
        (volatility(0.0), "equal"),
        (volatility(0.3, coupled_too=-1), "mixed"),
        (volatility(0.3, coupled_too=0), "undecided"),  # it rises in one of the two alone
        (volatility(0.0, freed=1.0), "equal"),  # it is the coupling, not the number
    ],
)
def test_28b_on_constructed_numbers(values, word):
    finding = judge_gates(values, GATES, IS_COUPLED)
    assert finding.judgement.word == word
    assert len(finding.effects) == 2


def test_28b_tells_gates_from_coupling():
    finding = judge_gates(volatility(0.0, freed=1.0), GATES, IS_COUPLED)
    assert finding.measured["rank correlation of volatility and gates, all arms"][0] > 0.5  # and yet equal
    freed, error = finding.measured["ln of the volatility at 2 gates, not coupled over coupled"]
    assert freed == pytest.approx(1, abs=4 * error)
    assert "at 2 gates ln of not coupled over coupled" in finding.judgement.reason
    more = judge_gates(volatility(0.3), GATES, IS_COUPLED)
    assert more.effects[0].mean == pytest.approx(0.3, abs=0.01)


def test_a_run_that_diverged_leaves_it_undecided():
    values = volatility(0.3)
    values["janet"][3] = np.nan
    assert judge_gates(values, GATES, IS_COUPLED).judgement.word == "undecided"
    broken = losses(0.8, 0.8, 0.8)
    broken[0.01][1][2] = np.nan
    assert judge_rates(broken).judgement.word == "undecided"


def test_a_quick_study_has_arms_of_several_numbers_of_gates_of_either_kind():
    few = [study_cell(cell) for cell in FEW]
    assert {one.name for one in few} < {study_cell(cell).name for cell in ARMS}
    assert {one.cell for one in few} == {"lstm", "gru"}  # kernels that other statements need, too
    for coupled in (True, False):
        assert len({gates_of(one) for one in few if is_coupled(one) == coupled}) > 1


def test_the_arms_are_what_the_criterion_says():
    assert len(ARMS) == 9
    assert {GATES[name] for name in GATES if IS_COUPLED[name]} == {1, 2}
    assert {GATES[name] for name in GATES if not IS_COUPLED[name]} == {2, 3}


def test_the_study_makes_the_runs(tmp_path, monkeypatch):
    asked = []

    def made(folder, *, cells, seeds, executor, part, progress, **options):
        assert folder == tmp_path / "long-series"
        asked.append((cells, options))
        loss = np.exp(0.01 * np.random.default_rng(len(asked)).standard_normal((len(cells), seeds, 450)))
        return LongSeriesResult(
            cells=cells,
            seeds=np.arange(seeds),
            loss=loss,
            gradient_norm=loss,
            clipped=loss,
            status=(("finished",) * seeds,) * len(cells),
            steps=20_000,
            sequences=40,
            lookback=8,
            hidden_size=16,
            data_seed=0,
            baseline=1.0,
            settings={},
            seconds=np.ones((len(cells), seeds)),
        )

    monkeypatch.setattr(long_loss, "run_long_series", made)
    same, more = run_claims(["27b", "28b"], study=Study(folder=tmp_path))
    both = ("lstm", "gru")
    assert asked == [
        (both, {}),
        (both, {"lr": 3e-3}),
        (both, {"lr": 1e-2}),
        (both, {}),
        (("lstm_coupled",), {"clamp": {}}),
        (("lstm",), {"clamp": {"i": 1.0}}),
        (("lstm",), {"clamp": {"o": 1.0}}),
        (("lstm",), {"clamp": {"f": 1.0}}),
        (("janet",), {"clamp": {}}),
        (("gru",), {"clamp": {"r": 1.0}}),
        (("gru_uncoupled",), {"clamp": {}}),
    ]
    assert (same.runs, more.runs) == (60, 90)
    assert same.preliminary  # 450 epochs
    assert len(same.code) == 16
    assert same.seconds == pytest.approx(60 * 450)
    assert long_variants.PUBLISHED_RATE == 1e-3
