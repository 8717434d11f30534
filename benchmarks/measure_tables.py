"""Markdown of what measuring, training and waiting cost: exponents, horizons, threads, epochs, first answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import cold_start, learning, lyapunov
from benchmarks import training as training_runs
from gatescope.experiments import machine


def exponents(data: dict[str, Any]) -> str:
    """Return the table of `benchmarks.lyapunov`."""
    return lyapunov.table(data)


def training(data: dict[str, Any], side_by_side: dict[str, Any] | None) -> str:
    """Return the table of `benchmarks.training`, with what `benchmarks.epochs` has measured of the experiment."""
    source, versions = data["provenance"], data["provenance"]["versions"]
    if side_by_side is not None:
        theirs = side_by_side["provenance"]["cpu"]
        if theirs != source["cpu"]:  # times of one machine beside the ratios of another
            raise ValueError(
                f"training.json is of {source['cpu']}, but epochs.json of {theirs}: measure both on one machine"
            )
        data = {**data, "rows": [_timed_side_by_side(row, side_by_side) for row in data["rows"]]}
    peers = (("torch", "PyTorch"), ("jax", "JAX"))
    with_them = ", ".join(f"{title} {versions[key]}" for key, title in peers if versions.get(key))
    where = f"{source['cpu']}, {data['protocol']['threads']} threads, {source['date']}; {with_them}."
    if side_by_side is None:
        return f"{training_runs.table(data)} {where}"
    ours = (
        "Our times of the first two rows: of the experiment itself, cells and threads in turns, means over seeds "
        f"({side_by_side['provenance']['date']})."
    )
    return f"{training_runs.table(data)} {where} {ours}"


def _timed_side_by_side(row: dict[str, Any], side_by_side: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the experiment's size with times that were measured of both cells at once."""
    if row["name"] != training_runs.EXPERIMENT:
        return row
    rows = [each for each in side_by_side["rows"] if each["cell"] == row["cell"]]
    seconds = {
        f"ours, {each['threads']} thread{'s' if each['threads'] > 1 else ''}": {
            "median": sum(each["seconds"]) / len(each["seconds"])  # the mean, as in the experiment's table
        }
        for each in rows
    }
    whole = next(each["train_seconds"] for each in rows if each["train_seconds"] is not None)
    alone = {**row["alone"], "ours": {**row["alone"]["ours"], "seconds": whole}}
    others = max(row["others"], *(each["others"] for each in rows))
    return {**row, "seconds": {**row["seconds"], **seconds}, "alone": alone, "others": others}


def learning_results(data: dict[str, Any]) -> str:
    """Return the table of `benchmarks.learning`."""
    return learning.table(data)


def horizons(data: dict[str, Any]) -> str:
    """Return the long runs of `benchmarks.horizons`, and what it has found of accuracy and of going on."""
    lines = [
        "| `gradient_flow`, LSTM H=64, B=1 | time | target | peak memory | target |",
        "|---|---:|---:|---:|---:|",
    ]
    for run in data["runs"]:
        lags = run.get("lags", run["steps"] + 1)  # results of before chose none
        which = "every lag" if lags == run["steps"] + 1 else f"{lags:,} lags"
        title = f"T={run['steps']:,}, {run['dtype']}, {which}"
        if run["others_share"] > machine.DISTURBED:
            title = f"*{title}*"
        seconds, bound = run["seconds"], run["target_seconds"]
        late = bound is not None and seconds > bound
        time = f"**{seconds:.3g} s** (missed)" if late else f"{seconds:.3g} s"
        peak, most = run["peak_bytes"] / 2**20, run["target_bytes"] / 2**30
        memory = (
            f"{peak:,.0f} MiB"
            if run["peak_bytes"] <= run["target_bytes"]
            else f"**{peak:,.0f} MiB** (missed)"
        )
        limit = "–" if bound is None else f"{bound:g} s"
        lines.append(f"| {title} | {time} | {limit} | {memory} | {most:g} GiB |")
    source = data["provenance"]
    lines += [
        "",
        "From a memory-mapped file, in a process of its own whose memory counts from its start. A row in italics was "
        f"disturbed by other processes. {source['cpu']}, {data['threads']} threads, {source['date']}.",
    ]
    if "resumed" in data:
        lines += ["", _resumed(data["resumed"])]
    if "known_gradients" in data:
        lines += ["", *_known_gradients(data["known_gradients"])]
    return "\n".join(lines)


def _resumed(row: dict[str, Any]) -> str:
    """Return what came of a run that was interrupted."""
    first, then = (f"{row[name]:.3g} s" for name in ("interrupted_after_seconds", "seconds_after"))
    bits = "gave the same bits" if row["same_bits"] else "**gave other bits**"
    return (
        f"Interrupted after {first} of T={row['steps']:,}, {row['dtype']}, and called again with the same file "
        f"(`resume=`, {row['state_bytes'] / 2**20:.2g} MiB), it took {then} more and {bits}."
    )


