"""How much of the past a state holds: states that are known, and every word on made-up numbers."""

import numpy as np
import pytest
from helpers.arms import spread
from helpers.studies import arm_on, fake_study, model_of

from gatescope.experiments.claims import capacity
from gatescope.experiments.claims.capacity import capacities_of, judge_sacrifice, memory_capacity
from gatescope.experiments.claims.run import run_claims
from gatescope.tasks._synthetic import one_hot

NOISE = np.linspace(-0.05, 0.05, 10)


def delays(signal, lags):
    return np.concatenate([np.roll(signal, lag, axis=0) for lag in lags], axis=1)


def test_a_delay_line_holds_what_is_in_it_however_it_is_mixed():
    signal = np.random.default_rng(0).standard_normal((3000, 1))
    line = delays(signal, range(1, 11))
    mix = np.linalg.qr(np.random.default_rng(1).standard_normal((10, 10)))[0]
    # In 1,480 steps of test a lag that is not held is read by chance: to some 1 of 1,000, and most to less than 0.
    assert memory_capacity(line @ mix + 3, signal, 40) == pytest.approx(10, abs=0.02)
    assert memory_capacity(delays(signal, [0]), signal, 40) == pytest.approx(
        0, abs=0.02
    )  # the present is no past
    assert memory_capacity(delays(signal, range(31, 51)), signal, 40) == pytest.approx(10, abs=0.02)
    assert memory_capacity(np.zeros((3000, 2)), signal, 40) == 0
    # Two copies of one state are one: the ridge bears them.
    assert memory_capacity(np.hstack([line, line]), signal, 40) == pytest.approx(10, abs=0.02)


def test_noise_takes_the_part_that_it_is_of_the_variance():
    rng = np.random.default_rng(0)
    signal, noise = rng.standard_normal((2, 20_000, 1))
    # R^2 of u from u + e is 1/2; of 10,000 test steps its error is below 0.01.
    assert memory_capacity(delays(signal, [1]) + noise, signal, 5) == pytest.approx(0.5, abs=0.03)


def test_symbols_are_read_together():
    symbols = one_hot(np.random.default_rng(0).integers(0, 4, (2000, 1)), 4, np.float64)[:, 0]
    assert memory_capacity(delays(symbols, [1, 2, 3]), symbols, 20) == pytest.approx(3, abs=0.02)
    # One indicator of four that are as likely: it is a quarter of the variance, and a third of it in the others.
    assert memory_capacity(delays(symbols, [1])[:, :1], symbols, 20) == pytest.approx(1 / 3, abs=0.03)


def held(*ratios):
    base = 10 + 10 * NOISE
    return {f"measurement {k}": (base, base[::-1] * ratio) for k, ratio in enumerate(ratios)}


@pytest.mark.parametrize(
    ("ratios", "losses", "word"),
    [
        ((0.5, 0.5, 0.5), (0.5, 0.5), "supported"),
        ((2.0, 2.0, 2.0), (-0.5, -0.5), "contradicted"),
        ((0.5, 0.5, 0.5), (-0.5, -0.5), "mixed"),
        ((0.5, 2.0, 0.5), (0.5, 0.5), "mixed"),
        ((0.5, 0.5, 0.5), (0.0, 0.0), "undecided"),  # less is held, and nothing is lost by it
        ((1.0, 1.0, 1.0), (0.0, 0.0), "equal"),
        ((1.0, 1.0, 1.0), (0.5, 0.5), "undecided"),
    ],
)
def test_every_word_of_44(ratios, losses, word):
    copying = [spread(mean, 0.05, name=f"copying {k}") for k, mean in enumerate(losses)]
    finding = judge_sacrifice(held(*ratios), copying, margin=0.2)
    assert finding.judgement.word == word
    assert finding.judgement.reason.startswith("capacity ")
    assert "; copying " in finding.judgement.reason
    assert len(finding.effects) == len(ratios) + 2
    assert finding.measured["capacity of lstm, measurement 0"][0] == pytest.approx(10)


def test_what_holds_nothing_counts_as_a_tenth_of_a_symbol():
    capacities = {"after training": (10 + NOISE, np.array([0.0, 1e-3] * 5))}
    (effect,) = judge_sacrifice(capacities, [spread(0.5, 0.05)]).effects[:1]
    np.testing.assert_allclose(np.exp(effect.differences), 0.1 / (10 + NOISE), rtol=1e-12)


def test_two_that_hold_nothing_are_not_equal():
    nothing = np.array([0.0, 1e-3] * 5)
    finding = judge_sacrifice({"after training": (nothing, nothing[::-1])}, [spread(0.0, 0.05)], margin=0.2)
    assert finding.judgement.word == "undecided"
    assert "capacity undecided" in finding.judgement.reason


def test_the_whole_row_on_made_up_arms(monkeypatch):
    asked = []
    monkeypatch.setattr(capacity, "TASKS", (capacity.COPYING_20,))

    def arms(task, cell, scheme):
        name = cell if isinstance(cell, str) else cell.name
        asked.append(name)
        loss = 0.2 if name == "gru" else 0.1
        return arm_on(task, cell if isinstance(cell, str) else cell.cell, n=10, test_loss=loss * (1 + NOISE))

    def found(of, lags, steps):
        assert (lags, steps) == (capacity.QUICK_LAGS, capacity.QUICK_STEPS)
        return np.full((2, 2), 5.0 if of.spec["cell"] == "gru" else 9.0) * (1 + NOISE[of.seed])

    monkeypatch.setattr(capacity, "capacities_of", found)
    study = fake_study(arms, quick=True)
    object.__setattr__(study, "effect", lambda task, *cells: spread(0.5, 0.05, name=task.name))
    object.__setattr__(study, "sizes", lambda task, cells: {"lstm": 13, "gru": 16})
    (verdict,) = run_claims(["44"], study=study)
    assert verdict.word == "supported"
    assert {*asked} == {"gru", "lstm", "lstm, equal parameters"}
    names = [effect.name for effect in verdict.effects]
    assert "capacity, equal parameters, after training, all states" in names
    assert "copying of 20, T = 50, equal width" in names
    assert len(names) == 2 * 2 * 2 + 2


def test_a_network_that_holds_its_last_symbol_alone():
    # Without recurrent weights, an RNN's state is of the present symbol: of the past it holds nothing.
    task = capacity.COPYING_20
    (run,) = arm_on(
        task,
        "rnn",
        n=1,
        model=lambda seed: model_of("rnn", task, units=4, weight_hh=np.zeros((4, 4), "float32")),
    ).runs
    before, after = capacities_of(run, 20, 2000)
    assert before[0] == before[1] > 0.1
    assert after[0] == pytest.approx(0, abs=0.03)
