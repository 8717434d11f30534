"""The flip-flop: targets against a loop over time, pulses as often as asked, and the memoryless baseline."""

import numpy as np
import pytest
from helpers.judging import loss

from gatescope.tasks._flip_flop import flip_flop


@pytest.mark.parametrize("pulse", [0.0, 0.06, 0.5, 1.0])
@pytest.mark.parametrize(("steps", "channels"), [(1, 1), (80, 3)])
def test_every_output_holds_its_last_pulse(pulse, steps, channels):
    batch = flip_flop(steps=steps, sequences=9, channels=channels, pulse=pulse)
    assert set(np.unique(batch.inputs)) <= {-1, 0, 1}
    assert batch.inputs[0].all()
    held = np.zeros((9, channels))
    for pulses, targets in zip(batch.inputs, batch.targets, strict=True):
        held = np.where(pulses == 0, held, pulses)
        np.testing.assert_array_equal(targets, held)
    assert batch.mask.all()


def test_pulses_are_as_rare_as_asked_and_of_either_sign():
    pulses = flip_flop(steps=400, sequences=50, pulse=0.06).inputs[1:]
    # Of 59,850 chances; the standard deviations are 0.001 and 0.0083.
    assert (pulses != 0).mean() == pytest.approx(0.06, abs=0.005)
    assert (pulses[pulses != 0] > 0).mean() == pytest.approx(0.5, abs=0.042)


def test_three_channels_visit_all_corners_of_the_cube():
    targets = flip_flop(steps=400, sequences=20).targets
    assert len(np.unique(targets.reshape(-1, 3), axis=0)) == 8


@pytest.mark.parametrize("pulse", [0.0, 0.06, 0.4])
def test_the_baseline_is_what_no_memory_costs(pulse):
    batch = flip_flop(steps=50, sequences=2000, pulse=pulse)
    assert batch.baseline == pytest.approx((1 - pulse) * 49 / 50, rel=1e-15)
    # A share of 300,000 chances; its standard deviation is below 0.001.
    assert loss(batch, batch.inputs) == pytest.approx(batch.baseline, abs=0.005)
