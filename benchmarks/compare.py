"""All rows of the table, everybody in turn in one process, with provenance.

    python -m benchmarks.compare [--rows PATTERN ...] [--smoke] [--out benchmarks/results/cpu.json]

A ratio is the peer's time divided by ours.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import floor, peers, timing
from benchmarks.problem import make_problem
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from benchmarks.rows import FORWARD, PASS_OF, TRAIN, Row, select
from gatescope.checks.numbers import default_threads
from gatescope.experiments import machine, turns

RESULTS = Path(__file__).parent / "results" / "cpu.json"
SMOKE_STEPS = 20


def compare_row(row: Row, *, threads: int, rounds: int, budget: float) -> dict[str, Any]:
    """Time one row against all its peers; first every peer's result is checked against ours.

    Returns
    -------
    dict
        ``comparisons``, one for each peer that is installed, and ``skipped``: why the others are not there.
    """
    problem = make_problem(row)
    timed: dict[str, Any] = {"comparisons": [], "skipped": {}}
    for which in (TRAIN, FORWARD):
        with ExitStack() as stack:
            competitors = {}
            for name in ("gatescope", *(peer for peer in row.targets if PASS_OF[peer] == which)):
                try:
                    competitors[name] = stack.enter_context(peers.load(name)(problem, threads))
                except peers.MissingPeer as missing:
                    timed["skipped"][name] = str(missing)
            if len(competitors) > 1:
                timed["comparisons"] += _compare(row, which, competitors, rounds, budget)
    return timed


def _compare(
    row: Row, which: str, competitors: dict[str, peers.Competitor], rounds: int, budget: float
) -> Iterator[dict[str, Any]]:
    calls = {name: timing.call_of(competitor, which) for name, competitor in competitors.items()}
    # The warm-up: compiling is over after this, and the results show that all do the same.
    ours = competitors["gatescope"].arrays(calls["gatescope"]())
    agreement = {
        name: timing.disagreement(ours, competitor.arrays(calls[name]()), row.dtype)
        for name, competitor in competitors.items()
        if name != "gatescope"
    }
    del ours
    with machine.others_share() as others:
        times = turns.interleaved(calls, rounds, budget)
    scale = 1e6 / row.steps
    for name, differences in agreement.items():
        # Of neighbours in time: what slows one round down mostly slows both.
        paired = timing.quartiles(
            [peer / own for own, peer in zip(times["gatescope"], times[name], strict=True)]
        )
        own, peer = (timing.quartiles([scale * t for t in times[who]]) for who in ("gatescope", name))
        target = row.targets[name]
        ratio = peer["median"] / own["median"]
        yield {
            "peer": name,
            "pass": which,
            "rounds": len(times[name]),
            "ours_us_per_step": own,
            "peer_us_per_step": peer,
            "ratio": ratio,
            "ratio_of_best": min(times[name]) / min(times["gatescope"]),
            "ratio_low": paired["low"],
            "ratio_high": paired["high"],
            "target": target,
            "met": None if target is None else ratio >= target,
            "others": others[0],
            "largest_difference": differences,
        }


def _print(row: Row, timed: dict[str, Any], smoke: bool) -> None:
    for c in timed["comparisons"]:
        if smoke:  # a ratio of one round of a few steps says nothing
            worst = max(c["largest_difference"].values())
            print(
                f"{row.key:34s} {c['pass']:17s} {c['peer']:12s} agrees, differences up to {worst:.1e}",
                flush=True,
            )
            continue
        verdict = "" if c["met"] is None else f" target {c['target']:g} {'met' if c['met'] else 'MISSED'}"
        print(
            f"{row.key:34s} {c['pass']:17s} {c['peer']:12s} ours {c['ours_us_per_step']['median']:9.3f}"
            f" peer {c['peer_us_per_step']['median']:9.3f} us/step  ratio {c['ratio']:7.2f}"
            f" ({c['ratio_low']:.2f} to {c['ratio_high']:.2f}; of the best {c['ratio_of_best']:.2f})"
            f"{verdict}{'  DISTURBED' if c['others'] > machine.DISTURBED else ''}",
            flush=True,
        )
    for name, why in timed["skipped"].items():
        print(f"{row.key:34s} {name} left out: {why}", flush=True)


def _shares(row: Row, timed: dict[str, Any], machine: floor.Machine) -> dict[str, Any]:
    """Return the floor of each pass, and the floor divided by our time."""
    shares = floor.floor(row, machine)
    for which, share in shares.items():
        medians = [c["ours_us_per_step"]["median"] for c in timed["comparisons"] if c["pass"] == which]
        share["share"] = share["us_per_step"] / medians[0] if medians else None
    return shares


def use_cores(count: int) -> None:
    """Keep this process on `count` cores: some peers take their number of threads from that alone."""
    if hasattr(os, "sched_setaffinity") and default_threads() > count:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="*", metavar="PATTERN", help="rows whose key contains one of these")
    parser.add_argument(
        "--smoke", action="store_true", help=f"{SMOKE_STEPS} steps and one round: does it run?"
    )
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each (default 15)")
    parser.add_argument(
        "--budget", type=float, default=12, help="seconds for the rounds of a row (default 12)"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of each, and cores of the process (default 2)"
    )
    parser.add_argument(
        "--out", type=Path, help=f"default benchmarks/results/{RESULTS.name}; a smoke run writes none"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be 1 or more")
    try:
        rows = select(options.rows)
    except ValueError as error:
        parser.error(str(error))
    out = options.out or (None if options.smoke or options.rows else RESULTS)

    source = provenance()  # the load of the machine is that of the others: before we begin
    use_cores(options.threads)
    rounds = 1 if options.smoke else options.rounds
    results, machines = [], {}
    for row in rows:
        if options.smoke:
            row = row.shortened(SMOKE_STEPS)
        if row.dtype not in machines:
            machines[row.dtype] = floor.measure(row.dtype, options.threads)
        timed = compare_row(row, threads=options.threads, rounds=rounds, budget=options.budget)
        timed["floor"] = _shares(row, timed, machines[row.dtype])
        _print(row, timed, options.smoke)
        results.append({**asdict(row), "key": row.key, "title": row.title, **timed})
    if out is None:
        return
    data = {
        "format": 1,
        "provenance": source,
        "protocol": {
            "threads": options.threads,
            "rounds": rounds,
            "budget_seconds": options.budget,
            "smoke": options.smoke,
            "tolerance": timing.TOLERANCE,
        },
        "machine": {dtype: asdict(machine) for dtype, machine in machines.items()},
        "rows": results,
    }
    write_results(out, data, RESULTS)


if __name__ == "__main__":
    main()
