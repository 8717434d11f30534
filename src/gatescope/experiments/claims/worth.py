"""Whether the time that an LSTM takes is worth it: statement 49."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import product
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from gatescope.datatypes import Arm, Array, Batch, Effect
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.speed import marked
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study, StudyTask
from gatescope.experiments.claims.trained import LEARNED, settings
from gatescope.experiments.claims.win_table import LONG, LOSS, NATS, OTHERS
from gatescope.experiments.long_series.timing import epoch_times
from gatescope.experiments.machine import load_average, others_share
from gatescope.experiments.seeds.data import run_data
from gatescope.experiments.seeds.judge import Judgement
from gatescope.experiments.seeds.sizes import equal_time
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import (
    CENSORED,
    LEVEL,
    OF_LOSSES,
    below,
    by_share,
    for_equality,
    holm,
    not_above,
    paired,
)
from gatescope.reporting.text import listing, number
from gatescope.training.optimizers import by_name

TASKS = (*LONG, *OTHERS)
CELLS = ("lstm", "gru", "rnn")
_TIMED = 3  # models of a cell, seven updates each


class Within(NamedTuple):
    """Runs of an arm as if they had ended after so many updates: they are the beginnings of the whole ones."""

    arm: Arm
    updates: int

    @property
    def reached(self) -> Array:
        """Return which runs have reached their target by then (n,)."""
        return self.arm.reached & (self.arm.values("updates") <= self.updates)

    def done(self) -> Array:
        """Return the updates to the target (n,), at most those there are."""
        return np.minimum(self.arm.values("updates"), self.updates)

    def losses(self) -> Array:
        """Return the least loss of the validations until then (n,)."""
        return np.array(
            [
                run.validation_loss[run.validation_update <= self.updates].min(initial=np.inf)
                for run in self.arm.runs
            ]
        )


def at_equal_time(
    task: StudyTask, arms: Mapping[str, Arm], seconds: Mapping[str, float], baseline: float = math.nan
) -> tuple[Effect, ...]:
    """Return how the other arms of a task differ from the first one, all ended when the quickest has done its updates.

    Compared are the seconds to the target, or, where there is none, the least validation loss.  `seconds` are those of
    an update.  Where in most pairs neither loss is 10 % below that of who knows nothing, `baseline`, two that are alike
    are no evidence that one is not worse.
    """
    specs = {cell: RunSpec(**arm.runs[0].spec) for cell, arm in arms.items()}
    within = {cell: Within(arms[cell], spec.updates) for cell, spec in equal_time(specs, seconds).items()}
    first, *others = within
    effects = []
    for other in others:
        pair = within[first], within[other]
        if task.spec.target_loss is None:
            compared = _losses_compared(task, pair[0].losses(), pair[1].losses(), baseline)
        else:
            compared = _seconds_compared(task, *pair, seconds[first], seconds[other])
        effects.append(
            dataclasses.replace(compared, name=f"{other}, {task.name}", arms=(first, other)),
        )
    return tuple(effects)


def _losses_compared(task: StudyTask, losses: Array, others: Array, baseline: float) -> Effect:
    nats = task.metric == "nats"
    with np.errstate(invalid="ignore"):  # of runs that diverged at once
        d = others - losses if nats else np.log(others / losses)
    some = below(np.minimum(losses, others), baseline).mean() >= LEARNED
    how: dict[str, Any] = (
        {"margin": NATS, "measure": "difference"} if nats else {"margin": LOSS, "measure": "log ratio"}
    )
    return paired(d, in_margins=d if some else d[:0], **how)


def _seconds_compared(
    task: StudyTask, one: Within, other: Within, seconds: float, others_seconds: float
) -> Effect:
    reached = one.reached, other.reached
    if max(float((~runs).mean()) for runs in reached) > CENSORED:
        return by_share(*reached)
    ratios = np.log(other.done() * others_seconds / (one.done() * seconds))
    shares = tuple(float(runs.mean()) for runs in reached)
    return paired(ratios, margin=task.margin, reached=shares, in_margins=for_equality(ratios, *reached))


def judge_worth(tasks: Mapping[str, Sequence[Effect]]) -> Finding:
    """Return what effects by task, of the same cheaper cells beside an LSTM at equal time, say of statement 49."""
    effects = [effect for each in tasks.values() for effect in each]
    not_worse: set[str] = set()
    worse: set[str] = set()
    for of_a_cell in zip(*tasks.values(), strict=True):  # a claim of its own, over all tasks
        differ, near = (holm(map(p, of_a_cell)) for p in (attrgetter("p"), not_above))
        for effect, apart, close in zip(of_a_cell, differ, near, strict=True):
            if apart < LEVEL and effect.sign > 0 and not effect.inside_margin:
                worse.add(effect.name)
            if (apart < LEVEL and effect.sign < 0) or close < LEVEL:
                not_worse.add(effect.name)
    fine = [effect for effect in effects if effect.name in not_worse]
    texts = [f"{effect.name} {effect.text()}" for effect in fine]
    where = [task for task, each in tasks.items() if any(effect.name in not_worse for effect in each)]
    worth = [task for task, each in tasks.items() if all(effect.name in worse for effect in each)]
    word = SUPPORTED if fine else CONTRADICTED if len(worth) == len(tasks) else UNDECIDED
    reason = (
        f"in equal seconds a cheaper cell is not worse on {len(where)} of {len(tasks)} tasks"
        f"{', on most' if 2 * len(where) > len(tasks) else ''}, and an LSTM better than both on {len(worth)}; "
        f"not worse: {listing(texts, most=4) or 'none'}"
    )
    return Finding(judgement=Judgement(word=word, reason=reason), effects=tuple(effects))


@statement(
    "49",
    "the effort of an LSTM is not always worth it",
    sources="P",
    kind="statistical",
    timed=True,
    criterion="All runs of the win table, ended when the quickest cell has done its updates, by the seconds of an "
    "update of LSTM, GRU and RNN in turns.  Supported if on some task a GRU or an RNN is not worse: sooner at the "
    "target, or of less loss, by both tests, or worse by less than the margin, by the t test of one side (each with "
    "Holm's correction over the tasks); contradicted if an LSTM is better than both on all, and not inside the margin.",
)
def not_always_worth_it(study: Study) -> Finding:
    tasks = [study.task(task) for task in TASKS]
    study.make(product(tasks, CELLS))
    effects: dict[str, tuple[Effect, ...]] = {}
    times = {}
    load = load_average()
    made = {task.name: {cell: study.arm(task, cell) for cell in CELLS} for task in tasks}
    with others_share() as share:
        for task in tasks:
            seconds = update_seconds(made[task.name])
            floor = study.baseline(task) if task.metric in OF_LOSSES else math.nan
            effects[task.name] = at_equal_time(task, made[task.name], seconds, floor)
            times[task.name] = {cell: number(value) for cell, value in seconds.items()}
    finding = marked(judge_worth(effects), share[0], load)
    tuned = settings(study, *((task, cell, None) for task in tasks for cell in CELLS))
    return dataclasses.replace(finding, tuned={**tuned, "seconds of an update": times})


def update_seconds(arms: Mapping[str, Arm]) -> dict[str, float]:
    """Measure the seconds of an update of each arm, on one thread, in turns; of one task."""
    spec = RunSpec(**next(iter(arms.values())).runs[0].spec)
    train = run_data(spec).train
    batch = _first(train, spec.batch_size) if isinstance(train, Batch) else train(seed=0)
    seeds = range(min(_TIMED, *(len(arm.runs) for arm in arms.values())))
    models = {(cell, seed): arm.runs[seed].model for cell, arm in arms.items() for seed in seeds}
    seconds = epoch_times(
        models,
        batch,
        [*arms],
        seeds,
        optimizer=by_name(spec.optimizer),
        lr=spec.lr,
        clip_norm=spec.clip_norm,
        threads=(1,),
    )
    return dict(zip(arms, np.median(seconds[0], axis=1).tolist(), strict=True))


def _first(batch: Batch, count: int | None) -> Batch:
    """Return the first sequences of a set."""
    by_step = {name: getattr(batch, name)[:, :count] for name in ("inputs", "targets", "mask")}
    return dataclasses.replace(batch, **by_step, lengths=batch.lengths[:count])
