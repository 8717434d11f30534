"""Intervals and exact tests, against computations of their own and numbers that are known."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from helpers.arms import SPEC, made_arm, made_run, spread
from scipy.stats import t, ttest_1samp

from gatescope.datatypes import Arm
from gatescope.errors import ShapeError, UnknownNameError, ValueRangeError
from gatescope.experiments.seeds.judge import judge
from gatescope.experiments.seeds.statistics import (
    by_share,
    effect,
    holm,
    median_effect,
    not_above,
    paired,
    pairs_needed,
    sign_flip,
    t_interval,
)

# Student's 1908 data, the hours of sleep that two drugs gained ten patients.
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])


def flips(d):
    """Return the two-sided p of all sign flips, one after another."""
    means = [abs(np.mean(d * signs)) for signs in itertools.product((-1, 1), repeat=len(d))]
    return np.mean(np.array(means) >= abs(d.mean()) * (1 - 1e-12))


def test_students_own_example():
    result = paired(SLEEP, margin=math.log(1.25))
    assert result.p_t == pytest.approx(0.002833, abs=5e-7)  # as R's documentation of t.test prints it
    assert (result.low, result.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-7)
    assert result.mean == pytest.approx(1.58)


@pytest.mark.parametrize("n", [2, 5, 10, 12])
def test_sign_flips_are_all_tried(n):
    d = np.random.default_rng(n).normal(0.4, 1, n)
    assert sign_flip(d) == pytest.approx(flips(d), rel=1e-12)


def test_the_least_p_of_sign_flips():
    assert sign_flip(np.ones(5)) == 2 / 2**5
    assert sign_flip(np.arange(1.0, 7)) == 2 / 2**6
    assert sign_flip(np.zeros(6)) == 1
    assert sign_flip(np.array([3.0])) == sign_flip(np.array([np.nan, 1.0])) == 1


def test_many_pairs_are_flipped_at_random_and_always_alike():
    d = np.random.default_rng(0).normal(0.5, 1, 20)
    assert sign_flip(d) == sign_flip(d)
    assert sign_flip(d) == pytest.approx(
        paired(d, margin=1).p_t, abs=0.02
    )  # of 16,383 flips the error is 0.002
    assert sign_flip(np.ones(20)) <= 2 / 2**14


def test_intervals_of_what_does_not_vary_or_is_not_there():
    assert t_interval(np.full(5, 0.3), 0.95) == (0.3, 0.3)
    assert np.isnan(t_interval(np.array([0.3]), 0.95)).all()
    same = paired(np.full(6, 0.3), margin=0.4)
    assert same.p_t == 0
    assert same.p == same.p_flip == 2 / 2**6
    assert same.inside_margin
    nearly = paired(0.3 + 1e-16 * np.arange(6), margin=0.4)  # of which SciPy would warn
    assert (nearly.p_t, nearly.low) == (0, pytest.approx(0.3))
    assert paired(np.zeros(6), margin=0.4).p == 1
    alone = paired(np.array([0.3]), margin=0.4)
    assert alone.p == 1
    assert not alone.inside_margin


def test_the_interval_of_equality_is_the_90_percent_one():
    result = spread(0.0, 0.1)
    assert (result.low, result.high) == pytest.approx((-0.1, 0.1))
    narrower = 0.1 * 1.8331129 / 2.2621572  # quantiles of t with 9 degrees, 95 and 97.5 %
    assert (result.low_90, result.high_90) == pytest.approx((-narrower, narrower), rel=1e-6)


def test_holm_against_its_definition():
    rng = np.random.default_rng(0)
    for p in rng.uniform(0, 0.2, (50, 5)):
        rejected = np.zeros(5, bool)  # step down: the smallest against alpha/5, the next against alpha/4, ...
        for rank, k in enumerate(np.argsort(p)):
            if p[k] >= 0.05 / (5 - rank):
                break
            rejected[k] = True
        np.testing.assert_array_equal(holm(p) < 0.05, rejected)
    assert holm([]).size == 0


def test_shares_by_mcnemar():
    first, second = np.array([1] * 9 + [0]), np.array([0] * 8 + [1, 1])
    result = by_share(first, second, name="copying")
    only = 8  # of 9 pairs that are unlike
    assert result.p == pytest.approx(2 * sum(math.comb(9, k) for k in range(only, 10)) / 2**9)
    assert result.mean == pytest.approx(0.7)
    assert result.reached == (0.9, 0.2)
    assert result.low < result.mean < result.high
    assert not result.inside_margin
    assert by_share(second, first).mean == -result.mean
    none = by_share(np.zeros(10), np.zeros(10))
    assert (none.p, none.mean, none.low, none.high) == (1, 0, 0, 0)


def test_needed_pairs_decide_if_the_spread_stays():
    result = spread(0.1, 0.15)
    n = pairs_needed(result)
    assert 10 < n < 60
    d = result.differences
    error = d.std(ddof=1) / np.sqrt(n)
    assert 0.1 + 1.67 * error < result.margin or 2 * error < 0.1
    assert pairs_needed(spread(0.2, 5.0, margin=0.2)) > 1000
    assert pairs_needed(spread(0.2, 50.0, margin=0.2)) is None
    assert pairs_needed(paired(np.array([1.0, np.nan]), margin=1)) is None
    few = paired(np.array([1.0, 1.0, 1.1]), margin=0.2)
    assert pairs_needed(few) == 6  # fewer have no p of flips below 0.05
    assert pairs_needed(few, tests=5) == 8


def test_needed_pairs_take_the_margin_in_its_own_unit():
    rng = np.random.default_rng(0)
    points, d = 0.001 + 0.02 * rng.standard_normal((2, 10))
    result = paired(30 * d, margin=0.01, in_margins=points)
    n = pairs_needed(result)  # of 30 d alone no number would do
    error = points.std(ddof=1) / np.sqrt(n)
    assert 10 < n < 1000
    assert abs(points.mean()) + t.ppf(0.95, n - 1) * error < 0.01
    error = points.std(ddof=1) / np.sqrt(n - 1)
    assert abs(points.mean()) + t.ppf(0.95, n - 2) * error >= 0.01


def test_updates_are_compared_seed_by_seed():
    lstm = made_arm("lstm", updates=[20, 30, 40, 20])
    gru = made_arm("gru", updates=[10, 30, 20, 10])
    result = effect(lstm, gru, "updates", margin=math.log(1.25))
    np.testing.assert_allclose(result.differences, np.log([0.5, 1, 0.5, 0.5]))
    assert (result.measure, result.reached, result.name) == ("log ratio", (1.0, 1.0), "adding")
    assert result.arms == ("lstm", "gru")
    one, other = (dataclasses.replace(lstm, name=f"lstm {width}") for width in (32, 64))
    assert effect(one, other, "updates", margin=0.1).arms == ("lstm 32", "lstm 64")


def test_censored_runs_count_with_the_budget_up_to_30_percent():
    gru = made_arm("gru", updates=[10] * 10)
    lstm = made_arm("lstm", updates=[None] * 3 + [20] * 7)
    result = effect(lstm, gru, "updates", margin=0.2)
    np.testing.assert_allclose(result.differences, np.log([0.25] * 3 + [0.5] * 7))
    assert result.reached == (0.7, 1.0)
    more = effect(made_arm("lstm", updates=[None] * 4 + [20] * 6), gru, "updates", margin=0.2)
    assert (more.measure, more.reached) == ("share", (0.6, 1.0))
    assert more.mean == pytest.approx(-0.4)  # below 0: the second arm does better


def test_pairs_that_were_both_stopped_are_no_evidence_of_equality():
    first = made_arm("lstm", updates=[None] * 3 + [10, 20, 10, 20, 10, 20, 10])
    second = made_arm("gru", updates=[None] * 3 + [12, 24, 11, 22, 12, 24, 12])
    result = effect(first, second, "updates", margin=math.log(1.18))
    np.testing.assert_array_equal(
        result.differences[:3], 0
    )  # which is careful, where a difference is looked for
    assert (result.low_90, result.high_90) == t_interval(result.differences[3:], 0.9)
    assert not result.inside_margin
    assert paired(result.differences, margin=math.log(1.18)).inside_margin


@pytest.mark.parametrize("stopped_first", [True, False])
def test_a_pair_that_is_unlike_in_reaching_leaves_nothing_equal(stopped_first):
    """Ten runs that are all but the same, and an eleventh that needed 35 updates, or was stopped at 40."""
    near = [20, 21, 20, 21, 20, 21, 20, 21, 20, 21]
    whole, stopped = made_arm("lstm", updates=[*near, 35]), made_arm("gru", updates=[*near[::-1], None])
    arms = (stopped, whole) if stopped_first else (whole, stopped)
    result = effect(*arms, "updates", margin=math.log(1.25))
    assert paired(result.differences, margin=math.log(1.25)).inside_margin  # the budget would say so
    assert np.isnan([result.low_90, result.high_90]).all()
    assert not result.inside_margin
    ended = made_arm("gru", updates=[*near[::-1], 36])
    assert effect(whole, ended, "updates", margin=math.log(1.25)).inside_margin


def test_gaps_in_units_of_their_mean():
    def arm(cell, gaps):
        return made_arm(cell, final_test_loss=[0.5 + gap for gap in gaps], final_train_loss=[0.5] * len(gaps))

    first, second = np.array([0.2, 0.1, -0.02, 0.12]), np.array([0.3, 0.1, 0.06, -0.02])
    result = effect(arm("lstm", first), arm("gru", second), "gap", margin=math.log(1.10))
    np.testing.assert_allclose(result.differences, (second - first) / np.mean([first, second]))
    assert (result.measure, result.margin) == ("difference", math.log(1.10))
    # A quotient of the margin is a difference of the margin, to a thousandth.
    ratio = effect(arm("lstm", [0.2] * 3), arm("gru", [0.22] * 3), "gap", margin=0.1)
    assert ratio.mean == pytest.approx(math.log(1.10), rel=1.1e-3)
    assert ratio.inside_margin
    assert not effect(arm("lstm", [0.2] * 3), arm("gru", [0.23] * 3), "gap", margin=0.1).inside_margin


@pytest.mark.parametrize("gaps", [(-0.3, 0.1), (0.0, 0.0), (-0.2, -0.4)])
def test_where_nothing_overfits_gaps_decide_nothing(gaps):
    arms = [
        made_arm(cell, final_test_loss=[0.5 + gap] * 10, final_train_loss=[0.5] * 10)
        for cell, gap in zip(("lstm", "gru"), gaps, strict=True)
    ]
    result = effect(*arms, "gap", margin=math.log(1.10))
    assert (result.p, result.inside_margin) == (1.0, False)
    np.testing.assert_allclose(result.differences, gaps[1] - gaps[0])
    assert pairs_needed(result) is None
    for claim in ("lower", "higher", "equal"):
        assert judge([result], claim=claim).word == "undecided"


def test_what_is_counted_to():
    spec = SPEC.with_(task="counting", arguments={}, target_loss=None)

    def arm(cell, counts):
        runs = [made_run(spec.with_(cell=cell, seed=k), counted_to=n) for k, n in enumerate(counts)]
        return Arm(name=cell, runs=tuple(runs))

    result = effect(arm("lstm", [0, 50, 1000]), arm("gru", [50, 50, 60]), "counted", margin=0.2)
    np.testing.assert_allclose(result.differences, np.log([101, 1, 60.5 / 1000.5]))
    near, cap = [300, 310, 305], [1000] * 2  # as far as is tried
    both = effect(arm("lstm", near + cap), arm("gru", near[::-1] + cap), "counted", margin=0.2)
    assert (both.low_90, both.high_90) == t_interval(both.differences[:3], 0.9)
    assert both.inside_margin
    floor = effect(arm("lstm", [*near, 0]), arm("gru", [*near[::-1], 0]), "counted", margin=0.2)
    assert (floor.low_90, floor.high_90) == t_interval(both.differences[:3], 0.9)
    assert not effect(arm("lstm", [0, 0]), arm("gru", [0, 0]), "counted", margin=0.2).inside_margin
    one = effect(arm("lstm", [*near, 999]), arm("gru", [*near, 1000]), "counted", margin=0.2)
    assert not one.inside_margin
    assert not effect(arm("lstm", cap), arm("gru", cap), "counted", margin=0.2).inside_margin


def test_other_metrics():
    first = made_arm("lstm", test_loss=[0.2, 0.4], test_accuracy=[0.9, 1.0], test_answers=[100, 100])
    second = made_arm("gru", test_loss=[0.1, 0.4], test_accuracy=[0.8, 1.0], test_answers=[100, 100])
    np.testing.assert_allclose(effect(first, second, "test_loss", margin=0.1).differences, [np.log(0.5), 0])
    nats = effect(first, second, "nats", margin=0.1)
    np.testing.assert_allclose(nats.differences, [-0.1, 0])
    assert nats.measure == "difference"
    for metric in ("errors", "points"):
        d = effect(first, second, metric, margin=0.01).differences
        np.testing.assert_allclose(d, [np.log(20.5 / 10.5), 0], rtol=1e-9)
    points = effect(first, second, "points", margin=0.01)
    assert points.low_90 == pytest.approx(t_interval(np.array([0.1, 0.0]), 0.9)[0])


@pytest.mark.parametrize("metric", ["test_loss", "nats", "errors", "points"])
def test_two_that_learned_nothing_are_no_evidence_of_equality(metric):
    def arm(cell, losses):
        rest = {"test_accuracy": [0.1] * 4, "test_answers": [1000] * 4}
        return made_arm(cell, test_loss=losses, **rest)

    def equal(first, second, baseline):
        arms = arm("lstm", first), arm("gru", second)
        return effect(*arms, metric, margin=0.05, baseline=baseline).inside_margin

    nothing, something = [0.295, 0.296, 0.297, 0.296], [0.2, 0.2, 0.21, 0.2]
    assert equal(nothing, nothing[::-1], math.nan)  # a task that states none
    assert not equal(nothing, nothing[::-1], 0.297)
    assert equal(something, something[::-1], 0.297)
    # Of two pairs that learned and two that did not, the first are what is known.
    assert equal(nothing[:2] + something[:2], nothing[:2] + something[:2], 0.297)
    assert not equal(nothing[:3] + something[:1], nothing[:3] + something[:1], 0.297)


def test_a_difference_counts_where_one_arm_has_learned_nothing():
    nothing, something = made_arm("lstm", test_loss=[0.29] * 10), made_arm("gru", test_loss=[0.2] * 10)
    assert effect(nothing, something, "test_loss", margin=0.1, baseline=0.297).p < 0.05


def test_a_run_that_diverged_decides_nothing_and_stops_nothing():
    diverged = made_arm("gru", test_loss=[math.nan, *[0.2] * 9])
    compared = effect(made_arm("lstm", test_loss=[0.4] * 10), diverged, "test_loss", margin=0.1)
    assert compared.p == 1
    assert not compared.inside_margin
    assert judge([compared], claim="lower").word == "undecided"


def test_what_cannot_be_compared():
    one = made_arm("lstm", updates=[10, 10])
    with pytest.raises(ShapeError, match="pair the runs"):
        effect(one, made_arm("gru", updates=[10]), "updates", margin=0.1)
    with pytest.raises(ValueRangeError, match="compare their differences"):
        effect(one, made_arm("gru", test_loss=[0.0, 0.5]), "test_loss", margin=0.1)
    with pytest.raises(ValueRangeError, match="'counting'"):
        effect(one, one, "counted", margin=0.1)


def test_the_median_bears_turns_that_were_disturbed():
    d = np.log(0.8) + 0.01 * np.linspace(-1, 1, 15)
    disturbed = np.where(np.arange(15) % 7 == 0, d + 3, d)  # 3 of 15
    effect = median_effect(disturbed, margin=math.log(1.25), name="a size")
    assert effect.mean == np.median(disturbed)
    # Of 15 numbers the 4th and the 12th are an interval of 96 %, by binomial counts.
    assert [effect.low, effect.high] == np.sort(disturbed)[[3, 11]].tolist()
    assert effect.low <= effect.low_90 <= effect.mean <= effect.high_90 <= effect.high
    assert effect.high < 0
    assert effect.p_t == pytest.approx(2 * sum(math.comb(15, k) for k in range(4)) / 2**15)
    for few in ([0.1], [math.nan, 1.0]):
        unknown = median_effect(np.array(few), margin=0.1)
        assert math.isnan(unknown.low)
        assert unknown.p == 1


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.1, 0.15, 0.3])
def test_not_above_is_student_s_test_against_the_margin(mean):
    compared = spread(mean, 0.1, margin=0.2)
    expected = ttest_1samp(compared.differences, 0.2, alternative="less").pvalue
    assert not_above(compared) == pytest.approx(expected, rel=1e-9)
    assert (not_above(compared) < 0.05) == (compared.high_90 < 0.2)


def test_not_above_where_nothing_is_known():
    assert not_above(by_share([True] * 10, [True] * 10)) == 1
    assert not_above(paired([0.1, 0.1], margin=0.2)) == 0
    assert not_above(paired([0.3, 0.3], margin=0.2)) == 1
    assert not_above(paired([0.1, 0.2], margin=0.2, in_margins=np.array([]))) == 1
    # Of ten pairs two were stopped, both runs of each: it is the test of the eight.
    d = np.linspace(-0.1, 0.1, 10)
    stopped = paired(d, margin=0.2, reached=(0.8, 0.8), in_margins=d[:8])
    expected = ttest_1samp(d[:8], 0.2, alternative="less").pvalue
    assert not_above(stopped) == pytest.approx(expected, rel=1e-9)


def test_a_metric_that_is_none_is_refused():
    arm = made_arm("lstm", updates=[10, 20])
    with pytest.raises(UnknownNameError, match=r"metric='loss' .*updates, test_loss"):
        effect(arm, arm, "loss", margin=0.1)
