"""How hard long dependencies are in practice: statement 2b."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

from gatescope.datatypes import Array, Effect
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import DEFAULTS, LEARNED, distinguished, settings
from gatescope.experiments.claims.win_table import LONG_TO_TARGET
from gatescope.experiments.seeds.judge import Judgement, depends_on_init
from gatescope.experiments.seeds.statistics import LEVEL, by_share, holm
from gatescope.reporting.text import listing, percent

_REACHES = 0.9  # of the runs: then an arm misses nothing


class Reached(NamedTuple):
    """Which runs on a task reached the target: with each default scheme, with the best one, and those of an RNN."""

    default: Mapping[str, Array]
    best: Array
    rnn: Array


def judge_hard(reached: Mapping[str, Mapping[str, Reached]]) -> Finding:
    """Return what the runs of cells, by task, say of statement 2b, which is about the first cell."""
    words, reasons, effects = {}, {}, {}
    for cell, tasks in reached.items():
        effects[cell] = [
            dataclasses.replace(
                by_share(one.best, runs, name=f"{task}, {scheme}"), arms=("best weights", f"{scheme} weights")
            )
            for task, one in tasks.items()
            for scheme, runs in one.default.items()
        ]
        words[cell], reasons[cell] = _word(tasks, effects[cell])
    this, other = reached
    schemes = next(iter(reached[this].values())).default
    by_init = {}
    for scheme in schemes:
        tasks = {
            task: one._replace(default={scheme: one.default[scheme]}) for task, one in reached[this].items()
        }
        by_init[scheme], _ = _word(tasks, [e for e in effects[this] if e.arms[1] == f"{scheme} weights"])
    return Finding(
        judgement=Judgement(word=words[this], reason=reasons[this], claim="higher"),
        effects=tuple(effects[this]),
        distinguishes=distinguished(words[this], [words[other]]),
        depends_on_init=depends_on_init(by_init),
    )


def _word(tasks: Mapping[str, Reached], effects: Sequence[Effect]) -> tuple[str, str]:
    """Return the word on a cell, and the shares that it stands on."""
    adjusted = holm(effect.p for effect in effects)
    missed = [e for e, p in zip(effects, adjusted, strict=True) if p < LEVEL and e.sign > 0]
    if missed:
        texts = [f"{e.name} {percent(e.reached[1])} against {percent(e.reached[0])}" for e in missed]
        return SUPPORTED, f"reached with default and with the best weights: {listing(texts)}"
    least = min(effects, key=lambda effect: effect.reached[1])
    rnn = min(tasks, key=lambda task: float(tasks[task].rnn.mean()))
    reason = (
        f"with default weights nothing is missed beyond chance that the best ones reach; the least is "
        f"{percent(least.reached[1])} of {least.name}; an RNN reaches {percent(tasks[rnn].rnn.mean())} of {rnn}"
    )
    if least.reached[1] < _REACHES:
        return UNDECIDED, reason
    if tasks[rnn].rnn.mean() >= LEARNED:
        return UNDECIDED, f"{reason}: tasks that all cells learn decide nothing"
    return CONTRADICTED, reason


@statement(
    "2b",
    "in practice an LSTM's memory over long times is hard to get",
    sources="Q3",
    kind="statistical",
    criterion="Supported if on any of four tasks, adding of 100 and of 400 steps and temporal order of 2 and of 3, "
    "an LSTM with default weights, PyTorch's or Keras's, each with its best learning rate, reaches the "
    "target within the budget in fewer of the seeds than with the initial weights that did best (McNemar's "
    "test, Holm over tasks and weights); contradicted if with both it does in 9 of 10 on all of them, and "
    "an RNN at its best does not in half on one: tasks that every cell learns decide nothing.",
)
def hard_in_practice(study: Study) -> Finding:
    tasks, cells = [study.task(task) for task in LONG_TO_TARGET], ("lstm", "gru")
    defaults = [scheme for scheme in DEFAULTS if scheme in study.schemes]
    arms = [*product(tasks, cells, (None, *defaults)), *product(tasks, ["rnn"], [None])]
    study.make(arms)
    reached = {
        cell: {
            task.name: Reached(
                {scheme: study.arm(task, cell, scheme).reached for scheme in defaults},
                study.arm(task, cell).reached,
                study.arm(task, "rnn").reached,
            )
            for task in tasks
        }
        for cell in cells
    }
    return dataclasses.replace(judge_hard(reached), tuned=settings(study, *arms))
