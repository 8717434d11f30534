"""The whole public way over the GPU in Numba's simulator, as small as it gets; every other gpu runs it too."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.kernels.cuda import driver

# In the emulator the tests of device="cuda" do the same with larger cases.
pytestmark = [] if driver.simulated else [pytest.mark.slow]


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_run_backprop_and_flow(gpu, cell):
    rng = np.random.default_rng(3)
    params = gs.init(cell, input_size=1, hidden_size=2, seed=0, dtype="float64")
    inputs = rng.standard_normal((3, 2, 1))
    expected = gs.run(params, inputs, lengths=[3, 1])
    trace = gs.run(params, inputs, lengths=[3, 1], device="cuda")
    np.testing.assert_allclose(trace.states, expected.states, rtol=1e-12, atol=1e-14)
    cotangents = rng.standard_normal(expected.outputs.shape)
    gradients = gs.backprop(params, trace, output_adjoint=cotangents, device="cuda")
    expected_gradients = gs.backprop(params, expected, output_adjoint=cotangents)
    for name, value in expected_gradients.params.arrays().items():
        np.testing.assert_allclose(getattr(gradients.params, name), value, rtol=1e-12, atol=1e-14)
    flow = gs.gradient_flow(params, inputs, device="cuda")
    np.testing.assert_allclose(flow.log_norm, gs.gradient_flow(params, inputs).log_norm, rtol=0, atol=1e-12)
    assert trace.provenance["backend"] == gpu.name
