"""What a page begins with: the figure of coupled gates, the table of the three cells, and hints, all from verdicts."""

import dataclasses
import re

import numpy as np
import pytest
from helpers.arms import spread
from helpers.html_page import Page
from helpers.verdicts import all_words, for_the_front, made_verdict, named

from gatescope.datatypes import PublishedNumber
from gatescope.experiments.claims.coupling import EDGES, bin_name
from gatescope.experiments.claims.literature import EXPECTED
from gatescope.experiments.claims.page.claim import claim
from gatescope.experiments.claims.page.comparison import PROPERTIES, comparison
from gatescope.experiments.claims.page.coupling import coupling, histograms
from gatescope.experiments.claims.page.grades import graded, in_words
from gatescope.experiments.claims.page.hints import QUESTIONS, hints
from gatescope.experiments.claims.page.page import page
from gatescope.experiments.claims.pairs import PAIRS
from gatescope.experiments.claims.run import statements
from gatescope.experiments.seeds.statistics import by_share
from gatescope.reporting.ratios import RatioAxis

KNOWN = {verdict.number: verdict for verdict in for_the_front()}
AXIS = RatioAxis(4.0, 2.0)


@pytest.mark.parametrize(
    ("mean", "half", "grade"),
    [
        (-0.9, 0.3, ("certainly", -1)),  # the margin is 0.2
        (0.9, 0.3, ("certainly", 1)),
        (0.3, 0.2, ("probably", 1)),  # the interval reaches into the margin
        (0.02, 0.05, ("no difference that matters", 0)),
        (0.1, 0.6, ("no evidence", 0)),
    ],
)
def test_how_sure_an_effect_is(mean, half, grade):
    assert graded([spread(mean, half)]) == [grade]


def test_of_many_tasks_each_has_to_be_surer():
    one = spread(0.3, 0.26)
    assert graded([one])[0][0] == "probably"
    assert graded([one] * 20)[0][0] == "no evidence"
    share = by_share(np.zeros(10, bool), np.ones(10, bool), name="xor")
    assert graded([share]) == [("certainly", -1)]


def test_effects_in_words():
    effects = (
        named("adding", -0.9, 0.3),
        named("order", -0.9, 0.3),
        named("xor", 0.1, 0.6),
        named("adding", 0.0, 0.01, ("rnn", "lstm")),
    )
    assert in_words(effects) == (
        "gru against lstm: certainly lower on adding, order; no evidence on xor. "
        "lstm against rnn: no difference that matters on adding."
    )
    assert in_words([spread(0.0, 0.1)]) == ""  # arms that are not known are not named


def test_bins_are_read_by_arm_in_order():
    measured = {
        "lstm, adding: fraction with kept + let in - 1 in 0 to 0.1": (0.7, 0.01),
        "lstm, adding: fraction with kept + let in - 1 in −0.1 to 0": (0.3, 0.01),
        "janet, adding: fraction with kept + let in - 1 in −1 to −0.9": (1.0, 0.0),
        "lstm, adding: fraction within 0.1 of kept + let in = 1": (1.0, 0.0),
    }
    assert histograms(made_verdict(number="25", measured=measured)) == {
        "lstm, adding": [(-0.1, 0.0, 0.3), (0.0, 0.1, 0.7)],
        "janet, adding": [(-1.0, -0.9, 1.0)],
    }


def test_the_bins_are_those_that_the_statement_measures():
    fractions = np.arange(len(EDGES) - 1) / 190.0
    measured = {bin_name("lstm, adding", k): (value, 0.0) for k, value in enumerate(fractions.tolist())}
    (bins,) = histograms(made_verdict(number="25", measured=measured)).values()
    np.testing.assert_allclose([low for low, *_ in bins], EDGES[:-1], atol=1e-9)  # of names to three digits
    np.testing.assert_allclose([fraction for *_, fraction in bins], fractions)


