"""What a full run of statements will do and take, before it begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gatescope.experiments.claims.published.beside import SOURCES
from gatescope.experiments.claims.statement import SUITES, Statement, in_suites
from gatescope.experiments.claims.study import FULL_SEEDS
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, duration, number

# Seconds of one core that all rows of a suite take together, at 10 seeds and 32 units: the time of a run, as measured
# on a Xeon of 2.1 GHz, times how many runs there are.  Rows of a suite share runs, so that one alone takes less.
SECONDS = {
    "X": 20,
    "G": 40,
    "R": 1_200,
    "W": 8_700,
    "V": 5_400,
    "N": 1_300,
    "S": 480,
    "H": 1_630,
    "E": 100,
    "L": 9_100,
    "B": 3_300,
}
COMPILING = 250  # all kernels, the first time
_TUNING = 15  # runs that choose an arm's settings, however many seeds there are after them
_UNTRAINED = ("X", "G", "R")


def seconds_of(suites: Iterable[str], seeds: int = FULL_SEEDS) -> dict[str, float]:
    """Return how many seconds of one core suites take at most, those that train by the number of seeds.

    Examples
    --------
    >>> from gatescope.experiments.claims.plan import seconds_of
    >>> seconds_of("XS"), seconds_of("S", seeds=35)
    ({'X': 20.0, 'S': 480.0}, {'S': 960.0})
    """
    grown = (_TUNING + seeds) / (_TUNING + FULL_SEEDS)
    return {letter: SECONDS[letter] * (1.0 if letter in _UNTRAINED else grown) for letter in suites}


def plan(
    chosen: Sequence[Statement],
    *,
    cores: int,
    seeds: int = FULL_SEEDS,
    folder: str | os.PathLike[str] | None = None,
) -> Table:
    """Return a row a suite, in the order in which they run, and above them the time and what is there already."""
    suites: dict[str, list[str]] = {}
    for each in in_suites(chosen):
        suites.setdefault(each.suite, []).append(each.number)
    numbers = {each.number for each in chosen}
    if beside := [source.number for source in SOURCES if source.number in numbers]:
        suites["B"] = beside
    costs = seconds_of(suites, seeds)
    rows = [
        (letter, SUITES[letter], " ".join(numbers), round(costs[letter]))
        for letter, numbers in suites.items()
    ]
    whole = sum(costs.values()) + COMPILING
    title = (
        f"{counted(len(chosen), 'statement')}, at most {number(round(whole))} core-seconds: "
        f"{duration(whole / cores)} on {counted(cores, 'core')}"
    )
    if folder is not None:
        title += f"; {counted(runs_in(folder), 'training run')} there already, which are not made again"
    return Table(("suite", "what", "statements", "core-seconds at most"), rows, title)


def runs_in(folder: str | os.PathLike[str]) -> int:
    """Return how many training runs a folder has, which need not be there."""
    return sum(1 for _ in Path(folder).rglob("*.npz"))
