"""Lyapunov spectra beside NumPy and JAX: the same weights and inputs, everybody in turn in one process.

    python -m benchmarks.lyapunov [--smoke] [--rows PATTERN ...] [--out benchmarks/results/lyapunov.json]

Ours is ``gatescope.lyapunov_spectrum(params, inputs, k=k, checks=False)`` as a user calls it, and once more with
``qr_every=1``, which is what the peers do.  NumPy does fewer steps than the others; all times are a step.  A ratio is
the peer's time divided by ours.  Before anything is timed all exponents are compared, over the same steps and from the
same first directions.

Then ours alone, over a series so long that its time is what counts: ``lyapunov_spectrum(params, inputs, k=8)``, with
its checks.  A run beside which other processes took more than 5 % of the machine is made again, `--tries` times in
all, and the least disturbed is kept.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatescope as gs
from benchmarks import timing
from benchmarks.compare import use_cores
from benchmarks.peers import lyapunov_numpy
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from gatescope.experiments import machine, turns

RESULTS = Path(__file__).parent / "results" / "lyapunov.json"
SMOKE_STEPS = 60
PEERS = ("numpy", "jax float64", "jax float32")
JAX_TARGETS = {"jax float64": 1.0, "jax float32": 1.0}  # the peer's time / ours

# Nats per step that exponents may lie apart over the same steps and from the same first directions; all far below
# their errors.  With a QR at each step rounding alone is left.  Ours, asked for no interval, chooses one at which
# the last exponent still has five digits in each interval.  Float32 keeps so much of the leading exponent.
APART = {"qr_every=1": 1e-9, "default": 1e-6, "float32": 1e-4}

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One problem: one sequence, float64.

    Attributes
    ----------
    cell : str
    hidden_size, count : int
        H, and how many exponents.
    steps, numpy_steps, transient : int
        T, of ours and JAX's; T of NumPy's and of the comparison of results; steps that do not count.
    targets : mapping of str to float
        The ratios that should be reached.
    """

    cell: str
    hidden_size: int
    count: int
    steps: int = 10_000
    numpy_steps: int = 1_000
    transient: int = 100
    targets: Mapping[str, float] = field(default_factory=lambda: dict(JAX_TARGETS))

    @property
    def key(self) -> str:
        """Short name."""
        return f"{self.cell}-h{self.hidden_size}-k{self.count}"

    @property
    def title(self) -> str:
        """Name in a table."""
        plural = "" if self.count == 1 else "s"
        return f"{self.cell.upper()} H={self.hidden_size}, {self.count} exponent{plural}, T={self.steps:,}"

    def shortened(self) -> Row:
        """For a smoke run."""
        return replace(self, steps=SMOKE_STEPS, numpy_steps=SMOKE_STEPS, transient=10)


