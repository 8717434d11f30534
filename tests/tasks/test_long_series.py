"""The long market series: its definition, its hindsight values against a search, its inputs and its baseline."""

from itertools import pairwise, product

import numpy as np
import pytest
from helpers.judging import loss

from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.tasks._long_series import long_series, long_series_prices, long_series_values

# What each choice does, by the position it is made in: the order of the seven outputs.
CHOICES = {
    0: [("stay", 0), ("long", 1), ("short", -1)],
    -1: [("hold", -1), ("close", 0)],
    1: [("hold", 1), ("close", 0)],
}
OUTPUTS = [(position, after) for position in (0, -1, 1) for _, after in CHOICES[position]]


def best_by_search(prices, t, after, gamma):
    """Return the greatest discounted reward of every course of positions that begins with `after` at step t."""
    changes = [prices[k + 1] - prices[k] for k in range(t, len(prices) - 1)]
    if not changes:
        return 0.0
    courses = ((after, *rest) for rest in product((-1, 0, 1), repeat=len(changes) - 1))
    allowed = (c for c in courses if all(b in [q for _, q in CHOICES[a]] for a, b in pairwise(c)))
    return max(
        sum(gamma**k * q * d for k, (q, d) in enumerate(zip(c, changes, strict=True))) for c in allowed
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99, 1.0])
def test_values_are_the_best_of_all_courses_of_action(gamma):
    prices = np.random.default_rng(1).normal(0, 1, (7, 4))
    values = long_series_values(prices, gamma=gamma)
    assert values.shape == (7, 4, 7)
    for t in range(7):
        for b in range(4):
            expected = [best_by_search(prices[:, b].tolist(), t, after, gamma) for _, after in OUTPUTS]
            np.testing.assert_allclose(values[t, b], expected, atol=1e-13)


def test_turning_round_takes_two_steps():
    # Up and then down by 1: one who goes long is long when it falls, and can only close.
    values = long_series_values(np.array([[0.0], [1.0], [0.0]]), gamma=1.0)[0, 0]
    assert values.tolist() == [1, 1, 0, 0, 1, 1, 1]


def test_values_obey_their_equation_over_a_long_series():
    gamma = 0.9
    prices = long_series_prices(steps=2000, sequences=3, seed=4)
    values = long_series_values(prices, gamma=gamma)
    best = {0: values[..., :3].max(axis=2), -1: values[..., 3:5].max(axis=2), 1: values[..., 5:].max(axis=2)}
    for output, (_, after) in enumerate(OUTPUTS):
        expected = after * np.diff(prices, axis=0) + gamma * best[after][1:]
        np.testing.assert_allclose(values[:-1, :, output], expected, atol=1e-14)
    assert not values[-1].any()


def test_values_do_not_depend_on_the_past_or_on_the_level():
    prices = long_series_prices(steps=300, sequences=2)
    values = long_series_values(prices)
    np.testing.assert_array_equal(long_series_values(prices[100:]), values[100:])
    # Prices near 1000 are rounded to 1e-13, and a value gathers about a hundred of them.
    np.testing.assert_allclose(long_series_values(prices + 900), values, atol=1e-11)


def test_prices_follow_their_definition():
    steps, sequences = 3000, 200
    prices = long_series_prices(steps=steps, sequences=sequences)
    np.testing.assert_array_equal(prices, np.round(prices, 2))
    swing = np.sin(0.0002 * np.arange(steps))[:, None]
    # Without the noise (5 standard deviations and half a hundredth of rounding) a price lies within the swing.
    assert (abs(prices - 100) <= swing + 0.06).all()
    # At the start there is nothing but noise, rounded: a variance of 0.01^2 + 0.01^2 / 12.
    assert (prices[:3] - 100).std() == pytest.approx(
        0.01 * np.sqrt(13 / 12), rel=0.15
    )  # 600 values: known to 3 %
    # |sin| - |cos| of an angle that is uniform has the mean square 1 - 2 / pi; it stays near where it began.
    late = (prices[2000] - 100) / swing[2000]
    assert (late**2).mean() == pytest.approx(1 - 2 / np.pi, rel=0.3)  # 200 series: known to 6 %


def test_the_angle_takes_steps_of_a_hundredth_at_most():
    # Averages over 50 steps take the noise off; the angle moves 0.01 / sqrt(3) sqrt(50) = 0.04 in them.
    prices = long_series_prices(steps=8000, sequences=100)
    level = (prices[7000:] - 100).reshape(20, 50, 100).mean(axis=1) / np.sin(0.0002 * 7500)
    moves = np.diff(level, axis=0)
    # The variance of the move of a mean over n steps is 2/3 n times that of a step, and d(level) / d(angle) has the
    # mean square 1 + 2 / pi, at most sqrt(2); the noise adds 2 0.01^2 / 50.
    expected = (2 / 3) * 50 * 0.01**2 / 3 * (1 + 2 / np.pi) + 2 * 0.01**2 / 50
    assert moves.var() == pytest.approx(expected, rel=0.15)


