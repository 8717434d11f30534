"""What cells learn: every row trained from one or several seeds, and judged by data that it was not trained on.

    python -m benchmarks.learning [--only PATTERN ...] [--smoke] [--chorales PATH] [--out FILE]

The learning rate of a row is chosen first, by the loss on validation data, from a run each of another seed; these runs
are logged too.  Everything is written after each run, and what is there already is not done again: an interrupted call
goes on when it is made once more.  ``--again`` forgets the rows that are chosen.  Rows that others disturbed go beside
the results that are committed, and the next call goes on from there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gatescope as gs
from benchmarks.learning_rows import Data, NoData, Row, select
from benchmarks.provenance import provenance
from benchmarks.results_file import ResultsFile
from gatescope.errors import OutputError
from gatescope.experiments import machine

RESULTS = Path(__file__).parent / "results" / "learning.json"
SEARCH_SEED = 1000  # of the runs that choose a learning rate: none of the seeds that count


def judge(row: Row, stack: gs.Stack, test: gs.Batch, threads: int) -> dict[str, float | None]:
    """Loss and accuracy of a model on the test data, and the share of strings it followed, where that is asked."""
    score = gs.evaluate(stack, test, threads=threads)
    row_data = {"loss": _number(score.loss), "accuracy": _number(score.accuracy)}
    if row.measure == "accepted":
        outputs = gs.predict(stack, test.inputs, lengths=test.lengths, threads=threads)
        row_data["accepted"] = float(gs.tasks.counting_accepted(outputs, test).mean())
    return row_data


def trained(row: Row, data: Data, seed: int, lr: float, threads: int, **changes: Any) -> dict[str, Any]:
    """One run, and what it came to."""
    settings = {"validation": data.validation, **row.settings, **changes}
    stack = gs.init_stack(
        row.cell, hidden_size=row.hidden_size, heads=data.validation, seed=seed, scheme=row.scheme
    )
    begun = time.perf_counter()
    with machine.others_share() as others:
        run = gs.train(stack, data.task, lr=lr, seed=seed, threads=threads, **settings)
    seconds = time.perf_counter() - begun
    history = run.history.validation_loss
    return {
        "seed": seed,
        "lr": lr,
        "status": str(run.status),
        "message": run.message,
        "epochs": int(run.history.epoch[-1]) if run.history.epoch.size else 0,
        "updates": int(run.history.updates[-1]) if run.history.updates.size else 0,
        "best_epoch": int(run.best_epoch),
        "validation_loss": _number(np.nanmin(history)) if np.isfinite(history).any() else None,
        "validation_course": [_number(f"{value:.4g}") for value in _thinned(history)],
        **{f"test_{name}": value for name, value in judge(row, run.best, data.test, threads).items()},
        "seconds": seconds,
        "others_share": others[0],
    }


def _number(value: Any) -> float | None:
    """As JSON holds it, which knows no NaN and no infinity."""
    return float(value) if math.isfinite(float(value)) else None


def _thinned(history: Any, most: int = 40) -> Any:
    """At most so many of the values, evenly, with the last."""
    every = max(1, math.ceil(len(history) / most))
    return history[::-1][::every][::-1]


def choose(search: Sequence[dict[str, Any]]) -> float:
    """Return the learning rate with the lowest validation loss; of several that reached their target, the quickest."""
    reached = [run for run in search if "target_loss" in run["message"]]
    if len(reached) > 1:
        return float(min(reached, key=lambda run: run["updates"])["lr"])
    return float(min(search, key=lambda run: _finite(run["validation_loss"]))["lr"])


def _finite(value: float | None) -> float:
    return math.inf if value is None else value


def verdict(row: Row, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the seeds came to: passed if every one kept the bound."""
    values = [run[f"test_{row.measure}"] for run in runs]
    return {
        "values": values,
        "passed": len(runs) >= row.seeds
        and all(row.passed(math.nan if value is None else value) for value in values),
        "seconds_a_seed": float(np.mean([run["seconds"] for run in runs])),
    }


def description(row: Row, data: Data) -> dict[str, Any]:
    """Return the row as JSON holds it."""
    plain = {
        name: getattr(row, name)
        for name in (
            "key",
            "task",
            "cell",
            "size",
            "hidden_size",
            "measure",
            "below",
            "above",
            "criterion",
            "seeds",
            "scheme",
            "published",
        )
    }
    settings = {name: value if _is_plain(value) else repr(value) for name, value in row.settings.items()}
    baseline = _number(data.test.baseline)
    return {**plain, "settings": settings, "baseline": baseline, "baseline_of": data.test.baseline_of}


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def do_row(row: Row, data: Data, row_data: dict[str, Any], save: Any, threads: int) -> None:
    """Whatever of a row is not there yet; ``row_data`` is filled and saved after every run."""
    row_data |= description(row, data)
    row_data.setdefault("search", [])
    row_data.setdefault("runs", [])
    row_data.setdefault("provenance", provenance())
    for lr in row.rates:
        if len(row.rates) == 1 or any(run["lr"] == lr for run in row_data["search"]):
            continue
        changes = {} if row.search_epochs is None else {"epochs": row.search_epochs}
        row_data["search"].append(trained(row, data, SEARCH_SEED, lr, threads, **changes))
        report(row, row_data["search"][-1], "tries")
        save()
    row_data["lr"] = choose(row_data["search"]) if row_data["search"] else row.rates[0]
    for seed in range(row.seeds):
        if any(run["seed"] == seed and run["lr"] == row_data["lr"] for run in row_data["runs"]):
            continue
        row_data["runs"].append(trained(row, data, seed, row_data["lr"], threads))
        row_data |= verdict(row, row_data["runs"])
        report(row, row_data["runs"][-1], "")
        save()