ROWS = (
    Row(cell="lstm", hidden_size=64, count=128, targets={"numpy": 20.0, **JAX_TARGETS}),
    Row(cell="lstm", hidden_size=64, count=16),
    Row(cell="lstm", hidden_size=64, count=1),
    Row(cell="gru", hidden_size=64, count=64),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One sequence, float64, ours alone.

    Attributes
    ----------
    cell : str
    hidden_size, count, steps : int
        H, how many exponents, and T.
    target_seconds : float
        In how long it should be done, on two cores.
    """

    cell: str
    hidden_size: int
    count: int
    steps: int
    target_seconds: float

    @property
    def key(self) -> str:
        """Short name."""
        return f"{self.cell}-h{self.hidden_size}-k{self.count}-t{self.steps}"

    @property
    def title(self) -> str:
        """Name in a table."""
        return f"{self.cell.upper()} H={self.hidden_size}, {self.count} exponents, T={self.steps:,}"

    def shortened(self) -> Run:
        """For a smoke run."""
        return replace(self, steps=SMOKE_STEPS)


RUNS = (Run(cell="lstm", hidden_size=64, count=8, steps=10_000_000, target_seconds=120.0),)


def problem(row: Row | Run) -> tuple[gs.Params, Array]:
    """PyTorch's initial weights, and the laser series (T, 1), repeated where it is too short."""
    params = gs.init(row.cell, input_size=1, hidden_size=row.hidden_size, seed=0, dtype="float64")
    series = gs.tasks.laser(dtype="float64").inputs[:, 0]
    return params, np.resize(series, (row.steps, 1))


def jax_peers(row: Row, params: gs.Params, inputs: Array) -> dict[str, Callable[[], Array]]:
    """JAX in both precisions; nothing where it is not installed."""
    try:
        module = importlib.import_module("benchmarks.peers.lyapunov_jax")
    except ImportError:
        return {}
    return {
        f"jax {dtype}": module.compiled(params, inputs, row.count, row.transient, dtype)
        for dtype in ("float64", "float32")
    }


def check_agreement(ours: gs.LyapunovSpectrum, peers: dict[str, Array], allowed: float) -> dict[str, float]:
    """Largest difference from each peer's exponents, in nats per step; of float32, that of the leading one.

    Raises
    ------
    AssertionError
        If they do not compute the same: a ratio of their times would mean nothing.
    """
    exponents = ours.exponents[0]
    differences = {}
    for name, theirs in peers.items():
        if theirs.shape != exponents.shape:
            raise AssertionError(f"{name} returns {theirs.shape}, ours {exponents.shape}")
        apart = np.abs(np.sort(theirs)[::-1] - exponents)
        single = name.endswith("float32")  # whose smallest exponents are full of rounding
        differences[name] = float(apart[0] if single else apart.max())
        limit = max(allowed, APART["float32"]) if single else allowed
        if not differences[name] <= limit:  # so that a NaN fails too
            raise AssertionError(
                f"{name} differs by {differences[name]:.1e} nats per step, {limit:.0e} allowed"
            )
    return differences


def compare_row(row: Row, *, threads: int, rounds: int, budget: float) -> dict[str, Any]:
    """Check one row's results against the peers', then time everybody in turn."""
    params, inputs = problem(row)
    short = inputs[: row.numpy_steps]

    def ours(series: Array, **options: Any) -> gs.LyapunovSpectrum:
        keywords = {"transient": row.transient, "checks": False, "threads": threads, **options}
        return gs.lyapunov_spectrum(params, series, k=row.count, **keywords)

    def numpy_peer() -> Array:
        return lyapunov_numpy.exponents(params, short, row.count, row.transient)

    results = {"numpy": numpy_peer()}
    results |= {name: call() for name, call in jax_peers(row, params, short).items()}
    chosen = ours(short)
    agreement = check_agreement(chosen, results, APART["default"])
    every_step = check_agreement(ours(short, qr_every=1), results, APART["qr_every=1"])

    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(inputs),
        "ours, qr_every=1": lambda: ours(inputs, qr_every=1),
        **jax_peers(row, params, inputs),
        "numpy": numpy_peer,
    }
    for call in calls.values():
        call()  # compiles
    with machine.others_share() as others:
        times = turns.interleaved(calls, rounds, budget)
    steps = {name: row.numpy_steps if name == "numpy" else row.steps for name in calls}
    per_step = {
        name: timing.quartiles([1e6 * t / steps[name] for t in taken]) for name, taken in times.items()
    }
    own = per_step["ours"]["median"]
    ratios = {name: per_step[name]["median"] / own for name in calls if not name.startswith("ours")}
    return {
        "qr_every": chosen.qr_every,
        "rounds": len(times["ours"]),
        "us_per_step": per_step,
        "ratios": ratios,
        "met": {name: ratio >= row.targets[name] for name, ratio in ratios.items() if name in row.targets},
        "largest_difference": agreement,
        "largest_difference_qr_every_1": every_step,
        "smallest_error": float(np.nanmin(chosen.error)) if np.isfinite(chosen.error).any() else None,
        "others": others[0],
    }


def time_run(run: Run, *, threads: int, tries: int) -> dict[str, Any]:
    """Time a run alone, again as long as it is disturbed, and return the least disturbed of so many tries."""
    params, inputs = problem(run)
    best: dict[str, Any] = {}
    gs.lyapunov_spectrum(params, inputs[: 10 * SMOKE_STEPS], k=run.count, threads=threads)  # compiles
    for _ in range(tries):
        with machine.others_share() as others:
            begun = time.perf_counter()
            spectrum = gs.lyapunov_spectrum(params, inputs, k=run.count, threads=threads)
            seconds = time.perf_counter() - begun
        if not np.isfinite(spectrum.exponents).all():
            raise AssertionError(f"exponents of {run.title} are not finite: {spectrum.exponents}")
        if not best or others[0] < best["others_share"]:
            best = {
                "seconds": seconds,
                "met": seconds <= run.target_seconds,
                "others_share": others[0],
                "qr_every": spectrum.qr_every,
                "exponents": spectrum.exponents[0].tolist(),
                "error": spectrum.error[0].tolist(),
            }
        if best["others_share"] <= machine.DISTURBED:
            break
    return best


