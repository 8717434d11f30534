"""From which learning rate on training diverges: statement 15b."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from gatescope.datatypes import Array, SeedRun, Status
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study, StudyTask
from gatescope.experiments.claims.trained import distinguished
from gatescope.experiments.claims.win_table import UPDATES
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import paired
from gatescope.reporting.text import listing, number, percent

CELLS = ("lstm", "gru", "rnn")
GAINS = (0.5, 1.0, 2.0, 4.0)
RATES: dict[str, tuple[float, ...]] = {"sgd": (0.03, 0.1, 0.3, 1.0, 3.0), "adam": (0.01, 0.1)}
# Of a quick study: the ends of the gains, and rates of gradient descent ten times apart.
QUICK_GAINS = (0.5, 4.0)
QUICK_RATES: dict[str, tuple[float, ...]] = {"sgd": (0.03, 0.3, 3.0), "adam": (0.01, 0.1)}
_TIMES = 10  # of the loss with the initial weights: as much is no training any more
_BELOW = 3  # a largest stable rate below the first that was tried stands for it so many times less
_TASK = StudyTask(
    name="adding, T = 50",
    spec=RunSpec(
        task="adding",
        arguments={"steps": 50},
        cell="lstm",
        hidden_size=32,
        lr=0.01,
        updates=200,
        clip_norm=None,
    ),
    metric="test_loss",
    margin=UPDATES,
    memory=50,
    quick={"arguments": {"steps": 20}, "updates": 50, "memory": 20},
)


def diverged(run: SeedRun) -> bool:
    """Return whether a run's numbers went beyond all bounds, or its training loss beyond ten times the first."""
    return run.status == Status.DIVERGED or bool((run.training_loss > _TIMES * run.first_training_loss).any())


def stable_rates(rates: Sequence[float], unstable: Array) -> Array:
    """Return the largest rate up to which nothing diverges, of answers (..., rates, seeds) bool.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.divergence import stable_rates
    >>> stable_rates([0.3, 1.0, 3.0], np.array([[False, True], [True, False], [False, True]]))
    array([0.3, 0.1])
    """
    steps = np.array([rates[0] / _BELOW, *rates])
    stable = np.minimum.accumulate(~unstable, axis=-2).sum(axis=-2)
    largest: Array = np.round(steps, 9)[stable]
    return largest


def judge_divergence(
    unstable: Mapping[str, Mapping[str, Array]],
    gains: Sequence[float] = GAINS,
    rates: Mapping[str, Sequence[float]] = RATES,
) -> Finding:
    """Return what answers (gains, rates, seeds), by cell and optimizer, say of statement 15b."""
    measured: dict[str, Mean] = {}
    words: dict[str, str] = {}
    largest: dict[str, Array] = {}
    for cell, by_optimizer in unstable.items():
        turns = False
        for optimizer, answers in by_optimizer.items():
            shares = answers.mean(axis=-1)
            # At the same weights a smaller rate does not diverge: it is the rate.
            turns |= bool(((shares > 0.5).any(axis=1) & (shares[:, 0] <= 0.5)).any())
            measured |= {
                f"{cell}, {optimizer}, gain {gain:g}, lr {rate:g}: diverged": mean(answers[i, j])
                for i, gain in enumerate(gains)
                for j, rate in enumerate(rates[optimizer])
            }
        some = any(answers.any() for answers in by_optimizer.values())
        words[cell] = SUPPORTED if turns else UNDECIDED if some else CONTRADICTED
        largest[cell] = np.log(stable_rates(rates["sgd"], by_optimizer["sgd"]))  # (gains, seeds)
        measured |= {
            f"{cell}, gain {gain:g}: ln of the largest stable rate of sgd": mean(largest[cell][i])
            for i, gain in enumerate(gains)
        }
    own = words.pop("lstm")
    effects = tuple(
        dataclasses.replace(
            paired(
                (largest[cell] - largest["lstm"]).mean(axis=0),
                margin=UPDATES,
                name=f"largest stable rate, {cell}",
            ),
            arms=("lstm", cell),
        )
        for cell in words
    )
    more = judge(effects, claim="lower", on="any")
    # One that is lower is enough, also where the other is higher.
    sooner = dataclasses.replace(more, word=SUPPORTED) if more.word == MIXED else more
    apart = max(after / before for before, after in pairwise(rates["sgd"]))
    share = max(float(answers.mean(axis=-1).max()) for answers in unstable["lstm"].values())
    stable = listing(f"{cell} {number(math.exp(float(values.mean())))}" for cell, values in largest.items())
    reason = (
        f"at its worst rate and gain {percent(share)} of an LSTM's runs diverge; largest stable rates of sgd, the mean "
        f"of ln over gains and seeds: {stable}, of rates that are up to {number(apart)} times apart, which no interval "
        f"knows of; {more.reason}"
    )
    return Finding(
        judgement=Judgement(word=own, reason=reason, claim="lower"),
        effects=effects,
        measured=measured,
        seeds=effects[0].pairs,
        distinguishes=distinguished(own, words.values(), more=sooner),
    )


@statement(
    "15b",
    "an LSTM explodes if its learning rate is too high",
    sources="A",
    kind="statistical",
    suite="E",
    criterion="Divergence, not exploding gradients: a loss that is not finite, or ten times the first, within 200 "
    "updates of adding of 50 steps, without clipping.  Supported if at some gain of 0.5 to 4 and some rate, 0.03 to 3 "
    "of gradient descent, 0.01 or 0.1 of Adam, most seeds diverge, and at the smallest rate most do not; contradicted "
    "if none ever does.  The other cell more, if the largest stable rate of a GRU or an RNN is lower by both tests.",
)
def diverges(study: Study) -> Finding:
    gains, rates = (QUICK_GAINS, QUICK_RATES) if study.quick else (GAINS, RATES)

    def answers(cell: str, optimizer: str) -> Array:
        arms = [
            [
                study.fixed(_TASK, cell, optimizer=optimizer, lr=rate, scheme=f"gaussian({gain:g})")
                for rate in rates[optimizer]
            ]
            for gain in gains
        ]
        return np.array([[[diverged(run) for run in arm.runs] for arm in row] for row in arms])

    unstable = {cell: {name: answers(cell, name) for name in rates} for cell in CELLS}
    return judge_divergence(unstable, gains, rates)