def test_the_figure_of_coupled_gates():
    figure = Page(coupling(KNOWN))
    bars = figure.named("rect", "bar")
    assert len(bars) == 20
    assert {bar["width"] for bar in bars} == {"5.00%"}
    tallest = max(bars, key=lambda bar: float(bar["height"]))
    assert tallest["x"] in ("60.00%", "65.00%")  # 0.2 to 0.4
    assert float(tallest["height"]) == 62
    (band,) = figure.named("rect", "margin")
    assert (band["x"], band["width"]) == ("45.00%", "10.00%")
    near = sum(
        v for name, (v, _) in KNOWN["25"].measured.items() if re.search("in (−0.1 to 0|0 to 0.1)$", name)
    )
    (drawn,) = figure.named("svg", "histogram")
    assert f"{100 * near:.1f} % within a tenth of 0" in drawn["aria-label"]
    assert "#claim-25" in [attrs["href"] for attrs in figure.named("a")]
    assert coupling({}) == coupling({"25": made_verdict(number="25")}) == ""


def rows_of(html):
    """Return the texts of every row of a table, by its first."""
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in html.split("<tr>")[2:])
    return {first: [re.sub("<[^>]*>", "", cell) for cell in rest] for first, *rest in cells}


def test_the_table_of_the_three_cells():
    rows = rows_of(comparison(KNOWN))
    assert rows["blocks of weights: gates and the candidate"] == ["1", "4", "3", "9b"]
    assert rows["states that are carried on"] == ["1", "2", "1", "9c"]
    assert rows["time of a pass, an LSTM’s being 1"] == ["–", "1", "0.819", "10a"]
    assert rows["runs that learn a task, of all that have a target"] == ["20.0 %", "90.0 %", "90.0 %", "37"]
    assert comparison({"11b": KNOWN["11b"]}) == ""  # which was not run
    assert {number for each in PROPERTIES for number in each.numbers} >= {"26a", "5a", "6a", "2a"}


def test_the_table_reads_half_lives_and_turned_arms():
    turned = made_verdict(number="10d", effects=(named("one", 0.5, 0.1, ("rnn", "lstm")),))
    rates = {
        "2a": {"before training, pytorch, lstm, gradient of the state: rate": (0.01, 0.0)},
        "1a": {"pytorch: leading exponent": (-0.5, 0.0)},
        "5a": {"gru, after training, best weights: rate of the slowest unit's gate": (0.0, 0.0)},
    }
    rates["15a"] = {f"{cell}: gain from which on it explodes": (2.5, 0.1) for cell in ("rnn", "lstm")}
    measured = {number: made_verdict(number=number, measured=values) for number, values in rates.items()}
    stable = [named(f"largest stable rate, {cell}", -0.7, 0.1, ("lstm", cell)) for cell in ("gru", "rnn")]
    measured["15b"] = made_verdict(number="15b", effects=tuple(stable))
    rows = rows_of(comparison({**measured, "10d": turned}))
    assert rows["scale of Gaussian weights from which on the gradient explodes"] == ["2.5", "2.5", "–", "15a"]
    assert rows["largest learning rate that is stable, an LSTM’s being 1"] == ["0.497", "1", "0.497", "15b"]
    assert rows["time of a pass, an LSTM’s being 1"][:2] == ["0.607", "1"]
    untrained = rows["half-life of the gradient, untrained, PyTorch’s weights"]
    assert untrained == ["1.386 steps", "69.31 steps", "–", "1a 2a"]
    assert rows["half-life of the slowest unit, trained"][2].startswith("∞")


def test_a_count_that_does_not_hold_is_not_shown():
    wrong = made_verdict(number="9b", equalities={"gru: 3 blocks": 1e14, "lstm: 4 blocks": 0.0})
    assert rows_of(comparison({"9b": wrong}))["blocks of weights: gates and the candidate"] == [
        "–",
        "4",
        "–",
        "9b",
    ]


def test_the_hints():
    rows = rows_of(hints(KNOWN))
    said = {re.sub("<[^>]*>", "", name): cells[0] for name, cells in rows.items()}
    assert said == {
        "a number to be carried over many steps adding, T = 100": "certainly GRU",
        "music: what comes next chorales": "either: no difference that matters",
        "a sequence to be repeated later copying, T = 50": "probably LSTM",
        "two bits, far apart, to be combined delayed xor": "no evidence for either",
        "xor": "no evidence for either",
        "Is a plain RNN enough?": "take a gated cell",
        "Does time count?": "take a GRU",
        "Are the data noisy?": "no evidence for either",
    }
    assert hints({}) == hints({"11b": KNOWN["11b"]}) == ""


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.number)
def test_every_answer_of_a_hint_can_be_given(question):
    for word, answer in question.answers.items():
        assert answer in hints({question.number: made_verdict(number=question.number, word=word)})


