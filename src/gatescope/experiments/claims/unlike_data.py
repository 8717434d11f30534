"""Training data that are noisy, or unlike those of the test: statements 13 and 35.

What counts is how much a cell loses by that, not what it loses: interactions, not levels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array, Effect
from gatescope.datatypes.verdict import CONTRADICTED, ONLY, OTHER, SUPPORTED
from gatescope.experiments.claims.amounts import (
    BIASED,
    LOSS,
    MIDDLE,
    noisy_of,
    tuned_settings,
)
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study, StudyTask
from gatescope.experiments.claims.trained import LEARNED, distinguished
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.statistics import below, paired
from gatescope.reporting.text import listing

_CELLS = ("gru", "lstm", "rnn")


class Changed(NamedTuple):
    """Test losses (n,) of a cell, trained on changed data and on as many clean and fair ones.

    `baselines` are those of who knows nothing, in this order.
    """

    changed: Array
    unchanged: Array
    baselines: tuple[float, float] = (math.nan, math.nan)

    @property
    def rise(self) -> Array:
        """Return ln of how many times as much is lost."""
        return np.log(self.changed / self.unchanged)

    @property
    def learns(self) -> tuple[bool, bool]:
        """Return whether half of its runs learn something, of the changed data and of the others."""
        losses = (self.changed, self.unchanged)
        one, other = (below(v, b).mean() >= LEARNED for v, b in zip(losses, self.baselines, strict=True))
        return bool(one), bool(other)


def judge_noise(losses: Mapping[str, Mapping[str, Changed]]) -> Finding:
    """Return what test losses with and without noise, by task and cell, say of statement 13."""
    moved = tuple(_cost(by["lstm"], by["gru"], name) for name, by in losses.items())
    return Finding(
        judgement=judge(moved, claim="lower"),
        effects=moved,
        measured=_levels(losses, "with noise", "without"),
        seeds=moved[0].pairs,
    )


@statement(
    "13",
    "a GRU handles noise better",
    sources="A",
    kind="statistical",
    suite="N",
    criterion="GRU's over LSTM's test loss with noise, over the same without: of labels (0.2, 0.4, in training alone) "
    "and of inputs (0.3, 0.6), on digits and on adding.  Supported if below 1 on most of the eight; the margin is "
    "1.10.  One of which neither cell learns anything in half of its runs decides nothing.",
)
def handles_noise(study: Study) -> Finding:
    tasks = [(task, kind) for kind, tasks in noisy_of(study).items() for task in tasks]
    judged = judge_noise(_losses(study, tasks, ("lstm", "gru")))
    return dataclasses.replace(judged, tuned=tuned_settings(study, ("lstm", "gru")))


def judge_bias(losses: Mapping[str, Mapping[str, Changed]]) -> Finding:
    """Return what test losses after training on biased and on fair data, by task and cell, say of statement 35."""
    costs = {
        cell: tuple(
            dataclasses.replace(
                paired(by[cell].rise, margin=LOSS, name=f"{cell}, {task}"), arms=("fair", "biased")
            )
            for task, by in losses.items()
        )
        for cell in _CELLS
    }
    holds = {cell: judge(effects, claim="higher") for cell, effects in costs.items()}
    own = holds.pop("gru")
    more = tuple(
        _cost(by["lstm"], by["gru"], f"what it costs gru over lstm, {task}") for task, by in losses.items()
    )
    cost = judge(more, claim="lower")
    others = listing(f"{cell} {judged.word}" for cell, judged in holds.items())
    told = listing(f"{effect.name} {effect.text()}" for effect in more)
    judgement = Judgement(
        word=own.word,
        reason=f"{own.reason}; the same of others: {others}; {told}",
        small=own.small,
        needed=own.needed,
        claim=own.claim,
    )
    return Finding(
        judgement=judgement,
        effects=(*(effect for effects in costs.values() for effect in effects), *more),
        measured=_levels(losses, "biased", "fair"),
        seeds=more[0].pairs,
        distinguishes=_alone(own.word, {cell: judged.word for cell, judged in holds.items()}, cost),
    )


def _alone(own: str, others: Mapping[str, str], cost: Judgement) -> str:
    """Return whether it is so of a GRU alone: its own word beside another's is no difference, what it costs more is."""
    says, needs = distinguished(own, others.values(), more=cost), {ONLY: CONTRADICTED, OTHER: SUPPORTED}
    return says if cost.word == needs.get(says, cost.word) else ""


@statement(
    "35",
    "a GRU generalizes badly if its data are biased",
    sources="A",
    kind="statistical",
    suite="N",
    criterion="Trained on digits of which half are ten times rarer, and on adding with numbers up to 0.5, tested on "
    "all, against as many fair examples.  Supported if a GRU's test loss is then greater on both; of "
    "it alone, if not so of LSTM and RNN, and if it rises more than the LSTM's by both tests; "
    "the other cell more, if the LSTM's rises more by both tests.",
)
def generalizes_badly(study: Study) -> Finding:
    judged = judge_bias(_losses(study, [(task, kind) for kind, task in BIASED.items()], _CELLS))
    return dataclasses.replace(judged, tuned=tuned_settings(study, _CELLS))


def _losses(
    study: Study, tasks: Iterable[tuple[StudyTask, str]], cells: Iterable[str]
) -> dict[str, dict[str, Changed]]:
    def values(task: StudyTask, cell: str) -> Array:
        return study.arm(task, cell).values("test_loss")

    listed, each = list(tasks), list(cells)
    study.make(product([*(task for task, _ in listed), *MIDDLE.values()], each))
    return {
        study.task(task).name: {
            cell: Changed(
                values(task, cell),
                values(MIDDLE[kind], cell),
                (study.baseline(task), study.baseline(MIDDLE[kind])),
            )
            for cell in each
        }
        for task, kind in listed
    }


def _cost(lstm: Changed, gru: Changed, name: str) -> Effect:
    """Return how much more of its loss a GRU pays for the change than an LSTM: d with it less d without.

    Where neither learns anything both are at the bottom, which a difference on the other data would only seem to shrink
    to: that decides nothing.
    """
    cost = dataclasses.replace(paired(gru.rise - lstm.rise, margin=LOSS, name=name), arms=("lstm", "gru"))
    if all(map(any, zip(lstm.learns, gru.learns, strict=True))):
        return cost
    return dataclasses.replace(
        cost, name=f"{name}, which neither learns", margin=math.nan, p_t=1.0, p_flip=1.0
    )


def _levels(losses: Mapping[str, Mapping[str, Changed]], changed: str, unchanged: str) -> dict[str, Mean]:
    """Return the losses themselves: where they are near 0 without the change, any change costs many times as much."""
    return {
        f"{cell}, {task}: test loss {which_one}": mean(values)
        for task, by in losses.items()
        for cell, pair in by.items()
        for which_one, values in zip((changed, unchanged), pair[:2], strict=True)
    }
