"""What is read off the curves of the 20,000-step experiment, on curves that are made up: both outcomes."""

import numpy as np
import pytest
from helpers.curves import as_published, made

import gatescope as gs
from gatescope.datatypes.long_series import Crossing, LongSeriesResult, bootstrap, running_median
from gatescope.errors import ShapeError, UnknownNameError, ValueRangeError

EPOCH = np.arange(1, 301)
FALLING = 3 * np.exp(-EPOCH / 200)


def pair(lstm, gru, seeds=3):
    return made([[lstm] * seeds, [gru] * seeds])


def naive_running_median(curve, width):
    values = []
    for k in range(len(curve)):
        inside = min(k, len(curve) - 1 - k)
        reach = min(width // 2, max(10, inside))
        values.append(np.median([curve[j] for j in range(len(curve)) if abs(j - k) <= reach]))
    return np.array(values)


@pytest.mark.parametrize("size", [1, 2, 3, 20, 21, 22, 100, 101, 150, 300])
@pytest.mark.parametrize("width", [1, 21, 101])
def test_the_running_median_is_that_of_each_window(size, width):
    curve = np.random.default_rng(size).standard_normal(size)
    np.testing.assert_array_equal(running_median(curve, width), naive_running_median(curve, width))


def test_the_running_median_ends_where_the_curve_does():
    curve = np.r_[np.arange(50.0), np.full(10, np.nan)]
    values = running_median(curve, 21)
    assert np.isnan(values[50:]).all()
    np.testing.assert_array_equal(values[:50], running_median(curve[:50], 21))


def test_a_crossing_is_found_where_it_is_and_says_who_is_lower():
    gru = np.where(EPOCH < 121, FALLING * 1.1, FALLING * 0.9)
    assert pair(FALLING, gru).crossings() == (Crossing(121, "gru"),)
    assert pair(gru, FALLING).crossings() == (Crossing(121, "lstm"),)
    assert pair(FALLING, gru).crossings("gru", "lstm") == (Crossing(121, "gru"),)


def test_curves_that_do_not_cross():
    result = pair(FALLING, FALLING * 0.9)
    assert result.crossings() == ()
    assert np.isnan(result.crossing_epochs()).all()
    assert pair(FALLING, FALLING).crossings() == ()


def test_a_spike_is_no_crossing_and_two_crossings_are_two():
    spiked = FALLING * 0.9
    spiked[150:158] *= 2
    assert pair(spiked, FALLING).crossings() == ()
    back = np.where((EPOCH < 100) | (EPOCH >= 200), FALLING * 1.1, FALLING * 0.9)
    assert pair(FALLING, back).crossings() == (Crossing(100, "gru"), Crossing(200, "lstm"))
    assert np.isnan(pair(FALLING, back).crossing_epochs()).all()  # the LSTM is the lower one in the end


def test_crossings_of_single_seeds_are_of_pairs():
    gru = [np.where(at > EPOCH, FALLING * 1.1, FALLING * 0.9) for at in (80, 120, 999)]
    result = made([[FALLING] * 3, gru], seeds=np.array([4, 7, 9]))
    np.testing.assert_array_equal(result.crossing_epochs(), [80, 120, np.nan])
    assert result.crossings(seed=7) == (Crossing(120, "gru"),)
    with pytest.raises(ValueRangeError, match=r"seed=0 is not among the seeds, \[4, 7, 9\]"):
        result.crossings(seed=0)


def test_volatility_is_of_the_noise_and_not_of_the_trend():
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.standard_normal((2, 4, 300))
    curves = FALLING * np.exp(noise * np.array([1, 3])[:, None, None])
    values = made(curves).volatility(epochs=200)
    # A running median over 101 numbers takes a hundredth of the variance or so with it.
    np.testing.assert_allclose(values.mean(axis=1), [0.05, 0.15], rtol=0.08)
    line = made(curves).volatility(epochs=200, detrend="line")
    np.testing.assert_allclose(line.mean(axis=1), [0.05, 0.15], rtol=0.08)


def test_a_straight_fall_of_the_log_loss_has_no_volatility():
    result = pair(FALLING, FALLING)
    assert result.volatility(detrend="line").max() < 1e-12
    # The median's windows are one-sided in the last 10 epochs, by 5 epochs at most, of 1/200 each.
    assert result.volatility().max() < 0.005
    with pytest.raises(UnknownNameError, match="detrend='mean' is not known"):
        result.volatility(detrend="mean")
    with pytest.raises(ValueRangeError, match="epochs=2 must be a whole number of at least 3"):
        result.volatility(epochs=2)


def test_spikes_are_counted_once_each_and_only_high_ones_and_only_late_ones():
    lstm, gru = np.full((2, 600), 1.22)
    for at in (100, 300, 450, 599):  # the first is too early, the last one is the last epoch
        lstm[at : at + 5] += 0.3
    gru[300:305] += 0.1
    result = pair(lstm, gru)
    np.testing.assert_array_equal(result.spikes(), [[3] * 3, [0] * 3])
    np.testing.assert_array_equal(result.spikes(rise=0.05), [[3] * 3, [1] * 3])
    np.testing.assert_array_equal(result.spikes(epochs=600), [[4] * 3, [0] * 3])


def test_a_run_that_diverged_has_no_count_of_spikes():
    curves = np.full((2, 3, 600), 1.22)
    curves[:, 0, 400:405] += 0.3
    curves[0, 1, 450:] = np.nan  # within the window
    curves[0, 2, 50:] = np.nan  # before it
    curves[1, 2, 599:] = np.nan  # at its end
    values = made(curves).spikes()
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, [[1, np.nan, np.nan], [1, 0, np.nan]])
    assert made(curves).mean(values, "lstm").value == 1  # and not a third


