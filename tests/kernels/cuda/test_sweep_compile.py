"""The sweeps' machine code: nothing in slow memory, no float64 by accident, the instructions that were meant."""

import re
from functools import cache

import numpy as np
import pytest
from helpers import gpu_sweeps as sweeps
from helpers import machine_code as compiling
from helpers.gpu_sweeps import CHIPS, make_kernel, make_launch_plan, signature_of

from gatescope.cells.linear_cell import linear_cell
from gatescope.kernels.cuda.launch_plan import choose, registers_of

pytestmark = pytest.mark.skipif(compiling.why_not() is not None, reason=str(compiling.why_not()))

KINDS = ["forward", "backward", "flow"]
H100 = (9, 0)
RECIPROCAL = "rcp.approx.ftz.f32"
SIZES = [16, 64, 512]


@cache
def built(kind, cell, hidden, dtype, cc, rows=1, fast_activations=False, launch_plan=None):
    """(kernel as built, its launch plan): the one that is chosen for so many rows, unless one is given."""
    cell = sweeps.cell_named(cell)
    launch_plan = launch_plan or choose(
        cell, hidden, np.dtype(dtype), rows, kind in ("backward", "flow"), CHIPS[cc]
    )
    kernel = make_kernel(kind, cell, hidden, dtype, launch_plan, fast_activations)
    return compiling.build(kernel, signature_of(kind, dtype), cc), launch_plan


def check(kind, cell, hidden, dtype, cc, rows=1):
    kernel, launch_plan = built(kind, cell, hidden, dtype, cc, rows)
    assert kernel.stack == 0, f"{kernel.stack} bytes of local memory a thread in {launch_plan}"
    assert kernel.spills == 0, f"{kernel.spills} bytes spilled in {launch_plan}"
    # A launch of more threads than the registers are for fails on the GPU, and nothing before it says so.
    allowed = registers_of(launch_plan.threads)
    assert kernel.registers <= allowed, f"{kernel.registers} registers of {allowed} in {launch_plan}"
    assert kernel.shared == 0  # all of it is dynamic, which is what the launch plan counts
    assert_instructions(kernel.ptx, launch_plan, dtype)


def assert_instructions(ptx, launch_plan, dtype):
    if dtype == "float32":
        assert ".f64" not in ptx
    instructions = set(re.findall(r"^\s+(?:@!?%p\d+ )?([a-z][\w.]*)", ptx, re.MULTILINE))
    approximate = {name for name in instructions if ".approx" in name}
    assert approximate <= ({RECIPROCAL} if dtype == "float32" else set()), approximate
    flushing = {name for name in instructions if ".ftz" in name}
    assert flushing <= {RECIPROCAL}, flushing  # subnormal numbers are 0 nowhere else
    several = launch_plan.blocks > 1
    assert ("ld.relaxed.gpu" in ptx) == several
    assert ("st.relaxed.gpu" in ptx) == several
    assert "prefetch.L2" in ptx
    assert "atom." not in ptx


# What tells most of the changes, in about half a minute, and is not among the slow ones below.
CORE = [
    ("forward", "lstm", 64, "float32", (7, 5), 1),
    ("backward", "lstm", 64, "float32", (8, 0), 1),
    ("flow", "gru", 64, "float32", (10, 0), 64),
    ("forward", "gru_reset_before", 64, "float32", (8, 0), 1),
    ("backward", "rnn", 16, "float32", (7, 5), 64),
    ("forward", "leaky", 16, "float32", (8, 0), 1),
    ("flow", "two_phases", 16, "float32", (9, 0), 1),
    ("forward", "lstm", 256, "float32", (9, 0), 1),
    ("backward", "gru_reset_before", 128, "float32", (9, 0), 1),
    ("backward", "gru", 16, "float64", (10, 0), 1),
]


@pytest.mark.parametrize(("kind", "cell", "hidden", "dtype", "cc", "rows"), CORE)
def test_the_core(kind, cell, hidden, dtype, cc, rows):
    check(kind, cell, hidden, dtype, cc, rows)


@pytest.mark.parametrize("cell", ["lstm", pytest.param("gru_reset_before", marks=pytest.mark.slow)])
def test_the_sweep_over_coefficients(cell):
    linear = linear_cell(sweeps.cell_named(cell)).cell
    launch_plan = choose(linear, 64, np.dtype("float32"), 1, True, CHIPS[H100])
    kernel = make_kernel("flow", linear, 64, "float32", launch_plan)
    built = compiling.build(kernel, signature_of("flow", "float32"), H100)
    assert (built.stack, built.spills) == (0, 0), built.log
    assert built.registers <= registers_of(launch_plan.threads)
    assert_instructions(built.ptx, launch_plan, "float32")


