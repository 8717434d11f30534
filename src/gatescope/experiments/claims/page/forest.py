"""Effects on one logarithmic axis: a strip each, as wide as there is room, with its numbers beside it.

Places are percentages of a strip's width, so that on a narrow screen it shrinks and its texts do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from gatescope.datatypes import Effect, Verdict
from gatescope.experiments.claims.page.words import chip, identifier
from gatescope.reporting.html import escape
from gatescope.reporting.ratios import RatioAxis, ratio_axis
from gatescope.reporting.text import number


def axis_of(effects: Iterable[Effect]) -> RatioAxis:
    """Return the axis that holds all ratios with their intervals and margins, up to 64."""
    return ratio_axis(value for effect in effects for value in effect.on_axis())


def _line(kind: str, one: float, other: float, *, low: str = "50%", high: str = "50%") -> str:
    return f'<line class="{kind}" x1="{one:.2f}%" x2="{other:.2f}%" y1="{low}" y2="{high}"/>'


def _band(kind: str, left: float, right: float) -> str:
    return f'<rect class="{kind}" x="{left:.2f}%" width="{right - left:.2f}%" height="100%"/>'


def _mark(place: float, shape: str) -> str:
    """Return a shape around a place, in pixels."""
    return f'<svg x="{place:.2f}%" y="50%">{shape}</svg>'


def strip(
    effect: Effect, claim: str, axis: RatioAxis, *, seeds: bool = False, published: Iterable[float] = ()
) -> str:
    """Return the drawing of a ratio: its claimed side, the margin, the interval, the mean, and on request the seeds.

    Ratios that others published are crosses.
    """
    parts = []
    if claim in ("lower", "higher"):
        parts.append(_band("claimed", *((0, 50) if claim == "lower" else (50, 100))))
    if math.isfinite(effect.margin):
        kind = "margin claimed" if claim == "equal" else "margin"
        parts.append(_band(kind, axis.place(-effect.margin), axis.place(effect.margin)))
    for ratio, _ in axis.ticks():
        place = axis.place(math.log(ratio))
        parts.append(_line("one" if place == 50 else "grid", place, place, low="0", high="100%"))
    if seeds:
        parts += [
            _mark(axis.place(d), '<circle class="seed" r="2.5"/>')
            for d in effect.differences.tolist()
            if math.isfinite(d)
        ]
    if not (math.isnan(effect.low) or math.isnan(effect.high)):
        parts.append(_line("interval", axis.place(effect.low), axis.place(effect.high)))
        if effect.low < -math.log(axis.end):
            parts.append(_mark(0, '<path class="beyond" d="M0 0l9-5v10z"/>'))
        if effect.high > math.log(axis.end):
            parts.append(_mark(100, '<path class="beyond" d="M0 0l-9-5v10z"/>'))
    if math.isfinite(effect.mean):
        parts.append(
            _mark(axis.place(effect.mean), '<rect class="mean" x="-4" y="-4" width="8" height="8"/>')
        )
    parts += [
        _mark(axis.place(math.log(ratio)), '<path class="published" d="M-5-5l10 10m0-10l-10 10"/>')
        for ratio in published
        if ratio > 0
    ]
    return f'<svg class="strip" aria-hidden="true">{"".join(parts)}</svg>'


def _ticks(axis: RatioAxis) -> str:
    texts = []
    for ratio, label in axis.ticks():
        place = axis.place(math.log(ratio))
        anchor = "start" if place == 0 else "end" if place == 100 else "middle"
        texts.append(_line("tick", place, place, low="0", high="5"))
        texts.append(f'<text x="{place:.2f}%" y="19" text-anchor="{anchor}">{label}</text>')
    return f'<svg class="strip" aria-hidden="true">{"".join(texts)}</svg>'


def effects_html(rows: Sequence[tuple[str, Verdict, Effect]], axis: RatioAxis, *, seeds: bool = False) -> str:
    """Return effects as a table, a strip each; `rows` are (name as HTML, verdict, effect)."""
    body = []
    for name, verdict, effect in rows:
        arms = f'<span class="arms">{escape(_of(effect))}</span>' if effect.arms else ""
        drawing = f'<span class="no-axis">{escape(_MEASURED.get(effect.measure, effect.measure))}</span>'
        if effect.measure == "log ratio":
            task = effect.name.partition(": ")[2] or effect.name  # without the scheme of initial weights
            others = [each.published for each in verdict.published if each.what in (effect.name, task)]
            drawing = strip(effect, verdict.claim, axis, seeds=seeds, published=others)
        reached = " and ".join(f"{100 * share:.0f} %" for share in effect.reached)
        more = f"p {number(effect.p)}, n {effect.pairs}"
        if reached and effect.measure == "log ratio":
            more += f", {reached} reached the target"
        body.append(
            f'<tr><th scope="row">{name}{arms}</th><td class="drawing">{drawing}</td>'
            f'<td>{escape(effect.text())} <span class="more">{escape(more)}</span></td></tr>'
        )
    head = "".join(f'<th scope="col">{text}</th>' for text in ("task", "ratio", "mean [95 % interval]"))
    foot = f'<tfoot><tr><td></td><td class="drawing">{_ticks(axis)}</td><td></td></tr></tfoot>'
    return (
        f'<table class="forest">\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(body)
        + f"\n</tbody>\n{foot}\n</table>"
    )


def _of(effect: Effect) -> str:
    """Return which arms an effect is of, in the order in which its text has them."""
    first, second = effect.arms
    if effect.measure == "share":
        return f"{first} against {second}"
    return f"{second} {'/' if effect.measure == 'log ratio' else '−'} {first}"


_MEASURED = {
    "difference": "a difference, not a ratio: not on this axis",
    "share": "by who reached the target: not on this axis",
}
LEGEND = (
    '<p class="legend">A square is the mean over pairs of a seed, its line the 95 % interval, an arrow that it goes on '
    "beyond the axis, a cross what somebody published. "
    '<span class="key"><svg class="swatch" aria-hidden="true"><rect class="claimed" width="100%" height="100%"/></svg>'
    " the side that the statement claims,</span> "
    '<span class="key"><svg class="swatch" aria-hidden="true"><rect class="margin" width="100%" height="100%"/></svg>'
    " too small to matter</span>. Left of 1 the first of the two arms that are named "
    "with a task is lower; p is "
    "before Holm's correction over the tasks of a statement.</p>"
)


def forest(verdicts: Sequence[Verdict], axis: RatioAxis) -> str:
    """Return all effects of all statistical statements on one axis; empty without any."""
    rows = []
    for verdict in verdicts:
        link = f'<a href="#claim-{identifier(verdict.number)}">{chip(verdict.word, verdict.number)}</a>'
        rows += [(f"{link} {escape(effect.name)}", verdict, effect) for effect in verdict.effects]
    return LEGEND + effects_html(rows, axis) if rows else ""
