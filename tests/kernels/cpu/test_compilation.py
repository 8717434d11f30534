"""What the compiler makes of the kernels, and when Numba's disk cache may be used."""

import inspect
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import BUILT_IN
from numba import njit
from numba.core.serialize import dumps

import gatescope as gs
from gatescope.cells.linear_cell import linear_cell
from gatescope.kernels.cpu import layout, sweeps
from gatescope.kernels.cpu.loops.adjoint import make_adjoint
from gatescope.kernels.cpu.loops.backward import make_backward
from gatescope.kernels.cpu.loops.closed_loop import make_closed_loop
from gatescope.kernels.cpu.loops.compiling import OPTIONS
from gatescope.kernels.cpu.loops.forward import make_forward
from gatescope.kernels.cpu.loops.linearization import make_linearization
from gatescope.kernels.cpu.loops.tangent import make_tangent


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_float32_kernels_hold_no_double(cell):
    """A stray `1 - y` or `0.5 * x` would promote; it would be as right, and half as fast."""
    params = gs.init(cell, input_size=2, hidden_size=5, seed=0)
    trace = gs.run(params, np.ones((4, 1, 2)))
    gs.backprop(params, trace, output_adjoint=np.ones_like(trace.outputs))
    plan = sweeps.plan_for(gs.cells.get(cell), 5, np.dtype("float32"))
    for kernel in (sweeps.forward_kernel(plan, 1), sweeps.backward_kernel(plan, 1)):
        signature = next(s for s in kernel.signatures if "float32" in str(s[0]))
        # What came from the disk cache cannot be looked at.
        fresh = njit(**OPTIONS)(kernel.py_func)
        fresh.compile(signature)
        text = fresh.inspect_llvm(signature)
        assert f"<{plan.lanes} x float>" in text
        doubles = [line for line in text.splitlines() if "double" in line]
        assert not doubles, doubles[:3]


CELL = """
from numba.extending import register_jitable
NAME, GATES, STATES, SAVED = "cached", ("h",), ("h",), ()

@register_jitable
def step(wx, rh, states):
    h = wx[0] + rh[0]{extra}
    return (h,), ()

@register_jitable
def step_vjp(kept, states, new_states, adjoint):
    d = (adjoint[0],)
    return d, d, (adjoint[0] - adjoint[0],)
"""

RUN = """
import sys
import numpy as np, gatescope as gs
import mycell
from gatescope.kernels.cpu import sweeps

gs.cells.register(mycell)
params = gs.init("cached", input_size=1, hidden_size=2, seed=0, dtype="float64")
trace = gs.run(params, np.ones((3, 1)))
plan = sweeps.plan_for(gs.cells.get("cached"), 2, np.dtype("float64"))
kernel = sweeps.forward_kernel(plan, 1)
print(sum(kernel.stats.cache_hits.values()), float(trace.outputs[0, 0, 0]))
"""


@pytest.mark.slow  # three processes that import and compile
def test_disk_cache_is_hit_by_the_next_process_and_missed_when_sources_change(tmp_path):
    package = tmp_path / "src" / "gatescope"
    shutil.copytree(Path(gs.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def run(extra):
        (tmp_path / "mycell.py").write_text(CELL.format(extra=extra))
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(RUN)],
            cwd=tmp_path,
            env={
                **os.environ,
                "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
                "PYTHONPATH": os.pathsep.join([str(package.parent), str(tmp_path)]),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        hits, value = done.stdout.split()
        return int(hits), float(value)

    hits, first = run("")
    assert hits == 0
    assert run("") == (1, first)
    hits, changed = run(" + wx[0]")
    assert hits == 0
    assert changed != first
    # What the equations are compiled with counts too: neither Numba nor the cell's own file would tell.
    activations = package / "kernels" / "simd" / "activations.py"
    activations.write_text(activations.read_text() + "\n# changed\n")
    assert run(" + wx[0]") == (0, changed)


@pytest.mark.parametrize("cell", BUILT_IN)
def test_what_kernels_close_over_is_the_same_in_every_process(cell):
    """Numba's disk cache pickles it, and an intrinsic or a dispatcher in it has another number in each process."""
    tile = layout.Tile(rows=4, vectors=1, split=1, width=1, ahead=0)
    plain = gs.cells.get(cell)
    kernels = [
        make_forward(plain, 8, tile, tile),
        make_backward(plain, 8, (tile, tile), (tile, tile)),
        make_linearization(plain, 8, tile, tile),
    ]
    for each in (plain, linear_cell(plain).cell):
        kernels += [
            *(make_tangent(each, tile[:2], gates) for gates in (None, (tile[:3], tile[:3]))),
            *(make_adjoint(each, 8, tile, tile, linked=l) for l in (None, tile)),
        ]
    for kernel in kernels:
        assert b"uuid" not in dumps([closed.cell_contents for closed in kernel.py_func.__closure__])


def test_kernels_of_different_cells_and_tiles_have_different_names():
    """Else one that calls two of the disk cache, as a closed loop does, may be linked to one of them twice."""
    kernels = [
        sweeps.forward_kernel(sweeps.plan_for(gs.cells.get(cell), units, np.dtype("float64")), rows)
        for cell in ("lstm", "gru", "gru_reset_before")
        for units, rows in ((5, 1), (5, 40), (130, 40))
    ]
    distinct = {id(kernel): kernel.py_func.__qualname__ for kernel in kernels}
    assert len({*distinct.values()}) == len(distinct) > 3
    assert all("make_forward.<locals>.forward_" in name for name in distinct.values())


def test_a_closed_loop_is_known_again_by_the_kernels_it_calls(monkeypatch):
    """Numba's key has pickled loops in it, which are others in each process, and nothing of their sources."""
    plans = [sweeps.plan_for(gs.cells.get(cell), 5, np.dtype("float64")) for cell in ("lstm", "gru")]
    lstm, gru = (sweeps.forward_kernel(plan, 1) for plan in plans)
    tiles = (tile.forward for tile in plans[0].tiles(1))
    again = make_forward.__wrapped__(plans[0].cell, plans[0].lanes, *tiles)
    assert again is not lstm
    loops = [
        make_closed_loop.__wrapped__(kernels) for kernels in ((lstm, gru), (again, gru), (gru, lstm), (lstm,))
    ]
    names = [loop.py_func.__qualname__ for loop in loops]
    assert names[0] == names[1]
    assert len({*names}) == 3
    keys = [loop._cache._index_key((), loop.targetctx.codegen()) for loop in loops]
    assert keys[0] == keys[1]
    assert len({*keys}) == 3
    monkeypatch.setattr(inspect, "getsource", lambda module: f"{module} of another version")
    assert make_closed_loop.__wrapped__((lstm, gru)).py_func.__qualname__ not in names