def test_prices_are_those_of_the_batch():
    batch = long_series(steps=400, sequences=3, lookback=1, seed=7, dtype="float64")
    arguments = {name: batch.provenance[name] for name in ("steps", "sequences", "seed")}
    prices = long_series_prices(**arguments)
    change = batch.provenance["change"]
    again = batch.inputs[1:, :, 0] * change["standard_deviation"] + change["mean"]
    np.testing.assert_allclose(again, np.diff(prices, axis=0), atol=1e-13)
    assert not batch.inputs[0].any()
    values = long_series_values(prices, gamma=batch.provenance["gamma"])
    for name, columns in (("flat", slice(0, 3)), ("short", slice(3, 5)), ("long", slice(5, 7))):
        scale = batch.provenance["value"][name]
        again = batch.targets[..., columns] * scale["standard_deviation"] + scale["mean"]
        np.testing.assert_allclose(again, values[..., columns], atol=1e-13)


@pytest.mark.parametrize("lookback", [1, 2, 8, 500])
def test_inputs_are_the_last_changes_the_newest_first(lookback):
    one = long_series(steps=120, sequences=3, lookback=1, dtype="float64").inputs[..., 0]
    inputs = long_series(steps=120, sequences=3, lookback=lookback, dtype="float64").inputs
    assert inputs.shape == (120, 3, lookback)
    for w in range(lookback):
        np.testing.assert_array_equal(inputs[w:, :, w], one[: max(120 - w, 0)])
        assert not inputs[: w + 1, :, w].any()


def test_standardised_over_the_batch():
    batch = long_series(steps=2000, sequences=10, dtype="float64")
    assert abs(batch.inputs[1:, :, 0].mean()) < 1e-12
    assert batch.inputs[1:, :, 0].std() == pytest.approx(1, rel=1e-12)
    for columns in (slice(0, 3), slice(3, 5), slice(5, 7)):
        assert abs(batch.targets[..., columns].mean()) < 1e-12
        assert batch.targets[..., columns].std() == pytest.approx(1, rel=1e-12)
    assert [(head.name, head.size, head.loss) for head in batch.heads] == [
        ("flat", 3, "mse"),
        ("short", 2, "mse"),
        ("long", 2, "mse"),
    ]
    assert batch.mask.all()


def test_standardising_leaves_the_best_choice_the_best():
    batch = long_series(steps=500, sequences=4, dtype="float64")
    values = long_series_values(long_series_prices(steps=500, sequences=4))
    for columns in (slice(0, 3), slice(3, 5), slice(5, 7)):
        ordered = np.sort(values[..., columns], axis=2)
        clear = ordered[..., -1] - ordered[..., -2] > 1e-9  # prices in hundredths tie often
        assert clear.mean() > 0.5
        best, expected = (data[..., columns].argmax(axis=2)[clear] for data in (batch.targets, values))
        np.testing.assert_array_equal(best, expected)


def test_the_baseline_is_what_the_best_constants_cost():
    batch = long_series(steps=1000, sequences=5, dtype="float64")
    constants = np.broadcast_to(batch.targets.mean(axis=(0, 1)), batch.targets.shape)
    assert loss(batch, constants) == pytest.approx(batch.baseline, rel=1e-12)
    assert loss(batch, constants + 0.01) > batch.baseline
    # One constant a head, 0, costs the heads' variances, which are 1.
    assert loss(batch, np.zeros(batch.targets.shape)) == pytest.approx(3, rel=1e-12)


def test_the_size_of_the_experiment():
    batch = long_series()
    assert (batch.inputs.shape, batch.targets.shape) == ((20_000, 40, 8), (20_000, 40, 7))
    assert 2.9 < batch.baseline < 3
    # The last steps weigh heavily, as the docstring says.
    squares = (batch.targets.astype(np.float64) ** 2).sum(axis=(1, 2))
    assert squares[-300:].sum() / squares.sum() == pytest.approx(0.22, abs=0.01)


def test_one_price_has_no_future():
    assert not long_series_values([[1.0, 2.0]]).any()
    assert long_series_prices(steps=1, sequences=2).shape == (1, 2)


def test_changes_that_are_all_alike():
    alike = next(
        seed
        for seed in range(500)
        if np.ptp(np.diff(long_series_prices(steps=3, sequences=1, seed=seed)[:, 0])) == 0
    )
    with pytest.raises(
        ValueRangeError, match="steps=3 gives, with `sequences`=1, price changes that are all alike"
    ):
        long_series(steps=3, sequences=1, seed=alike)


def test_prices_that_are_none():
    with pytest.raises(ShapeError, match=r"prices has shape \(3,\), but should have \(T, B\)"):
        long_series_values([1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match="at least one step"):
        long_series_values(np.zeros((0, 2)))
    with pytest.raises(DtypeError, match="prices has dtype <U1"):
        long_series_values([["a"]])
    with pytest.raises(ValueRangeError, match=r"prices\[1, 0\] is nan"):
        long_series_values([[1.0], [np.nan]])
