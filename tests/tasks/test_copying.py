"""The copying problem in Arjovsky's settings: layout, distribution, and the published memoryless baselines."""

import math

import numpy as np
import pytest
from helpers.judging import loss

from gatescope.tasks._copying import copying


def test_the_layout_of_a_sequence():
    batch = copying(steps=3, sequences=5, symbols=4, memory=2)
    symbols = batch.inputs.argmax(axis=2)
    np.testing.assert_array_equal(batch.inputs.sum(axis=2), 1)
    assert batch.inputs.shape == (7, 5, 6)
    assert (symbols[:2] < 4).all()
    assert symbols[2:].T.tolist() == [[4, 4, 5, 4, 4]] * 5  # T - 1 blanks, the delimiter, M blanks
    np.testing.assert_array_equal(batch.targets[:5, :, 0], 4)
    np.testing.assert_array_equal(batch.targets[5:, :, 0], symbols[:2])
    assert batch.mask.all()
    assert batch.heads[0].size == 5


def test_the_defaults_are_the_published_sizes():
    batch = copying(steps=100, sequences=2)
    assert batch.inputs.shape == (120, 2, 10)
    symbols = batch.inputs.argmax(axis=2)
    assert (symbols == 9).sum(axis=0).tolist() == [1, 1]
    assert (symbols[109] == 9).all()
    assert (symbols < 8).sum(axis=0).tolist() == [10, 10]


def test_without_a_gap_the_delimiter_follows_at_once():
    symbols = copying(steps=1, sequences=1, memory=1).inputs.argmax(axis=2)[:, 0]
    assert symbols[1:].tolist() == [9, 8]


def test_symbols_are_uniform():
    shown = copying(steps=1, sequences=2000).inputs[:10, :, :8].mean(axis=(0, 1), dtype=np.float64)
    # A share of 1/8 of 20,000 has the standard deviation 0.0023.
    np.testing.assert_allclose(shown, 1 / 8, atol=0.012)


@pytest.mark.parametrize(
    ("steps", "published"), [(100, 0.1733), (200, 0.0945), (500, 0.0400), (1000, 0.0204), (2000, 0.0103)]
)
def test_the_published_baselines(steps, published):
    batch = copying(steps=steps, sequences=1)
    assert batch.baseline == pytest.approx(10 * math.log(8) / (steps + 20), rel=1e-15)
    assert round(batch.baseline, 4) == published


@pytest.mark.parametrize("symbols", [2, 8])
def test_the_baseline_is_what_forgetting_the_symbols_costs(symbols):
    batch = copying(steps=30, sequences=50, symbols=symbols, memory=7)
    outputs = np.full((*batch.mask.shape, symbols + 1), -800.0)  # e^-800 is 0
    outputs[:-7, :, symbols] = 0
    outputs[-7:, :, :symbols] = 0
    # Every symbol costs the same, so this holds for any data, not on average alone.
    assert loss(batch, outputs) == pytest.approx(batch.baseline, rel=1e-12)
