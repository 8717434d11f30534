"""Gates clamped on the GPU: the same as on the CPU, and no copies to the host."""

import numpy as np
import pytest
from helpers.cases import PARAMS, assert_close, flat
from helpers.counting_gpu import CountingGpu
from helpers.device_cases import LENGTHS, Slim, assert_bits, case_of

import gatescope as gs
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.kernels.cuda import backend, driver

# Minutes in Numba's simulator, a thread of Python for each of a kernel's; seconds elsewhere.
pytestmark = [pytest.mark.slow] if driver.simulated else []

TOLERANCE = {"float64": 1e-12, "float32": 32 * 2.0**-24}  # as in test_device_api
CLAMPS = {
    "lstm": {"f": 1.0, "i": {0: 0.0, 1: 0.3, 4: 0.5}, "g": -1.0},
    "gru": {"z": [np.nan, 1.0, 0.0, np.nan, 0.9], "r": 0.5},
    "gru_reset_before": {"r": 0.0, "n": {2: 1.0}},
    "slim_test": {"a": {0: 1.0, 1: 1.0}, "b": 0.0},
}


@pytest.fixture(autouse=True)
def slim():
    """Return a user's cell, registered for one test."""
    yield gs.cells.register(Slim)
    gs.cells.registry._CELLS.pop("slim_test", None)


# Of those whose kernels for the CPU other tests do not need, the others.
SLOW = [("gru", "float64"), ("slim_test", "float64"), ("lstm", "float32")]


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [
        ("lstm", "float64"),
        ("gru_reset_before", "float64"),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW),
    ],
)
def test_the_same_as_the_cpu(gpu, cell, dtype):
    case, clamp = case_of(cell, dtype), CLAMPS[cell]
    on_cpu, on_gpu = case.run(LENGTHS, clamp=clamp), case.run(LENGTHS, clamp=clamp, device="cuda")
    assert on_gpu.provenance["clamp"] == on_cpu.provenance["clamp"]
    for name, value in on_cpu.arrays().items():
        assert_close(np.nan_to_num(on_gpu.arrays()[name]), np.nan_to_num(value), TOLERANCE[dtype], name)
    exact = np.isin(on_cpu.clamp, (-1.0, 0.0, 0.5, 1.0))
    for gate, chosen, values in zip(case.params.gate_names, exact, on_cpu.clamp, strict=True):
        if chosen.any():
            expected = np.where(on_cpu.mask[..., None], values[chosen], 0)
            np.testing.assert_array_equal(on_gpu.gate(gate)[..., chosen], expected)
    expected, grads = flat(case.backprop(on_cpu)), flat(case.backprop(on_cpu, device="cuda"))
    rows = ~np.isnan(on_cpu.clamp).reshape(-1)
    for name, value in expected.items():
        if name == "held":
            continue
        assert_close(grads[name], value, TOLERANCE[dtype], name)
        if name in PARAMS:
            assert not grads[name][rows].any()
            assert grads[name][~rows].any() or name == "weight_hh"


@pytest.mark.parametrize("cell", ["lstm", pytest.param("slim_test", marks=pytest.mark.slow)])
def test_what_stays_there_has_the_same_bits(gpu, cell):
    case, clamp = case_of(cell), CLAMPS[cell]
    on_gpu = case.run(LENGTHS, clamp=clamp, device="cuda")
    grads = case.backprop(on_gpu, device="cuda")
    weights = gs.to_device(case.params)
    trace = gs.run(weights, case.inputs, initial_state=case.initial_state, lengths=LENGTHS, clamp=clamp)
    actual = gs.backprop(weights, trace, output_adjoint=case.output_adjoint, final_adjoint=case.final_adjoint)
    assert_bits(weights.to_host().arrays(), case.params.arrays())  # not clamped themselves
    assert_bits(gs.clamp(weights, clamp).to_host().arrays(), gs.clamp(case.params, clamp).arrays())
    assert trace.to_host() == on_gpu
    assert_bits(flat(actual.to_host()), flat(grads))
    assert actual.provenance["clamp"] == trace.provenance["clamp"] == on_gpu.provenance["clamp"]
    flow = gs.gradient_flow(weights, case.inputs, clamp=clamp)
    expected = gs.gradient_flow(case.params, case.inputs, clamp=clamp)
    assert_close(flow.log_norm, expected.log_norm, 1e-12, "log_norm")


def test_nothing_is_copied_to_the_host():
    if driver.simulated:
        pytest.skip("the emulator needs the real numba.cuda")
    gpu = CountingGpu()
    with backend.use(gpu):
        case = case_of("gru", "float32")
        weights = gs.to_device(case.params)
        trace = gs.run(weights, case.inputs, clamp={"z": {0: 1.0, 2: 0.5}})
        grads = gs.backprop(weights, trace, output_adjoint=case.output_adjoint)
        assert gpu.fetched == 0
        with pytest.raises(UnknownNameError, match="clamp names 'f'"):
            gs.run(weights, case.inputs, clamp={"f": 1.0})
        with pytest.raises(ValueRangeError, match="takes values from 0 to 1"):
            gs.run(case.params, case.inputs, device="cuda", clamp={"z": 2.0})
        del trace, grads, weights
        assert gpu.live == 0