def test_levels_and_who_is_lower():
    result = pair(FALLING, np.where(EPOCH <= 100, FALLING * 1.1, FALLING * 0.9))
    assert result.lower_fraction(1, 100) == 1
    assert result.lower_fraction(101, 300) == 0
    assert result.lower_fraction(51, 150) == 0.5
    assert np.isnan(result.lower_fraction(301, 400))
    # Spikes do not make a curve the higher one: its running median counts.
    spiked = np.where(EPOCH % 3 == 0, FALLING * 1.2, FALLING * 0.95)
    assert pair(spiked, FALLING).lower_fraction(1, 300) == 1
    np.testing.assert_allclose(result.loss_at(1), [[FALLING[0]] * 3, [1.1 * FALLING[0]] * 3], rtol=1e-12)
    assert np.isnan(result.loss_at(400, 500)).all()
    np.testing.assert_allclose(result.final_loss()[0], np.median(FALLING[-10:]), rtol=1e-12)


def test_a_run_that_diverged_counts_as_worse_than_any_number():
    curves = np.array([[[1.0, 1.0], [2.0, np.nan], [3.0, 3.0]], [[1.0, np.nan], [2.0, np.nan], [3.0, 3.0]]])
    result = made(curves)
    np.testing.assert_array_equal(result.median("lstm"), [2, 3])
    np.testing.assert_array_equal(result.median("gru"), [2, np.nan])
    np.testing.assert_array_equal(result.band("lstm", low=0, high=1), [[1, 1], [3, np.nan]])
    np.testing.assert_array_equal(result.diverged(), [1, 2])


def test_bands_are_quantiles():
    curves = np.random.default_rng(0).uniform(1, 2, (2, 10, 5))
    np.testing.assert_allclose(
        made(curves).band("gru"), np.quantile(curves[1], [0.1, 0.9], axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(made(curves).median("lstm"), np.median(curves[0], axis=0), rtol=1e-12)


def test_ratios_are_of_pairs():
    scale = np.array([1.0, 2.0, 5.0, 10.0])  # seeds differ a lot, but each pair by the same factor
    result = made(np.ones((2, 4, 3)), seconds=[scale, 0.9 * scale])
    ratio = result.ratio(result.seconds)
    np.testing.assert_allclose(ratio, [0.9] * 3, rtol=1e-9)
    np.testing.assert_allclose(result.ratio(result.seconds, "lstm", "gru").value, 1 / 0.9, rtol=1e-12)
    assert np.isnan(result.ratio(0 * result.seconds).value)


def test_bootstrap_intervals():
    values = np.random.default_rng(0).normal(3, 1, 200)
    interval = bootstrap(values)
    assert interval.value == values.mean()
    # That of the normal distribution, near enough for 200 numbers and 9,999 samples.
    np.testing.assert_allclose(
        [interval.low, interval.high],
        values.mean() + np.array([-1, 1]) * 1.96 * values.std() / 200**0.5,
        atol=0.03,
    )
    assert bootstrap(values) == interval
    assert bootstrap(np.array([2.0, 2.0])) == (2, 2, 2)
    assert bootstrap(np.array([2.0, np.nan]))[0] == 2
    assert np.isnan(bootstrap(np.array([2.0]))[1:]).all()
    assert np.isnan(bootstrap(np.array([]))).all()


def test_only_the_full_size_is_not_preliminary():
    full = as_published()
    assert not made(full).preliminary
    assert made(full[:, :9]).preliminary
    assert made(full[:, :, :999]).preliminary
    assert made(full, steps=2000).preliminary
    assert made(full, sequences=39).preliminary
    assert made(full, hidden_size=4).preliminary
    assert made(full, hidden_size=17).preliminary


def test_it_is_saved_and_loaded(tmp_path):
    result = made(as_published(2, 30), seconds=[[1, 2], [3, 4]])
    result.save(tmp_path / "result.npz")
    loaded = gs.load(tmp_path / "result.npz")
    assert isinstance(loaded, LongSeriesResult)
    assert loaded == result
    np.testing.assert_array_equal(loaded.seconds, result.seconds)


def test_what_cannot_be():
    with pytest.raises(UnknownNameError, match="cell='rnn' is not known; choose from lstm, gru"):
        made(as_published(2, 30)).median("rnn")
    with pytest.raises(
        ShapeError,
        match=r"loss has shape \(2, 2, 30\), but should have \(cells, seeds, epochs\) with \(1, 2\) first",
    ):
        made(as_published(2, 30), cells=("lstm",))
    with pytest.raises(ShapeError, match="seconds has shape"):
        made(as_published(2, 30), seconds=np.ones((2, 3)))


def test_a_result_presents_itself():
    table = made(as_published(3, 40)).table()
    assert table.header == ("", "lstm", "gru")
    assert table.title.startswith("preliminary: LSTM, GRU on")
    assert {len(row) for row in table.texts()} == {3}
