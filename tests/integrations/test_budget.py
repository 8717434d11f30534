"""What a watch spends stays below 2 % of the loop's time, whatever a reading costs."""

import numpy as np
import pytest

from gatescope.integrations.budget import Budget


def spent_in_a_loop(cost, loop, readings=400, least=20, most=1000):
    """Return what readings and the loop took, and the steps of the readings, with the time a clock would show."""
    budget = Budget(least, most, cost(least), cost(most))
    seconds, taken = 0.0, []
    for _ in range(readings):
        budget.looped(loop)
        steps = budget.steps()
        if steps is not None:
            assert least <= steps <= most
            seconds += cost(steps)
            budget.read(steps, cost(steps))
            taken.append(steps)
    return seconds, readings * loop, taken


@pytest.mark.parametrize("fixed", [0.001, 0.02])
@pytest.mark.parametrize("each", [1e-6, 1e-4])
@pytest.mark.parametrize("loop", [0.02, 0.5, 10.0])
def test_readings_are_shortened_or_put_off(fixed, each, loop):
    seconds, total, taken = spent_in_a_loop(lambda steps: fixed + each * steps, loop)
    assert seconds <= 0.0151 * total
    affordable = 0.015 * loop
    if affordable >= fixed + 1000 * each:
        assert taken == [1000] * 400  # nothing is shortened without need
    elif affordable >= fixed + 20 * each:
        assert len(taken) == 400
        assert max(taken) < 1000
    else:  # put off until there is enough
        assert affordable * 400 / (fixed + 1000 * each) - 1 <= len(taken) < 400


def test_a_machine_that_stalls_and_becomes_slower():
    rng = np.random.default_rng(0)
    slower = np.where(np.arange(2000) < 500, 1.0, 4.0) * np.where(rng.random(2000) < 0.02, 50.0, 1.0)
    budget, seconds, stalls = Budget(20, 1000, 0.0012, 0.011), 0.0, 0
    for factor in slower:
        budget.looped(0.5)
        steps = budget.steps()
        if steps is not None:
            took = factor * (0.001 + 1e-5 * steps)
            budget.read(steps, took)
            seconds += took
            stalls += factor >= 50
    assert stalls > 3
    assert seconds < 0.0155 * 0.5 * 2000


def test_one_length_and_failures():
    budget = Budget(9, 9, 0.1, 0.1)
    budget.looped(5.0)
    assert budget.steps() is None
    budget.looped(5.0)
    assert budget.steps() == 9
    budget.read(9, 0.0001, failed=True)  # which says nothing of what one costs that does not fail
    budget.read(9, 0.1, failed=True)
    assert budget.steps() is None
