"""Saturated units on a GPU: the derivatives are made on the host, and what the GPU cannot carry is said."""

import numpy as np
import pytest
from helpers.cases import random_params
from helpers.counting_gpu import CountingGpu

import gatescope as gs
from gatescope.kernels.cuda import backend, device, driver


@pytest.fixture(autouse=True)
def gpu():
    """Yield an emulated GPU."""
    if driver.simulated:
        pytest.skip("the emulator needs the real numba.cuda")
    with backend.use(CountingGpu()) as gpu:
        yield gpu


def one_unit(bias, dtype):
    """Return an RNN of one unit, h' = tanh(h + bias), and ln of its derivative where h is 1."""
    arrays = {"weight_ih": [[0]], "weight_hh": [[1]], "bias_ih": [bias], "bias_hh": [0]}
    params = gs.Params(cell="rnn", **{name: np.array(value, dtype) for name, value in arrays.items()})
    return params, 2 * (np.log(2) - (bias + 1))


INPUTS = np.zeros((5, 1))
CELLS = [
    (
        "lstm",
        1,
        {"initial_state": np.array([np.zeros(3), np.full(3, 30)])[None].repeat(2, 0), "clamp": {"f": 1.0}},
    ),
    pytest.param("gru_reset_before", 21, {}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("cell", "scale", "more"), CELLS)
def test_the_same_as_the_cpu(cell, scale, more, monkeypatch):
    params = random_params(cell, input_size=1, hidden_size=3, scale=scale, seed=1)
    inputs, wrt = np.random.default_rng(1).standard_normal((4, 2, 1)), gs.cells.get(cell).states[-1]

    def flow(device, **options):
        return gs.gradient_flow(params, inputs, wrt=wrt, device=device, **more, **options)

    for options in ({"norm": "unit"}, {"norm": "spectral", "total": True}):
        expected, actual = (flow(name, **options) for name in ("cpu", "cuda"))
        np.testing.assert_allclose(actual.log_norm, expected.log_norm, rtol=0, atol=1e-9)
        assert actual.provenance["device"] == "cuda"
    before = flow("cuda", norm="unit")
    monkeypatch.setattr(device, "_HOST_BYTES", 1)  # a step at a time
    assert flow("cuda", norm="unit") == before
    monkeypatch.setattr(device.CudaDevice, "derive", lambda self, exact, inputs, states, gates, slot: gates)
    without = flow("cuda", norm="unit").log_norm  # from recorded values
    assert np.abs(without[1:] - before.log_norm[1:]).max() > 1e-7


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("dtype", "bias", "used"),
    [("float64", 18, "float64"), ("float32", 12, "float32"), ("float32", 50, "float64")],
)
def test_a_saturated_tanh(dtype, bias, used):
    params, value = one_unit(bias, dtype)
    flow = gs.gradient_flow(gs.to_device(params), INPUTS, norm="unit", max_lag=3)
    assert flow.log_norm[:, 0] == pytest.approx(
        [0, value, 2 * value, 3 * value], rel=1e-9 if used == "float64" else 1e-5
    )
    assert (flow.provenance["device"], flow.provenance["dtype"]) == ("cuda", used)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_a_gpu_cannot_carry_is_computed_on_the_cpu_and_said(dtype):
    params, value = one_unit(300, dtype)  # two steps of it are 2^-1733
    with pytest.warns(
        RuntimeWarning, match="smaller than what the GPU carries, so that this is computed on the CPU"
    ):
        flow = gs.gradient_flow(params, INPUTS, norm="unit", max_lag=3, device="cuda")
    assert flow.log_norm[:, 0] == pytest.approx([0, value, 2 * value, 3 * value], rel=1e-9)
    assert flow.provenance["device"] == "cpu"
    assert flow.provenance["recomputed"].endswith("on the CPU")


def test_where_nothing_is_saturated_little_is_fetched(gpu):
    fetched, original = [], gpu.to_host
    gpu.to_host = lambda array: fetched.append(array.size) or original(array)
    params = random_params("lstm", input_size=1, hidden_size=5)
    gs.gradient_flow(params, np.ones((20, 1)), device="cuda")
    assert max(fetched) == 21 * 2 * 5  # the states, to see whether they moved
