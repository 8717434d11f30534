"""Choosing a learning rate and initial weights, with seeds that never count afterwards.

A grid is a race: the best three of its points run again, and a point that has not reached the target by the time three
others have is none of them, whatever it would do later.  So the first round has an eighth of the updates, and if three
arrive it is the only one: what is chosen is the same as if all points had the full number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import get
from gatescope.datatypes import SeedRun, Tuned
from gatescope.errors import ValueRangeError
from gatescope.experiments.seeds.runs import make_runs
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.store import RunStore

TUNING_SEEDS = (1000, 1001)  # the second for the best three alone
LEARNING_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
_BEYOND = {1e-3: 1e-4, 3e-2: 0.1}  # the one more point where the best is at the edge
_AGAIN = 3
_FIRST = 8  # the first round of a race has so many times fewer updates


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is tried: every learning rate with every scheme of initial weights and every shift of biases.

    Or, in turns, every learning rate with every shift at the first scheme, and then the other schemes with the best
    of these.  As many as `again` says of the best run with a second seed; where it is 0 one seed chooses.
    """

    schemes: Sequence[str]
    lr: Sequence[float] = LEARNING_RATES
    biases: Sequence[Mapping[str, float]] = field(default_factory=lambda: ({},))
    in_turns: bool = False
    again: int = _AGAIN


def schemes_of(cell: str, memory: float) -> tuple[str, ...]:
    """Return the schemes that are tried for a cell on a task that needs a memory of so many steps.

    Examples
    --------
    >>> from gatescope.experiments.seeds.tuning import schemes_of
    >>> schemes_of("lstm", 100), schemes_of("rnn", 100), schemes_of("rnn_relu", 100)
    (('pytorch', 'keras', 'chrono(100)'), ('pytorch', 'keras'), ('identity',))
    """
    if cell == "rnn_relu":  # which is said to need it
        return ("identity",)
    chrono = (f"chrono({memory:g})",) if memory_gate(get(cell)).sigmoid else ()
    return ("pytorch", "keras", *chrono)


def tune(
    spec: RunSpec,
    grid: Grid,
    folder: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    part: str | None = None,
    progress: bool = False,
) -> Tuned:
    """Return the setting of a grid with which a cell does best on a task, at the full number of updates.

    All points run with seed 1000, the best three, or as many as the grid says, again with seed 1001.  Better is: to
    have reached the target more often, then fewer updates (the median, a censored run counting with the budget), then
    a lower validation loss.  If the best learning rate of the first round is the smallest or the greatest of the
    default grid, one more point beyond it runs, 1e-4 or 0.1, with the same initial weights.  Points are not run on
    after three others have reached the target, if the learning rate does not depend on the budget: they count as
    censored there.

    Parameters
    ----------
    spec : RunSpec
        Its lr, scheme, biases and seed do not matter.
    grid : Grid
    folder, executor, part, progress
        As for `make_runs`.

    Returns
    -------
    Tuned
    """
    (tuned,) = tune_together([(spec, grid)], folder, executor=executor, part=part, progress=progress)
    return tuned


def tune_together(
    asked: Sequence[tuple[RunSpec, Grid]],
    folder: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    part: str | None = None,
    progress: bool = False,
) -> tuple[Tuned, ...]:
    """Return what `tune` returns for each of several specs and grids, made in rounds that they all share.

    Alone each waits in each of its rounds for the slowest run, in one of them for a single one.  Here a round has those
    of all of them, so that several processes are busy to its end.

    Parameters
    ----------
    asked : sequence of (RunSpec, Grid)
    folder, executor, part, progress
        As for `make_runs`.
    """
    store = RunStore(folder)

    def there(spec: RunSpec) -> bool:
        return store.path(spec).exists()

    plans = [_plan(spec, grid, there) for spec, grid in asked]
    waiting = {index: next(plan) for index, plan in enumerate(plans)}
    tuned: dict[int, Tuned] = {}
    while waiting:
        specs = [spec for some in waiting.values() for spec in some]
        runs = iter(make_runs(specs, folder, executor=executor, part=part, progress=progress))
        made = {index: [next(runs) for _ in some] for index, some in waiting.items()}
        waiting = {}
        for index, answer in made.items():
            try:
                waiting[index] = plans[index].send(answer)
            except StopIteration as end:
                tuned[index] = end.value
    return tuple(tuned[index] for index in range(len(plans)))


class _Seen(NamedTuple):
    """What a run had come to after so many updates."""

    reached: bool
    updates: int
    loss: float


def _seen(run: SeedRun, updates: int) -> _Seen:
    """Return what is known of a run after that many updates: it may have gone on."""
    losses = run.validation_loss[run.validation_update <= updates]
    return _Seen(
        run.reached and run.updates <= updates,
        min(run.updates, updates),
        float(losses.min()) if losses.size else np.inf,
    )


