"""How far back the error goes that trains an Elman network: statement 33b."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from gatescope.datatypes import Array, Effect
from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study, StudyTask
from gatescope.experiments.claims.trained import settings
from gatescope.experiments.claims.win_table import LOSS
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import effect, t_interval
from gatescope.reporting.text import number

BASELINE = 1 / 6  # the loss of always answering the mean of the sum
_LEARNT = 0.5  # of it: what stays above has learned little
_STEPS = 20
DOCUMENT = "Elman (1990) copied the state back as another input, and the error of a step went through that step alone"


def _task(name: str, window: int | None) -> StudyTask:
    spec = RunSpec(
        task="adding",
        arguments={"steps": _STEPS},
        cell="rnn",
        hidden_size=32,
        lr=0.01,
        updates=2000,
        window=window,
        stateful=window is not None,
    )
    quick = {"arguments": {"steps": 12}, "updates": 400}
    return StudyTask(name=name, spec=spec, metric="test_loss", margin=LOSS, memory=_STEPS, quick=quick)


WHOLE = _task(f"all {_STEPS} steps back", None)
TEN = _task("10 steps back", 10)
ONE = _task("1 step back, as Elman's", 1)


def judge_elman(one: Effect, ten: Effect, losses: Mapping[str, Array]) -> Finding:
    """Return what is said by the losses of errors that go one or ten steps back, each against all the way.

    `losses` (seeds,) are by name, those of all the way first.
    """
    judgement = judge([one], claim="higher")
    _, most = t_interval(next(iter(losses.values())), 0.95)
    learns = most < _LEARNT * BASELINE
    if not learns:
        word = UNDECIDED
    elif judgement.word == SUPPORTED:
        word = MIXED if not judgement.small else CONTRADICTED
    else:
        word = CONTRADICTED if judgement.word in (CONTRADICTED, EQUAL) else UNDECIDED
    parts = [DOCUMENT, f"loss against all steps back: {one.name} {one.text()}, {ten.name} {ten.text()}"]
    if not learns:
        limit = number(_LEARNT * BASELINE)
        parts.append(f"all steps back do not learn it either, to a loss below {limit}, which decides nothing")
    needed = judgement.needed if word == UNDECIDED and learns else None
    return Finding(
        judgement=Judgement(word=word, reason="; ".join(parts), needed=needed),
        effects=(one, ten),
        measured={f"{name}: test loss": (float(loss.mean()), math.nan) for name, loss in losses.items()},
        seeds=one.pairs,
    )


@statement(
    "33b",
    "an Elman network is trained by back-propagation through time",
    sources="A",
    kind="statistical",
    suite="H",
    criterion="Elman's of 1990 was trained by the error of one step, which documents say. RNNs learn adding over 20 "
    "steps with the error going all steps back, 10, or 1 as his did, states kept between. Contradicted altogether if "
    "one step is as good (equal, or lower loss); mixed, true of what is done today and not of Elman's, if all steps "
    "are better by both tests and by more than 10 %; undecided if even those do not learn it.",
)
def trained_by_the_past(study: Study) -> Finding:
    tasks = (WHOLE, TEN, ONE)
    study.make((task, "rnn") for task in tasks)
    arms = {task.name: study.arm(task, "rnn") for task in tasks}
    whole, ten, one = (arms[task.name] for task in tasks)
    last, some = (
        effect(whole, arm, "test_loss", margin=LOSS, name=task.name) for task, arm in ((ONE, one), (TEN, ten))
    )
    finding = judge_elman(last, some, {name: arm.values("test_loss") for name, arm in arms.items()})
    return dataclasses.replace(finding, tuned=settings(study, *((task, "rnn", None) for task in tasks)))
