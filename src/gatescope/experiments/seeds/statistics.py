"""What pairs of seeds say of two arms: intervals, exact tests, and how many seeds would do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Arm, Effect
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.experiments.seeds.training import COUNTED

LEVEL = 0.05
CENSORED = 0.3  # of an arm: with more, the verdict is by the fraction that reached the target
_EXACT = 14  # pairs up to which all sign flips are tried: 2^14
_FLIPS = 2**14 - 1  # of more pairs so many, drawn from a fixed seed
_MOST_PAIRS = 10_000  # that anybody would run
_LEARNED = 0.9  # of the loss of who knows nothing of a sequence: what is below it has learned something
METRICS = ("updates", "test_loss", "errors", "gap", "nats", "points", "counted")
OF_LOSSES = ("test_loss", "errors", "nats", "points")  # of which two may be alike because neither has learned


def effect(
    first: Arm, second: Arm, metric: str, *, margin: float, name: str = "", baseline: float = math.nan
) -> Effect:
    """Return how the second arm differs from the first, seed by seed.

    ========== ==================================================================================================
    metric     what is compared
    ========== ==================================================================================================
    updates    ln of the quotient of the updates to the target; censored runs count with the budget, but not towards
               equality: pairs of two are left out there, and if one run of a pair reached the target and the other
               did not, nothing is equal.  With more than 30 % of an arm censored: the fractions that reached it
    test_loss  ln of the quotient of the test losses
    nats       difference of the test losses
    errors     ln of the quotient of the numbers of wrong answers, each plus 1/2
    points     the same tests as for errors; the margin is one of the difference of the accuracies
    gap        difference of the gaps, test loss less training loss of the last weights, in units of the mean gap of
               both arms; gaps may be negative.  Two whose quotient is 1.10 differ by 2 x 0.10 / 2.10 = 0.0952 of
               their mean, and ln 1.10 is 0.0953: one margin serves for both.  Where the mean gap is not above 0
               neither arm overfits: the difference in nats, which decides nothing (p 1, no margin)
    counted    ln of the quotient of the n that are counted to, each plus 1/2: more is better.  1,000 is the most that
               is tried, so runs that come there are censored as those of updates are; and of two that fail at n = 1
               nothing is equal either
    ========== ==================================================================================================

    Parameters
    ----------
    first, second : Arm
        Of the same seeds, in the same order.
    metric : str
    margin : float
        What is too small to matter: of ln, as in ``math.log(1.25)``, or for nats and points of the difference, and for
        gaps of the difference in units of their mean.
    name : str
        Of the task.
    baseline : float, optional
        The test loss of who knows nothing of a sequence.  Of test_loss, nats, errors and points, a pair of which
        neither comes 10 % below it is no evidence of equality: two that have learned nothing are alike in that alone.

    Raises
    ------
    ShapeError
        If the arms have other seeds.
    UnknownNameError
        If there is no such metric.
    ValueRangeError
        If a number that a logarithm is taken of is not above 0.
    """
    check_choice("metric", metric, METRICS)
    if first.seeds.tolist() != second.seeds.tolist():
        problem = f"has the seeds {second.seeds.tolist()}, and `first` {first.seeds.tolist()}"
        raise ShapeError(problem, argument="second", advice="pair the runs seed by seed")
    task, some = name or str(first.runs[0].spec["task"]), learned(first, baseline) | learned(second, baseline)
    compared = _compare(first, second, metric, margin, task, some)
    cells = tuple(str(arm.runs[0].spec["cell"]) for arm in (first, second))
    return replace(compared, arms=cells if len(set(cells)) == 2 else (first.name, second.name))


def learned(arm: Arm, baseline: float) -> Array:
    """Return which runs (n,) have a test loss 10 % below that of who knows nothing; all, where that is not known."""
    return below(arm.values("test_loss"), baseline)


def below(losses: Array, baseline: float) -> Array:
    """Return which losses are 10 % below that of who knows nothing; all, where that is not known."""
    return losses < _LEARNED * baseline if np.isfinite(baseline) else np.ones(len(losses), np.bool_)


def not_above(effect: Effect) -> float:
    """Return the one-sided p of a second arm that is higher by the margin or more: small if it certainly is not.

    It is that of the t interval of equality: below 0.05 where the upper bound of the 90 % interval is below the margin.

    Examples
    --------
    >>> from gatescope.experiments.seeds.statistics import not_above, paired
    >>> round(not_above(paired([-0.1, 0.0, 0.1, 0.05], margin=0.2)), 4)
    0.0109
    """
    middle, half = (effect.high_90 + effect.low_90) / 2, (effect.high_90 - effect.low_90) / 2
    # Pairs of which both runs were stopped are left out there.
    pairs = round(effect.pairs * effect.reached[0]) if effect.reached else effect.pairs
    if not math.isfinite(middle + effect.margin) or pairs < 2:
        return 1.0
    if half == 0:
        return float(middle >= effect.margin)
    from scipy.stats import t

    return float(t.sf((effect.margin - middle) / half * t.ppf(1 - LEVEL, pairs - 1), pairs - 1))


def _compare(first: Arm, second: Arm, metric: str, margin: float, name: str, some: Array) -> Effect:
    reached = (float(first.reached.mean()), float(second.reached.mean()))
    if metric == "updates":
        if max(first.censored, second.censored) > CENSORED:
            return by_share(first.reached, second.reached, name=name)
        d = _log_ratio(first.values("updates"), second.values("updates"))
        known = for_equality(d, first.reached, second.reached)
        return paired(d, margin=margin, name=name, reached=reached, in_margins=known)
    if metric == "counted":
        if (task := first.runs[0].spec["task"]) != "counting":
            advice = "it is of runs on 'counting'"
            raise ValueRangeError(
                "is not measured", argument="metric", seen=f"{metric}, of {task}", advice=advice
            )
        counts = [arm.values("counted_to") for arm in (first, second)]
        d = _log_ratio(*(n + 0.5 for n in counts))
        some = np.maximum(*counts) > 0  # a pair that cannot even do n = 1 is no evidence of equality either
        known = for_equality(d[some], *(n[some] < COUNTED for n in counts))
        return paired(d, margin=margin, name=name, in_margins=known)
    if metric == "nats":
        d = second.values("test_loss") - first.values("test_loss")
        return paired(d, margin=margin, name=name, measure="difference", in_margins=d[some])
    if metric in ("errors", "points"):
        d = _log_ratio(first.values("errors") + 0.5, second.values("errors") + 0.5)
        points = first.values("test_accuracy") - second.values("test_accuracy")  # as errors: lower is better
        return paired(d, margin=margin, name=name, in_margins=(points if metric == "points" else d)[some])
    if metric == "gap":
        gaps = [arm.values("final_test_loss") - arm.values("final_train_loss") for arm in (first, second)]
        return of_gaps(*gaps, margin=margin, name=name)
    d = _log_ratio(first.values(metric), second.values(metric))
    return paired(d, margin=margin, name=name, in_margins=d[some])


def for_equality(d: Array, first: Array, second: Array) -> Array:
    """Return the differences that may speak for equality, of runs that came to an end by themselves or were stopped.

    A pair of which both were stopped says nothing.  One of which one was is unlike by an unknown amount: then none may.
    """
    return d[:0] if (first != second).any() else d[first]


def of_gaps(first: Array, second: Array, *, margin: float, name: str) -> Effect:
    """Return the effect of gaps (n,) of two arms, as `effect` has it of the metric "gap"."""
    d, mean = second - first, float(np.mean([first, second]))
    if mean > 0:
        return paired(d / mean, margin=margin, name=name, measure="difference")
    return replace(paired(d, margin=math.nan, name=name, measure="difference"), p_t=1.0, p_flip=1.0)


def paired(
    differences: Array,
    *,
    margin: float,
    name: str = "",
    measure: str = "log ratio",
    reached: tuple[float, ...] = (),
    in_margins: Array | None = None,
) -> Effect:
    """Return an effect of differences (n,), with both tests; of `in_margins` is the interval of equality, if given.

    These are the same in the unit of the margin, or those of them that may speak for equality.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.seeds.statistics import paired
    >>> effect = paired(np.log([0.5, 0.6, 0.55, 0.4, 0.5, 0.45]), margin=np.log(1.25))
    >>> effect.text(), effect.p_flip
    ('0.496 [0.427, 0.576]', 0.03125)
    """
    d = np.asarray(differences, np.float64)
    low, high = t_interval(d, 1 - LEVEL)
    low_90, high_90 = t_interval(
        d if in_margins is None else np.asarray(in_margins, np.float64), 1 - 2 * LEVEL
    )
    return Effect(
        name=name,
        measure=measure,
        differences=d,
        margin=margin,
        mean=float(d.mean()) if d.size else math.nan,
        low=low,
        high=high,
        low_90=low_90,
        high_90=high_90,
        p_t=_t_test(d),
        p_flip=sign_flip(d),
        reached=reached,
    )


def median_effect(differences: Array, *, margin: float, name: str = "") -> Effect:
    """Return the effect of log ratios (n,) by their median: for times, of which some turns are disturbed.

    Its interval is between order statistics, and its test the sign test; the exact flips are those of the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.seeds.statistics import median_effect
    >>> effect = median_effect(np.log([0.8, 0.81, 0.79, 0.8, 0.82, 0.8, 0.78, 3.0]), margin=np.log(1.25))
    >>> effect.text(), round(effect.p_t, 3)
    ('0.8 [0.78, 3]', 0.07)
    """
    from scipy.stats import quantile_test

    d = np.asarray(differences, np.float64)
    usable = d.size > 1 and bool(np.isfinite(d).all())
    test = quantile_test(d, q=0, p=0.5) if usable else None
    bounds = [
        test.confidence_interval(level) if test else (math.nan, math.nan)
        for level in (1 - LEVEL, 1 - 2 * LEVEL)
    ]
    (low, high), (low_90, high_90) = (tuple(map(float, pair)) for pair in bounds)
    return Effect(
        name=name,
        measure="log ratio",
        differences=d,
        margin=margin,
        mean=float(np.median(d)) if d.size else math.nan,
        low=low,
        high=high,
        low_90=low_90,
        high_90=high_90,
        p_t=float(test.pvalue) if test else 1.0,
        p_flip=sign_flip(d),
    )


def by_share(first: Array, second: Array, *, name: str = "") -> Effect:
    """Return the effect of two arms on whether the target is reached, by McNemar's exact test over the pairs (n,).

    The interval is that of Clopper and Pearson for the pairs of which one run reached it and the other did not.
    """
    from scipy.stats import binomtest

    one, other = np.asarray(first, np.bool_), np.asarray(second, np.bool_)
    only_first, only_second = int((one & ~other).sum()), int((other & ~one).sum())
    unlike, n = only_first + only_second, len(one)
    low = high = low_90 = high_90 = 0.0
    p = 1.0
    if unlike:
        test = binomtest(only_first, unlike, 0.5)
        p = float(test.pvalue)
        low, high = ((2 * bound - 1) * unlike / n for bound in test.proportion_ci(1 - LEVEL))
        low_90, high_90 = ((2 * bound - 1) * unlike / n for bound in test.proportion_ci(1 - 2 * LEVEL))
    return Effect(
        name=name,
        measure="share",
        differences=one.astype(np.float64) - other,
        margin=math.nan,
        mean=(only_first - only_second) / n,
        low=low,
        high=high,
        low_90=low_90,
        high_90=high_90,
        p_t=p,
        p_flip=p,
        reached=(float(one.mean()), float(other.mean())),
    )


def t_interval(d: Array, level: float) -> tuple[float, float]:
    """Return Student's interval of the mean; NaN for fewer than two numbers, without width for equal ones."""
    if d.size < 2 or not np.isfinite(d).all():
        return math.nan, math.nan
    if _constant(d):
        return float(d[0]), float(d[0])
    from scipy.stats import ttest_1samp

    low, high = ttest_1samp(d, 0).confidence_interval(level)
    return float(low), float(high)


