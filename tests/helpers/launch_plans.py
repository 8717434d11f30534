"""Launch plans of every kind, and the sweeps checked against the CPU's kernels and the slow oracle."""

import pytest

from gatescope.kernels.cuda import backend, driver
from helpers.cases import assert_close
from helpers.gpu_sweeps import TOLERANCE

# One block and one lane a unit: all that Numba's simulator, which has no shuffles, can run.
PLAIN = {"parts": 1}


# A launch plan for each way to spread a product: parts, sequences and units of a thread, blocks, where the weights are.
LAUNCH_PLANS = {
    "plain": PLAIN,
    "parts": {"parts": 8},
    "sequences": {"parts": 4, "sequences": 2},
    "together": {"parts": 4, "together": 4},
    "both": {"parts": 16, "together": 2, "sequences": 4},
    "warp": {"parts": 32, "together": 8, "sequences": 2},
    "blocks": {"parts": 4, "blocks": 2},
    "three blocks": {"parts": 4, "blocks": 3, "sequences": 2, "together": 2},
    "five blocks": {"parts": 8, "blocks": 5, "sequences": 4},
    "shared": {"parts": 2, "registers": 0},
    "streamed": {"parts": 2, "registers": 0, "shared": 0},
    "spread": {"parts": 2, "registers": 1, "shared": 1, "blocks": 2},
}


def emulated(**options):
    """Put the emulator in the GPU's place, with its options; skips in the simulator, beside which it cannot run."""
    if driver.simulated:
        pytest.skip("the emulator needs the real numba.cuda")
    from helpers.emulator import EmulatedGpu

    return backend.use(EmulatedGpu(**{"multiprocessors": 16, **options}))


def assert_all_close(gradients, expected, dtype, what=""):
    for name, value in expected.items():
        assert_close(gradients[name], value, TOLERANCE[dtype], f"{what} {name}")


def check_forward(work, lengths=None):
    """Compare states and gates with those that are right."""
    states, gates = work.forward(lengths)
    trace = work.expected_trace(lengths)
    assert_close(states, trace.states, TOLERANCE[work.dtype.name], "states")
    if gates.size:
        assert_close(gates, trace.gates, TOLERANCE[work.dtype.name], "gates")


def check_backward(work, lengths=None, *, cotangents=True, final=True):
    """Compare gradients with those that are right."""
    trace, expected = work.expected(lengths, cotangents=cotangents, final=final)
    gradients = work.backward(trace, lengths, cotangents=cotangents, final=final)
    assert_all_close(gradients, {name: expected[name] for name in gradients}, work.dtype.name)
