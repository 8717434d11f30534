"""One verdict as a fold-out: the word on its line, and inside all that it stands on."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gatescope.datatypes import Verdict
from gatescope.datatypes.published_number import published_table
from gatescope.datatypes.verdict import NOT_RUN
from gatescope.experiments.claims.literature import EXPECTED
from gatescope.experiments.claims.page.forest import effects_html
from gatescope.experiments.claims.page.grades import in_words
from gatescope.experiments.claims.page.words import chip, identifier, notes
from gatescope.experiments.claims.pairs import PAIRS
from gatescope.reporting.html import escape, scrolling
from gatescope.reporting.ratios import RatioAxis
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, duration, listing, number, show, with_error

_REACH = {
    "exact": "It is what the equations do, shown on one draw of weights and inputs in float64; not how often it "
    "matters to a trained network.",
    "documentary": "It is what texts and equations say; no network was trained for it.",
    "measured": "It is of these cells, sizes and initial weights.",
    "statistical": "It is of these tasks, sizes and settings, over pairs of a seed, which draws weights, order and "
    "noise, and the data where they are made; what has a split, as digits and music, has the same one for all seeds. "
    "Another task may differ.",
}

# What the provenance calls the sizes of a kind, and a reader.  What is exact holds at any size, shown at several;
# what is measured may take a part of the steps, as its criterion then says.
_SIZES = {"measured": {"many_units": "unit", "long_steps": "step", "seeds": "seed"}}


def limits(verdict: Verdict) -> str:
    """Return how far a verdict reaches."""
    text = _REACH[verdict.kind]
    sizes = _SIZES.get(verdict.kind, {})
    if sizes and sizes.keys() <= verdict.provenance.keys():
        measured = listing(counted(verdict.provenance[name], noun) for name, noun in sizes.items())
        text += f" Measured with at most {measured}, in {verdict.provenance.get('dtype', 'float64')}."
    if verdict.preliminary:
        text += " Preliminary: the experiment was smaller than the full one."
    return text


def facts(verdict: Verdict) -> dict[str, str]:
    """Return what there is to say of a verdict, by name, in the order of reading."""
    pairs = sorted({effect.pairs for effect in verdict.effects})
    texts = {
        "not run here" if verdict.word == NOT_RUN else "measured": verdict.reason,
        "in words": in_words(verdict.effects),
        "by initial weights": _by_init(verdict),
        "criterion": verdict.criterion,
        "what one could expect": EXPECTED.get(verdict.number, ""),
        "kind": verdict.kind,
        "seeds": f"{listing(pairs)} pairs" if pairs else number(verdict.seeds) if verdict.seeds else "",
        "needed": counted(verdict.needed, "seed") if verdict.needed else "",
        "trained": "; ".join(verdict.training),
        "training runs": number(verdict.runs) if verdict.runs else "",
        "took": _cost(verdict),
        "limits": limits(verdict),
        "code": verdict.code,
    }
    return {name: text for name, text in texts.items() if text}


def _by_init(verdict: Verdict) -> str:
    """Return the word with each scheme of initial weights, and on which tasks if these are not all.

    A statement may be of all tasks, where those by initial weights are a few: their words may differ for that alone.
    """
    words = verdict.tuned.get("by initial weights", {})
    tasks = dict.fromkeys(effect.name.partition(": ")[2] for effect in verdict.by_init)
    alone = f", on {listing(tasks)} alone" if len(tasks) < len(verdict.effects) and tasks else ""
    return listing(f"{scheme} {word}" for scheme, word in words.items()) + alone if words else ""


def _cost(verdict: Verdict) -> str:
    if not math.isfinite(verdict.seconds) or verdict.word == NOT_RUN:
        return ""
    whose = "of one core, without tuning" if verdict.runs else "here"
    return f"{duration(verdict.seconds)} {whose}"


def claim(verdict: Verdict, axis: RatioAxis) -> str:
    """Return the fold-out of a verdict; what a filter asks for is in its data attributes."""
    number_ = escape(verdict.number)
    letters = " ".join(dict.fromkeys(source[0] for source in verdict.sources.split()))
    against = [k for k, pair in enumerate(PAIRS, 1) if verdict.number in pair.numbers]
    listed = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts(verdict).items())
    if against:
        links = ", ".join(f'<a href="#pair-{k}">pair {k}</a>' for k in against)
        listed += f"<dt>texts against it</dt><dd>{links}</dd>"
    listed += f"<dt>to run it again</dt><dd><code>{escape(verdict.command)}</code></dd>"
    more = f' <span class="notes">{escape(notes(verdict))}</span>' if notes(verdict) else ""
    parts = [
        f'<details class="claim" id="claim-{identifier(verdict.number)}" data-kind="{escape(verdict.kind)}" '
        f'data-sources="{escape(letters)}" data-pairs="{_yes(against)}" data-init="{_yes(verdict.depends_on_init)}">',
        f'<summary><span class="id">{number_}</span> <span class="says">{escape(verdict.statement)}</span> '
        f'<span class="who">{escape(verdict.sources)}</span> <span class="outcome">{chip(verdict.word)}'
        f"{more}</span></summary>",
        f'<dl class="facts">{listed}</dl>',
    ]
    if verdict.effects:
        parts.append(effects_html([(escape(e.name), verdict, e) for e in verdict.effects], axis, seeds=True))
    if verdict.by_init:
        rows = [(escape(e.name), verdict, e) for e in verdict.by_init]
        parts.append(f"<h3>With each scheme of initial weights</h3>\n{effects_html(rows, axis, seeds=True)}")
    for name, table in _tables(verdict).items():
        parts.append(f"<h3>{name}</h3>{scrolling(table, f'{verdict.number}: {name}')}")
    return "\n".join([*parts, "</details>"])


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _tables(verdict: Verdict) -> dict[str, Table]:
    """Return the numbers of an exact statement, and the settings of a statistical one."""
    rows = [(name, value, "same") for name, value in verdict.equalities.items()]
    rows += [(name, value, "different: a control") for name, value in verdict.controls.items()]
    measured = [(name, with_error(*pair)) for name, pair in verdict.measured.items()]
    tuned = [
        (arm, show(settings) if isinstance(settings, Mapping) else str(settings))
        for arm, settings in verdict.tuned.items()
        if arm != "by initial weights"
    ]
    tables = {
        "The numbers": Table(("", "roundings apart", "should be"), rows),
        "What was measured": Table(("", f"mean of {verdict.seeds}, and its standard error"), measured),
        "Tuned settings": Table(("arm", "setting"), tuned),
        "Published, and here": published_table(verdict.published),
    }
    return {name: table for name, table in tables.items() if table.rows}
