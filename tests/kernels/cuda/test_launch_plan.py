"""What `choose` promises: every plan fits the GPU and covers the product, for any size."""

import time

import numpy as np
import pytest
from helpers import gpu_sweeps as sweeps
from helpers.gpu_sweeps import CHIPS, Sweeps
from helpers.launch_plans import check_backward, check_forward, emulated

from gatescope.errors import DeviceError
from gatescope.kernels.cuda import launch_plan
from gatescope.kernels.cuda.launch_plan import DeviceProperties, choose, registers_of

TINY = DeviceProperties(1, 48 * 1024)
GPUS = {"tiny": TINY, "few": DeviceProperties(4, 64 * 1024), "H100": CHIPS[9, 0], "T4": CHIPS[7, 5]}
SIZES = [1, 2, 3, 7, 8, 13, 31, 33, 63, 64, 65, 100, 127, 128, 200, 255, 256, 333, 512]
LARGE = [1000, 1024, 2047, 2048]


def chosen(cell, hidden, dtype, rows, backward, properties):
    return choose(sweeps.cell_named(cell), hidden, np.dtype(dtype), rows, backward, properties)


def check(plan, cell, hidden, dtype, backward, properties):
    size, gates = np.dtype(dtype).itemsize, len(cell.gates)
    first = cell.prepared or gates
    assert plan.two_phase == bool(cell.prepared)
    products = [(plan.first, first)]
    if plan.two_phase:
        products.append((plan.second, gates - first))
    # The gpu.
    assert plan.threads % 32 == 0
    assert 32 <= plan.threads <= 512
    assert 1 <= plan.blocks <= properties.multiprocessors
    assert plan.shared_bytes <= properties.shared_limit
    # The hidden units, each in one block and in one group of threads.
    assert plan.units * plan.blocks >= hidden
    assert (plan.blocks - 1) * plan.units < hidden
    assert plan.units % plan.together == 0
    assert plan.units // plan.together * plan.parts <= plan.threads
    assert plan.parts in (1, 2, 4, 8, 16, 32)
    assert plan.sequences * plan.together <= plan.parts
    assert plan.spread * plan.sequences * plan.together == plan.parts
    assert plan.together == 1 or backward
    budget = 0
    for tile, width in products:
        assert tile.length == (width * hidden if backward else hidden)
        assert tile.outputs == plan.together * (1 if backward else width)
        assert tile.parts * tile.slice >= tile.length
        assert tile.registers + tile.shared + tile.streamed == tile.slice
        assert min(tile.registers, tile.shared, tile.streamed) >= 0
        assert tile.quantum * size == 16
        assert all(n % tile.quantum == 0 for n in (tile.slice, tile.stride, tile.registers, tile.shared))
        assert tile.stride >= tile.slice
        assert tile.stride // tile.quantum % 2 == 1  # the parts' loads fall into different banks
        assert (tile.threads, tile.sequences) == (plan.threads, plan.sequences)
        budget += tile.registers * tile.outputs * size // 4
    assert budget <= registers_of(plan.threads)
    assert (plan.exchange_words(3) == plan.itemsize // 4) == (plan.blocks == 1)


# A second phase of several gates has the most plans to choose from, and takes a second each.
SOME = [(gpu, dtype) for gpu in GPUS for dtype in ("float32", "float64")]
CHOICES = [
    *((cell, *some) for cell in ("lstm", "gru", "gru_reset_before", "rnn") for some in SOME),
    *(
        pytest.param("two_phases", *some, marks=[] if some == ("H100", "float32") else pytest.mark.slow)
        for some in SOME
    ),
]


@pytest.mark.parametrize(("cell", "gpu", "dtype"), CHOICES)
def test_every_size_has_a_design_that_fits_or_a_reason(cell, gpu, dtype):
    properties, known = GPUS[gpu], sweeps.cell_named(cell)
    refused = []
    for hidden in (*SIZES, *LARGE):
        for backward in (False, True):
            for rows in (1, 64):
                try:
                    plan = chosen(cell, hidden, dtype, rows, backward, properties)
                except DeviceError as error:
                    refused.append((properties.shared_limit, hidden, str(error)))
                    continue
                check(plan, known, hidden, dtype, backward, properties)
    # One multiprocessor has threads for 512 units; old GPUs' shared memory holds the vectors of little more.
    for shared_limit, hidden, reason in refused:
        assert shared_limit < 100_000  # never on a data centre's GPU
        assert hidden > 512
        assert f"hidden_size={hidden}" in reason


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 64, 1000])
@pytest.mark.parametrize("gpu", GPUS)
def test_small_cells_take_one_block(gpu, rows, backward):
    for hidden in (1, 7, 33, 64):
        for cell in ("lstm", "gru_reset_before"):
            assert chosen(cell, hidden, "float64", rows, backward, GPUS[gpu]).blocks == 1


def test_large_cells_take_several_where_there_are_several():
    assert chosen("lstm", 512, "float32", 1, False, CHIPS[9, 0]).blocks > 1
    assert chosen("lstm", 512, "float32", 1, False, TINY).blocks == 1
    assert chosen("lstm", 512, "float32", 1, False, TINY).first.streamed > 0


def test_the_choice_is_the_same_each_time_and_full_is_full():
    for backward in (False, True):
        arguments = ("gru", 200, "float32", 40, backward, CHIPS[8, 0])
        first = chosen(*arguments)
        choose.cache_clear()
        assert chosen(*arguments) == first
        # Far beyond what the gpu holds, more rows change nothing.
        many = [chosen("gru", 200, "float32", rows, backward, CHIPS[8, 0]) for rows in (5000, 50_000)]
        assert many[0] == many[1]


def test_choosing_is_quick():
    """It is done once a shape, before a launch that takes milliseconds."""
    taken = []
    for hidden in (16, 64, 256, 1024, 2048):
        for cell in ("lstm", "gru_reset_before"):
            choose.cache_clear()
            start = time.process_time()
            chosen(cell, hidden, "float32", 64, True, CHIPS[10, 0])
            taken.append(time.process_time() - start)
    assert sorted(taken)[len(taken) // 2] < 0.05, taken


@pytest.mark.parametrize("cell", ["lstm", "two_phases"])
def test_the_exchange_buffers_are_as_large_as_the_kernels_need(monkeypatch, cell):
    """The emulator stops at an index beyond, and with half the words the kernels get there."""
    sweeps.without_products(monkeypatch)
    sweeps.force(monkeypatch, parts=8, blocks=3, sequences=2, together=2)
    words = launch_plan.LaunchPlan.exchange_words
    with emulated() as gpu:
        work = Sweeps(gpu, cell, T=2, B=3, I=1, H=9)
        directions = np.ones((3, 1, len(work.cell.states), 9))
        trace = work.traced()

        def flow():
            work.adjoints(directions).back(trace.states, trace.gates, 0, 2)

        check_forward(work)
        check_backward(work)
        flow()
        monkeypatch.setattr(
            launch_plan.LaunchPlan, "exchange_words", lambda self, groups: words(self, groups) // 2
        )
        for sweep in (work.forward, lambda: work.backward(trace), flow):
            with pytest.raises(Exception, match="out of bounds"):
                sweep()