def _known_gradients(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of networks whose gradients are known."""
    networks = {"gate": "a forget gate alone", "dense": "recurrent weights, too"}
    of = f"known answer, LSTM H=64, {rows[0]['dtype']}, T={rows[0]['steps']:,}"
    lines = [
        f"| {of} | log-norm at the last lag | largest error | relative | gates rounded |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        error, gates = f"{row['error_nats']:.2g} nats", f"{row['gates_error_nats']:.2g} nats"
        cells = f"{row['known_last_log_norm']:,.1f} | {error} | {row['relative_error']:.1e} | {gates}"
        lines.append(f"| {networks[row['network']]} | {cells} |")
    lines += [
        "",
        "LSTMs whose gradient along c is known at every lag (`benchmarks/known_gradients.py`). Errors are the largest "
        "of all lags that were asked for, relative ones of those beyond one nat, with the gates as float32 has them; "
        "by how much the rounding of gates moves the last log-norm stands apart.",
    ]
    return lines


def explorer(data: dict[str, Any]) -> str:
    """Return the pages of `benchmarks.explorer`: bold where ours passes a limit."""
    limits = data["limits"]

    def time(row: dict[str, Any], name: str, factor: float, unit: str) -> str:
        text = f"{factor * row[name]:.3g} {unit}"
        missed = row["title"].startswith("gatescope") and row[name] > limits[name]
        return f"**{text}** (missed)" if missed else text

    ready, pan = f"{limits['ready_seconds']:g} s", f"{1000 * limits['pan_seconds']:.3g} ms"
    lines = [
        f"| page | size | ready (< {ready}) | a pan (< {pan}) |",
        "|---|---:|---:|---:|",
    ]
    for row in data["rows"]:
        title = f"*{row['title']}*" if row["others_share"] > machine.DISTURBED else row["title"]
        cells = time(row, "ready_seconds", 1, "s"), time(row, "pan_seconds", 1000, "ms")
        lines.append(f"| {title} | {row['bytes'] / 1e6:.1f} MB | {' | '.join(cells)} |")
    source = data["provenance"]
    lines += [
        "",
        "Chaotic are recurrent weights five times as large. A frame takes 16.7 ms, and a pan whole ones; medians of "
        f"{data['rows'][0]['rounds']} browsers and 30 pans in each. A row in italics was disturbed by other processes. "
        f"{source['cpu']}, {source['cores']} cores, {source['date']}.",
    ]
    return "\n".join(lines)


def first_answer(data: dict[str, Any]) -> str:
    """Return what `benchmarks.cold_start` measured: bold where a limit is passed."""
    limits, others = data["limits"], data.get("others_share", {})
    lines = ["| | seconds | limit |", "|---|---:|---:|"]

    def row(title: str, seconds: float, limit: float, share: float) -> str:
        text = f"**{seconds:.2f}** (missed)" if seconds > limit else f"{seconds:.2f}"
        return f"| {f'*{title}*' if share > machine.DISTURBED else title} | {text} | {limit:g} |"

    for name, seconds in data["seconds"].items():
        title = "`import gatescope`" if name == "import" else f"{name.split()[0]} `gatescope compare`"
        lines.append(row(title, seconds, limits[name], others.get(name, 0.0)))
    for cell, kernels in data.get("compiling", {}).items():
        share = others.get(f"kernels of {cell}", 0.0)
        each = ", ".join(f"{name} {seconds:.2f}" for name, seconds in kernels.items() if seconds >= 0.1)
        title = f"{cell.upper()} compiled: forward and backward ({each})"
        lines.append(row(title, cold_start.both_sweeps(kernels), data["compiling_limit"], share))
    source = data["provenance"]
    lines += [
        "",
        "Processes timed from outside; the first `compare` has an empty cache, the second finds all kernels in it. "
        "A row in italics was disturbed by other processes. "
        f"{source['cpu']}, {source['cores']} cores, {source['date']}.",
    ]
    return "\n".join(lines)


def scaling(data: dict[str, Any]) -> str:
    """Return what `benchmarks.scaling` measured, and what its model says of more threads."""
    threads = [*data["rows"][0]["predicted"]]
    here = [*data["rows"][0]["measured"]]
    titles = [*(f"{n} threads" for n in here), *(f"{n}, by the model" for n in threads)]
    lines = [
        "| | blocks | one thread | " + " | ".join(titles) + " |",
        "|---|---:|---:|" + "---:|" * len(titles),
    ]
    for row in data["rows"]:
        base = row["one_thread_seconds"]
        times = [row["measured"][n] for n in here] + [row["predicted"][n] for n in threads]
        cells = " | ".join(f"{base / seconds:.2f}" for seconds in times)
        title = f"{row['title']}, {row['pass'].replace('+', ' + ')}"
        title = f"*{title}*" if row["others_share"] > machine.DISTURBED else title
        lines.append(f"| {title} | {row['blocks']} | {1e3 * base:.3g} ms | {cells} |")
    source = data["provenance"]
    above = [row["measured"][n] / row["predicted"][n] - 1 for row in data["rows"] for n in row["measured"]]
    off = f"here calls took up to {max(above):.0%} longer than it says, in the middle {np.median(above):.0%}"
    lines += [
        "",
        "How many times as fast as on one thread. The model knows the work of a block, what is done once, and what "
        f"threads take to start; not memory, caches and the clock, which cores share: {off}. A row in italics was "
        f"disturbed by other processes. {source['cpu']}, {data['cores']} cores, {source['date']}.",
    ]
    return "\n".join(lines)


def second_thread(data: dict[str, Any]) -> str:
    """Return what of `benchmarks.horizons` decides how a second thread is used on one sequence."""
    lines = [
        "| cell | n | F | A | c | one thread | two threads | chunks, at least | chunks, ideal |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in data["second_thread"]:
        title = f"{row['cell']} H={row['hidden_size']}, {row['dtype']}"
        if row["others_share"] > machine.DISTURBED:
            title = f"*{title}*"
        names = ("forward", "adjoint", "c", "one_thread", "two_threads", "chunks_at_least", "chunks_ideal")
        cells = " | ".join(f"{row[name]:.3g}" for name in names)
        lines.append(f"| {title} | {row['n']} | {cells} |")
    return "\n".join(lines)
