"""What a gradient flow says of its numbers, from log-norms that are known."""

import numpy as np
import pytest

from gatescope.datatypes import GradientFlow


def flow(log_norm, lag=None):
    lag = np.arange(len(log_norm)) if lag is None else np.array(lag)
    return GradientFlow(
        cell="lstm", lag=lag, log_norm=np.array(log_norm)[:, None], of="h", wrt="h", source_step=lag[-1], norm="random",
    )  # fmt: skip


LAGS = np.arange(501)


@pytest.mark.parametrize(
    ("log_norm", "text"),
    [
        (-0.01 * LAGS, "vanishing: its tail halves every 69.31 steps, asymptotically"),
        (
            -0.001 * LAGS,
            "every 693.1 steps, asymptotically; that is extrapolated: over the 450 steps of the fit it changes by a "
            "factor of 0.6376",
        ),
        (0.0 * LAGS, "the gradient neither vanishes nor grows"),
        (
            0.1 * np.sin(LAGS) - 1e-5 * LAGS,
            "neither vanishes nor grows: over the 450 steps of the fit it changes by a factor of 0.99",
        ),
    ],
)
def test_a_rate_says_how_far_its_lags_carry_it(log_norm, text):
    """A slope of 1e-5 in noise of 0.1 was "vanishing: its tail halves every 69,315 steps"."""
    assert text in flow(log_norm).summary()


def test_half_is_gone_at_most_at_the_lag_that_comes_after_a_gap():
    assert "half of the gradient is gone after 70 steps" in flow(-0.01 * LAGS).summary()
    sparse = flow(-0.01 * LAGS[::50], LAGS[::50]).summary()
    assert "half of the gradient is gone after at most 100 steps" in sparse


@pytest.mark.parametrize("first", [np.inf, 1e308, 2.0**60])
def test_half_of_a_norm_beside_which_ln_2_is_lost(first):
    assert flow([first, first, 1.0, 0.0]).steps_to_half() == 2
