"""Delayed XOR: where the bits are, what is asked, and that neither bit alone tells it."""

import math

import numpy as np
import pytest
from helpers.judging import loss

from gatescope.tasks._delayed_xor import delayed_xor


@pytest.mark.parametrize(("steps", "gap"), [(2, 1), (20, 1), (20, 19), (20, None), (51, None)])
def test_bits_and_their_xor(steps, gap):
    batch = delayed_xor(steps=steps, sequences=64, gap=gap)
    at = steps // 2 if gap is None else gap
    bits = batch.inputs[[0, at], :, 0]
    assert set(np.unique(bits)) == {-1, 1}
    np.testing.assert_array_equal(batch.targets[-1, :, 0], bits[0] != bits[1])
    others = np.delete(batch.inputs, [0, at], axis=0)
    assert not others.any()
    assert batch.mask.sum() == batch.mask[-1].sum() == 64
    assert batch.provenance["gap"] == at


def test_all_four_pairs_are_as_likely():
    batch = delayed_xor(steps=4, sequences=20_000)
    pairs = 2 * (batch.inputs[0, :, 0] > 0) + (batch.inputs[2, :, 0] > 0)
    np.testing.assert_allclose(np.bincount(pairs) / 20_000, 1 / 4, atol=0.016)  # standard deviation 0.0031


def test_noise_is_added_at_every_step():
    quiet = delayed_xor(steps=200, sequences=50, dtype="float64")
    noisy = delayed_xor(steps=200, sequences=50, noise=0.1, dtype="float64")
    np.testing.assert_array_equal(quiet.targets, noisy.targets)
    noise = noisy.inputs - quiet.inputs
    assert noise.all()
    assert noise.std() == pytest.approx(
        0.1, rel=0.04
    )  # the standard deviation of 10,000 values is known to 0.7 %
    assert abs(noise.mean()) < 0.005


def test_the_baseline_is_what_an_even_guess_costs_and_one_bit_does_not_help():
    batch = delayed_xor(steps=4, sequences=20_000, dtype="float64")
    assert batch.baseline == pytest.approx(math.log(2), rel=1e-15)
    assert loss(batch, np.zeros_like(batch.targets)) == pytest.approx(math.log(2), rel=1e-12)
    answer = batch.targets[-1, :, 0]
    for step in (0, 2):
        # The standard deviation of a correlation of 20,000 independent pairs is 0.007.
        assert abs(np.corrcoef(batch.inputs[step, :, 0], answer)[0, 1]) < 0.036