def sign_flip(d: Array) -> float:
    """Return the two-sided p of the mean under flips of the signs: exact for up to 14 numbers."""
    if d.size < 2 or not np.isfinite(d).all():
        return 1.0
    from scipy.stats import permutation_test

    resamples = np.inf if d.size <= _EXACT else _FLIPS
    rng = np.random.default_rng(0)
    test = permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=resamples, vectorized=True, random_state=rng
    )
    return float(test.pvalue)


def holm(p: Iterable[float]) -> Array:
    """Return the p of several tests of one claim, adjusted by Holm's method so that they may be compared with 0.05.

    Examples
    --------
    >>> from gatescope.experiments.seeds.statistics import holm
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(list(p), np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def pairs_needed(effect: Effect, *, tests: int = 1) -> int | None:
    """Return how many pairs would decide an effect, if mean and spread stay as they are; None if more than 10,000.

    Decided is what differs by both tests, at a level of 0.05 over so many `tests`, or lies inside the margin.
    """
    d = effect.differences
    undecidable = math.isnan(effect.margin) and effect.measure != "share"
    if undecidable or d.size < 2 or not np.isfinite(d).all():
        return None
    from scipy.stats import t

    n = np.unique(np.geomspace(2, _MOST_PAIRS, 4000).round())
    error, mean = d.std(ddof=1) / np.sqrt(n), abs(effect.mean)
    differs = (mean > t.ppf(1 - LEVEL / tests / 2, n - 1) * error) & (2.0 ** (1 - n) < LEVEL / tests)
    # The margin may be of another unit than the differences: that of the 90 % interval.
    middle, half = (effect.high_90 + effect.low_90) / 2, (effect.high_90 - effect.low_90) / 2
    apart = half / t.ppf(1 - LEVEL, d.size - 1) * np.sqrt(d.size / n)
    enough = differs | (abs(middle) + t.ppf(1 - LEVEL, n - 1) * apart < effect.margin)
    enough &= n > d.size
    return int(n[enough][0]) if enough.any() else None


def _t_test(d: Array) -> float:
    """Return the two-sided p of Student's test; of equal numbers 0, or 1 if they are 0."""
    if d.size < 2 or not np.isfinite(d).all():
        return 1.0
    if _constant(d):
        return float(d[0] == 0)
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(d, 0).pvalue)


def _constant(d: Array) -> bool:
    """Return whether numbers differ by rounding alone, of which a spread would say nothing."""
    return bool(np.ptp(d) <= 1e-12 * np.abs(d).max())


def _log_ratio(first: Array, second: Array) -> Array:
    if (np.minimum(first, second) <= 0).any():  # NaN, of a run that diverged, decides nothing but is no fault
        raise ValueRangeError(
            "are not all above 0, and a ratio is taken of them",
            argument="arms",
            seen=[float(first.min()), float(second.min())],
            advice="compare their differences",
        )
    return np.log(second / first)
