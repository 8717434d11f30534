"""gradient_flow on a GPU in segments: inputs from anywhere, interruptions, states that are not finite."""

import numpy as np
import pytest
from helpers.counting_gpu import CountingGpu
from helpers.device_cases import case_of

import gatescope as gs
from gatescope.errors import ValueRangeError
from gatescope.kernels.cuda import backend, device, driver
from gatescope.measurements import gradient_flow as flow_module


@pytest.fixture(autouse=True)
def emulated(monkeypatch):
    """Return an emulated GPU on which a segment is two steps."""
    if driver.simulated:
        pytest.skip("the emulator needs the real numba.cuda")
    monkeypatch.setattr(device.CudaDevice, "piece", lambda self, steps, step_bytes, state_bytes: 2)
    with backend.use(CountingGpu()):
        yield


RANDOM, SPECTRAL = {"norm": "random"}, {"norm": "spectral", "lags": [0, 1, 4, 5]}


@pytest.mark.parametrize(
    ("options", "after"),
    [
        (RANDOM, 1),
        (SPECTRAL, 2),
        pytest.param(RANDOM, 2, marks=pytest.mark.slow),
        pytest.param(SPECTRAL, 1, marks=pytest.mark.slow),
    ],
)
def test_resumed_is_uninterrupted(tmp_path, monkeypatch, options, after):
    case, path = case_of("lstm", "float64"), tmp_path / "state"
    keywords = {"device": "cuda", "initial_state": case.initial_state, **options}
    expected = gs.gradient_flow(case.params, case.inputs, **keywords)
    left, original = [after], flow_module.FlowRecord.piece

    def interrupted(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(flow_module.FlowRecord, "piece", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gs.gradient_flow(case.params, case.inputs, resume=path, **keywords)
    with pytest.raises(ValueRangeError, match=r"other `device` \(cuda there, cpu here\)"):
        gs.gradient_flow(case.params, case.inputs, resume=path, **{**keywords, "device": "cpu"})
    actual = gs.gradient_flow(
        case.params, (case.inputs[a : a + 2] for a in range(0, len(case.inputs), 2)), resume=path, **keywords
    )
    assert actual == expected
    assert not path.exists()


def test_states_that_stop_being_finite():
    case = case_of("rnn_relu", "float64")
    case.params.weight_hh[:] = 1e200
    case.params.bias_ih[:] = 1e200
    with pytest.raises(ValueRangeError, match="sequence 0 are not finite from step 2 on"):
        gs.gradient_flow(case.params, np.abs(case.inputs), device="cuda")
