"""Training beside PyTorch and JAX: one epoch is forward, loss, backward, clipping and Adam, in float32.

    python -m benchmarks.training [--smoke] [--rows PATTERN ...] [--out benchmarks/results/training.json]

Everybody takes a turn in each round, in one process: ours on one thread and on two, PyTorch with its default number of
threads and with one (the faster counts), JAX; each turn begins with an update that is not timed.  A ratio is the peer's
time divided by ours.  Before anything is timed, the loss and the weights after a few updates are compared.  Then
``gatescope.train`` and PyTorch's loop run in processes of their own, for their peaks of resident memory, and for what
an epoch of ``train`` takes as a user calls it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatescope as gs
from benchmarks import timing
from benchmarks.compare import use_cores
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from gatescope.experiments import machine, turns

RESULTS = Path(__file__).parent / "results" / "training.json"
LR, CLIP = 1e-3, 1.0
SMOKE_STEPS = 20
UPDATES = 3  # after which weights are compared
EPOCHS = 1000
MINUTES, PEAK_BYTES = 4.0, 3 * 2**30  # of so many epochs of the long row, on two cores
EXPERIMENT = "long"  # the rows of the experiment's sizes
PEERS = {"pytorch": "benchmarks.peers.training_torch", "jax": "benchmarks.peers.training_jax"}

# Largest difference of the weights after UPDATES updates, in learning rates: Adam moves a weight by about one a step,
# and where a gradient is all rounding (sums over 800,000 terms in float32) it may go either way.  So the median over
# the weights is judged, and the loss, which all of them enter.
APART_WEIGHTS, APART_LOSS = 0.02, 1e-4

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One problem.

    Attributes
    ----------
    name, cell : str
    steps, sequences, input_size, hidden_size : int
        T, B, I and H.
    heads : tuple of int
        Outputs of each mean squared error.
    last : bool
        Whether only the last step counts.
    target : float
        The ratio to PyTorch that should be reached.
    minutes : float or None
        In which `EPOCHS` epochs should be done.
    """

    name: str
    cell: str
    steps: int
    sequences: int
    input_size: int
    hidden_size: int
    heads: tuple[int, ...]
    last: bool = False
    target: float = 1.0
    minutes: float | None = None

    @property
    def key(self) -> str:
        """Short name."""
        return f"{self.name}-{self.cell}"

    @property
    def title(self) -> str:
        """Name in a table."""
        where = "last step" if self.last else "every step"
        outputs = "1 output" if self.heads == (1,) else f"{sum(self.heads)} outputs"
        return (
            f"{self.cell.upper()} {self.sequences} x {self.steps:,}, I={self.input_size} H={self.hidden_size}, "
            f"{outputs}, {where}"
        )

    def shortened(self) -> Row:
        """For a smoke run."""
        return replace(self, steps=SMOKE_STEPS)


def _long(cell: str, target: float) -> Row:
    size = {"steps": 20_000, "sequences": 40, "input_size": 8, "hidden_size": 16}
    return Row(name=EXPERIMENT, cell=cell, heads=(3, 2, 2), target=target, minutes=MINUTES, **size)  # type: ignore[arg-type]


def _adding(cell: str) -> Row:
    size = {"steps": 100, "sequences": 32, "input_size": 2, "hidden_size": 32}
    return Row(name="adding", cell=cell, heads=(1,), last=True, **size)  # type: ignore[arg-type]


def _medium(cell: str) -> Row:
    size = {"steps": 200, "sequences": 64, "input_size": 8, "hidden_size": 128}
    return Row(name="medium", cell=cell, heads=(3, 2, 2), **size)  # type: ignore[arg-type]


ROWS = (
    _long("lstm", 12.0),
    _long("gru", 30.0),
    *(_adding(cell) for cell in ("lstm", "gru")),
    *(_medium(cell) for cell in ("lstm", "gru")),
)


def problem(row: Row) -> tuple[gs.Stack, gs.Batch]:
    """PyTorch's initial weights, and normal numbers as inputs and targets."""
    rng = np.random.default_rng(0)
    shape = (row.steps, row.sequences)
    mask = np.ones(shape, bool)
    if row.last:
        mask[:-1] = False
    batch = gs.Batch(
        inputs=rng.standard_normal((*shape, row.input_size), np.float32),
        targets=rng.standard_normal((*shape, sum(row.heads)), np.float32),
        mask=mask,
        lengths=np.full(row.sequences, row.steps, np.int64),
        name=row.name,
        heads=tuple(gs.Head(f"head{k}", size) for k, size in enumerate(row.heads)),
    )
    return gs.init_stack(row.cell, hidden_size=row.hidden_size, heads=batch, seed=0), batch


