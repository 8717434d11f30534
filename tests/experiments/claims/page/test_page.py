"""The page of verdicts: whole without a network and without a script, and nothing in it read as HTML."""

import base64
import hashlib
import re
from collections import Counter

import pytest
from helpers.html_page import Page
from helpers.verdicts import all_words, made_verdict

from gatescope.datatypes.verdict import KINDS, WORDS
from gatescope.experiments.claims.page.page import page, ran
from gatescope.experiments.claims.page.words import counts, sentence
from gatescope.experiments.claims.pairs import PAIRS
from gatescope.experiments.claims.report import FILES

HOSTILE = "\"><script>alert(1)</script>&amp;'</details>\x00"


@pytest.fixture(scope="module")
def source():
    return page(all_words())


@pytest.fixture(scope="module")
def parsed(source):
    return Page(source)


def test_ids_are_unique_and_links_lead_to_them(parsed):
    ids = Counter(attrs["id"] for _, attrs in parsed.tags if "id" in attrs)
    assert max(ids.values()) == 1
    links = [attrs["href"] for tag, attrs in parsed.tags if "href" in attrs]
    beside = {"claims.json", "claims.md"}
    assert {link.removeprefix("#") for link in links if link not in beside} <= {*ids}
    assert beside <= {*links} & {*FILES}


def test_it_asks_for_nothing(source, parsed):
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", source)
    assert not [attrs for _, attrs in parsed.tags if {"src", "srcset", "style", "onclick"} & {*attrs}]
    assert not parsed.named("link")
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    (policy,) = [attrs["content"] for attrs in parsed.named("meta") if "http-equiv" in attrs]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_verdict_is_there_once(parsed):
    claims = parsed.named("details", "claim")
    assert [attrs["id"] for attrs in claims] == [f"claim-{verdict.number}" for verdict in all_words()]
    assert [attrs["data-kind"] for attrs in claims] == [verdict.kind for verdict in all_words()]
    assert {verdict.kind for verdict in all_words()} == {*KINDS}
    for verdict in all_words():
        assert verdict.command in parsed.words


def test_every_word_has_a_chip_with_a_shape_of_its_own(parsed):
    shapes = {attrs["id"] for attrs in parsed.named("symbol")}
    assert shapes == {f"shape-{word.replace(' ', '-')}" for word in WORDS}
    chips = {attrs["class"].split()[1] for attrs in parsed.named("span", "chip")}
    assert chips == {f"word-{word.replace(' ', '-')}" for word in WORDS}
    used = {attrs["href"] for attrs in parsed.named("use")}
    assert used == {f"#{shape}" for shape in shapes}
    assert all(f"{word} {count}" in parsed.words for word, count in counts(all_words()).items())


def test_without_its_script_all_is_shown_and_no_filter(parsed):
    hidden = [attrs.get("id") for _, attrs in parsed.tags if "hidden" in attrs]
    assert hidden == ["filter"]


def test_what_the_filter_asks_for(parsed):
    asked = {attrs["id"]: attrs for attrs in parsed.named("details", "claim")}
    assert asked["claim-6a"]["data-sources"] == "P A"
    assert asked["claim-8a"]["data-sources"] == "Q"
    assert (asked["claim-6a"]["data-init"], asked["claim-8a"]["data-init"]) == ("yes", "no")
    assert (asked["claim-38"]["data-pairs"], asked["claim-31"]["data-pairs"]) == ("yes", "no")
    assert {attrs["name"] for tag, attrs in parsed.tags if tag in ("select", "input")} == {
        "kind",
        "source",
        "pairs",
        "init",
    }


def test_pairs_whole_in_part_and_not_run(source):
    items = re.findall(r'<li id="pair-(\d+)" class="([\w-]+)">(.*?)</li>', source, re.DOTALL)
    states = {int(number): state for number, state, _ in items}
    assert len(states) == len(PAIRS)
    assert [number for number, state in states.items() if state == "whole"] == [2, 4, 11]
    assert [number for number, state in states.items() if state == "in-part"] == [1, 3, 5, 9]
    texts = {int(number): Page(text).words for number, _, text in items}
    assert "22 equal" in texts[2]
    assert texts[2].count("22 equal") == 2  # at both ends
    assert "Has not run: 2b, 14b, 15a" in texts[1]
    assert "Has not run: 23, 41" in texts[10]
    assert "11c undecided, preliminary" in texts[9]
    assert texts[11].count("the opposite is") == 1
    assert not any("Has not run" in word for word in texts[11])


