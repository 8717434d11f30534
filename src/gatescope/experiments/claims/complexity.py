"""Whether an LSTM's advantage grows with what has to be remembered: statement 6b."""

from __future__ import annotations

import dataclasses
import math
from itertools import chain, product

import numpy as np

from gatescope.datatypes import Arm, Effect
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import LEARNED, settings
from gatescope.experiments.claims.win_table import (
    COPYING,
    COUNTING_2,
    COUNTING_3,
    FLIP_FLOP,
    ORDER_2,
    ORDER_3,
    with_arguments,
)
from gatescope.experiments.seeds.judge import judge
from gatescope.experiments.seeds.statistics import OF_LOSSES, by_share, effect, learned, paired

CELLS = ("lstm", "gru")
COPYING_5 = with_arguments(COPYING, "copying of 5, T = 50", memory=5)
FLIP_FLOP_1 = with_arguments(FLIP_FLOP, "flip-flop of 1 channel", channels=1)
# The simpler task, and the one of which more has to be remembered.
PAIRS = {
    "order of 3 against 2": (ORDER_2, ORDER_3),
    "copying of 10 symbols against 5": (COPYING_5, COPYING),
    "a^n b^n c^n against a^n b^n": (COUNTING_2, COUNTING_3),
    "flip-flop of 3 channels against 1": (FLIP_FLOP_1, FLIP_FLOP),
}


def interaction(
    name: str,
    simple: tuple[Arm, Arm],
    harder: tuple[Arm, Arm],
    metric: str,
    *,
    margin: float,
    baselines: tuple[float, float] = (math.nan, math.nan),
) -> Effect:
    """Return how much more the second of two arms is above the first on the harder of two tasks, seed by seed.

    Of updates it is a difference of fractions that reached the target, in pairs, where too many of an arm's runs did
    not; where any did not, the censored numbers do not speak for equality.  Where neither arm learns one of the tasks
    in half of its runs, by the target or by the loss of who knows nothing, `baselines`, it decides nothing: there both
    are at the bottom, and a difference on the other task would only seem to vanish.
    """
    arms = (simple, harder)
    parts = [effect(*pair, metric, margin=margin) for pair in arms]
    censored = metric == "updates" and not all(arm.reached.all() for pair in arms for arm in pair)
    share = "share" in {part.measure for part in parts}
    if share:
        parts = [by_share(*(arm.reached for arm in pair)) for pair in arms]
    compared = paired(
        parts[1].differences - parts[0].differences,
        margin=np.nan if share else margin,
        name=name,
        measure="difference" if share else parts[0].measure,
        in_margins=np.array([]) if censored else None,
    )
    if all(
        any(_learns(arm, metric, baseline) for arm in pair)
        for pair, baseline in zip(arms, baselines, strict=True)
    ):
        return compared
    return dataclasses.replace(
        compared, name=f"{name}, one of which neither learns", margin=math.nan, p_t=1.0, p_flip=1.0
    )


def _learns(arm: Arm, metric: str, baseline: float) -> bool:
    runs = arm.reached if metric == "updates" else learned(arm, baseline)
    return bool(runs.mean() >= LEARNED)


@statement(
    "6b",
    "above all on complex tasks, with more to remember, an LSTM does better than a GRU",
    sources="A P",
    kind="statistical",
    criterion="How much more updates, or how much more loss, the GRU needs than the LSTM is compared between a task "
    "and one of which more has to be remembered: temporal order of 3 symbols against 2, copying of 10 "
    "against 5, a^n b^n c^n against a^n b^n, the flip-flop of 3 channels against 1.  Supported if it "
    "grows on more than half of the four and shrinks on none; contradicted the other way round.  A pair of "
    "which neither cell learns one task in half of its runs decides nothing.",
)
def complex_tasks(study: Study) -> Finding:
    study.make(product(chain(*PAIRS.values()), CELLS))
    effects = []
    for name, tasks in PAIRS.items():
        simple, harder = ((study.arm(task, "lstm"), study.arm(task, "gru")) for task in tasks)
        task = tasks[1]
        floors = (math.nan, math.nan)
        if task.metric in OF_LOSSES:
            floors = (study.baseline(tasks[0]), study.baseline(task))
        one = interaction(name, simple, harder, task.metric, margin=task.margin, baselines=floors)
        effects.append(dataclasses.replace(one, arms=CELLS))
    chosen = settings(study, *product(chain(*PAIRS.values()), CELLS, [None]))
    return Finding(judgement=judge(effects, claim="higher"), effects=tuple(effects), tuned=chosen)
