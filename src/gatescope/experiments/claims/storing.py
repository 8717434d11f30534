"""Whether trained cells keep something for long: statements 5a and 5b."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Arm, Array, SeedRun, Stack
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.verdict import UNDECIDED
from gatescope.errors import noting_accuracy
from gatescope.experiments.claims.measured import finding, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import (
    LEARNED,
    data_of,
    distinguished,
    settings,
    share_word,
    trained,
    untrained,
)
from gatescope.experiments.claims.win_table import ADDING_400
from gatescope.experiments.seeds.judge import depends_on_init
from gatescope.measurements.half_life import half_life
from gatescope.reporting.text import number, steps

BEST = "best"  # of all schemes of initial weights
_SEEDS = 0.95  # of all, in which the slowest unit has to keep half for half of the task
_SEQUENCES = 10
_CRITERION = (
    "After training on adding of 400 steps, with the initial weights that did best, the slowest unit's half-life by "
    "its gate is longer than half of the task.  Supported if so in 95 % of the seeds; contradicted if in so few that "
    "95 % would hardly give them (exact binomial test, 5 %); undecided where fewer than half of the runs learned the "
    "task.  Before training it is reported."
)


class Lives(NamedTuple):
    """Of the networks of an arm, rates in nats a step (n,), and which of them learned the task (n,) bool."""

    slowest: Array
    median: Array
    adjoint: Array
    learned: Array


def judge_storing(
    lives: Mapping[str, Mapping[str, Mapping[str, Lives]]], cell: str, task_steps: int
) -> Finding:
    """Return what rates, by cell, when and initial weights, say of a cell's memory on a task of so many steps."""
    words = {
        name: {scheme: _word(after, task_steps) for scheme, after in of["after"].items()}
        for name, of in lives.items()
    }
    (other,) = (name for name in lives if name != cell)
    before, after = (lives[cell][when][BEST] for when in ("before", "after"))
    longs = [_long(lives[name]["after"][BEST], task_steps) for name in (cell, other)]
    n = len(after.slowest)
    counts = [f"{int(_long(one, task_steps).sum())} of {n}" for one in (after, before)]
    slowest, median, adjoint = (_steps(rates) for rates in after[:3])
    reason = (
        f"half-life of the slowest unit above {number(task_steps / 2)} steps in {counts[0]} seeds after training, in "
        f"{counts[1]} before; medians over seeds after training: slowest unit {slowest}, median unit {median}, by the "
        f"adjoint {adjoint}; {int(after.learned.sum())} of {n} runs learned the task"
    )
    measured = {
        f"{name}, {when} training, {scheme} weights: rate of {what}": mean(getattr(one, field))
        for name, of in lives.items()
        for when, schemes in of.items()
        for scheme, one in schemes.items()
        for field, what in (
            ("slowest", "the slowest unit's gate"),
            ("median", "the median unit's gate"),
            ("adjoint", "the adjoint"),
        )
    }
    return finding(
        words[cell][BEST],
        reason,
        measured,
        n,
        distinguishes=distinguished(words[cell][BEST], [words[other][BEST]], passed=[(longs[0], longs[1])]),
        depends_on_init=depends_on_init({s: word for s, word in words[cell].items() if s != BEST}),
    )


def _median(rates: Array) -> float:
    """Return the median of those that are known: where a norm rises with the lag the adjoint has no single rate."""
    known = rates[~np.isnan(rates)]
    return float(np.median(known)) if known.size else float("nan")


def _steps(rates: Array) -> str:
    rate = _median(rates)
    return "at no single rate" if np.isnan(rate) else steps(half_life_of(rate))


def _long(lives: Lives, task_steps: int) -> Array:
    return np.asarray(half_life_of(lives.slowest) > task_steps / 2)


def _word(lives: Lives, task_steps: int) -> str:
    if lives.learned.mean() < LEARNED:
        return UNDECIDED
    return share_word(_long(lives, task_steps), _SEEDS)


@statement(
    "5a",
    "the LSTM's memory cell stores for long",
    sources="P Q1 Q3",
    kind="statistical",
    criterion=_CRITERION,
)
def memory_cell_stores(study: Study) -> Finding:
    return _storing(study, "lstm")


@statement(
    "5b",
    "a GRU can be trained to keep what was long ago without washing it out",
    sources="P",
    kind="statistical",
    criterion=_CRITERION,
)
def gru_keeps(study: Study) -> Finding:
    return _storing(study, "gru")


def _storing(study: Study, cell: str) -> Finding:
    cells = (cell, *{"lstm", "gru"} - {cell})
    study.make(product([ADDING_400], cells, (None, *study.schemes)))
    lives: dict[str, dict[str, dict[str, Lives]]] = {}
    for name in cells:
        best = study.arm(ADDING_400, name)
        by_init = {scheme: study.arm(ADDING_400, name, scheme) for scheme in study.schemes}
        lives[name] = {
            "before": {BEST: _lives(best, untrained)},
            "after": {scheme: _lives(arm, trained) for scheme, arm in ({BEST: best} | by_init).items()},
        }
    judged = judge_storing(lives, cell, best.runs[0].spec["arguments"]["steps"])
    chosen = settings(study, *((ADDING_400, name, None) for name in cells))
    return dataclasses.replace(judged, tuned=chosen)


def _lives(arm: Arm, model: Callable[[SeedRun], Stack]) -> Lives:
    rows = []
    for run in arm.runs:
        with noting_accuracy():  # of saturated units, which training brings
            batch = data_of(run, sequences=_SEQUENCES)
            by_layer = half_life(model(run), batch.inputs, lengths=batch.lengths, seed=run.seed)
        (life,) = by_layer.results
        by_gate = life.gate_rate.mean(axis=0)
        rows.append((by_gate.min(), np.median(by_gate), _median(life.adjoint_rate)))
    slowest, median, adjoint = np.array(rows).T
    return Lives(slowest, median, adjoint, arm.reached)
