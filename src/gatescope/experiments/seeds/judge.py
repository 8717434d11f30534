"""From effects to a word: what several tasks say together of a statement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Effect
from gatescope.datatypes.verdict import (
    CLAIMS,
    CONTRADICTED,
    EQUAL,
    MIXED,
    SUPPORTED,
    UNDECIDED,
)
from gatescope.errors import ShapeError
from gatescope.experiments.seeds.statistics import LEVEL, holm, pairs_needed
from gatescope.reporting.text import counted, listing, number

ROUNDINGS = 16.0  # up to which two numbers count as the same
ON = ("most", "any", "all")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict's word and reason, whether the difference is small, how many pairs would decide, what was claimed."""

    word: str
    reason: str
    small: bool = False
    needed: int | None = None
    claim: str = ""


def judge(effects: Sequence[Effect], *, claim: str, on: str = "most") -> Judgement:
    """Return what effects on several tasks say of a claim about the second arm.

    A task differs where both tests do, after Holm's correction over the tasks; it is equal where the 90 % interval lies
    inside its margin.  In this order: tasks that differ both ways are *mixed*; a difference as claimed, and none
    against it, on as many tasks as `on` says is *supported*; one against the claim *contradicted*; tasks that are
    equal, more than half of them, are *equal*; all else is *undecided*.  Of a claim of equality, a difference that is
    not equal on more than half of the tasks is *contradicted*.  What decides is *small* if all of it lies inside the
    margin, or of what is mixed all that differs one way.

    Parameters
    ----------
    effects : sequence of Effect
    claim : {"lower", "higher", "equal"}
        What is said of the second arm's updates, losses or errors.
    on : {"most", "any", "all"}
        Of the tasks: more than half, at least one, or all.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.seeds.judge import judge
    >>> from gatescope.experiments.seeds.statistics import paired
    >>> effect = paired(np.log([0.5, 0.6, 0.55, 0.4, 0.5, 0.45]), margin=np.log(1.25), name="adding")
    >>> judge([effect], claim="lower").word, judge([effect], claim="equal").word
    ('supported', 'contradicted')
    """
    check_choice("claim", claim, CLAIMS)
    check_choice("on", on, ON)
    if not effects:
        raise ShapeError("is empty", argument="effects", advice="give at least one")
    differing = [e for e, p in zip(effects, holm(e.p for e in effects), strict=True) if p < LEVEL]
    lower, higher = ([e for e in differing if e.sign == sign] for sign in (-1, 1))
    equal = [effect for effect in effects if effect.inside_margin]
    most = len(effects) // 2 + 1
    enough = {"most": most, "any": 1, "all": len(effects)}[on]
    as_claimed, against = (lower, higher) if claim == "lower" else (higher, lower)
    decides: list[Effect] = []
    if claim == "equal":
        decides = [effect for effect in differing if not effect.inside_margin]
        word = EQUAL if len(equal) >= most else CONTRADICTED if len(decides) >= most else UNDECIDED
    elif lower and higher:
        word = MIXED
    elif len(as_claimed) >= enough:
        word, decides = SUPPORTED, as_claimed
    elif len(against) >= enough:
        word, decides = CONTRADICTED, against
    else:
        word = EQUAL if len(equal) >= most else UNDECIDED
    counts = f"lower on {len(lower)}, higher on {len(higher)}, inside the margin on {len(equal)} of "
    reason = f"{counts}{counted(len(effects), 'task')}; {_numbers(effects)}"
    if word == UNDECIDED:
        # A task that differs or is equal is decided, whatever the others are.
        open_ones = [effect for effect in effects if not (effect in differing or effect.inside_margin)]
        pairs = [pairs_needed(effect, tests=len(effects)) for effect in open_ones]
        needed = max((n for n in pairs if n), default=None) if None not in pairs else None
        return Judgement(
            word=word, reason=f"{reason}; {_missing(open_ones, needed)}", needed=needed, claim=claim
        )
    small = bool(decides) and all(effect.inside_margin for effect in decides)
    if word == MIXED:  # both ways, but one of them by no more than does not matter
        small = any(all(effect.inside_margin for effect in side) for side in (lower, higher))
    if word == EQUAL:
        small = any(effect.inside_margin for effect in differing)
    return Judgement(word=word, reason=reason, small=small, claim=claim)


def judge_exact(
    equalities: Mapping[str, float], controls: Mapping[str, float], *, supports: bool = True
) -> Judgement:
    """Return what exact rows say: numbers that should be the same, and controls that must differ.

    Parameters
    ----------
    equalities, controls : mapping of str to float
        How far apart two things are, in roundings of the largest value.
    supports : bool
        Whether the statement is supported if the equalities hold, or contradicted.

    Examples
    --------
    >>> from gatescope.experiments.seeds.judge import judge_exact
    >>> judge_exact({"the state": 0.0}, {"another gate": 1e12}).word
    'supported'
    """
    if not equalities or not controls:
        advice = "an equality means something if a control could have failed"
        raise ShapeError("is empty", argument="controls" if equalities else "equalities", advice=advice)
    # A state that overflowed is no evidence either way, and a control that did could not have failed.
    numbers = {**equalities, **controls}
    if unknown := [name for name, roundings in numbers.items() if not math.isfinite(roundings)]:
        return Judgement(word=UNDECIDED, reason=f"not a finite number: {listing(unknown)}")
    apart = [name for name, roundings in equalities.items() if not roundings <= ROUNDINGS]
    passed = [name for name, roundings in controls.items() if not roundings > ROUNDINGS]
    holds = "differs by up to" if apart else "is so to"
    reason = (
        f"what has to be equal {holds} {number(max(equalities.values()))} roundings, of {ROUNDINGS:g} allowed; "
        f"controls, which have to differ, are at least {number(min(controls.values()))} apart"
    )
    if passed:
        reason = f"{reason}; a control that has to differ does not: {listing(passed)}"
        return Judgement(word=UNDECIDED, reason=reason)
    if apart:
        reason = f"{reason}; differ: {listing(apart)}"
    word = SUPPORTED if supports is not bool(apart) else CONTRADICTED
    return Judgement(word=word, reason=reason)


def depends_on_init(words: Mapping[str, str]) -> bool:
    """Return whether schemes of initial weights come to different words; one that is undecided differs from none.

    Examples
    --------
    >>> from gatescope.experiments.seeds.judge import depends_on_init
    >>> depends_on_init({"pytorch": "supported", "keras": "undecided"})
    False
    """
    return len({word for word in words.values() if word != UNDECIDED}) > 1


def _numbers(effects: Sequence[Effect]) -> str:
    return listing((f"{effect.name} {effect.text()}" for effect in effects), most=4)


def _missing(open_ones: Sequence[Effect], needed: int | None) -> str:
    """Return what would decide tasks that neither differ nor are equal."""
    if not open_ones:
        return "each task is decided, but they do not say the same"
    if all(effect.measure == "share" and not effect.differences.any() for effect in open_ones):
        return "no pair of runs differs in reaching the target, which decides nothing"
    return (
        f"about {counted(needed, 'seed')} would do" if needed else "no number of seeds up to 10,000 would do"
    )
