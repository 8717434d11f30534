"""The adding problem: one marked number in each half, their sum at the end, and a baseline of 1/6."""

import numpy as np
import pytest
from helpers.judging import loss

from gatescope.errors import ValueRangeError
from gatescope.tasks._adding import adding


@pytest.mark.parametrize("steps", [2, 3, 7, 100])
def test_one_mark_in_each_half_and_their_sum(steps):
    batch = adding(steps=steps, sequences=200, dtype="float64")
    numbers, marks = batch.inputs[..., 0], batch.inputs[..., 1]
    assert set(np.unique(marks)) <= {0, 1}  # with 2 steps, both are marked
    np.testing.assert_array_equal(marks[: steps // 2].sum(axis=0), 1)
    np.testing.assert_array_equal(marks[steps // 2 :].sum(axis=0), 1)
    np.testing.assert_array_equal(batch.targets[-1, :, 0], (numbers * marks).sum(axis=0))


def test_only_the_last_step_counts():
    batch = adding(steps=10, sequences=4)
    assert batch.mask.sum(axis=0).tolist() == [1] * 4
    assert batch.mask[-1].all()
    assert not batch.targets[:-1].any()
    assert batch.lengths.tolist() == [10] * 4


def test_every_place_of_a_half_is_marked_as_often():
    marks = adding(steps=10, sequences=20_000, dtype="float64").inputs[..., 1].mean(axis=1)
    # A share of 1/5 of 20,000 has the standard deviation 0.0028.
    np.testing.assert_allclose(marks, 0.2, atol=0.014)


def test_numbers_are_uniform_from_0_to_1():
    numbers = np.sort(adding(steps=100, sequences=200, dtype="float64").inputs[..., 0].ravel())
    assert numbers[0] >= 0
    assert numbers[-1] < 1
    # Kolmogorov and Smirnov's distance to the uniform distribution is below 1.95 / sqrt(N) but once in a thousand.
    assert abs(numbers - np.arange(numbers.size) / numbers.size).max() < 1.95 / np.sqrt(numbers.size)


def test_the_baseline_is_what_always_answering_1_costs():
    batch = adding(steps=4, sequences=200_000, dtype="float64")
    assert batch.baseline == pytest.approx(1 / 6, rel=1e-15)
    # The squared error has the variance 1/15 - 1/36, so this mean has the standard deviation 0.00044.
    assert loss(batch, np.ones_like(batch.targets)) == pytest.approx(1 / 6, abs=0.0015)
    # It is not the 0.1767 that is printed in places.
    assert abs(loss(batch, np.ones_like(batch.targets)) - 0.1767) > 0.005


def test_no_other_constant_is_better():
    batch = adding(steps=4, sequences=20_000, dtype="float64")
    ones = np.ones_like(batch.targets)
    assert loss(batch, ones) < min(loss(batch, 0.95 * ones), loss(batch, 1.05 * ones))


def test_a_smaller_bound_scales_the_numbers_and_nothing_else():
    whole, half = (adding(steps=9, sequences=500, largest=top, seed=3, dtype="float64") for top in (1, 0.5))
    np.testing.assert_array_equal(half.inputs, whole.inputs * (0.5, 1))
    np.testing.assert_array_equal(half.targets, whole.targets / 2)
    assert half.inputs[..., 0].max() < 0.5
    assert half.baseline == whole.baseline / 4
    assert half.baseline_of == "always answering 0.5, the mean of the sum: its variance, 0.5^2 * 1/6"
    assert whole.baseline_of == "always answering 1, the mean of the sum: its variance, 1/6"
    for largest in (0, -1, 1e-4, 1001, np.nan):
        with pytest.raises(ValueRangeError, match=r"largest=.* must be a finite number from 0\.001 to 1000"):
            adding(largest=largest)


def test_the_right_answers_cost_nothing():
    batch = adding(steps=50, sequences=10)
    assert loss(batch, batch.targets) == 0
