"""What a second thread brings on one sequence: a part of `benchmarks.horizons`, of short runs.

The adjoint's sweep and the one that recomputes, at the same time, against one after the other; and, for chunks of time
whose Jacobian products would be found in parallel, how many sweeps such a product costs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import gatescope as gs
from gatescope.cells.registry import get
from gatescope.experiments import machine, turns
from gatescope.kernels.cpu.device import CpuDevice

_HIDDEN = 64  # the largest
_STEPS = 4000  # of a sweep that is timed
_ROUNDS = 7


def measure(threads: int) -> list[dict[str, Any]]:
    """By cell: microseconds a step of the sweeps, of whole calls on one and on more threads, and of a product."""
    rows = []
    print(
        "\nus a step: F recomputed, A adjoint, P a product of n directions (c = P / A); whole calls: on one thread,"
    )
    print(
        "on two (one recomputes ahead); with chunk products on two threads at least, and if these cost nothing"
    )
    for dtype in ("float32", "float64"):
        for cell, hidden in [
            *((c, h) for c in ("rnn", "gru", "lstm") for h in (1, 2, 4, 8, 16)),
            ("lstm", _HIDDEN),
        ]:
            with machine.others_share() as share:
                row = _sweeps(cell, hidden, dtype, threads)
            row["others_share"] = share[0]
            rows.append(row)
            times = "  ".join(
                f"{letter} {row[name]:.3f}"
                for letter, name in [
                    ("F", "forward"), ("A", "adjoint"), ("P", "product"), ("c", "c"),
                    ("one", "one_thread"), ("two", "two_threads"), ("chunks", "chunks_at_least"),
                    ("ideal", "chunks_ideal"),
                ]
            )  # fmt: skip
            mark = "" if share[0] <= machine.DISTURBED else f"  disturbed: {share[0]:.0%}"
            print(f"{dtype}  {cell:4s} H = {hidden:2d}  n = {row['n']:3d}  {times}{mark}", flush=True)
    return rows


def _sweeps(cell_name: str, hidden: int, dtype: str, threads: int) -> dict[str, Any]:
    cell = get(cell_name)
    params = gs.init(cell_name, input_size=1, hidden_size=hidden, seed=0, dtype=dtype)
    size = len(cell.states) * hidden
    steps = _STEPS if hidden < _HIDDEN else _STEPS // 2
    long = steps * (40 if hidden < _HIDDEN else 15)
    inputs = np.random.default_rng(0).standard_normal((long, 1, 1)).astype(dtype)
    device = CpuDevice(cell, params, 1)
    states, gates = device.buffers(steps, 1)
    start = np.zeros((1, len(cell.states), hidden), dtype)
    whole = np.eye(size, dtype=dtype).reshape(1, size, len(cell.states), hidden)
    one, all_of_them = device.adjoints(np.ascontiguousarray(whole[:, :1])), device.adjoints(whole)
    part = max(50, steps // size)
    calls = {
        "forward": (lambda: device.forward(inputs[:steps], start, states, gates), steps),
        "adjoint": (lambda: one.back(states, gates, 0, steps), steps),
        "product": (lambda: all_of_them.back(states, gates, 0, part, record=False), part),
        "one_thread": (lambda: gs.gradient_flow(params, inputs, threads=1), long),
        "two_threads": (lambda: gs.gradient_flow(params, inputs, threads=threads), long),
    }
    for call, _ in calls.values():
        call()
    best = {name: np.inf for name in calls}
    for _ in range(_ROUNDS):
        for name, (call, count) in calls.items():
            best[name] = min(best[name], turns.once(call) / count * 1e6)
    c = best["product"] / best["adjoint"]
    f, a = best["forward"], best["adjoint"]
    # One thread carries the vector, another finds the products of other chunks and replays them; both recompute.
    chunks = f + 1 / (1 / (f + a) + 1 / (f + (c + 1) * a))
    # The same if all products that pay were found for nothing beside the forward sweep, and no thread ever waited.
    ideal = f + max((f + a) / 2, a * (c + 1) / (c + 2))
    return {
        "cell": cell_name,
        "hidden_size": hidden,
        "dtype": dtype,
        "n": size,
        "c": c,
        **best,
        "chunks_at_least": chunks,
        "chunks_ideal": ideal,
    }
