"""A difference between two arms of paired seeds, with its intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table
from gatescope.reporting.text import number, percent, with_interval

# What `differences` are, so that a reader can be told the effect in the unit that was measured.
MEASURES = ("log ratio", "difference", "share")


@dataclass(frozen=True, kw_only=True, repr=False)
class Effect(Result):
    """How the second of two arms differs from the first; n pairs of a seed.

    Attributes
    ----------
    name : str
        Of the task, and of the arm's setting if there are several.
    measure : {"log ratio", "difference", "share"}
        ln(second / first), second - first, or, where too many runs are censored, the fraction of the first arm's runs
        that reached the target minus that of the second.  Below 0 the second arm is lower, or reaches more often.
    differences : (n,) float64
    margin : float
        What is too small to matter, in the unit of the measure; NaN for shares, which have none.
    mean, low, high : float
        Mean, and the bounds of its 95 % interval; of times the median and its.
    low_90, high_90 : float
        Bounds of the 90 % interval of it, in the unit of the margin: inside the margin the arms are equal.
    p_t, p_flip : float
        Two-sided p of Student's t and of the exact sign-flip test; of a share both are McNemar's, of times the first is
        the sign test's.
    reached : tuple of float
        Fractions of the runs of both arms that reached their target; empty where that is not the question.
    arms : tuple of str
        Cells of the first and the second arm, or, of one cell, the names of both; empty where they are not known.
    """

    name: str
    measure: str
    differences: Array
    margin: float
    mean: float
    low: float
    high: float
    low_90: float
    high_90: float
    p_t: float
    p_flip: float
    reached: tuple[float, ...] = ()
    arms: tuple[str, ...] = ()

    _axes: ClassVar[Mapping[str, str]] = {"differences": "(n,) float64"}
    _dims: ClassVar[Mapping[str, str]] = {"n": "pair"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("measure", self.measure, MEASURES)

    @property
    def pairs(self) -> int:
        """Return n, how many pairs there are."""
        return len(self.differences)

    @property
    def p(self) -> float:
        """Return the greater of both p: an effect is one if both tests say so."""
        return max(self.p_t, self.p_flip)

    @property
    def sign(self) -> int:
        """Return -1 if the second arm is lower, 1 if it is higher, 0 if neither."""
        return int(np.sign(self.mean))

    @property
    def inside_margin(self) -> bool:
        """Return whether the 90 % interval lies inside the margin; a share has none, so it never does."""
        return -self.margin < self.low_90 and self.high_90 < self.margin

    def on_axis(self) -> tuple[float, ...]:
        """Return what an axis of ratios has to hold, as logarithms: mean, interval, margin; nothing of what is none."""
        return (self.mean, self.low, self.high, self.margin) if self.measure == "log ratio" else ()

    def text(self) -> str:
        """Return the effect with its interval as a ratio, or as it is."""
        values = (self.mean, self.low, self.high)
        if self.measure == "log ratio":
            return with_interval(*np.exp(values).tolist())
        if self.measure == "difference":
            return with_interval(*values)
        return f"{percent(self.reached[0])} against {percent(self.reached[1])} reached the target"

    def row(self) -> tuple[Any, ...]:
        """Return what a table of several effects shows of it."""
        what = "ratio" if self.measure == "log ratio" else self.measure
        return (self.name, what, self.text(), self.pairs, number(self.p), self.inside_margin)

    def table(self) -> Table:
        """Return the effect in a row."""
        return effects_table((self,), self.name)


def effects_table(effects: tuple[Effect, ...], title: str) -> Table:
    """Return a table of effects, a row each."""
    header = ("task", "measure", "second arm against first", "pairs", "p", "inside margin")
    return Table(header, [effect.row() for effect in effects], title)
