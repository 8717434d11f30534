"""Whether a plain RNN can learn long dependencies, and whether its gradient decides it: statement 36."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Arm, Array
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import finding, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import LEARNED, data_of, nats_lost, settings, untrained
from gatescope.experiments.claims.win_table import ADDING_100, LONG_TO_TARGET, ORDER_2
from gatescope.experiments.seeds.statistics import LEVEL
from gatescope.reporting.text import listing, number, percent

# Of a tanh, which has no gates to bias.  Keras's are orthogonal ones of gain 1, with 1.1 more of the gradient is left.
_SCHEMES = ("pytorch", "keras", "orthogonal(1.1)")
FEW = (ADDING_100, ORDER_2)  # of the tasks, in a quick study
_SEQUENCES = 4
_KINDS = 2  # of cells and initial weights that have to reach a target before it is said what goes with it


class RnnArm(NamedTuple):
    """Runs of an RNN on a task: which reached the target (n,), and the rates of the gradient before training (n,)."""

    cell: str
    scheme: str
    task: str
    steps: int
    reached: Array
    rate: Array

    @property
    def reaches(self) -> bool:
        """Return whether it reaches the target in half of its runs."""
        return bool(self.reached.mean() >= LEARNED)

    @property
    def keeps(self) -> bool:
        """Return whether half of the gradient, or more, is left after all steps."""
        # Not the mean: of a run all of whose relus are shut nothing is left, and the rate is infinite.
        return bool(np.median(self.rate) < np.log(2) / self.steps)


def judge_plain(arms: Sequence[RnnArm], lstm: Mapping[str, Array]) -> Finding:
    """Return what arms of RNNs say of statement 36, on the tasks of which `lstm` says that they can be learned."""
    learned = [arm for arm in arms if lstm[arm.task].mean() >= LEARNED]
    cannot, because = _cannot([arm for arm in learned if arm.cell == "rnn"]), _because(learned)
    words = {cannot, because}
    if words == {SUPPORTED, CONTRADICTED}:
        word = MIXED
    elif CONTRADICTED in words:
        word = CONTRADICTED
    else:
        word = SUPPORTED if words == {SUPPORTED} else UNDECIDED
    (keep, keep_not), (lose, lose_not) = _table(learned).T.tolist()
    best = sorted((arm for arm in learned if arm.reached.any()), key=lambda arm: -arm.reached.mean())
    reached = [f"{arm.cell} {arm.scheme} in {percent(arm.reached.mean())} of {arm.task}" for arm in best]
    reason = (
        f"that it cannot: {cannot}; that its gradient is why: {because}; on the tasks that an LSTM learns "
        f"{keep} of {keep + keep_not} arms whose gradient keeps half reach the target, and {lose} of {lose + lose_not} "
        f"of the others; runs that do: {listing(reached, most=4) or 'none'}"
    )
    measured = {
        f"{arm.cell} {arm.scheme}, {arm.task}: rate before training, at {number(np.log(2) / arm.steps)} half is left": (
            mean(arm.rate)
        )
        for arm in arms
    }
    return finding(word, reason, measured, max(len(arm.rate) for arm in arms))


def _cannot(arms: Sequence[RnnArm]) -> str:
    if any(arm.reaches for arm in arms):
        return CONTRADICTED
    return SUPPORTED if arms and not any(arm.reached.any() for arm in arms) else UNDECIDED


def _because(arms: Sequence[RnnArm]) -> str:
    from scipy.stats import barnard_exact

    table = _table(arms)
    if not (table.sum(axis=0).all() and table.sum(axis=1).all()):
        return UNDECIDED  # all alike in one of the two: nothing can go with it
    goes = {side: barnard_exact(table, alternative=side).pvalue < LEVEL for side in ("greater", "less")}
    # Arms of one kind on several tasks are the test's, and yet one case: anything else about it may be why.
    if len({(arm.cell, arm.scheme) for arm in arms if arm.reaches}) < _KINDS:
        return UNDECIDED
    return SUPPORTED if goes["greater"] else CONTRADICTED if goes["less"] else UNDECIDED


def _table(arms: Sequence[RnnArm]) -> Array:
    """Return how many arms reach the target and do not (rows), with a gradient that keeps half and not (columns)."""
    return np.array(
        [
            [sum((arm.reaches, arm.keeps) == (r, k) for arm in arms) for k in (True, False)]
            for r in (True, False)
        ]
    )


@statement(
    "36",
    "a plain RNN cannot learn long dependencies, because its gradient vanishes",
    sources="P Q1 A",
    kind="statistical",
    criterion="On those of four tasks, adding of 100 and of 400 steps and temporal order of 2 and of 3, that an "
    "LSTM learns in half of its runs.  That it cannot: contradicted if a tanh RNN with the weights of "
    "PyTorch, Keras (orthogonal, of gain 1) or orthogonal ones of gain 1.1 reaches the target in half of "
    "its runs, supported if in none at all.  Because: over these arms and those of relu with an identity "
    "matrix, supported if more of them reach it among those that before training keep half of the "
    "gradient over the whole task, contradicted if fewer (Barnard's test, 5 %), by two kinds of weights "
    "at least, as one may do so for another reason.  Mixed if the two differ; "
    "supported if both are.",
)
def rnn_cannot(study: Study) -> Finding:
    tasks = [study.task(task) for task in (FEW if study.quick else LONG_TO_TARGET)]
    chosen = [*(("rnn", scheme) for scheme in _SCHEMES), ("rnn_relu", None)]
    each = [(task, *one) for task in tasks for one in (*chosen, ("lstm", None))]
    study.make(each)
    arms = [
        _rnn_arm(study.arm(task, cell, scheme), task.name) for task, (cell, scheme) in product(tasks, chosen)
    ]
    lstm = {task.name: study.arm(task, "lstm").reached for task in tasks}
    return dataclasses.replace(judge_plain(arms, lstm), tuned=settings(study, *each))


def _rnn_arm(arm: Arm, task: str) -> RnnArm:
    rates = []
    for run in arm.runs:
        batch = data_of(run, sequences=_SEQUENCES)
        steps = len(batch.inputs)
        rates.append(np.median(nats_lost(untrained(run), batch, seed=run.seed)) / steps)
    spec = arm.runs[0].spec
    return RnnArm(str(spec["cell"]), str(spec["scheme"]), task, steps, arm.reached, np.array(rates))
