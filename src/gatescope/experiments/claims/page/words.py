"""A verdict's word as a chip, whose shape says it where colors do not, and sentences of counts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from gatescope.datatypes import Verdict
from gatescope.datatypes.verdict import (
    CANNOT_RUN,
    CONTRADICTED,
    EQUAL,
    MISPRINT,
    MIXED,
    NOT_RUN,
    SUPPORTED,
    UNDECIDED,
    WORDS,
)
from gatescope.experiments.claims.pairs import PAIRS
from gatescope.reporting.html import escape
from gatescope.reporting.text import counted, listing

# What so many statements do: one, or several.  What was not run is told apart from what was put to the test.
_DO = {
    SUPPORTED: ("holds", "hold"),
    CONTRADICTED: ("does not", "do not"),
    EQUAL: ("comes out equal", "come out equal"),
    MIXED: ("holds in part", "hold in part"),
    UNDECIDED: ("is undecided", "are undecided"),
    MISPRINT: ("is a misprint", "are misprints"),
    CANNOT_RUN: ("cannot be run as printed", "cannot be run as printed"),
}


def identifier(text: str) -> str:
    """Return a text as a part of an id or of a class.

    Examples
    --------
    >>> from gatescope.experiments.claims.page.words import identifier
    >>> identifier("cannot be run")
    'cannot-be-run'
    """
    return re.sub(r"[^\w-]", "-", text)


def chip(word: str, text: str = "") -> str:
    """Return a word, or another text for it, with the shape of the word beside it."""
    name = identifier(word)
    mark = f'<svg class="shape" aria-hidden="true"><use href="#shape-{name}"></use></svg>'
    return f'<span class="chip word-{name}">{mark}{escape(text or word)}</span>'


def link(verdict: Verdict, *, short: bool = False) -> str:
    """Return number and word of a verdict, or the word's shape alone, as a link to its row."""
    text = f"{verdict.number} {verdict.word}{', preliminary' if verdict.preliminary else ''}"
    text = verdict.number if short else text
    return f'<a href="#claim-{identifier(verdict.number)}">{chip(verdict.word, text)}</a>'


def notes(verdict: Verdict) -> str:
    """Return what goes with a verdict's word."""
    return verdict.text.partition(", ")[2]


def counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many verdicts have each word, in the order of `WORDS`, those that none has left out."""
    by_word = Counter(verdict.word for verdict in verdicts)
    return {word: by_word[word] for word in WORDS if by_word[word]}


def sentence(verdicts: Sequence[Verdict]) -> str:
    """Return what was found, in one sentence."""
    tested = put_to_the_test(verdicts)
    did = listing(f"{count} {_DO[word][count > 1]}" for word, count in counts(tested).items())
    settled = sum(not pair.missing(verdict.number for verdict in tested) for pair in PAIRS)
    text = (
        f"Of {counted(len(tested), 'statement')} about RNN, LSTM and GRU, {did or 'none has run'}; of "
        f"{len(PAIRS)} points on which the texts contradict each other {settled} have been put to the test whole."
    )
    if missing := len(verdicts) - len(tested):
        text += f" {counted(missing, 'more statement')} {'was' if missing == 1 else 'were'} not run here."
    return text


def put_to_the_test(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts on what was run."""
    return [verdict for verdict in verdicts if verdict.word != NOT_RUN]