class Ours:
    """The engine, clipping and Adam, as ``gatescope.train`` puts them together."""

    def __init__(self, stack: gs.Stack, batch: gs.Batch, threads: int) -> None:
        from gatescope.training.arrays import as_data
        from gatescope.training.clipping import Clip
        from gatescope.training.engine import Engine
        from gatescope.training.optimizers import Adam

        steps, sequences = batch.mask.shape
        self.engine = Engine(stack, steps=steps, sequences=sequences, threads=threads)
        self.data = as_data(batch, stack)
        self.adam, self.clip = Adam(), Clip(norm=CLIP)
        self.adam_state = self.adam.state(self.engine.theta.size, self.engine.theta.dtype)
        self.done = 0

    def update(self) -> float:
        """Forward, loss, backward, clip, Adam; the loss before it."""
        score = self.engine.back(self.data, self.done)
        self.clip.apply(self.engine.gradient, self.engine.sizes)
        self.done += 1
        self.adam.update(self.engine.theta, self.engine.gradient, self.adam_state, self.done, LR)
        return float(score.loss)

    def theta(self) -> Array:
        """All weights (N,)."""
        return np.array(self.engine.theta)


def peer(name: str, stack: gs.Stack, batch: gs.Batch, last: bool) -> Any:
    """Return a peer's trainer; None where it is not installed."""
    try:
        module = importlib.import_module(PEERS[name])
    except ImportError:
        return None
    return module.Trainer(stack, batch.inputs, batch.targets, last, LR, CLIP)


def with_threads(trainer: Any, threads: int) -> Callable[[], float]:
    """PyTorch's update with so many threads."""
    import torch

    def call() -> float:
        torch.set_num_threads(threads)
        return float(trainer.update())

    return call