def table(data: dict[str, Any]) -> str:
    """Return the rows as a Markdown table, and what was run alone as another."""
    lines = [
        "| one sequence, float64 | ours | ours, QR each step | NumPy | JAX | JAX, float32 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in data["rows"]:
        us, ratios = row["us_per_step"], row["ratios"]
        cells = [f"{us['ours']['median']:.3g}", f"{us['ours, qr_every=1']['median']:.3g}"]
        for name in PEERS:
            text = f"{ratios[name]:.3g}" if name in ratios else "not run"
            if name in row["met"]:
                target = f"≥ {row['targets'][name]:g}"
                text = f"{text} ({target})" if row["met"][name] else f"**{text}** ({target}, missed)"
            cells.append(text)
        title = row["title"] if row["others"] <= machine.DISTURBED else f"*{row['title']}*"
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines.append("")
    lines.append(
        "Ours in µs a step; peers as ratios, their time / ours, with the target. A row in italics was disturbed by "
        "other processes."
    )
    if data.get("runs"):
        lines += ["", "| one sequence, float64, ours alone | time | target |", "|---|---:|---:|"]
    for run in data.get("runs", ()):
        taken = f"{run['seconds']:.3g} s" if run["met"] else f"**{run['seconds']:.3g} s** (missed)"
        title = run["title"] if run["others_share"] <= machine.DISTURBED else f"*{run['title']}*"
        lines.append(f"| {title} | {taken} | {run['target_seconds']:g} s |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lyapunov", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="*", metavar="PATTERN", help="rows whose key contains one of these")
    parser.add_argument(
        "--smoke", action="store_true", help=f"{SMOKE_STEPS} steps and one round: does it run?"
    )
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each (default 9)")
    parser.add_argument(
        "--budget", type=float, default=60, help="seconds for the rounds of a row (default 60)"
    )
    parser.add_argument("--tries", type=int, default=3, help="of a run alone that is disturbed (default 3)")
    parser.add_argument(
        "--threads", type=int, default=2, help="of each, and cores of the process (default 2)"
    )
    parser.add_argument(
        "--out", type=Path, help=f"default benchmarks/results/{RESULTS.name}; a smoke run writes none"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1 or options.tries < 1:
        parser.error("--rounds, --threads and --tries must be 1 or more")

    def is_chosen(row: Row | Run) -> bool:
        return not options.rows or any(part in row.key for part in options.rows)

    chosen, alone = [row for row in ROWS if is_chosen(row)], [run for run in RUNS if is_chosen(run)]
    if not (chosen or alone):
        keys = ", ".join(row.key for row in (*ROWS, *RUNS))
        parser.error(f"--rows: no row has such a key; there are {keys}")
    out = options.out or (None if options.smoke or options.rows else RESULTS)

    source = provenance()  # the load of the machine is that of the others: before we begin
    use_cores(options.threads)
    rounds = 1 if options.smoke else options.rounds
    results: list[dict[str, Any]] = []
    for asked in chosen:
        used = asked.shortened() if options.smoke else asked
        timed = compare_row(used, threads=options.threads, rounds=rounds, budget=options.budget)
        results.append({**asdict(used), "key": used.key, "title": used.title, **timed})
    runs: list[dict[str, Any]] = []
    for run in alone:
        made = run.shortened() if options.smoke else run
        measured = time_run(made, threads=options.threads, tries=1 if options.smoke else options.tries)
        runs.append({**asdict(made), "key": made.key, "title": made.title, **measured})
    data = {
        "format": 1,
        "provenance": source,
        "protocol": {
            "threads": options.threads,
            "rounds": rounds,
            "budget_seconds": options.budget,
            "smoke": options.smoke,
            "allowed_difference": APART,
        },
        "rows": results,
        "runs": runs,
    }
    if options.smoke:  # a ratio of one round of a few steps says nothing
        for row in results:
            apart = max(row["largest_difference"].values())
            print(f"{row['key']:16s} agrees with {', '.join(row['ratios'])}; differences up to {apart:.1e}")
        for row in runs:
            print(f"{row['key']:16s} runs")
    else:
        print(table(data))
    if out is None:
        return
    write_results(out, data, RESULTS)


if __name__ == "__main__":
    main()
