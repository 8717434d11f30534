"""An epoch of the 20,000-step experiment, LSTM and GRU on one thread and on two, all side by side.

    python -m benchmarks.epochs [--smoke] [--out benchmarks/results/epochs.json]

The experiment's data, settings and initial weights, ten seeds; cells and threads take turns epoch by epoch, by the
function with which the experiment itself measures.  Then ``gatescope.train``, as a user calls it, the cells in turns.
The table of training in docs/benchmarks.md and the experiment's own take their times from here and cannot disagree:
``python -m benchmarks.table`` and ``python -m figures --only long_series`` write them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gatescope as gs
from benchmarks.compare import use_cores
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from gatescope.experiments import machine
from gatescope.experiments.long_series import spec
from gatescope.experiments.long_series.timing import epoch_times
from gatescope.training.optimizers import Adam

RESULTS = Path(__file__).parent / "results" / "epochs.json"
CELLS, THREADS, SEEDS = ("lstm", "gru"), (1, 2), 10
SIZE = {"steps": 20_000, "sequences": 40}
SMOKE = {"steps": 20, "sequences": 4}
_CALLS, _EPOCHS = 3, 6  # of `train` each, and epochs a call, the first of which finds its memory


def measure(size: dict[str, int], seeds: int) -> list[dict[str, Any]]:
    """Return a row a cell and number of threads: the seconds of an epoch by seed, and of `train` on all threads."""
    batch = gs.tasks.long_series(**size)
    keys = [(cell, seed) for cell in CELLS for seed in range(seeds)]
    models = {
        (cell, seed): gs.init_stack(
            cell, hidden_size=spec.HIDDEN_SIZE, heads=batch, seed=seed, scheme=spec.SCHEME
        )
        for cell, seed in keys
    }
    settings: dict[str, Any] = {"lr": spec.LEARNING_RATE, "clip_norm": spec.CLIP_NORM}
    adam = Adam(eps=spec.EPSILON)
    with machine.others_share() as share:
        seconds = epoch_times(models, batch, CELLS, range(seeds), optimizer=adam, threads=THREADS, **settings)
    whole: dict[str, list[float]] = {cell: [] for cell in CELLS}
    with machine.others_share() as share_of_train:
        for turn in range(_CALLS):
            for cell in CELLS if turn % 2 else reversed(CELLS):
                done = gs.train(
                    models[cell, 0],
                    batch,
                    optimizer=adam,
                    epochs=_EPOCHS,
                    threads=max(THREADS),
                    **settings,
                )
                whole[cell] += done.history.seconds[1:].tolist()
    return [
        {
            "title": f"{cell.upper()}, {count} thread{'s' if count > 1 else ''}",
            "cell": cell,
            "threads": count,
            "seconds": seconds[n, c].tolist(),
            "train_seconds": float(np.median(whole[cell])) if count == max(THREADS) else None,
            "others": max(share[0], share_of_train[0]),
        }
        for n, count in enumerate(THREADS)
        for c, cell in enumerate(CELLS)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=__doc__.split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument(
        "--out", type=Path, help=f"default benchmarks/results/{RESULTS.name}; a smoke run writes none"
    )
    options = parser.parse_args(arguments)
    source = provenance()
    use_cores(max(THREADS))
    seeds = 2 if options.smoke else SEEDS
    rows = measure(SMOKE if options.smoke else SIZE, seeds)
    for row in rows:
        least, middle, most = np.quantile(row["seconds"], [0, 0.5, 1])
        train = "" if row["train_seconds"] is None else f", in train {1e3 * row['train_seconds']:.3g} ms"
        print(
            f"{row['title']}: {1e3 * middle:.3g} ms an epoch, {1e3 * least:.3g} to {1e3 * most:.3g} over seeds{train}; "
            f"others took {row['others']:.0%}"
        )
    data = {
        "format": 1,
        "provenance": source,
        "smoke": options.smoke,
        "size": SIZE,
        "seeds": seeds,
        "rows": rows,
    }
    out = options.out or (None if options.smoke else RESULTS)
    if out is not None:
        write_results(out, data, RESULTS)


if __name__ == "__main__":
    main()
