"""What `gatescope.watch` costs a training loop of PyTorch: the time inside ``watch.step()`` beside that of the loop.

    python -m benchmarks.watch [--steps 1000] [--out benchmarks/results/watch.json] [--check]

An embedding, two layers of LSTM and a read-out learn the next of random tokens, 32 sequences of 100 steps, by Adam.
The time inside ``step()`` is taken from outside, also where no reading is due.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gatescope as gs
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from gatescope.experiments import machine

RESULTS = Path(__file__).parent / "results" / "watch.json"
LIMIT = 0.02  # of the loop's time
UNITS, EVERY = (16, 64, 256), (10, 100)
_TOKENS, _SEQUENCES, _LENGTH = 50, 32, 100


def measure(units: int, every: int, steps: int) -> dict[str, Any]:
    """Return what a watch over one model took."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(_TOKENS, 16)
            self.lstm = torch.nn.LSTM(16, units, 2, batch_first=True)
            self.head = torch.nn.Linear(units, _TOKENS)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.lstm(self.embedding(tokens))[0])

    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    tokens = torch.randint(_TOKENS, (_SEQUENCES, _LENGTH + 1))
    begin = time.perf_counter()
    watch = gs.watch(model, inputs=tokens[:, :-1], every=every)
    first, inside = time.perf_counter() - begin, 0.0
    begin = time.perf_counter()
    with machine.others_share() as others:
        for _ in range(steps):
            optimizer.zero_grad()
            scores = model(tokens[:, :-1]).flatten(0, 1)
            torch.nn.functional.cross_entropy(scores, tokens[:, 1:].flatten()).backward()
            optimizer.step()
            entered = time.perf_counter()
            watch.step()
            inside += time.perf_counter() - entered
    loop = time.perf_counter() - begin - inside
    history = watch.history
    return {
        "units": units,
        "every": every,
        "steps": steps,
        "seconds_before": first,
        "seconds_a_step": loop / steps,
        "readings": len(history.step) - 1,
        "due": steps // every,
        "probe_steps": sorted({*history.probe_steps[1:].tolist()}),
        "seconds_a_reading": inside / max(1, len(history.step) - 1),
        "overhead": inside / loop,
        "others_share": others[0],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watch", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="write the numbers here, as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is passed")
    options = parser.parse_args(arguments)
    rows = []
    for units in UNITS:
        for every in EVERY:
            rows.append(row := measure(units, every, options.steps))
            print(
                f"H = {units:3d}, every {every:3d} of {options.steps} steps of {1e3 * row['seconds_a_step']:.1f} ms: "
                f"{row['readings']} of {row['due']} readings of {1e3 * row['seconds_a_reading']:.1f} ms, "
                f"{100 * row['overhead']:.2f} % (others took {100 * row['others_share']:.0f} % of the machine)",
                flush=True,
            )
    if options.out:
        write_results(options.out, {"provenance": provenance(), "limit": LIMIT, "rows": rows}, RESULTS)
    if options.check and any(row["overhead"] > LIMIT for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
