"""The tests of the sweeps can fail: a kernel with a fault put into a copy of its text shows it in the emulator."""

import inspect

import numpy as np
import pytest
from helpers import gpu_sweeps as sweeps
from helpers.gpu_sweeps import Sweeps, force
from helpers.launch_plans import emulated

from gatescope.kernels.cuda import backward, driver, exchange, forward
from gatescope.kernels.cuda import sweeps as cuda

pytestmark = pytest.mark.slow  # they show that other tests can fail


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    """Call it a deadlock sooner: a fault's take half a minute else, and the sweeps here have an event every few."""
    if not driver.simulated:
        from helpers import emulator_threads

        monkeypatch.setattr(emulator_threads, "IDLE_ROUNDS", 300)


ONE_BLOCK = {"parts": 4, "sequences": 2, "together": 2}  # of several warps, for H = 33
BLOCKS = {"parts": 4, "blocks": 3, "sequences": 2}


def copy_of(module, name, *replacements, **names):
    """Return a factory made anew from its text, with lines replaced; names are put in place of the module's."""
    text = inspect.getsource(getattr(module, name))
    for old, new in replacements:
        assert old in text, f"the kernel no longer has the text {old!r}: adapt the fault"
        text = text.replace(old, new)
    scope = {**vars(module), **names}
    exec(compile(text, f"a copy of {name}", "exec"), scope)
    return scope[name]


def faulty_gather():
    return copy_of(exchange, "make_gather", ("waiting or not arrived", "False"))


BARRIER_AT_THE_END = ("            if BLOCKS == 1:\n                cuda.syncthreads()\n", "")
# Each in one buffer instead of two.
SINGLE_BUFFER = (
    ("memory[(u64(1) - turn) * u64(BUFFER)", "memory[turn * u64(BUFFER)"),
    ("turn = u64(1) - turn", "turn = u64(0)"),
)
SINGLE_EXCHANGE = (("turn = u64(1) - turn", "turn = u64(0)"), ("(u64(1) - turn)", "turn"))
SUMS = "            add_up_1(sums, part)\n"
BARRIER_BEFORE_THE_PRODUCT = (
    "            cuda.syncthreads()\n            multiply_1(",
    "            multiply_1(",
)

FAULTS = {
    "forward without the barrier at the end": ("forward", ONE_BLOCK, (BARRIER_AT_THE_END,), None),
    "forward with one buffer": ("forward", ONE_BLOCK, SINGLE_BUFFER, None),
    "forward that takes any tag": ("forward", BLOCKS, (), faulty_gather),
    "forward that exchanges through one buffer": ("forward", BLOCKS, SINGLE_EXCHANGE, None),
    "forward that does not add up": ("forward", ONE_BLOCK, ((SUMS, ""),), None),
    "back without the barrier": ("backward", ONE_BLOCK, (BARRIER_BEFORE_THE_PRODUCT,), None),
    "back with one buffer": ("backward", ONE_BLOCK, SINGLE_BUFFER[1:], None),
    "back that takes any tag": ("backward", BLOCKS, (), faulty_gather),
    "back that exchanges through one buffer": ("backward", BLOCKS, SINGLE_EXCHANGE[:1], None),
}


def runs_right(which, seed, races):
    """Whether a sweep ends, and with the right numbers."""
    from helpers.emulator import KernelFault

    with emulated(seed=seed, races=races) as gpu:
        work = Sweeps(gpu, "lstm", T=3, B=2, I=1, H=33)
        try:
            if which == "forward":
                actual, expected = work.forward()[0], work.expected_trace().states
            else:
                trace, grads = work.expected()
                actual, expected = work.backward(trace)["adjoint"], grads["adjoint"]
        except KernelFault:
            return False
    # NaN is not close either.
    return np.allclose(actual, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_shows(monkeypatch, fault):
    which, numbers, replacements, gather = FAULTS[fault]
    module = forward if which == "forward" else backward
    names = {"make_gather": gather()} if gather else {}
    factory = copy_of(module, f"make_{which}", *replacements, **names)
    monkeypatch.setattr(cuda, f"make_{which}", factory)
    sweeps.without_products(monkeypatch)
    force(monkeypatch, **numbers)
    # Which order of the threads brings it to light is a matter of luck, so there are several goes, the last of them
    # with every element of shared memory watched.
    assert not all(runs_right(which, seed, seed == 5) for seed in range(6))


@pytest.mark.parametrize("which", ["forward", "backward"])
@pytest.mark.parametrize("numbers", [ONE_BLOCK, BLOCKS], ids=["one block", "blocks"])
def test_a_copy_without_a_fault_is_right(monkeypatch, which, numbers):
    """Negative control: it is the fault that shows, not the copying."""
    module = forward if which == "forward" else backward
    monkeypatch.setattr(cuda, f"make_{which}", copy_of(module, f"make_{which}"))
    sweeps.without_products(monkeypatch)
    force(monkeypatch, **numbers)
    for seed in (0, 5):
        assert runs_right(which, seed, races=seed == 5)
