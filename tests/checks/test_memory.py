"""Sizes that no machine holds are refused before anything is allocated."""

import tracemalloc

import numpy as np
import pytest

import gatescope as gs
from gatescope.checks import memory
from gatescope.checks.memory import check_memory, free_memory
from gatescope.errors import ValueRangeError

SMALL = {"input_size": 1, "hidden_size": 5, "dtype": "float64"}


@pytest.fixture
def one_gib_free(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1 << 30)


def test_something_is_free():
    assert 1 << 20 < free_memory() <= memory._UNKNOWN


def test_it_says_what_would_fit(one_gib_free):
    check_memory("steps", 1 << 27, lambda steps: 8 * steps, "the noise")
    with pytest.raises(
        ValueRangeError, match=r"steps=1073741824 is too large: the noise would take 8.00 GiB, and 1.00"
    ):
        check_memory("steps", 1 << 30, lambda steps: 8 * steps, "the noise")
    with pytest.raises(ValueRangeError, match=r"at most 134,217,728 would fit"):
        check_memory("steps", 10**30, lambda steps: 8 * steps, "the noise")
    with pytest.raises(ValueRangeError, match="not even 1 would fit"):
        check_memory("steps", 1, lambda steps: steps << 31, "it")


CALLS = {
    "hidden_size": lambda: gs.init("lstm", input_size=1, hidden_size=10**9, seed=0),
    "input_size": lambda: gs.init("lstm", input_size=10**12, hidden_size=5, seed=0),
    "threads": lambda: gs.run(gs.init("lstm", **SMALL, seed=0), np.zeros((3, 1)), threads=10**9),
    "seeds": lambda: gs.phase_diagram("lstm", gain=[1.0], seeds=10**9, steps=10),
    "steps": lambda: gs.phase_diagram("lstm", gain=[1.0], steps=10**13),
    "starts": lambda: gs.fixed_points(gs.init("lstm", **SMALL, seed=0), np.zeros(1), starts=10**10),
}


@pytest.mark.parametrize("name", CALLS)
def test_sizes_that_no_machine_holds(name):
    tracemalloc.start()
    with pytest.raises(ValueRangeError, match=rf"^{name}="):
        CALLS[name]()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 26


def test_a_run_that_does_not_fit_says_how_many_steps_would(one_gib_free):
    params = gs.init("lstm", input_size=1, hidden_size=64, seed=0, dtype="float64")
    inputs = np.broadcast_to(np.zeros((), np.float64), (10**6, 1, 1))
    with pytest.raises(
        ValueRangeError, match=r"^inputs is too large: every state.* at most [\d,]+ would fit; give fewer"
    ):
        gs.run(params, inputs)
