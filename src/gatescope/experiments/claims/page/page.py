"""The page as a whole: what was found, the forest, the texts against each other, two lists, and every statement."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from gatescope.datatypes import Verdict
from gatescope.datatypes.published_number import published_table
from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, KINDS, MISPRINT, NOT_RUN, SUPPORTED
from gatescope.experiments.claims.page.claim import claim
from gatescope.experiments.claims.page.comparison import comparison
from gatescope.experiments.claims.page.coupling import coupling
from gatescope.experiments.claims.page.forest import axis_of, forest
from gatescope.experiments.claims.page.hints import hints
from gatescope.experiments.claims.page.words import (
    chip,
    counts,
    identifier,
    link,
    notes,
    put_to_the_test,
    sentence,
)
from gatescope.experiments.claims.pairs import PAIRS, TEXTS, End, Pair
from gatescope.reporting.html import document, escape, origin, scrolling
from gatescope.reporting.text import counted, listing

TITLE = "What people say of RNN, LSTM and GRU, put to the test"
_FOLDER = Path(__file__).parent
_WORDS = (
    "<p>Both tests: Student's t and a sign-flip test of the differences between runs of the same seed; of times the "
    "sign test in place of Student's; of who reached a target McNemar's alone. A margin is the "
    "difference up to which two cells count as equal. A rounding is 2.2 × 10<sup>−16</sup> of the largest value. A "
    "control is a comparison that has to come out different: if it does not, the test shows nothing.</p>"
)
_FILES = 'The same as <a href="claims.json">data</a> and as <a href="claims.md">text</a>, in files beside this one.'
_VERSIONS = ("gatescope", "python", "numpy", "numba")  # what a verdict may depend on
_FEW = 12  # numbers that are listed by name


def page(verdicts: Sequence[Verdict]) -> str:
    """Return the page of verdicts, in their order; the same verdicts give the same bytes."""
    known = {verdict.number: verdict for verdict in verdicts}
    axis = axis_of(effect for verdict in verdicts for effect in verdict.effects)
    sections = {
        "All effects on one axis": forest(verdicts, axis),
        "The texts against each other": _pairs(known),
        "Coupled and uncoupled gates": coupling(known),
        "RNN, LSTM and GRU in a table": comparison(known),
        "What should I use for my task?": hints(known),
        "What may be repeated": _lists(verdicts),
        "Published numbers, and here": _published(verdicts),
        "Every statement": f"{_WORDS}\n{_form()}\n" + "\n".join(claim(verdict, axis) for verdict in verdicts),
        "Where the numbers come from": _origins(verdicts),
    }
    sections = {name: text for name, text in sections.items() if text}
    links = (f'<li><a href="#{_anchor(name)}">{name}</a></li>' for name in sections)
    parts = [
        _asset("shapes.svg"),
        f"<header>\n<h1>{TITLE}</h1>",
        f'<p class="result">{escape(sentence(verdicts))}</p>',
        _counts(verdicts),
        f'<p class="ran">{escape(ran(verdicts))} {_FILES}</p>\n</header>',
        f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>',
        _texts(),
        *(
            f'<section aria-labelledby="{_anchor(name)}"><h2 id="{_anchor(name)}">{name}</h2>\n{text}\n</section>'
            for name, text in sections.items()
        ),
    ]
    return document(TITLE, "\n".join(parts), style=_asset("page.css"), script=_asset("page.js"))


def ran(verdicts: Iterable[Verdict]) -> str:
    """Return what was run."""
    listed = put_to_the_test([*verdicts])
    kinds = Counter(verdict.kind for verdict in listed)
    text = listing(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind]) or "nothing"
    runs = sum(verdict.runs for verdict in listed)
    if runs:  # those that several statements share count with each
        text += f"; training runs behind them, each statement's counted: {runs:,}"
    early = [verdict.number for verdict in listed if verdict.preliminary]
    if early:
        which = f"{len(early)} of them" if len(early) > _FEW else listing(early)
        state = f"Preliminary, from experiments smaller than the full ones or disturbed: {which}."
    else:
        state = "Nothing here is preliminary."
    return f"Ran: {text}. {state} What has another number was not run."


def _origins(verdicts: Sequence[Verdict]) -> str:
    """Return what the numbers were made with; of parts that were run with other versions, each, and what is of it."""
    parts: dict[tuple[str, ...], list[Verdict]] = {}
    for verdict in verdicts:
        parts.setdefault(tuple(str(verdict.provenance.get(name)) for name in _VERSIONS), []).append(verdict)
    texts = []
    for some in parts.values():
        if len(parts) > 1:
            texts.append(f"<p>Of {', '.join(map(link, some))}:</p>")
        texts.append(origin(some[0].provenance))
    return "\n".join(texts)


def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _anchor(section: str) -> str:
    return identifier(section.lower())


def _counts(verdicts: Sequence[Verdict]) -> str:
    items = (f"<li>{chip(word, f'{word} {count}')}</li>" for word, count in counts(verdicts).items())
    return f'<ul class="counts">{"".join(items)}</ul>'


def _texts() -> str:
    items = "".join(f"<dt>{letter}</dt><dd>{escape(text)}</dd>" for letter, text in TEXTS.items())
    return f'<details class="texts" open><summary>The five texts, and their letters</summary><dl>{items}</dl></details>'


def _published(verdicts: Sequence[Verdict]) -> str:
    """Return all published numbers beside ours, and how many agree; nothing where there are none."""
    rows = [(verdict.number, each) for verdict in verdicts for each in verdict.published]
    if not rows:
        return ""
    agree = Counter(each.agrees for _, each in rows)
    said = (
        f"Of {counted(len(rows), 'published number')} {agree[True]} may come out of one more run of ours, "
        f"{agree[False]} not; {agree[None]} cannot be told, or nothing was measured. No word depends on them."
    )
    named = [dataclasses.replace(each, what=f"{number}: {each.what}") for number, each in rows]
    table = published_table(named)
    return f'<p>{said}</p>\n<div class="beside">{scrolling(table, "Published numbers, and here")}</div>'


def _pairs(known: Mapping[str, Verdict]) -> str:
    items = "\n".join(map(partial(_pair, known=known), range(1, len(PAIRS) + 1), PAIRS))
    return (
        "<p>At each end stand the verdicts on what is said there, or on its opposite.</p>\n"
        f'<ol class="pairs">\n{items}\n</ol>'
    )


def _pair(place: int, pair: Pair, known: Mapping[str, Verdict]) -> str:
    missing = pair.missing(verdict.number for verdict in put_to_the_test([*known.values()]))
    state = "whole" if not missing else "in-part" if len(missing) < len(pair.numbers) else "not-run"
    why = f'<p class="missing">Has not run: {escape(listing(missing))}</p>' if missing else ""
    return (
        f'<li id="pair-{place}" class="{state}">{_end(pair.one, known)}'
        f'<span class="versus">against</span>{_end(pair.other, known)}{why}</li>'
    )


def _end(end: End, known: Mapping[str, Verdict]) -> str:
    said, denied = (
        [link(known[number]) for number in numbers if number in known] for numbers in (end.says, end.denies)
    )
    who = [f'<span class="who">{escape(end.sources)}</span>'] if end.sources else []
    opposite = ['<span class="denies">the opposite is</span>'] if denied else []
    texts = [*who, f'<span class="says">{escape(end.text)}</span>', *said, *opposite, *denied]
    return f'<div class="end">{" ".join(texts)}</div>'


def _lists(verdicts: Sequence[Verdict]) -> str:
    """Return the statements to repeat, and those not to: a claim of a difference that comes out equal, too."""
    may = [v for v in verdicts if v.word == SUPPORTED or (v.word == EQUAL and v.claim == "equal")]
    may_not = [
        v
        for v in verdicts
        if v.word in (CONTRADICTED, MISPRINT) or (v.word == EQUAL and v.claim in ("lower", "higher"))
    ]
    rest = [v for v in put_to_the_test(verdicts) if v not in may and v not in may_not]
    not_run = [verdict for verdict in verdicts if verdict.word == NOT_RUN]
    text = f'<div class="lists">{_list("You may repeat", may)}{_list("You may not", may_not)}</div>'
    if rest:
        text += f"\n<p>Neither can be said of {', '.join(map(link, rest))}.</p>"
    if turning := [verdict for verdict in verdicts if verdict.depends_on_init]:
        text += (
            f"\n<p>With other initial weights another word is decided of {', '.join(map(link, turning))}.</p>"
        )
    if not_run:
        text += f"\n<p>Of {', '.join(map(link, not_run))} nothing is known here: a package is missing.</p>"
    return text


def _list(title: str, verdicts: Sequence[Verdict]) -> str:
    items = []
    for verdict in verdicts:
        more = listing(
            filter(None, (verdict.word if verdict.word in (EQUAL, MISPRINT) else "", notes(verdict)))
        )
        link = f'<a href="#claim-{identifier(verdict.number)}">{escape(verdict.number)}</a>'
        items.append(f"<li>{escape(verdict.statement)}{escape(f' ({more})' if more else '')} {link}</li>")
    return f"<div><h3>{title} ({len(items)})</h3><ul>{''.join(items)}</ul></div>"


def _form() -> str:
    """Return the filter; a script shows it, and without one all statements are there."""
    kinds = "".join(f"<option>{kind}</option>" for kind in KINDS)
    letters = "".join(f"<option>{letter}</option>" for letter in TEXTS)
    return (
        '<form id="filter" hidden>'
        f'<label>kind <select name="kind"><option value="">all</option>{kinds}</select></label>'
        f'<label>text <select name="source"><option value="">all</option>{letters}</select></label>'
        '<label><input type="checkbox" name="pairs"> only contradictions between texts</label>'
        '<label><input type="checkbox" name="init"> only what depends on initial weights</label>'
        '<button type="button" id="unfold">Unfold all</button>'
        '<output id="shown" aria-live="polite"></output></form>'
    )