def test_a_row_shows_initial_weights_costs_and_what_was_published():
    verdict = dataclasses.replace(KNOWN["8b"], tuned={"by initial weights": {"pytorch": "supported"}})
    shown = Page(claim(verdict, AXIS))
    for text in (
        "With each scheme of initial weights",
        "pytorch supported, on adding, T = 100 alone",
        "2 min of one core, without tuning",
        "Published, and here",
        "0.4 ± 0.02",
        "another head",
        EXPECTED["8b"],
    ):
        assert text in shown.words
    crosses = shown.named("path", "published")
    assert len(crosses) == 2  # at its task, tuned and by initial weights
    places = [attrs["x"] for attrs in shown.named("svg") if "x" in attrs]
    assert places.count(f"{AXIS.place(np.log(0.5)):.2f}%") == 2


def test_words_by_initial_weights_say_of_which_tasks_they_are():
    """A GRU was better on the five tasks of long memory with each scheme, and worse on others: 7b is supported."""
    (effect,) = KNOWN["8b"].effects[:1]
    verdict = dataclasses.replace(
        KNOWN["8b"],
        tuned={"by initial weights": {"pytorch": "contradicted"}},
        effects=tuple(dataclasses.replace(effect, name=name) for name in ("adding", "laser")),
        by_init=(dataclasses.replace(effect, name="pytorch: adding"),),
    )
    assert "pytorch contradicted, on adding alone" in Page(claim(verdict, AXIS)).words
    same = dataclasses.replace(verdict, effects=verdict.effects[:1])
    assert "alone" not in Page(claim(same, AXIS)).words


def test_published_numbers_of_all_statements_stand_in_one_table():
    agreeing, differing, lost = (
        PublishedNumber(what="loss", published=value, source="a paper", why=why, **ours)
        for value, why, ours in (
            (0.41, "another head", {"measured": 0.4, "error": 0.02, "seeds": 10}),
            (0.9, "other data", {"measured": 0.4, "error": 0.02, "seeds": 10}),
            (0.5, "not run: it needs a file", {}),
        )
    )
    verdicts = (
        made_verdict(number="37", published=(agreeing, lost)),
        made_verdict(number="2b", published=(differing,)),
    )
    shown = Page(page(verdicts)).words
    said = "Of 3 published numbers 1 may come out of one more run of ours, 1 not; 1 cannot be told"
    assert any(text.startswith(said) for text in shown)
    for text in ("other data", "not run: it needs a file", "0.4 ± 0.02", "37: loss"):
        assert text in shown
    assert ">Published numbers, and here</h2>" not in page((made_verdict(),))


def test_what_was_not_run_says_how_to():
    shown = Page(claim(KNOWN["11b"], AXIS))
    assert "not run here" in shown.words
    assert "digits needs a package; pip install it" in shown.words
    assert "took" not in shown.words


def test_the_whole_front_is_a_page():
    front = [*for_the_front(), *(v for v in all_words() if v.number not in KNOWN)]
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page(front))
    assert headings[:6] == [
        "All effects on one axis",
        "The texts against each other",
        "Coupled and uncoupled gates",
        "RNN, LSTM and GRU in a table",
        "What should I use for my task?",
        "What may be repeated",
    ]
    assert "Coupled and uncoupled gates" not in page([made_verdict()])


def test_what_the_page_reads_are_statements():
    known = {each.number for each in statements()}
    assert {*EXPECTED} <= known
    assert {question.number for question in QUESTIONS} <= known
    assert {number for each in PROPERTIES for number in each.numbers} <= known
    assert {number for pair in PAIRS for number in pair.numbers} <= known
    assert all(text.endswith(".") for text in EXPECTED.values())
