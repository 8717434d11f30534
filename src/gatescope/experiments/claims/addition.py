"""What an addition in the update does, and what more blocks in a cell do: statements 4 and 18b."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Effect, SeedRun
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import Mean, mean, names
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Cell, Study, StudyTask, study_cell
from gatescope.experiments.claims.trained import data_of, nats_lost, trained
from gatescope.experiments.claims.variant_cells import (
    AS_PRINTED,
    CONSTANT_LEAK,
    COUPLED,
    JANET,
    LEAKY,
    NO_FORGET,
    NO_UPDATE,
    RELU,
    adds,
    chosen,
)
from gatescope.experiments.claims.win_table import ADDING_100, ADDING_400, ORDER_2, UPDATES
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.statistics import LEVEL, paired

PLAIN = "rnn"  # with which the others are compared
WITHOUT: tuple[Cell, ...] = (PLAIN, RELU, NO_UPDATE, AS_PRINTED)
WITH: tuple[Cell, ...] = ("lstm", "gru", CONSTANT_LEAK, LEAKY, COUPLED, NO_FORGET)
BLOCKS: tuple[Cell, ...] = ("rnn", LEAKY, JANET, "gru", COUPLED, "lstm")
_SEQUENCES = 20
_NOTHING = math.log(5e-324)  # a gradient that is 0, or smaller than any number, counts as this


class Outcome(NamedTuple):
    """Of trained networks of a cell on a task, a number a seed.

    `lost` is ln of the gradient of the loss by the last state less that by the first one, in nats.
    """

    reached: Array
    updates: Array
    lost: Array

    @property
    def most(self) -> bool:
        """Return whether more than half of the runs reached the target."""
        return 2 * int(self.reached.sum()) > len(self.reached)

    @property
    def few(self) -> bool:
        """Return whether for certain less than half reach it, by the exact binomial test of one side."""
        from scipy.stats import binomtest

        count, n = int(self.reached.sum()), len(self.reached)
        return bool(binomtest(count, n, 0.5, alternative="less").pvalue < LEVEL)


Outcomes = Mapping[str, Mapping[str, Outcome]]  # by task and by cell


def outcomes_of(study: Study, task: StudyTask, cells: Sequence[Cell]) -> dict[str, Outcome]:
    """Return what cells came to on a task, and how much of the gradient they lose after training."""
    outcomes = {}
    for cell in cells:
        arm = study.arm(task, cell)
        lost = np.array([_lost(run) for run in arm.runs])
        outcomes[study_cell(cell).name] = Outcome(arm.reached, arm.values("updates"), lost)
    return outcomes


def _lost(run: SeedRun) -> float:
    data = data_of(run, sequences=_SEQUENCES)
    return float(nats_lost(trained(run), data, least=_NOTHING).mean())


def judge_addition(outcomes: Outcomes, adding: Mapping[str, bool]) -> Finding:
    """Return what outcomes of cells with and without an addition say of statement 4."""
    effects: list[Effect] = []
    measured: dict[str, Mean] = {}
    for task, cells in outcomes.items():
        for cell, outcome in cells.items():
            measured[f"{cell}, {task}: fraction of the runs that reached the target"] = mean(outcome.reached)
            measured[f"{cell}, {task}: nats of the gradient lost"] = mean(outcome.lost)
            if cell != PLAIN:
                # Alike is a gradient that is the same to a fourth at the far end.
                less = paired(
                    outcome.lost - cells[PLAIN].lost,
                    margin=UPDATES,
                    measure="difference",
                    name=f"{cell}, {task}: nats of the gradient lost",
                )
                effects.append(dataclasses.replace(less, arms=(PLAIN, cell)))
    # A task that no cell learns tells none from another.
    telling = {task: cells for task, cells in outcomes.items() if any(o.most for o in cells.values())}
    of = {cell: [cells[cell] for cells in telling.values() if cell in cells] for cell in adding}
    fail = [cell for cell, adds_up in adding.items() if adds_up and any(o.few for o in of[cell])]
    do_without = [cell for cell, adds_up in adding.items() if not adds_up and any(o.most for o in of[cell])]
    rates = judge([e for e in effects if adding[e.arms[1]]], claim="lower", on="all")
    shown = all(o.most for cell, adds_up in adding.items() if adds_up for o in of[cell])
    sufficient = True if shown and rates.word == SUPPORTED else None
    if (
        fail
        or rates.word in (CONTRADICTED, MIXED)
        or any(_not_lower(e) for e in effects if adding[e.arms[1]])
    ):
        sufficient = False
    none = bool(telling) and all(o.few for cell, adds_up in adding.items() if not adds_up for o in of[cell])
    necessary = False if do_without else True if none else None
    if not telling or sufficient is None or necessary is None:
        word = UNDECIDED
    else:
        word = {2: SUPPORTED, 1: MIXED, 0: CONTRADICTED}[int(sufficient) + int(necessary)]
    says = {True: "yes", False: "no", None: "open"}
    parts = [
        f"sufficient: {says[sufficient]} (with an addition, and yet not learning: {names(fail)}; against an rnn its "
        f"gradient is {rates.reason})",
        f"necessary: {says[necessary]} (without, and learning: {names(do_without)})",
    ]
    silent = [task for task in outcomes if task not in telling]
    parts += [f"no cell learns {names(silent)}, which tells nothing"] if silent else []
    return Finding(
        judgement=Judgement(word=word, reason="; ".join(parts)),
        effects=tuple(effects),
        measured=measured,
        seeds=len(next(iter(next(iter(outcomes.values())).values())).lost),
    )


def _not_lower(effect: Effect) -> bool:
    """Return whether an effect is certain not to be below 0 by what matters: equal, or above."""
    return effect.inside_margin or effect.low > 0


@statement(
    "4",
    "the addition in the update keeps gradients from vanishing",
    sources="D",
    kind="statistical",
    suite="V",
    criterion="Sufficient: every cell whose new state is a part of the old one and something more reaches the target "
    "in most runs, and loses less of the gradient over all steps after training than a plain RNN, by both tests.  "
    "Necessary: no cell without reaches it in most runs.  That one does not is less than half of the runs by the exact "
    "binomial test, 5 %.  Supported if both, contradicted if neither, mixed if one.",
)
def addition(study: Study) -> Finding:
    tasks = {ADDING_100: (*WITHOUT, *WITH), ORDER_2: (*WITHOUT, *WITH), ADDING_400: (PLAIN, "lstm", "gru")}
    arms = [(task, cell) for task, cells in tasks.items() for cell in cells]
    study.make(arms)
    outcomes = {study.task(task).name: outcomes_of(study, task, cells) for task, cells in tasks.items()}
    finding = judge_addition(outcomes, {study_cell(cell).name: adds(cell) for cell in (*WITHOUT, *WITH)})
    return dataclasses.replace(finding, tuned=chosen(study, arms))


def judge_blocks(outcomes: Outcomes, blocks: Mapping[str, int]) -> Finding:
    """Return what outcomes of cells with so many blocks of weights say of statement 18b."""
    effects: list[Effect] = []
    measured: dict[str, Mean] = {}
    for task, cells in outcomes.items():
        numbers = np.array([blocks[cell] for cell in cells])
        for what, values in (
            ("updates", [o.updates for o in cells.values()]),
            ("nats of the gradient lost", [o.lost for o in cells.values()]),
        ):
            rank = np.array([_rank(column, numbers) for column in np.array(values).T])
            # A correlation has no margin inside which it would be none.
            name = f"{task}: rank correlation of blocks and {what}"
            effects.append(paired(rank, margin=math.nan, measure="difference", name=name))
            measured |= {
                f"{cell}, {blocks[cell]} blocks, {task}: {what}": mean(row)
                for cell, row in zip(cells, values, strict=True)
            }
    return Finding(
        judgement=judge(effects, claim="lower"),
        effects=tuple(effects),
        measured=measured,
        seeds=effects[0].pairs,
    )


@statement(
    "18b",
    "more layers inside the repeating module let it remember longer",
    sources="Q2",
    kind="statistical",
    suite="V",
    criterion="Six cells of one to four blocks of weights.  Supported if their number goes with fewer updates to the "
    "target, and with less of the gradient lost over all steps after training: rank correlations below 0, over "
    "seeds and by both tests, in more than half of the four, two tasks each, and above it in none.",
)
def blocks_inside(study: Study) -> Finding:
    tasks = (ADDING_100, ORDER_2)
    arms = [(task, cell) for task in tasks for cell in BLOCKS]
    study.make(arms)
    outcomes = {study.task(task).name: outcomes_of(study, task, BLOCKS) for task in tasks}
    numbers = {study_cell(cell).name: len(get(study_cell(cell).cell).gates) for cell in BLOCKS}
    return dataclasses.replace(judge_blocks(outcomes, numbers), tuned=chosen(study, arms))


def _rank(values: Array, by: Array) -> float:
    """Return the rank correlation; 0 where all values are the same, as of runs that all end with the budget."""
    from scipy.stats import spearmanr

    if not np.isfinite(values).all():
        return math.nan
    return float(spearmanr(values, by).statistic) if np.ptp(values) else 0.0
