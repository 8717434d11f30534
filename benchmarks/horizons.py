"""gradient_flow over 10^6, 10^7 and 10^8 steps: time, peak memory, accuracy, and going on after an interrupt.

    python -m benchmarks.horizons [--steps 1000000 ...] [--layers 1] [--parts runs known resumed threads] [--out FILE]

``runs``     LSTM with 64 units, or `--layers 2` of them, one sequence, one input, from a memory-mapped file, every lag
             reported; over 10^8 steps, of which every lag would be 1.6 GB, some evenly in the logarithm, and in float32
             alone.  A process imports gatescope, runs a few steps, so that all is compiled and loaded, and then the
             long call is timed; its peak of resident memory counts from the start of the process.  A run beside which
             other processes took more than 5 % of the machine is made again, `--tries` times in all, and the least
             disturbed is kept.
``known``    The networks of `known_gradients`, over as many steps as the longest run, in float32: how far their
             log-norms are from the known ones.
``resumed``  The longest run again in float32, interrupted (SIGINT) when half of its time is over, then called again
             with the same file: the same bits?
``threads``  What a second thread brings, on short runs (`second_thread`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import known_gradients, second_thread
from benchmarks.compare import use_cores
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from gatescope.experiments import machine
from gatescope.measurements.selection import by_factors

RESULTS = Path(__file__).parent / "results" / "horizons.json"
STEPS = (1_000_000, 10_000_000, 100_000_000)
PARTS = ("runs", "known", "resumed", "threads")
EVERY_LAG = 10_000_000  # steps up to which every lag is reported
MOST_LAGS = 100_000  # of a longer run
# Targets on two cores, by layers and steps.
SECONDS = {(1, 1_000_000): 12.0, (1, 10_000_000): 120.0, (1, 100_000_000): 240.0, (2, 1_000_000): 5.0}
PEAK_BYTES = {1: 1.5 * 2**30, 2: 0.5 * 2**30}
LONG_PEAK_BYTES = 2**30  # where not every lag is reported
HIDDEN = 64
_PIECE = 100_000
_READY = "ready"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all parts, print them, and write them down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.horizons", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", nargs="+", type=int, default=list(STEPS), metavar="T")
    parser.add_argument("--layers", type=int, choices=sorted(PEAK_BYTES), default=1, help="default 1")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=None, help="default: all; of two layers the runs alone"
    )
    parser.add_argument("--tries", type=int, default=3, help="of a run that is disturbed (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="and cores of the process (default 2)")
    parser.add_argument("--out", type=Path, help="write here (default: results/horizons.json for all rows)")
    parser.add_argument("--worker", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if any(steps < 1 for steps in options.steps) or options.tries < 1:
        parser.error("--steps and --tries must be 1 or more")
    use_cores(options.threads)
    if options.worker:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
        print(json.dumps(_work(**json.loads(options.worker))))
        return
    parts = options.parts or (PARTS if options.layers == 1 else PARTS[:1])
    if options.layers > 1 and tuple(parts) != PARTS[:1]:
        parser.error("--parts: of two layers there are the runs alone")
    source = provenance()
    common = {"threads": options.threads, "layers": options.layers}
    data: dict[str, Any] = {"format": 1, "provenance": source, "threads": options.threads, "runs": []}
    for steps in options.steps if {*parts} - {"threads"} else ():
        _horizon(data, steps, parts, options.tries, common, longest=steps == max(options.steps))
    if "threads" in parts:
        data["second_thread"] = second_thread.measure(options.threads)
    whole = tuple(options.steps) == STEPS and tuple(parts) == PARTS
    out = options.out or (RESULTS if whole else None)
    if out is not None:
        write_results(out, data, RESULTS)


def chosen_lags(steps: int) -> NDArray[np.int64] | None:
    """Return the lags that a run reports; None for all of them."""
    if steps <= EVERY_LAG:
        return None
    return np.concatenate([[0], by_factors(steps, MOST_LAGS)])


def dtypes(steps: int) -> tuple[str, ...]:
    """Return the precisions of a run: what takes minutes is measured in float32."""
    return ("float32",) if steps > EVERY_LAG else ("float32", "float64")


def _horizon(
    data: dict[str, Any],
    steps: int,
    parts: Sequence[str],
    tries: int,
    common: dict[str, Any],
    *,
    longest: bool,
) -> None:
    """Add to `data` what `parts` say of a horizon."""
    for dtype in dtypes(steps):
        with tempfile.TemporaryDirectory() as folder:
            inputs, saved = Path(folder) / "inputs.npy", Path(folder) / "saved.npy"
            _write_inputs(inputs, steps, dtype)
            job = {**common, "path": str(inputs), "dtype": dtype, "network": "random", "hidden_size": HIDDEN}
            last = longest and dtype == "float32"
            if "runs" in parts or (last and "resumed" in parts):
                whole = _least_disturbed({**job, "save": str(saved)}, tries)
                if "runs" in parts:
                    data["runs"].append(_row(whole, dtype, common["layers"]))
                if last and "resumed" in parts:
                    data["resumed"] = _resumed(job, whole["seconds"], np.load(saved))
            if last and "known" in parts:
                data["known_gradients"] = [_known(job, name) for name in known_gradients.NETWORKS]


def _write_inputs(path: Path, steps: int, dtype: str) -> None:
    """Write a file of random inputs (T, 1), piece by piece."""
    file = np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=(steps, 1))
    rng = np.random.default_rng(0)
    for at in range(0, steps, _PIECE):
        file[at : at + _PIECE] = rng.standard_normal((min(_PIECE, steps - at), 1))
    del file


def _command(job: dict[str, Any]) -> list[str]:
    threads = str(job["threads"])
    return [sys.executable, "-m", "benchmarks.horizons", "--threads", threads, "--worker", json.dumps(job)]


def _finished(job: dict[str, Any]) -> dict[str, Any]:
    """Return what a process of its own says of a job."""
    done = subprocess.run(_command(job), capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        sys.exit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _least_disturbed(job: dict[str, Any], tries: int) -> dict[str, Any]:
    """Return the least disturbed of so many runs."""
    best: dict[str, Any] | None = None
    for _ in range(tries):
        attempt = _finished(job)
        if best is None or attempt["others_share"] < best["others_share"]:
            best = attempt
        if best["others_share"] <= machine.DISTURBED:
            break
    assert best is not None
    return best


def _row(run: dict[str, Any], dtype: str, layers: int) -> dict[str, Any]:
    """Return a run beside its targets, and print it."""
    steps = run["steps"]
    row = {
        **run,
        "dtype": dtype,
        "layers": layers,
        "target_seconds": SECONDS.get((layers, steps)),
        "target_bytes": PEAK_BYTES[layers] if steps <= EVERY_LAG else LONG_PEAK_BYTES,
    }
    bound, share = row["target_seconds"], row["others_share"]
    target = "" if bound is None else f"(target {bound:g} s)"
    mark = "" if share <= machine.DISTURBED else f"  disturbed: others took {share:.0%}"
    peak, most, planned, before = (
        row[name] / 2**20 for name in ("peak_bytes", "target_bytes", "planned_bytes", "before_bytes")
    )
    print(
        f"T = {steps:>11,}  {dtype}  {row['lags']:,} lags  {row['seconds']:7.2f} s {target}  peak {peak:6.0f} MiB "
        f"(target {most:.0f}), planned {planned:.0f} MiB beyond the {before:.0f} before{mark}",
        flush=True,
    )
    return row


def _known(job: dict[str, Any], name: str) -> dict[str, Any]:
    """Return how far the log-norms of a network of `known_gradients` are from what they should be, and print it."""
    row = {"network": name, "dtype": job["dtype"], **_finished({**job, "network": name})}
    print(
        f"known gradient, {name:5s}  log-norm {row['known_last_log_norm']:,.0f}  error {row['error_nats']:.2g} nats, "
        f"relative {row['relative_error']:.2g}; gates rounded: {row['gates_error_nats']:.2g} nats",
        flush=True,
    )
    return row


def _resumed(job: dict[str, Any], seconds: float, expected: NDArray[np.float64]) -> dict[str, Any]:
    """Interrupt a run of so many seconds in its middle and call it again; return whether a bit has changed."""
    folder = Path(job["path"]).parent
    state, again = folder / "state", folder / "again.npy"
    job = {**job, "resume": str(state), "save": str(again)}
    with subprocess.Popen(
        _command(job), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ready = process.stdout.readline().strip() == _READY
        if ready:
            time.sleep(seconds / 2)
            process.send_signal(signal.SIGINT)
        errors = process.communicate()[1]
    if not (ready and state.exists()):
        sys.exit(f"nothing was left to resume: {errors or 'the run ended before it was interrupted'}")
    state_bytes = state.stat().st_size
    rest = _finished(job)
    row = {
        "steps": rest["steps"],
        "dtype": job["dtype"],
        "interrupted_after_seconds": seconds / 2,
        "seconds_after": rest["seconds"],
        "state_bytes": state_bytes,
        "same_bits": expected.tobytes() == np.load(again).tobytes(),
    }
    print(
        f"interrupted after {row['interrupted_after_seconds']:.3g} s, then {row['seconds_after']:.3g} s: "
        f"{'the same bits' if row['same_bits'] else 'OTHER BITS'}",
        flush=True,
    )
    return row


def _work(
    path: str,
    dtype: str,
    network: str,
    hidden_size: int,
    threads: int,
    layers: int,
    save: str | None = None,
    resume: str | None = None,
) -> dict[str, Any]:
    """One call, timed, in this process."""
    import gatescope as gs
    from gatescope.measurements.memory_estimate import estimate_memory

    params: gs.Params | gs.Stack
    options: dict[str, Any] = {"threads": threads}
    if network != "random":
        params = known_gradients.network(network, hidden_size, dtype)
        options |= {"of": "c", "wrt": "c"}
    else:
        cells = [
            gs.init("lstm", input_size=hidden_size if k else 1, hidden_size=hidden_size, seed=k, dtype=dtype)
            for k in range(layers)
        ]
        params = cells[0] if layers == 1 else gs.Stack(layers=tuple(cells))
    gs.gradient_flow(params, np.zeros((20_000, 1)), **options)
    inputs = np.load(path, mmap_mode="r")
    lags = chosen_lags(len(inputs))
    before = machine.peak_memory()
    print(_READY, flush=True)
    with machine.others_share() as share:
        begun = time.perf_counter()
        flow = gs.gradient_flow(params, inputs, lags=lags, resume=resume, **options)
        seconds = time.perf_counter() - begun
    peak = machine.peak_memory()
    # At lag 0 no state of the lower of two layers is a part of the output.
    reached = flow.log_norm[flow.lag >= layers - 1]
    if flow.lag[-1] != len(inputs) or not np.isfinite(reached).all():
        raise AssertionError("log-norms are missing, or not finite")
    if save is not None:
        np.save(save, flow.log_norm)
    plan = estimate_memory("gradient_flow", params, steps=len(inputs), threads=threads, lags=lags)
    known = (
        {} if isinstance(params, gs.Stack) or network == "random" else known_gradients.compared(params, flow)
    )
    return {
        "steps": len(inputs),
        "lags": len(flow.lag),
        "seconds": seconds,
        "before_bytes": before,
        "peak_bytes": peak,
        "planned_bytes": plan.total,
        "others_share": share[0],
        "steps_to_half": float(flow.steps_to_half()[0]),
        "asymptotic_half_life_steps": float(flow.half_life().value[0]),
        "last_log_norm": float(flow.log_norm[-1, 0]),
        **known,
    }


if __name__ == "__main__":
    main()
