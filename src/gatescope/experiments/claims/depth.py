"""Whether more layers learn what one layer does not, at equally many parameters: statement 18a."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from gatescope.datatypes import Array
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED, UNDECIDED
from gatescope.errors import ValueRangeError
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study, StudyCell
from gatescope.experiments.claims.trained import settings
from gatescope.experiments.claims.win_table import ADDING_100
from gatescope.experiments.seeds.judge import Judgement
from gatescope.experiments.seeds.statistics import LEVEL, by_share, holm
from gatescope.reporting.text import counted, listing

CELLS, DEPTHS, FEW = ("rnn", "lstm"), (1, 2, 3, 4), (1, 3)  # FEW in a quick study
ADDING_200 = dataclasses.replace(
    ADDING_100,
    name="adding, T = 200",
    spec=ADDING_100.spec.with_(arguments={"steps": 200}, updates=4000),
    memory=200,
)
HALF = 0.5  # of the seeds: an arm that reaches in no more does not reach
_WIDER = 3  # times the study's units, up to which a number of parameters is tried that all depths can have


def judge_depth(reached: Mapping[tuple[str, str], Mapping[int, Array]]) -> Finding:
    """Return what is said by which runs reached the target (seeds,), by task and cell, and by depth.

    A task that nobody reaches says nothing of depth, and neither does a cell of which one layer reaches it.
    """
    effects, places = [], []
    for (task, cell), by_depth in reached.items():
        one, *deeper = by_depth
        for depth in deeper:
            name = f"{cell}, {task}: {depth} layers against {one}"
            effects.append(by_share(by_depth[one], by_depth[depth], name=name))
            places.append(((task, cell), depth))
    adjusted = holm(effect.p for effect in effects)
    learnable = {
        task for (task, _), by_depth in reached.items() if any(r.mean() > HALF for r in by_depth.values())
    }
    open_ones = [
        place for place, by_depth in reached.items() if not next(iter(by_depth.values())).mean() > HALF
    ]
    telling = [place for place in open_ones if place[0] in learnable]
    solved, failing = [], []
    for (place, depth), effect, p in zip(places, effects, adjusted, strict=True):
        arm = reached[place][depth]
        if place in telling and effect.sign < 0 and p < LEVEL and arm.mean() > HALF:
            solved.append(effect.name)
        if place in telling and _at_most(arm) < HALF:
            failing.append(effect.name)
    if solved:
        word = SUPPORTED
    elif telling and len(failing) == sum(place in telling for place, _ in places):
        word = CONTRADICTED
    else:
        word = UNDECIDED
    reasons = [
        f"{counted(len(telling), 'place')} of {len(reached)}, a cell on a task, where one layer does not reach the "
        f"target and another model does: deeper ones reach it more often in {len(solved)}, in less than half of the "
        f"seeds in {len(failing)}"
    ]
    if solved:
        reasons.append(listing(solved))
    if not open_ones:
        reasons.append("one layer reaches it everywhere, which leaves depth nothing to resolve")
    elif not telling:
        reasons.append("no depth of any cell reaches it where one layer does not, which decides nothing")
    fewer = [e.name for e, p in zip(effects, adjusted, strict=True) if e.sign > 0 and p < LEVEL]
    if fewer:
        reasons.append(f"deeper ones reach it less often: {listing(fewer)}")
    measured = {
        f"{cell}, {task}, {counted(depth, 'layer')}: share that reached the target": (
            float(arm.mean()),
            math.nan,
        )
        for (task, cell), by_depth in reached.items()
        for depth, arm in by_depth.items()
    }
    seeds = len(next(iter(next(iter(reached.values())).values())))
    judgement = Judgement(word=word, reason="; ".join(reasons))
    return Finding(judgement=judgement, effects=tuple(effects), measured=measured, seeds=seeds)


@statement(
    "18a",
    "more layers resolve what one layer cannot learn over long times",
    sources="Q2",
    kind="statistical",
    suite="H",
    criterion="RNNs and LSTMs of 1 to 4 layers of equally many parameters, on adding over 100 and 200 steps. Supported "
    "if somewhere deeper ones reach the target in more than half of the seeds and more often than one layer that does "
    "not, by McNemar's test with Holm's correction; contradicted if wherever one layer does not reach it, and some "
    "other model does, all deeper ones reach it in less than half, by the upper 95 % bound.",
)
def more_layers(study: Study) -> Finding:
    tasks, depths = ((ADDING_100,), FEW) if study.quick else ((ADDING_100, ADDING_200), DEPTHS)
    cells = {(cell.cell, cell.layers): cell for cell in sized(study, depths)}
    study.make((task, cell) for task in tasks for cell in cells.values())
    reached = {
        (study.task(task).name, name): {
            depth: study.arm(task, cells[name, depth]).reached for depth in depths
        }
        for task in tasks
        for name in CELLS
    }
    tuned = settings(study, *((task, cell, None) for task in tasks for cell in cells.values()))
    return dataclasses.replace(judge_depth(reached), tuned=tuned)


def sized(study: Study, depths: Sequence[int] = DEPTHS) -> list[StudyCell]:
    """Return the cells at all depths with equally many parameters, the fewest that all can have within 3 %."""
    cells = [
        StudyCell(f"{cell}, {counted(depth, 'layer')}", cell, layers=depth)
        for cell in CELLS
        for depth in depths
    ]
    for units in range(study.units, _WIDER * study.units):
        try:
            sizes = dataclasses.replace(study, units=units).sizes(ADDING_100, cells)
        except ValueRangeError:  # a layer more or a unit more is too large a step there
            continue
        return [
            dataclasses.replace(cell, units=sizes[cell.name], name=f"{cell.name} of {sizes[cell.name]} units")
            for cell in cells
        ]
    raise ValueRangeError(
        "has no number of parameters near it that all depths can have",
        argument="units",
        seen=study.units,
        advice="give more",
    )


def _at_most(reached: Array) -> float:
    """Return the upper bound of Clopper and Pearson's 95 % interval of a share."""
    from scipy.stats import binomtest

    bounds = binomtest(int(np.sum(reached)), len(reached)).proportion_ci(1 - LEVEL)
    return float(bounds.high)
