"""The temporal order problem: places, distractors, classes and baselines of experiments 6a and 6b."""

import math

import numpy as np
import pytest
from helpers.judging import loss

from gatescope.tasks._temporal_order import temporal_order

WINDOWS = {2: [(10, 20), (50, 60)], 3: [(10, 20), (33, 43), (66, 76)]}


def decoded(batch):
    """Symbols (T, B): 0 start, 1 end, 2..5 distractors, 6 X, 7 Y."""
    np.testing.assert_array_equal(batch.inputs.sum(axis=2), 1)
    return batch.inputs.argmax(axis=2)


@pytest.mark.parametrize("symbols", [2, 3])
@pytest.mark.parametrize("steps", [10, 57, 100, 300])
def test_the_class_is_the_order_of_the_symbols(symbols, steps):
    batch = temporal_order(steps=steps, sequences=60, symbols=symbols)
    series = decoded(batch)
    for column, target in zip(series.T, batch.targets[-1, :, 0], strict=True):
        order = [int(symbol) - 6 for symbol in column if symbol > 5]
        assert len(order) == symbols
        assert target == int("".join(map(str, order)), 2)
    assert (series[0] == 0).all()
    assert (series[-1] == 1).all()
    assert (series[1:-1] > 1).all()
    assert batch.mask.sum() == batch.mask[-1].sum() == 60


def test_xx_xy_yx_yy_are_0_1_2_3():
    batch = temporal_order(sequences=200)
    names = {"XX": 0, "XY": 1, "YX": 2, "YY": 3}
    for column, target in zip(decoded(batch).T, batch.targets[-1, :, 0], strict=True):
        assert names["".join("XY"[symbol - 6] for symbol in column if symbol > 5)] == target


@pytest.mark.parametrize("symbols", [2, 3])
def test_places_fill_their_windows(symbols):
    series = decoded(temporal_order(steps=100, sequences=4000, symbols=symbols))
    marks = np.flatnonzero((series > 5).any(axis=1))
    expected = [step for begin, end in WINDOWS[symbols] for step in range(begin, end + 1)]
    assert marks.tolist() == expected
    share = (series > 5).mean(axis=1)[expected]
    # A share of 1/11 of 4000 has the standard deviation 0.0045.
    np.testing.assert_allclose(share, 1 / 11, atol=0.02)


def test_classes_and_distractors_are_as_likely():
    batch = temporal_order(steps=20, sequences=20_000, symbols=3)
    classes = np.bincount(batch.targets[-1, :, 0].astype(int), minlength=8) / 20_000
    np.testing.assert_allclose(classes, 1 / 8, atol=0.012)  # standard deviation 0.0023
    distractors = np.bincount(decoded(batch)[1:-1].ravel())[2:6]
    np.testing.assert_allclose(
        distractors / distractors.sum(), 1 / 4, atol=0.005
    )  # standard deviation 0.0008


@pytest.mark.parametrize(("symbols", "baseline"), [(2, math.log(4)), (3, math.log(8))])
def test_the_baseline_is_what_an_even_guess_costs(symbols, baseline):
    batch = temporal_order(steps=30, sequences=50, symbols=symbols)
    assert batch.baseline == pytest.approx(baseline, rel=1e-15)
    assert loss(batch, np.zeros((30, 50, 2**symbols))) == pytest.approx(baseline, rel=1e-12)
