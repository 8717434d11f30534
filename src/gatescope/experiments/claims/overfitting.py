"""Who overfits, and what dropout and gates do about it: statements 12a, 12b and 12c."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array, Effect
from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.amounts import (
    BY_SIZE,
    DROPOUT,
    LOSS,
    MIDDLE,
    NO_RESET,
    SMALL,
    noisy_of,
    tuned_settings,
)
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Cell, Study, StudyTask, study_cell
from gatescope.experiments.claims.trained import distinguished
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.statistics import of_gaps, paired
from gatescope.reporting.text import listing

_UNIT = "as ratios, or if one is not above 0 as differences in units of their mean"
_UNGATED: tuple[Cell, ...] = (NO_RESET, "leaky", "rnn")


class Losses(NamedTuple):
    """Losses (n,) of the last weights after a fixed number of updates, on the test set and on the training set."""

    test: Array
    train: Array

    @property
    def gap(self) -> Array:
        """Return how much more the test set loses."""
        return self.test - self.train

    def means(self, name: str) -> dict[str, Mean]:
        """Return both as means over the seeds."""
        return {f"{name}: test loss": mean(self.test), f"{name}: training loss": mean(self.train)}

    def apart(self, name: str) -> Effect:
        """Return the ratio of both, which says how far the gap is from 0 on the scale of the margin."""
        effect = paired(np.log(self.test / self.train), margin=LOSS, name=name)
        return dataclasses.replace(effect, arms=("training set", "test set"))


def losses_of(study: Study, task: StudyTask, cell: Cell) -> Losses:
    """Return the losses of a cell on a task.

    Labels are noisy in training alone.  Of numbers the variance of that noise is added to the test's squared errors, as
    if it were there, too; of classes it is not known what it would add, and a set that is known by heart loses nothing.
    """
    arm = study.arm(task, cell)
    noise = task.spec.label_noise**2 if task.spec.task == "adding" else 0.0
    return Losses(arm.values("final_test_loss") + noise, arm.values("final_train_loss"))


def judge_overfits(losses: Mapping[str, Mapping[str, Losses]]) -> Finding:
    """Return what losses by task and cell say of statement 12a."""
    effects = tuple(_compared(by["lstm"], by["gru"], name, ("lstm", "gru")) for name, by in losses.items())
    judged = judge(effects, claim="lower")
    judged = dataclasses.replace(judged, reason=f"gaps {_UNIT}: {judged.reason}")
    return _with_losses(
        Finding(judgement=judged, effects=effects),
        {f"{cell}, {name}": one for name, by in losses.items() for cell, one in by.items()},
    )


@statement(
    "12a",
    "an LSTM overfits more where data are few or noisy",
    sources="P A",
    kind="statistical",
    suite="N",
    criterion="The gap between test and training loss after a fixed number of updates, without early stopping.  "
    "Supported if the GRU's is lower on most of twelve sets: the two smallest of digits and of adding, and of each one "
    "of a middle size with noise of labels (0.2, 0.4) and of inputs (0.3, 0.6); the margin is 1.10.",
)
def overfits_more(study: Study) -> Finding:
    small = [task for tasks in BY_SIZE.values() for task in list(tasks.values())[:2]]
    tasks = [*small, *(task for noisy in noisy_of(study).values() for task in noisy)]
    cells = ("lstm", "gru")
    study.make(product(tasks, cells))
    judged = judge_overfits(
        {study.task(task).name: {cell: losses_of(study, task, cell) for cell in cells} for task in tasks}
    )
    return dataclasses.replace(judged, tuned=tuned_settings(study, cells))


class _Cured(NamedTuple):
    """What a remedy does to the gap of a cell, task by task."""

    reduced: tuple[Effect, ...]
    left: tuple[Effect, ...]

    @property
    def reduces(self) -> Judgement:
        return judge(self.reduced, claim="lower")

    @property
    def word(self) -> str:
        """Return whether the gap is smaller, and what is left of it inside the margin."""
        if self.reduces.word in (CONTRADICTED, MIXED):
            return self.reduces.word
        if _most(effect.low > effect.margin for effect in self.left):
            return CONTRADICTED
        gone = _most(effect.high_90 < effect.margin for effect in self.left)
        return SUPPORTED if gone and self.reduces.word == SUPPORTED else UNDECIDED


def judge_dropout(losses: Mapping[str, Mapping[str, tuple[Losses, Losses]]]) -> Finding:
    """Return what losses without and with dropout, by task and cell, say of statement 12b."""
    cells: dict[str, _Cured] = {}
    for cell in ("lstm", "gru"):
        pairs = {f"{cell}, {name}": by[cell] for name, by in losses.items()}
        cells[cell] = _Cured(
            tuple(_compared(*pair, name, ("without", "with dropout")) for name, pair in pairs.items()),
            tuple(_left(*pair, f"{name}: what is left") for name, pair in pairs.items()),
        )
    lstm, gru = cells["lstm"], cells["gru"]
    more = [_more(by["lstm"], by["gru"], name) for name, by in losses.items()]
    left = listing((f"{effect.name} {effect.text()}" for effect in lstm.left), most=4)
    reason = f"gaps {_UNIT}; reduces it: {lstm.reduces.word}, {lstm.reduces.reason}; of it is left: {left}"
    reason += f"; a GRU's gap: {gru.reduces.word}, prevented: {gru.word}"
    found = Finding(
        judgement=Judgement(word=lstm.word, reason=reason, claim="lower"),
        effects=(*lstm.reduced, *gru.reduced, *lstm.left, *gru.left),
        distinguishes=distinguished(lstm.word, [gru.word], more=judge(more, claim="lower")),
    )
    pairs = {f"{cell}, {name}": pair for name, by in losses.items() for cell, pair in by.items()}
    without = {f"{name}, without": pair[0] for name, pair in pairs.items()}
    return _with_losses(found, {**without, **{name: pair[1] for name, pair in pairs.items()}})


@statement(
    "12b",
    "an LSTM prevents overfitting by dropout and recurrent dropout",
    sources="A",
    kind="statistical",
    suite="N",
    criterion="Of 100 digits and of 100 sequences of adding, with dropout of outputs (0.5) and of the state (0.3).  "
    "Supported if the gap between test and training loss is reduced on most of the four, and if on most what is left, "
    "as a part of the gap without, is inside the margin, ln 1.10, of 0; contradicted if it is not reduced, or on most "
    "more is left.",
)
def prevented_by_dropout(study: Study) -> Finding:
    cells = ("lstm", "gru")
    study.make(product((*SMALL.values(), *(task for tasks in DROPOUT.values() for task in tasks)), cells))
    losses = {
        study.task(task).name: {
            cell: (losses_of(study, SMALL[kind], cell), losses_of(study, task, cell)) for cell in cells
        }
        for kind, tasks in DROPOUT.items()
        for task in tasks
    }
    return dataclasses.replace(judge_dropout(losses), tuned=tuned_settings(study, cells))


def judge_gates(gru: Mapping[str, Losses], others: Mapping[str, Mapping[str, Losses]]) -> Finding:
    """Return what losses of a GRU, by task, and of cells that lack gates, by cell and task, say of statement 12c."""
    own = tuple(losses.apart(f"gru, {task}: test over training") for task, losses in gru.items())
    against = tuple(
        _compared(losses, gru[task], f"{task}, gru against {cell}", (cell, "gru"))
        for cell, by_task in others.items()
        for task, losses in by_task.items()
    )
    overfits, gates = judge(own, claim="higher"), judge(against, claim="lower")
    none = _most(effect.high_90 < effect.margin for effect in own)
    if overfits.word == SUPPORTED and _most(effect.low > effect.margin for effect in own):
        word = CONTRADICTED
    elif none and gates.word != UNDECIDED:
        # Where nothing overfits, gates are not what prevents it.
        word = CONTRADICTED if gates.word == EQUAL else gates.word
    else:
        word = UNDECIDED
    reason = f"test loss above training loss: {overfits.word}, {overfits.reason}"
    reason += f"; a smaller gap than without its gates, {_UNIT}: {gates.word}, {gates.reason}"
    found = Finding(judgement=Judgement(word=word, reason=reason, claim="lower"), effects=(*own, *against))
    losses_of_all = {"gru": gru, **others}
    return _with_losses(
        found,
        {f"{cell}, {task}": one for cell, by_task in losses_of_all.items() for task, one in by_task.items()},
    )


@statement(
    "12c",
    "a GRU learns without overfitting, thanks to its gates",
    sources="A",
    kind="statistical",
    suite="N",
    criterion="Contradicted if on most of four sets, a small one and one of a middle size of digits and of adding, the "
    "GRU's test loss is above its training loss by both tests and, by the 95 % interval, more than the margin, 1.10; "
    "supported if on most it is inside the margin and the gap is smaller than that of a GRU without "
    "reset gate, a leaky cell and an RNN.",
)
def without_overfitting(study: Study) -> Finding:
    tasks = (*SMALL.values(), *MIDDLE.values())
    study.make([*product(tasks, ["gru"]), *product(MIDDLE.values(), _UNGATED)])

    def of(cell: Cell, tasks: Iterable[StudyTask]) -> dict[str, Losses]:
        return {study.task(task).name: losses_of(study, task, cell) for task in tasks}

    gru = of("gru", tasks)
    others = {study_cell(cell).name: of(cell, MIDDLE.values()) for cell in _UNGATED}
    return dataclasses.replace(judge_gates(gru, others), tuned=tuned_settings(study, ("gru", *_UNGATED)))


def _with_losses(found: Finding, losses: Mapping[str, Losses]) -> Finding:
    """Return a finding with the losses that its ratios of gaps are made of."""
    means = {name: value for one, both in losses.items() for name, value in both.means(one).items()}
    return dataclasses.replace(found, measured=means, seeds=len(next(iter(losses.values())).test))


def _left(without: Losses, dropped: Losses, name: str) -> Effect:
    """Return the gap that is left as a part of the mean gap without the remedy, of which there has to be one."""
    whole = float(without.gap.mean())
    d = dropped.gap / whole if whole > 0 else np.full_like(dropped.gap, np.nan)
    return paired(d, margin=LOSS, name=name, measure="difference")


def _compared(first: Losses, second: Losses, name: str, arms: tuple[str, str]) -> Effect:
    """Return the ratio of two gaps; where one is not above 0, which has none, their difference."""
    if min(first.gap.min(), second.gap.min()) > 0:
        effect = paired(np.log(second.gap / first.gap), margin=LOSS, name=name)
    else:
        effect = of_gaps(first.gap, second.gap, margin=LOSS, name=name)
    return dataclasses.replace(effect, arms=arms)


def _more(lstm: tuple[Losses, Losses], gru: tuple[Losses, Losses], name: str) -> Effect:
    """Return how much more a remedy does to the gap of a GRU, in the same unit of both."""
    both = [(without.gap, dropped.gap) for without, dropped in (lstm, gru)]
    if min(gap.min() for pair in both for gap in pair) > 0:
        own, other = (np.log(dropped / without) for without, dropped in both)
    else:
        own, other = (of_gaps(*pair, margin=LOSS, name=name).differences for pair in both)
    return paired(other - own, margin=LOSS, name=name)


def _most(answers: Iterable[bool]) -> bool:
    listed = list(answers)
    return 2 * sum(listed) > len(listed)