# Every kernel of every built-in cell but the RNN, which is that of the relu with another curve, in float64 those of a
# cell of one phase and of one of two by turns, as the architectures are; LSTM's or GRU's in more sizes, too, by turns;
# without what is in the core.
EVERYTHING = [
    (kind, cell, hidden, dtype)
    for k, kind in enumerate(KINDS)
    for cell in sweeps.BUILT_IN
    for h, hidden in enumerate(SIZES)
    for dtype in ("float32", "float64")
    if (
        hidden == 64 and cell != "rnn" and (dtype == "float32" or cell == ("lstm", "gru_reset_before")[k % 2])
    )
    or (dtype == "float32" and (k + h) % 2 and cell == ("lstm", "gru")[k % 2])
    if (kind, cell, hidden, dtype) not in [case[:4] for case in CORE]
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "cell", "hidden", "dtype"), EVERYTHING)
def test_everything(kind, cell, hidden, dtype):
    turn = KINDS.index(kind) + sweeps.BUILT_IN.index(cell) + 2 * (dtype == "float64")
    check(kind, cell, hidden, dtype, list(CHIPS)[turn % 4] if hidden == 64 else H100, rows=40)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_packing_of_the_weights(dtype):
    for cell, hidden in (("lstm", 64), ("gru_reset_before", 256)):
        kernel, _ = built("pack", cell, hidden, dtype, H100)
        assert kernel.stack == kernel.spills == 0
        assert kernel.registers <= 64  # 256 threads of it must fit four times
        assert dtype == "float64" or kernel.f64 == 0


def test_one_block_passes_nothing_on_and_several_do():
    """Negative control of the tests of `ld.relaxed`, and both launch plans occur in the core."""
    one, alone = built("forward", "lstm", 64, "float32", (7, 5))
    many, group = built("forward", "lstm", 256, "float32", H100)
    assert alone.blocks == 1 < group.blocks
    with pytest.raises(AssertionError):
        assert_instructions(one.ptx, group, "float32")
    with pytest.raises(AssertionError):
        assert_instructions(many.ptx, alone, "float32")


@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_a_design_with_too_many_registers_shows(kind):
    """Negative control: all weights of H = 128 in the registers of a block's 128 threads, 512 of them each."""
    cell = sweeps.cell_named("lstm")
    launch_plan = make_launch_plan(
        cell, 128, "float32", kind == "backward", CHIPS[H100], parts=1, registers=10_000, shared=0
    )
    assert launch_plan.threads == 128
    assert launch_plan.first.registers * launch_plan.first.outputs == 512
    kernel, _ = built(kind, "lstm", 128, "float32", H100, launch_plan=launch_plan)
    assert kernel.stack > 0 or kernel.spills > 0


def test_fast_activations_are_one_instruction():
    exact, _ = built("forward", "lstm", 16, "float32", (8, 0))
    fast_activations, _ = built("forward", "lstm", 16, "float32", (8, 0), fast_activations=True)
    assert "tanh.approx" not in exact.ptx
    assert exact.ptx.count(RECIPROCAL) == 5  # four gates and the tanh of c
    assert fast_activations.ptx.count("tanh.approx.f32") == 5
    assert "rcp.approx" not in fast_activations.ptx


# A wide load of four weights' worth of the vector serves 4 * outputs multiplications.
@pytest.mark.parametrize(("kind", "cell"), [("forward", "lstm"), ("backward", "lstm"), ("forward", "gru")])
def test_the_product_is_multiply_adds_and_wide_loads(kind, cell):
    kernel, launch_plan = built(kind, cell, 64, "float32", H100)
    counts = compiling.sass(kernel.cubin)
    if counts is None:
        pytest.skip("nvdisasm is not installed (the package nvidia-cuda-nvdisasm)")
    tile = launch_plan.first
    work = tile.slice * tile.outputs * tile.sequences
    assert tile.registers == tile.slice
    # The product stands in the code once, and the elementwise part takes a few multiply-adds more.
    assert work <= counts["FFMA"] <= work + 200
    wide = sum(count for name, count in counts.items() if name.startswith("LDS") and name.endswith("128"))
    assert wide >= tile.slice * tile.sequences // 4
    assert not any(name.startswith(("DFMA", "DADD", "DMUL", "LDL", "STL")) for name in counts)
    # Of the whole kernel: what is before the loop loads the weights, once.
    assert counts["FFMA"] >= 0.1 * sum(counts.values())