def check_agreement(ours: Any, others: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Do a few updates with everybody; differences of the losses (relative) and of the weights (in learning rates).

    Raises
    ------
    AssertionError
        If they do not compute the same: a ratio of their times would mean nothing.
    """
    losses = [ours.update() for _ in range(UPDATES)]
    theta = ours.theta()
    differences = {}
    for name, other in others.items():
        theirs = [other.update() for _ in range(UPDATES)]
        loss = max(abs(a - b) / abs(b) for a, b in zip(losses, theirs, strict=True))
        weights = float(np.median(np.abs(other.theta() - theta)) / LR)
        differences[name] = {"loss": loss, "weights": weights}
        if not (loss <= APART_LOSS and weights <= APART_WEIGHTS):  # so that a NaN fails too
            raise AssertionError(
                f"{name}: the losses differ by {loss:.1e} of their value ({APART_LOSS:.0e} allowed), the weights by "
                f"{weights:.1e} learning rates ({APART_WEIGHTS} allowed)"
            )
    return differences


def compare_row(row: Row, *, threads: int, rounds: int, budget: float) -> dict[str, Any]:
    """Check one row's updates against the peers', then time everybody in turn."""
    stack, batch = problem(row)
    fresh = {name: peer(name, stack, batch, row.last) for name in PEERS}
    others = {name: trainer for name, trainer in fresh.items() if trainer is not None}
    agreement = check_agreement(Ours(stack, batch, threads), others)

    calls: dict[str, Callable[[], Any]] = {
        f"ours, {count} thread{'s' if count > 1 else ''}": Ours(stack, batch, count).update
        for count in sorted({1, threads})
    }
    if "pytorch" in others:
        import torch

        before = torch.get_num_threads()
        for count in sorted({1, before}):
            calls[f"pytorch, {count} thread{'s' if count > 1 else ''}"] = with_threads(
                others["pytorch"], count
            )
    if "jax" in others:
        calls["jax"] = others["jax"].update
    for call in calls.values():
        call()
    with machine.others_share() as share:
        times = turns.interleaved(calls, rounds, budget, warm=True)
    if "pytorch" in others:
        torch.set_num_threads(before)
    seconds = {name: timing.quartiles(taken) for name, taken in times.items()}
    best = {
        who: min((name for name in seconds if name.startswith(who)), key=lambda n: seconds[n]["median"])
        for who in ("ours", *others)
    }
    own = seconds[best["ours"]]["median"]
    ratios = {who: seconds[best[who]]["median"] / own for who in others}
    return {
        "rounds": len(times[best["ours"]]),
        "seconds": seconds,
        "best": best,
        "ratios": ratios,
        "met": ratios["pytorch"] >= row.target if "pytorch" in ratios else None,
        "difference": agreement,
        "others": share[0],
    }


def measured_alone(row: Row, who: str, threads: int, epochs: int) -> dict[str, Any]:
    """Peak memory, and seconds an epoch, of a process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.training", "--threads", str(threads)]
    command += ["--worker", who, json.dumps(asdict(row)), str(epochs)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, cwd=root)
    if done.returncode:
        raise RuntimeError(f"{who}, {row.key}: {done.stderr}")
    timed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return timed


def _work(who: str, row: Row, epochs: int, threads: int) -> dict[str, Any]:
    """So many epochs in this process."""
    stack, batch = problem(row)
    if who == "ours":
        before = machine.peak_memory()
        run = gs.train(stack, batch, lr=LR, clip_norm=CLIP, epochs=epochs, threads=threads)
        taken = [float(value) for value in run.history.seconds]
    else:
        trainer = peer(who, stack, batch, row.last)
        before = machine.peak_memory()
        taken = [turns.once(trainer.update) for _ in range(epochs)]
    # The first epoch compiles, or finds its memory.
    return {
        "seconds": float(np.median(taken[1:] or taken)),
        "peak_bytes": machine.peak_memory(),
        "before_bytes": before,
        "epochs": epochs,
    }


def table(data: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| one epoch, float32 | ours, 1 thread | ours, 2 threads | PyTorch | JAX | `train`, 1,000 epochs | "
        "peak, ours | peak, PyTorch |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in data["rows"]:
        seconds = row["seconds"]
        one, two = (seconds.get(f"ours, {text}") for text in ("1 thread", "2 threads"))
        cells = ["not run" if each is None else _time(each["median"]) for each in (one, two)]
        for who in PEERS:
            if who not in row["ratios"]:
                cells.append("not run")
                continue
            text = f"{row['ratios'][who]:.3g}"
            if who == "pytorch":
                target = f"≥ {row['target']:g}"
                text = f"{text} ({target})" if row["met"] else f"**{text}** ({target}, missed)"
            cells.append(text)
        alone = row["alone"]
        whole = EPOCHS * alone["ours"]["seconds"] / 60
        text = f"{whole:.3g} min" if whole >= 1 else f"{60 * whole:.3g} s"
        if row["minutes"] is not None:
            most = f"< {row['minutes']:g}"
            text = f"{text} ({most})" if whole < row["minutes"] else f"**{text}** ({most}, missed)"
        cells.append(text)
        cells += [f"{alone[who]['peak_bytes'] / 2**20:,.0f} MiB" if who in alone else "not run" for who in
                  ("ours", "pytorch")]  # fmt: skip
        title = row["title"] if row["others"] <= machine.DISTURBED else f"*{row['title']}*"
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        "Ours as time; peers as ratios, their time / ours, the better of ours and of theirs, with the target. Peaks "
        f"are of whole processes, the libraries included; ours should stay below {PEAK_BYTES / 2**30:g} GiB. A row in "
        "italics was disturbed by other processes.",
    ]
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="*", metavar="PATTERN", help="rows whose key contains one of these")
    parser.add_argument(
        "--smoke", "--fast", action="store_true", help=f"{SMOKE_STEPS} steps and one round: does it run?"
    )
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each (default 7)")
    parser.add_argument(
        "--budget", type=float, default=90, help="seconds for the rounds of a row (default 90)"
    )
    parser.add_argument("--threads", type=int, default=2, help="and cores of the process (default 2)")
    parser.add_argument(
        "--out", type=Path, help=f"default benchmarks/results/{RESULTS.name}; a smoke run writes none"
    )
    parser.add_argument("--worker", nargs=3, metavar=("WHO", "ROW", "EPOCHS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be 1 or more")
    if options.worker:
        use_cores(options.threads)
        who, row, epochs = options.worker
        print(json.dumps(_work(who, Row(**json.loads(row)), int(epochs), options.threads)))
        return
    chosen = [row for row in ROWS if not options.rows or any(part in row.key for part in options.rows)]
    if not chosen:
        parser.error(f"--rows: no row has such a key; there are {', '.join(row.key for row in ROWS)}")
    out = options.out or (None if options.smoke or options.rows else RESULTS)

    source = provenance()  # the load of the machine is that of the others: before we begin
    use_cores(options.threads)
    rounds = 1 if options.smoke else options.rounds
    results: list[dict[str, Any]] = []
    for asked in chosen:
        row = asked.shortened() if options.smoke else asked
        timed = compare_row(row, threads=options.threads, rounds=rounds, budget=options.budget)
        epochs = {"ours": 3 if options.smoke else (8 if row.minutes else 200), "pytorch": 2}
        alone = {
            who: measured_alone(row, who, options.threads, count)
            for who, count in epochs.items()
            if who == "ours" or who in timed["ratios"]
        }
        results.append({**asdict(row), "key": row.key, "title": row.title, **timed, "alone": alone})
        print(f"{row.key}: ratios {timed['ratios']}, others took {timed['others']:.0%}", flush=True)
    data = {
        "format": 1,
        "provenance": source,
        "protocol": {
            "threads": options.threads,
            "rounds": rounds,
            "budget_seconds": options.budget,
            "smoke": options.smoke,
            "allowed": {"loss": APART_LOSS, "weights": APART_WEIGHTS},
        },
        "rows": results,
    }
    if not options.smoke:  # a ratio of one round of a few steps says nothing
        print(table(data))
    if out is None:
        return
    write_results(out, data, RESULTS)


if __name__ == "__main__":
    main()
