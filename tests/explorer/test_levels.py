import numpy as np
import pytest

from gatescope.explorer.levels import BUDGET, Detail, choose, reduced


@pytest.mark.parametrize("values", [1, 385 * 10_000, 385 * 20_000, 385 * 100_000, 385 * 1_000_000, 10**11])
def test_what_is_chosen_fits_and_nothing_finer_would(values):
    def size(detail):
        parts = 1 if detail.every == 1 else 3
        return parts * -(-values // detail.every) * detail.bits / 8 * 4 / 3

    finer = {Detail(8, 1): Detail(16, 1), Detail(8, 2): Detail(8, 1)}
    chosen = choose(values)
    assert size(chosen) <= BUDGET
    if chosen != Detail(16, 1):
        assert size(finer.get(chosen, Detail(8, chosen.every // 2))) > BUDGET


def test_runs_are_reduced_to_least_mean_and_greatest_piece_by_piece(monkeypatch):
    series = np.random.default_rng(0).standard_normal((1003, 3)).astype(np.float32)
    monkeypatch.setattr("gatescope.explorer.levels._PIECE", 100)
    least, mean, greatest = reduced(series, 8)
    assert least.shape == (126, 3)
    for k in (0, 7, 125):  # the last run has three steps
        run = series[8 * k : 8 * k + 8].astype(np.float64)
        np.testing.assert_array_equal(least[k], run.min(axis=0))
        np.testing.assert_array_equal(greatest[k], run.max(axis=0))
        np.testing.assert_allclose(mean[k], run.mean(axis=0), rtol=1e-12)


def test_a_run_with_no_number_in_it_is_none():
    series = np.ones((8, 2))
    series[5, 1] = np.nan
    for part in reduced(series, 4):
        np.testing.assert_array_equal(np.isnan(part), [[False, False], [False, True]])