def test_what_may_be_repeated(source):
    may, may_not = (
        re.findall(r"(?:\()?([\w, ]*)(?:\))? <a href=\"#claim-(\w+)\"", part)
        for part in re.split("<h3>You may", source)[1:]
    )
    assert [number for _, number in may] == ["6a", "8b"]  # 8b says equal, and is
    assert [number for _, number in may_not[:5]] == ["38", "8a", "2a", "1a", "19"]
    assert "all cells alike, depends on initial weights" in may[0][0]


def test_an_equality_that_is_no_claim_is_in_neither_list():
    differ = made_verdict(number="7a", word="equal", kind="statistical", claim="lower")
    texts = page([made_verdict(number="22", word="equal"), differ])
    assert "You may repeat (0)" in texts
    assert "You may not (1)" in texts
    assert "Neither can be said of" in texts


def test_the_fold_out_tells_what_the_verdict_stands_on(parsed):
    for text in (
        "Contradicted if they do not.",
        "another c",
        "different: a control",
        "10 pairs",
        "40 seeds",
        "gain 2: exponent",
        "0.2 ± 0.01",
        "mean of 10, and its standard error",
        "lr 0.003, scheme chrono(100)",
        "a1b2c3",
        "all cells alike, depends on initial weights",
    ):
        assert text in parsed.words
    sizes = "Measured with at most 64 units, 1,500 steps, 10 seeds, in float64."
    assert any(sizes in word for word in parsed.words)
    assert not any("16 units" in word for word in parsed.words)
    assert any(word.endswith("smaller than the full one.") for word in parsed.words)


def test_one_sentence_of_what_was_found():
    assert sentence(all_words()) == (
        "Of 11 statements about RNN, LSTM and GRU, 1 holds, 4 do not, 2 come out equal, 1 is undecided, 1 holds in "
        "part, 1 is a misprint, 1 cannot be run as printed; of 21 points on which the texts contradict each other 3 "
        "have been put to the test whole. 1 more statement was not run here."
    )
    assert "training runs behind them, each statement's counted: 140" in ran(all_words())
    assert "Preliminary, from experiments smaller than the full ones or disturbed: 11c." in ran(all_words())
    many = [made_verdict(number=f"{k}", preliminary=True) for k in range(13)]
    assert "or disturbed: 13 of them." in ran(many)
    assert "Nothing here is preliminary." in ran([made_verdict()])


def test_no_verdict_is_a_page_too():
    assert "none has run" in page([])


def test_every_text_is_escaped():
    names = ("statement", "sources", "criterion", "reason", "code")
    verdict = made_verdict(
        **dict.fromkeys(names, HOSTILE),
        number=HOSTILE,
        equalities={HOSTILE: 0.0},
        controls={HOSTILE: 1.0},
        tuned={HOSTILE: {HOSTILE: HOSTILE}, "other": HOSTILE},
        provenance={HOSTILE: HOSTILE},
    )
    hostile = Page(page([verdict]))
    assert len(hostile.named("script")) == 1
    assert len(hostile.named("details", "claim")) == 1
    shown = HOSTILE.replace("\x00", "\ufffd")
    assert hostile.words.count(shown) >= 8


def test_the_same_verdicts_give_the_same_bytes(source):
    assert page(all_words()) == source


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_are_read_on_their_paper(scheme, source):
    """Contrasts by the formula of WCAG 2: at least 4.5 for texts and chips."""
    dark = source.index("prefers-color-scheme: dark")
    css = source[:dark] if scheme == "light" else source[dark : source.index("}\n}", dark)]
    colors = dict(re.findall(r"--([\w-]+): #([0-9a-f]{3}(?:[0-9a-f]{3})?);", css))

    def luminance(color):
        digits = color if len(color) == 6 else "".join(digit * 2 for digit in color)
        parts = (int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4))
        linear = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
        return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    paper = luminance(colors["paper"])
    for name in ("ink", "quiet", "link", *(word.replace(" ", "-") for word in WORDS)):
        low, high = sorted((paper, luminance(colors[name])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name


def test_the_words_of_criteria_are_explained():
    text = page(all_words())
    for word in ("Both tests: ", "A margin is", "A rounding is", "A control is"):
        assert word in text
