"""How many training sequences a cell needs, and who is better with many: statements 11b and 11c."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from gatescope.datatypes import Array, Effect
from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.amounts import LOSS, MIDDLE, by_size, like, tuned_settings
from gatescope.experiments.claims.long_loss import final_loss
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.win_table import UPDATES
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.statistics import CENSORED, by_share, for_equality, paired

CELLS = ("lstm", "gru")
THRESHOLDS = {"digits": 0.3, "adding": 0.01}  # test losses of about 92 % right, and of 6 % of the baseline
# With 30 sequences of adding both cells are below the threshold already.
FEWER = {"adding": {10: like(MIDDLE["adding"], "N = 10", examples=10)}}


def needed(sizes: Sequence[int], losses: Array, threshold: float) -> tuple[Array, Array]:
    """Return from which size on each seed's test loss (sizes, seeds) is below a threshold, between sizes by their ln.

    Of the answers (seeds,) the second is 0; 1 where no size will do, which stands at the greatest, and -1 where the
    smallest will, which stands at that.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.needs_data import needed
    >>> needed([10, 1000], np.array([[1.0, 1.0, 0.01], [0.01, 0.2, 0.01]]), 0.1)
    (array([ 100., 1000.,   10.]), array([ 0,  1, -1]))
    """
    counts, beyond = [], []
    for row in np.asarray(losses, np.float64).T:
        below = np.flatnonzero(row < threshold)
        at = below[0] if below.size else len(sizes) - 1
        inside = below.size > 0 and at > 0
        if inside and np.isfinite(row[at - 1]) and row[at] > 0:
            pair = slice(at - 1, at + 1)
            log_size = np.interp(-np.log(threshold), -np.log(row[pair]), np.log(sizes[pair]))
            counts.append(float(np.exp(log_size)))
        else:
            counts.append(float(sizes[at]))
        beyond.append(0 if inside else -1 if below.size else 1)
    return np.round(counts, 9), np.array(beyond)


def judge_need(losses: Mapping[str, Mapping[str, Array]], sizes: Mapping[str, Sequence[int]]) -> Finding:
    """Return what test losses (sizes, seeds), by task and cell, say of statement 11b."""
    effects: list[Effect] = []
    measured: dict[str, Mean] = {}
    for task, by_cell in losses.items():
        (one, one_beyond), (other, other_beyond) = (
            needed(sizes[task], by_cell[cell], THRESHOLDS[task]) for cell in CELLS
        )
        name = f"{task}, N at a test loss of {THRESHOLDS[task]}"
        if max((one_beyond > 0).mean(), (other_beyond > 0).mean()) > CENSORED:
            effect = by_share(one_beyond <= 0, other_beyond <= 0, name=name)
        else:
            d = np.log(other / one)
            # What the smallest or no size does is not known closer: not towards equality.
            same = for_equality(d, one_beyond == 0, other_beyond == 0)
            effect = paired(d, margin=UPDATES, name=name, in_margins=same)
        effects.append(dataclasses.replace(effect, arms=CELLS))
        measured |= {
            f"{task}, {cell}: ln of the sequences needed": mean(np.log(n))
            for cell, n in zip(CELLS, (one, other), strict=True)
        }
    return Finding(
        judgement=judge(effects, claim="lower"),
        effects=tuple(effects),
        measured=measured,
        seeds=effects[0].pairs,
    )


@statement(
    "11b",
    "a GRU needs less data",
    sources="A",
    kind="statistical",
    suite="N",
    criterion="The smallest number of training sequences with a test loss below a threshold, between sizes by their "
    "ln, on digits and on adding.  Supported if the GRU's over the LSTM's is below 1 on both; the margin is 1.25.",
)
def less_data(study: Study) -> Finding:
    sized = by_size(study)
    if not study.quick:
        sized = {kind: {**FEWER.get(kind, {}), **tasks} for kind, tasks in sized.items()}
    study.make((task, cell) for tasks in sized.values() for task, cell in product(tasks.values(), CELLS))
    losses = {
        kind: {
            cell: np.array([study.arm(task, cell).values("test_loss") for task in tasks.values()])
            for cell in CELLS
        }
        for kind, tasks in sized.items()
    }
    judged = judge_need(losses, {kind: list(tasks) for kind, tasks in sized.items()})
    return dataclasses.replace(judged, tuned=tuned_settings(study, CELLS))


def judge_large(slopes: Sequence[Effect], tops: Sequence[Effect]) -> Finding:
    """Return what is said of statement 11c by how ratios move from the smallest set to the largest, and by these."""
    parts = {
        "more with more data": judge(slopes, claim="higher"),
        "at the largest": judge(tops, claim="higher"),
    }
    words = [part.word for part in parts.values()]
    # Of a claim of two parts, one that fails is enough.
    order = (CONTRADICTED, MIXED, UNDECIDED, EQUAL)
    word = next((word for word in order if word in words), SUPPORTED)
    reason = "; ".join(f"{name}: {part.word}, {part.reason}" for name, part in parts.items())
    open_ones = [part.needed for part in parts.values() if part.word == UNDECIDED]
    most = None if None in open_ones else max((n for n in open_ones if n), default=None)
    judgement = Judgement(
        word=word,
        reason=reason,
        small=word in (SUPPORTED, CONTRADICTED)
        and any(part.small for part in parts.values() if part.word == word),
        needed=most if word == UNDECIDED else None,
        claim="higher",
    )
    return Finding(judgement=judgement, effects=(*slopes, *tops))


def change_over_sizes(sizes: Sequence[int], differences: Array, name: str) -> Effect:
    """Return how far a line through ln of ratios (sizes, seeds) rises from the smallest size to the largest."""
    x = np.log(sizes) - np.log(sizes).mean()
    slope = x @ differences / (x @ x)
    return dataclasses.replace(paired(slope * (x[-1] - x[0]), margin=LOSS, name=name), arms=CELLS)


@statement(
    "11c",
    "an LSTM is better on large data sets",
    sources="D",
    kind="statistical",
    suite="L",  # whose curves it needs, and which run longer than all else it is about
    criterion="Supported if the line through ln of GRU's over LSTM's test loss rises with ln N on digits and on "
    "adding, over the seeds, and the ratio is above 1 on most of the largest sets: 1,200 digits, 10,000 sequences of "
    "adding, and the long series; contradicted if either is the other way round.",
)
def better_on_large(study: Study) -> Finding:
    sized = by_size(study)
    study.make((task, cell) for tasks in sized.values() for task, cell in product(tasks.values(), CELLS))
    slopes, tops = [], []
    for kind, tasks in sized.items():
        effects = [study.effect(task, *CELLS) for task in tasks.values()]
        sizes = list(tasks)
        name = f"{kind}, from {sizes[0]:,} to {sizes[-1]:,} sequences"
        slopes.append(change_over_sizes(sizes, np.array([e.differences for e in effects]), name))
        tops.append(effects[-1])
    long = final_loss(study)
    judged = judge_large(slopes, [*tops, *long.effects])
    return dataclasses.replace(judged, tuned=tuned_settings(study, CELLS), preliminary=long.preliminary)
