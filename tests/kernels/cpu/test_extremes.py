"""The largest and the smallest magnitudes of what a run recorded."""

import numpy as np
import pytest

from gatescope.kernels.cpu.extremes import extremes_of


@pytest.mark.parametrize("shape", [(7, 3, 2, 5), (0, 3, 2, 5), (7, 3, 0, 5)])
def test_extremes_are_those_of_all_steps_and_sequences(shape):
    array = np.random.default_rng(0).standard_normal((*shape[:3], 2 * shape[3]))[..., ::2]
    size = np.abs(array)
    expected = size.max(axis=(0, 1), initial=0), size.min(axis=(0, 1), initial=np.inf)
    np.testing.assert_array_equal(extremes_of(array), expected)
