"""How sure an effect is, in words: certainly, probably, no difference that matters, or no evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gatescope.datatypes import Effect
from gatescope.experiments.seeds.statistics import LEVEL, holm
from gatescope.reporting.text import listing

CERTAINLY, PROBABLY, EQUAL, NO_EVIDENCE = "certainly", "probably", "no difference that matters", "no evidence"


def graded(effects: Sequence[Effect]) -> list[tuple[str, int]]:
    """Return how sure each of several effects is, with -1 if the second arm is lower, 1 if higher, else 0.

    One that both tests show, after Holm's correction, is certain if its whole 90 % interval, in the unit of the
    margin, lies outside it.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.page.grades import graded
    >>> from gatescope.experiments.seeds.statistics import paired
    >>> graded([paired(np.log([0.5, 0.6, 0.55, 0.4, 0.5, 0.45]), margin=np.log(1.25))])
    [('certainly', -1)]
    """
    grades = []
    for effect, p in zip(effects, holm(each.p for each in effects), strict=True):
        if effect.inside_margin:
            grades.append((EQUAL, 0))
        elif p < LEVEL:
            nearest = min(abs(effect.low_90), abs(effect.high_90))
            if not math.isfinite(
                nearest
            ):  # some runs were stopped: for a difference they count with the budget
                nearest = min(abs(effect.low), abs(effect.high))
            grades.append((PROBABLY if nearest < effect.margin else CERTAINLY, effect.sign))
        else:
            grades.append((NO_EVIDENCE, 0))
    return grades


def in_words(effects: Sequence[Effect]) -> str:
    """Return effects of the same two arms in a sentence, or in one for each two; empty without arms."""
    sentences = []
    for arms in dict.fromkeys(effect.arms for effect in effects if effect.arms):
        some = [effect for effect in effects if effect.arms == arms]
        parts: dict[str, list[str]] = {}
        for effect, (grade, sign) in zip(some, graded(some), strict=True):
            share = effect.measure == "share"
            low, high = ("reaching it more often", "reaching it less often") if share else ("lower", "higher")
            text = {-1: f"{grade} {low}", 0: grade, 1: f"{grade} {high}"}[sign]
            parts.setdefault(text, []).append(effect.name)
        said = "; ".join(f"{what} on {listing(names)}" for what, names in parts.items())
        sentences.append(f"{arms[1]} against {arms[0]}: {said}.")
    return " ".join(sentences)
