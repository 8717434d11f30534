"""The drawing of effects: places on one logarithmic axis, the claimed side, the margin, and what is no ratio."""

import dataclasses
import math

import numpy as np
import pytest
from helpers.arms import spread
from helpers.html_page import Page
from helpers.verdicts import EFFECTS, all_words, made_verdict

from gatescope.experiments.claims.page.forest import axis_of, effects_html, forest, strip
from gatescope.experiments.seeds.statistics import paired
from gatescope.reporting.ratios import RatioAxis


@pytest.mark.parametrize(
    ("mean", "half", "end"),
    [(0.0, 0.1, 1.25), (0.0, 0.5, 2), (-1.0, 0.3, 4), (1.0, 0.8, 8), (2.0, 0.7, 16), (9.0, 1.0, 64)],
)
def test_the_axis_holds_the_intervals(mean, half, end):
    effect = spread(mean, half)
    axis = axis_of([effect])
    assert axis.end == end
    assert all(0 <= axis.place(value) <= 100 for value in (effect.low, effect.high, -math.inf, math.inf))
    assert axis.place(0) == 50
    ratios, labels = zip(*axis.ticks(), strict=True)
    places = [axis.place(math.log(ratio)) for ratio in ratios]
    assert (places[0], places[-1]) == (0, 100)
    assert len(places) <= 7
    np.testing.assert_allclose(np.diff(places), places[1])
    assert labels[len(labels) // 2] == "1"


def test_the_labels_of_the_axis():
    assert [label for _, label in RatioAxis(4.0, 2.0).ticks()] == ["1/4", "1/2", "1", "2", "4"]
    assert [label for _, label in RatioAxis(1.25, 1.25).ticks()] == ["0.8", "1", "1.25"]


def test_places_of_an_effect():
    axis = RatioAxis(4.0, 2.0)
    effect = paired(np.log([0.5, 0.5, 0.5, 0.5]), margin=math.log(2) / 2)
    page = Page(strip(effect, "lower", axis))
    (claimed,) = page.named("rect", "claimed")
    assert (claimed["x"], claimed["width"]) == ("0.00%", "50.00%")
    (margin,) = page.named("rect", "margin")
    assert (margin["x"], margin["width"]) == ("37.50%", "25.00%")
    assert [attrs["x1"] for attrs in page.named("line", "grid")] == ["0.00%", "25.00%", "75.00%", "100.00%"]
    (interval,) = page.named("line", "interval")
    assert interval["x1"] == interval["x2"] == "25.00%"
    assert [attrs["x"] for attrs in page.named("svg") if "x" in attrs] == ["25.00%"]  # the mean
    assert not page.named("circle")


def test_the_claimed_side():
    axis, effect = RatioAxis(4.0, 2.0), spread(0.1, 0.1)
    (higher,) = Page(strip(effect, "higher", axis)).named("rect", "claimed")
    assert (higher["x"], higher["width"]) == ("50.00%", "50.00%")
    (equal,) = Page(strip(effect, "equal", axis)).named("rect", "claimed")
    assert equal["class"] == "margin claimed"
    assert not Page(strip(effect, "", axis)).named("rect", "claimed")


def test_what_lies_beyond_the_axis_has_an_arrow_and_every_seed_a_dot():
    page = Page(strip(spread(0.0, 9.0, n=6), "lower", RatioAxis(64.0, 8.0), seeds=True))
    assert len(page.named("path", "beyond")) == 2
    assert len(page.named("circle", "seed")) == 6
    (interval,) = page.named("line", "interval")
    assert (interval["x1"], interval["x2"]) == ("0.00%", "100.00%")


def test_one_pair_has_no_interval_and_none_no_mean():
    one = Page(strip(paired(np.array([0.3]), margin=0.2), "lower", RatioAxis(4.0, 2.0)))
    assert len(one.named("rect", "mean")) == 1
    assert not one.named("line", "interval")
    none = Page(strip(paired(np.array([]), margin=math.nan), "lower", RatioAxis(4.0, 2.0)))
    assert not none.named("rect", "mean")
    assert not none.named("rect", "margin")


def test_what_is_no_ratio_is_said_and_not_drawn():
    share, difference = EFFECTS[2][0], EFFECTS[3][0]
    rows = [("x", made_verdict(), effect) for effect in (share, difference)]
    page = Page(effects_html(rows, axis_of([share, difference])))
    assert not page.named("rect")
    assert "by who reached the target: not on this axis" in page.words
    assert "a difference, not a ratio: not on this axis" in page.words
    assert "0.0 % against 100.0 % reached the target" in page.words


def test_arms_are_named_in_the_order_of_the_numbers():
    effects = [EFFECTS[0][0], EFFECTS[2][0], EFFECTS[3][0]]
    rows = [("x", made_verdict(), dataclasses.replace(effect, arms=("lstm", "gru"))) for effect in effects]
    page = Page(effects_html(rows, axis_of(effects)))
    assert [word for word in page.words if "lstm" in word] == ["gru / lstm", "lstm against gru", "gru − lstm"]


def test_every_effect_is_a_row_with_its_numbers():
    verdicts = all_words()
    page = Page(forest(verdicts, axis_of(effect for v in verdicts for effect in v.effects)))
    effects = [effect for verdict in verdicts for effect in verdict.effects]
    rows = [attrs for attrs in page.named("th") if attrs.get("scope") == "row"]
    assert len(rows) == len(effects)
    assert all(effect.text() in page.words for effect in effects)
    assert forest([made_verdict()], axis_of([])) == ""
