"""gradient_flow over a million and ten million steps: time and peak memory, each in a process of its own.

    python -m benchmarks.horizons [--steps 1000000 10000000] [--layers 1] [--tries 3] [--out FILE]

LSTM with 64 units, or `--layers 2` of them, one sequence, one input, from a memory-mapped file, every lag
reported.  A process imports
gatescope, runs a few steps, so that all is compiled and loaded, and then the long call is timed; its peak of resident
memory counts from the start of the process.  A run beside which other processes took more than 5 % of the machine is
made again, `--tries` times in all, and the least disturbed is kept.

Then what a second thread brings, on short runs: the adjoint's sweep and the one that recomputes, at the same time,
against one after the other; and, for chunks of time whose Jacobian products would be found in parallel, how many sweeps
such a product costs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare import use_cores
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from gatescope.experiments import machine, turns

RESULTS = Path(__file__).parent / "results" / "horizons.json"
STEPS = (1_000_000, 10_000_000)
DTYPES = ("float32", "float64")
# Targets on two cores, by layers and steps.
SECONDS = {(1, 1_000_000): 12.0, (1, 10_000_000): 120.0, (2, 1_000_000): 5.0}
PEAK_BYTES = {1: 1.5 * 2**30, 2: 0.5 * 2**30}
HIDDEN = 64
_PIECE = 100_000
_SWEEPS = 4000  # steps of a sweep that is timed for the table of products
_ROUNDS = 7


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all rows, print them, and write them down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.horizons", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", nargs="*", type=int, default=list(STEPS), metavar="T")
    parser.add_argument("--layers", type=int, choices=sorted(PEAK_BYTES), default=1, help="default 1")
    parser.add_argument("--tries", type=int, default=3, help="of a run that is disturbed (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="and cores of the process (default 2)")
    parser.add_argument("--no-threads-table", action="store_true", help="only the long runs")
    parser.add_argument("--out", type=Path, help="write here (default: results/horizons.json for all rows)")
    parser.add_argument("--worker", nargs=3, metavar=("PATH", "DTYPE", "STEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    use_cores(options.threads)
    if options.worker:
        path, dtype, steps = options.worker
        print(json.dumps(_work(Path(path), dtype, int(steps), options.threads, options.layers)))
        return
    source = provenance()
    more = options.threads, options.tries, options.layers
    rows = [_run(steps, dtype, *more) for steps in options.steps for dtype in DTYPES]
    data: dict[str, Any] = {"format": 1, "provenance": source, "threads": options.threads, "runs": rows}
    if not options.no_threads_table and options.layers == 1:
        data["second_thread"] = _second_thread(options.threads)
    whole = tuple(options.steps) == STEPS and not options.no_threads_table and options.layers == 1
    out = options.out or (RESULTS if whole else None)
    if out is not None:
        write_results(out, data, RESULTS)


def _run(steps: int, dtype: str, threads: int, tries: int, layers: int) -> dict[str, Any]:
    """Return the least disturbed of so many runs, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npy"
        file = np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=(steps, 1))
        rng = np.random.default_rng(0)
        for at in range(0, steps, _PIECE):
            file[at : at + _PIECE] = rng.standard_normal((min(_PIECE, steps - at), 1))
        del file
        command = [sys.executable, "-m", "benchmarks.horizons", "--threads", str(threads)]
        command += ["--layers", str(layers)]
        command += ["--worker", str(path), dtype, str(steps)]
        best: dict[str, Any] | None = None
        for _ in range(tries):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
            if done.returncode:
                sys.exit(done.stderr)
            attempt = json.loads(done.stdout)
            if best is None or attempt["others_share"] < best["others_share"]:
                best = attempt
            if best["others_share"] <= machine.DISTURBED:
                break
    assert best is not None
    bound = SECONDS.get((layers, steps))
    row = {
        "steps": steps,
        "dtype": dtype,
        "layers": layers,
        **best,
        "target_seconds": bound,
        "target_bytes": PEAK_BYTES[layers],
    }
    target = "" if bound is None else f"(target {bound:g} s)"
    mark = (
        ""
        if row["others_share"] <= machine.DISTURBED
        else f"  disturbed: others took {row['others_share']:.0%}"
    )
    peak, most, planned, before = (
        row[name] / 2**20 for name in ("peak_bytes", "target_bytes", "planned_bytes", "before_bytes")
    )
    print(
        f"T = {steps:>11,}  {dtype}  {row['seconds']:7.2f} s {target}  peak {peak:6.0f} MiB (target {most:.0f}), "
        f"planned {planned:.0f} MiB beyond the {before:.0f} before{mark}",
        flush=True,
    )
    return row


def _work(path: Path, dtype: str, steps: int, threads: int, layers: int) -> dict[str, Any]:
    """One call, timed, in this process."""
    import gatescope as gs
    from gatescope.measurements.memory_estimate import estimate_memory

    cells = [
        gs.init("lstm", input_size=HIDDEN if k else 1, hidden_size=HIDDEN, seed=k, dtype=dtype)
        for k in range(layers)
    ]
    params = cells[0] if layers == 1 else gs.Stack(layers=tuple(cells))
    gs.gradient_flow(params, np.zeros((20_000, 1)), threads=threads)
    inputs = np.load(path, mmap_mode="r")
    before = machine.peak_memory()
    with machine.others_share() as share:
        begun = time.perf_counter()
        flow = gs.gradient_flow(params, inputs, threads=threads)
        seconds = time.perf_counter() - begun
    # At lag 0 no state of the lower of two layers is a part of the output.
    if flow.log_norm.shape != (steps + 1, 1) or not np.isfinite(flow.log_norm[layers - 1 :]).all():
        raise AssertionError("log-norms are missing, or not finite")
    return {
        "seconds": seconds,
        "before_bytes": before,
        "peak_bytes": machine.peak_memory(),
        "planned_bytes": estimate_memory("gradient_flow", params, steps=steps, threads=threads).total,
        "others_share": share[0],
        "steps_to_half": float(flow.steps_to_half()[0]),
        "asymptotic_half_life_steps": float(flow.half_life().value[0]),
        "last_log_norm": float(flow.log_norm[-1, 0]),
    }


def _second_thread(threads: int) -> list[dict[str, Any]]:
    """By cell: microseconds a step of the sweeps, of whole calls on one and on more threads, and of a product."""
    rows = []
    print(
        "\nus a step: F recomputed, A adjoint, P a product of n directions (c = P / A); whole calls: on one thread,"
    )
    print(
        "on two (one recomputes ahead); with chunk products on two threads at least, and if these cost nothing"
    )
    for dtype in DTYPES:
        for cell, hidden in [
            *((c, h) for c in ("rnn", "gru", "lstm") for h in (1, 2, 4, 8, 16)),
            ("lstm", HIDDEN),
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
    import gatescope as gs
    from gatescope.cells.registry import get
    from gatescope.kernels.cpu.device import CpuDevice

    cell = get(cell_name)
    params = gs.init(cell_name, input_size=1, hidden_size=hidden, seed=0, dtype=dtype)
    size = len(cell.states) * hidden
    steps = _SWEEPS if hidden < HIDDEN else _SWEEPS // 2
    long = steps * (40 if hidden < HIDDEN else 15)
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


if __name__ == "__main__":
    main()
