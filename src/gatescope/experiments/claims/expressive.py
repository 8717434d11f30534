"""Whether an LSTM is more expressive than a GRU: statement 17a."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product

from gatescope.datatypes import Array, Effect
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.students import LEARNT, students
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import settings
from gatescope.experiments.claims.win_table import COUNTING_2, COUNTING_3, UPDATES
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.statistics import paired
from gatescope.reporting.text import listing, percent

# Every run has the whole budget: one that stops at a loss may still fail at small numbers.
COUNTED = tuple(
    dataclasses.replace(
        task,
        name=f"{task.name}, counting on",
        spec=task.spec.with_(target_loss=None),
        metric="counted",
        margin=UPDATES,
    )
    for task in (COUNTING_2, COUNTING_3)
)
_CELLS = ("lstm", "gru")


def judge_expressive(
    counted: Sequence[Effect], fitted: Sequence[Effect], left: Mapping[str, Array]
) -> Finding:
    """Return what effects say of statement 17a, and how much of what they learn from is `left` by the controls.

    `counted` are of how far a GRU counts against an LSTM; `fitted` of the loss of LSTMs that learn GRUs against that of
    GRUs that learn LSTMs, each in units of that of the teacher's own kind.  Lower supports it in both.
    """
    further, better = (judge(effects, claim="lower") for effects in (counted, fitted))
    failed = [name for name, fraction in left.items() if not fraction.mean() < LEARNT]
    if failed:
        reason = f"students of the teacher's own kind leave more than {percent(LEARNT)}: {listing(failed)}"
        better = Judgement(word=UNDECIDED, reason=reason)
    halves = (further, better)
    words = {half.word for half in halves}
    if len(words) == 1:
        (word,) = words
    elif CONTRADICTED in words and SUPPORTED not in words:
        word = CONTRADICTED
    else:
        word = UNDECIDED if UNDECIDED in words else MIXED
    needed = [half.needed for half in halves if half.word == UNDECIDED]
    return Finding(
        judgement=Judgement(
            word=word,
            reason=f"that it counts further: {further.word}, {further.reason}; that it fits better: {better.word}, "
            f"{better.reason}",
            small=all(half.small for half in halves),
            needed=max((n for n in needed if n), default=None)
            if word == UNDECIDED and None not in needed
            else None,
            claim="lower",
        ),
        effects=(*counted, *fitted),
        measured={name: mean(fraction) for name, fraction in left.items()},
        seeds=min(effect.pairs for effect in counted),
    )


@statement(
    "17a",
    "an LSTM is more expressive than a GRU",
    sources="A",
    kind="statistical",
    criterion="Trained on a^n b^n up to n = 50 and on a^n b^n c^n up to 30, each for its whole budget, an LSTM "
    "follows all strings up to a larger n, of 1,000, on both; and LSTMs fit GRUs better than GRUs fit "
    "LSTMs, each against its own kind.  Supported if both are so; contradicted if one is the other way "
    "round and the other is not supported; mixed if they differ.",
)
def more_expressive(study: Study) -> Finding:
    study.make(product(COUNTED, _CELLS))
    fits = students(study)
    fitted = [
        dataclasses.replace(
            paired(-e.differences, margin=e.margin, name=f"lstm as gru against gru as lstm, {units} units"),
            arms=("gru as lstm", "lstm as gru"),
        )
        for units, e in zip(fits.sizes, fits.advantage(), strict=True)
    ]
    judged = judge_expressive([study.effect(task, *_CELLS) for task in COUNTED], fitted, fits.left)
    return dataclasses.replace(judged, tuned=settings(study, *product(COUNTED, _CELLS, [None])))
