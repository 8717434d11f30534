"""How far back inputs remember by themselves: known echoes and decays, and nothing where there is only chance."""

import numpy as np
import pytest
from scipy.signal import lfilter

from gatescope.measurements.inputs_memory import inputs_memory


def noise(steps=1000, batch=1, size=1, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, batch, size))


def test_noise_has_no_memory_but_by_chance():
    """In 5 % of such series, at any lag of any input, by the rule; here in 1 of 100."""
    assert np.mean([inputs_memory(noise(size=2, seed=seed)).lag > 0 for seed in range(100)]) <= 0.05


@pytest.mark.parametrize("lag", [1, 37, 249])
def test_an_echo_is_heard_where_it_is(lag):
    x = noise(size=2)
    x[lag:, :, 1] += x[:-lag, :, 1]
    memory = inputs_memory(x)
    assert memory.lag == lag
    assert memory.correlation > memory.chance > 0


def test_a_decay_is_followed_to_where_chance_begins():
    """An autoregression of 0.95, correlated by 0.95^k, over ten sequences: chance stays within 0.1 or so."""
    x = lfilter([1.0], [1.0, -0.95], noise(2000, 10), axis=0)
    memory = inputs_memory(x)
    assert 30 < memory.lag < 70
    assert memory.correlation == pytest.approx(0.95**memory.lag, abs=memory.chance)


def test_a_trend_remembers_for_a_while_that_chance_does_not_explain_and_what_is_constant_not_at_all():
    assert inputs_memory(np.arange(400.0)[:, None, None]).lag > 10
    assert inputs_memory(np.full((400, 2, 1), 133.0))[::3] == (0, 0)
    apart = np.broadcast_to(np.array([0.1, 0.7])[:, None], (400, 2, 1))  # constant, one level a sequence
    assert inputs_memory(apart).lag == 0
    assert inputs_memory(noise(3)).lag == 0