Tried = dict[RunSpec, list[_Seen]]
Round = Generator[list[RunSpec], list[SeedRun], Tried]
Race = Generator[list[RunSpec], list[SeedRun], tuple[Tried, int]]


def _race(points: Sequence[RunSpec], needed: int, there: Callable[[RunSpec], bool]) -> Race:
    """Run points until as many as needed have reached the target; return what each had come to, and when.

    Where fewer have, all others run on to the end, each from its beginning.  A run of a point that is `there` with all
    its updates is taken, and seen as far as the others.
    """
    updates = _first_round(points, needed)
    tried = yield from _round(points, updates, there)
    left, whole = [one for one in points if not tried[one][0].reached], points[0].updates
    if updates < whole and len(points) - len(left) < needed:
        updates = whole
        tried |= yield from _round(left, updates, there)
    return tried, updates


def _round(points: Sequence[RunSpec], updates: int, there: Callable[[RunSpec], bool]) -> Round:
    """Run points to that many updates, and return what each had come to."""
    runs = yield [one if there(one) else one.with_(updates=updates) for one in points]
    return {one: [_seen(run, updates)] for one, run in zip(points, runs, strict=True)}


def _first_round(points: Sequence[RunSpec], needed: int) -> int:
    """Return with how many updates a race begins: all where nothing is saved, or fewer are no beginning of more.

    As where the learning rate depends on the budget, or where passes over a set are whole.
    """
    spec = points[0]
    if len(points) <= needed or spec.target_loss is None or spec.schedule != "constant" or not spec.fresh:
        return spec.updates
    return -(-spec.updates // (_FIRST * spec.validate_every)) * spec.validate_every


def _plan(
    spec: RunSpec, grid: Grid, there: Callable[[RunSpec], bool]
) -> Generator[list[RunSpec], list[SeedRun], Tuned]:
    """Yield the specs of each round of a tuning, and be sent their runs."""
    points = [
        spec.with_(lr=lr, scheme=scheme, biases=biases, seed=TUNING_SEEDS[0])
        for lr, scheme, biases in product(
            grid.lr, grid.schemes[:1] if grid.in_turns else grid.schemes, grid.biases
        )
    ]
    if not points:
        raise ValueRangeError("has no points", argument="grid", advice="give at least one of each")
    tried, updates = yield from _race(points, max(_AGAIN, grid.again), there)
    best = _ranked(tried)[0]
    if best.lr in (min(grid.lr), max(grid.lr)) and best.lr in _BEYOND:
        tried |= yield from _round([best.with_(lr=_BEYOND[best.lr])], updates, there)
    if grid.in_turns and len(grid.schemes) > 1:
        best = _ranked(tried)[0]
        others = [best.with_(scheme=scheme) for scheme in grid.schemes[1:]]
        tried |= yield from _round(others, updates, there)
    ranked = _ranked(tried)
    leading = ranked[: grid.again]
    again = (yield [one.with_(seed=TUNING_SEEDS[1]) for one in leading]) if leading else []
    for one, run in zip(leading, again, strict=True):
        tried[one].append(_seen(run, spec.updates))
    order = [*_ranked({one: tried[one] for one in leading}), *ranked[grid.again :]]
    chosen, rates = order[0], [one.lr for one in tried]
    reached, updates_to, losses = np.array([_score(tried[one]) for one in order]).T
    return Tuned(
        cell=spec.cell,
        task=spec.task,
        lr=chosen.lr,
        scheme=chosen.scheme,
        biases=dict(chosen.biases),
        at_edge=len(set(rates)) > 1 and chosen.lr in (min(rates), max(rates)),
        points=tuple({"lr": one.lr, "scheme": one.scheme, "biases": dict(one.biases)} for one in order),
        reached=0.0 - reached,  # no negative zero
        updates=updates_to.copy(),
        validation_loss=losses.copy(),
        seeds=np.array([len(tried[one]) for one in order], np.int64),
    )


def tuned_spec(spec: RunSpec, tuned: Tuned) -> RunSpec:
    """Return the spec with the setting that was chosen."""
    return spec.with_(lr=tuned.lr, scheme=tuned.scheme, biases=tuned.biases)


def _ranked(tried: Mapping[RunSpec, Sequence[_Seen]]) -> list[RunSpec]:
    return sorted(tried, key=lambda one: _score(tried[one]))


def _score(runs: Iterable[_Seen]) -> tuple[float, float, float]:
    """Return what is lower for a better setting, the first number first; NaN would be neither, so it is infinite."""
    reached, updates, losses = zip(*runs, strict=True)
    loss = float(np.mean(np.nan_to_num(losses, nan=np.inf, posinf=np.inf)))
    return -float(np.mean(reached)), float(np.median(updates)), loss
