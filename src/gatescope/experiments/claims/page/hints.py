"""What to use for a task: hints that are read off the verdicts, as sure as these are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gatescope.datatypes import Verdict
from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, MIXED, NOT_RUN, SUPPORTED
from gatescope.experiments.claims.page.grades import EQUAL as ALIKE
from gatescope.experiments.claims.page.grades import NO_EVIDENCE, graded
from gatescope.experiments.claims.page.words import link, notes
from gatescope.reporting.html import escape

_PAIR = ("lstm", "gru")
_TABLES = (
    "8b",
    "8a",
    "7a",
    "7b",
    "6a",
    "11a",
)  # statements whose effects are of both cells, the most tasks first
# What a task is like, by the beginning of its name.
_LIKE = {
    "adding": "a number to be carried over many steps",
    "order": "the order of rare events among noise",
    "copying": "a sequence to be repeated later",
    "delayed xor": "two bits, far apart, to be combined",
    "flip-flop": "switches that stay as they were set",
    "a^n b^n": "counting",
    "digits": "short sequences to be classified",
    "chorales": "music: what comes next",
    "laser": "a chaotic series: what comes next",
}


class Question(NamedTuple):
    """A question that a reader has, and what to do by the word of a statement; any other word answers nothing."""

    asks: str
    number: str
    answers: Mapping[str, str]


QUESTIONS = (
    Question(
        "Is a plain RNN enough?",
        "37",
        {
            SUPPORTED: "take a gated cell",
            CONTRADICTED: "a plain RNN does better",
            EQUAL: "a plain RNN does as well",
        },
    ),
    Question(
        "Is the memory long, hundreds of steps?",
        "2b",
        {
            SUPPORTED: "set the gates’ biases for it (chrono): default initial weights fail where these do not",
            CONTRADICTED: "default initial weights do",
        },
    ),
    Question(
        "Does time count?",
        "10a",
        {SUPPORTED: "take a GRU", CONTRADICTED: "a GRU is no faster", EQUAL: "LSTM and GRU take as long"},
    ),
    Question("Does the size count?", "9a", {SUPPORTED: "take a GRU, of 3/4 of the parameters"}),
    Question(
        "Are there few data?",
        "11b",
        {SUPPORTED: "take a GRU", CONTRADICTED: "take an LSTM", EQUAL: "either needs as many"},
    ),
    Question(
        "Are the data noisy?",
        "13",
        {SUPPORTED: "take a GRU", CONTRADICTED: "take an LSTM", EQUAL: "noise harms both alike"},
    ),
    Question(
        "Does it have to count?",
        "17a",
        {SUPPORTED: "take an LSTM", CONTRADICTED: "a GRU does", MIXED: "it depends on what is counted"},
    ),
    Question(
        "Will one run tell which cell is better?",
        "27b",
        {CONTRADICTED: "no: tune each cell, and compare over seeds"},
    ),
)


def hints(known: Mapping[str, Verdict]) -> str:
    """Return the hints as HTML; empty where no verdict gives one."""
    rows = [*_by_task(known), *_by_question(known)]
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("your task", "what to do", "numbers", "from"))
    return (
        "<p>Read off the rows below, for tasks, sizes and settings like theirs, each cell at its own best ones.</p>\n"
        f'<table class="hints">\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table>"
    )


def _by_task(known: Mapping[str, Verdict]) -> list[str]:
    for statement in _TABLES:
        effects = [e for e in known[statement].effects if e.arms == _PAIR] if statement in known else []
        if effects:
            break
    else:
        return []
    rows = []
    for effect, (grade, sign) in zip(effects, graded(effects), strict=True):
        cell = _PAIR[sign < 0].upper()
        advice = {ALIKE: "either: no difference that matters", NO_EVIDENCE: "no evidence for either"}
        like = next((text for begin, text in _LIKE.items() if effect.name.startswith(begin)), "")
        name = f'<span class="more">{escape(effect.name)}</span>' if like else escape(effect.name)
        measured = f"GRU / LSTM {effect.text()}" if effect.measure == "log ratio" else effect.text()
        rows.append(
            _row(f"{like} {name}".strip(), advice.get(grade, f"{grade} {cell}"), measured, known[statement])
        )
    return rows


def _by_question(known: Mapping[str, Verdict]) -> list[str]:
    rows = []
    for question in QUESTIONS:
        verdict = known.get(question.number)
        if verdict is None or verdict.word == NOT_RUN:
            continue
        advised = question.answers.get(verdict.word, "no evidence for either")
        rows.append(_row(escape(question.asks), advised, notes(verdict), verdict))
    return rows


def _row(task: str, advised: str, numbers: str, verdict: Verdict) -> str:
    cells = "".join(f"<td>{escape(text)}</td>" for text in (advised, numbers))
    return f'<tr><th scope="row">{task}</th>{cells}<td>{link(verdict)}</td></tr>'