def report(row: Row, run: dict[str, Any], what: str) -> None:
    """Return a line a run."""
    print(
        f"{row.key:18s} {what:5s} seed {run['seed']:4d}  lr {run['lr']:g}  {run['updates']:6d} updates  "
        f"{row.measure} {run[f'test_{row.measure}']}  {run['seconds']:.0f} s  {run['message']}",
        flush=True,
    )


def table(data: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| task | cell, units | lr | seeds | updates | reached | criterion | passed | a seed |",
        "|---|---|---:|---:|---:|---:|---|---|---:|",
    ]
    for row in data["rows"]:
        if not row.get("runs"):
            continue
        updates = sorted(run["updates"] for run in row["runs"])
        values = sorted(math.nan if value is None else value for value in row["values"])
        share = row["measure"] != "loss"
        shown = [f"{100 * value:.1f} %" if share else f"{value:.3g}" for value in values]
        reached = shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"
        count = f"{updates[0]:,}" if updates[0] == updates[-1] else f"{updates[0]:,} to {updates[-1]:,}"
        mark = "yes" if row["passed"] else ("**no**" if len(row["runs"]) >= row["seeds"] else "not finished")
        task = f"{row['task']}{'' if row['scheme'] == 'pytorch' else ', ' + row['scheme']}"
        cells = [
            task, f"{row['cell']} {row['hidden_size']}", f"{row['lr']:g}", str(len(row["runs"])), count, reached,
            row["criterion"], mark, _duration(row["seconds_a_seed"]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Reached: lowest to highest of the seeds, on test data, with the weights of the best validation loss. Every "
        "seed has to keep the criterion. Where several learning rates were tried (they are in the JSON), the one that "
        "counts was chosen on another seed, by validation data; else it was set beforehand. Times are wall-clock, on a "
        "machine that did other things as well.",
    ]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def read(path: Path) -> dict[str, Any]:
    """Return what an earlier call wrote, or nothing.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if not path.exists():
        return {"format": 1, "rows": []}
    data = json.loads(path.read_text())
    if not isinstance(data, dict) or data.get("format") != 1 or not isinstance(data.get("rows"), list):
        raise ValueError(f"{path} was not written by benchmarks.learning")
    return data


def write(file: ResultsFile, data: dict[str, Any], order: Sequence[str]) -> Path:
    """All rows, in the order of `order`; return the file that has them."""
    data["rows"].sort(key=lambda row: order.index(row["key"]) if row["key"] in order else len(order))
    return file.write(data)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the rows that are asked for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", metavar="PATTERN", help="rows whose key contains one of these")
    parser.add_argument("--list", action="store_true", help="name the rows, do nothing")
    parser.add_argument("--again", action="store_true", help="forget what is there of the chosen rows")
    parser.add_argument("--chorales", type=Path, metavar="PATH", help="JSB_Chorales.mat")
    parser.add_argument("--threads", type=int, default=2, help="default 2")
    parser.add_argument(
        "--smoke", "--fast", action="store_true", help="a few updates of each row: does it run?"
    )
    parser.add_argument(
        "--out", type=Path, help=f"default benchmarks/results/{RESULTS.name}; a smoke run writes none"
    )
    options = parser.parse_args(arguments)
    try:
        chosen = select(options.only)
        out = options.out or (None if options.smoke else RESULTS)
        file = None if out is None else ResultsFile(out, RESULTS)
        data = {"format": 1, "rows": []} if file is None else read(file.latest)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        print("\n".join(row.key for row in chosen))
        return
    order = [row.key for row in select(None)]
    if options.again:
        data["rows"] = [row for row in data["rows"] if row["key"] not in {row.key for row in chosen}]
    for asked in chosen:
        row = asked.shortened() if options.smoke else asked
        try:
            made = row.data(options.chorales)
        except NoData as error:
            print(f"{row.key:18s} left out: {error}", flush=True)
            continue
        row_data = next((known for known in data["rows"] if known["key"] == row.key), None)
        if row_data is None:
            row_data = {"key": row.key}
            data["rows"].append(row_data)
        try:
            do_row(row, made, row_data, lambda: file and write(file, data, order), options.threads)
        except (OSError, OutputError) as error:
            sys.exit(f"{error}")
    if file is not None and file.latest.exists():
        file.report(data, file.latest)
    if not options.smoke:
        print(table(data))


if __name__ == "__main__":
    main()
