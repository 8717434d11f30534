"""Effects on one logarithmic axis: a strip each, as wide as there is room, with its numbers beside it.

Places are percentages of a strip's width, so that on a narrow screen it shrinks and its texts do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gatescope.datatypes import Effect, Verdict
from gatescope.experiments.claims.page.words import chip, identifier
from gatescope.reporting.html import escape
from gatescope.reporting.text import number

_SPANS = {
    1.25: 1.25,
    2.0: 2.0,
    4.0: 2.0,
    8.0: 2.0,
    16.0: 4.0,
    64.0: 8.0,
}  # the end of the axis: ratio of its ticks


class Axis(NamedTuple):
    """A logarithmic axis of ratios from 1 / `end` to `end`, with a tick at every power of `base`."""

    end: float
    base: float

    def place(self, log_ratio: float) -> float:
        """Return where the logarithm of a ratio is, in percent of the width; the ends hold what lies beyond them."""
        return min(max(50 + 50 * log_ratio / math.log(self.end), 0.0), 100.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and labels."""
        most = round(math.log(self.end) / math.log(self.base))
        values = [self.base**power for power in range(-most, most + 1)]
        return [(round(self.place(math.log(value)), 6), _ratio(value)) for value in values]


def _ratio(value: float) -> str:
    return f"1/{1 / value:.0f}" if value <= 0.5 else number(value)


def axis_of(effects: Iterable[Effect]) -> Axis:
    """Return the axis that holds all ratios with their intervals and margins, up to 64.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.page.forest import axis_of
    >>> from gatescope.experiments.seeds.statistics import paired
    >>> axis_of([paired(np.log([0.5, 0.6, 0.55]), margin=np.log(1.25))]).end
    4.0
    """
    ratios = [effect for effect in effects if effect.measure == "log ratio"]
    logs = [abs(value) for e in ratios for value in (e.mean, e.low, e.high, e.margin) if math.isfinite(value)]
    end = next((end for end in _SPANS if math.log(end) >= max(logs, default=0)), max(_SPANS))
    return Axis(end, _SPANS[end])


def _line(kind: str, one: float, other: float, *, low: str = "50%", high: str = "50%") -> str:
    return f'<line class="{kind}" x1="{one:.2f}%" x2="{other:.2f}%" y1="{low}" y2="{high}"/>'


def _band(kind: str, left: float, right: float) -> str:
    return f'<rect class="{kind}" x="{left:.2f}%" width="{right - left:.2f}%" height="100%"/>'


def _mark(place: float, shape: str) -> str:
    """Return a shape around a place, in pixels."""
    return f'<svg x="{place:.2f}%" y="50%">{shape}</svg>'


def strip(
    effect: Effect, claim: str, axis: Axis, *, seeds: bool = False, published: Iterable[float] = ()
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
    for place, _ in axis.ticks():
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


def _ticks(axis: Axis) -> str:
    texts = []
    for place, label in axis.ticks():
        anchor = "start" if place == 0 else "end" if place == 100 else "middle"
        texts.append(_line("tick", place, place, low="0", high="5"))
        texts.append(f'<text x="{place:.2f}%" y="19" text-anchor="{anchor}">{label}</text>')
    return f'<svg class="strip" aria-hidden="true">{"".join(texts)}</svg>'


def effects_html(rows: Sequence[tuple[str, Verdict, Effect]], axis: Axis, *, seeds: bool = False) -> str:
    """Return effects as a table, a strip each; `rows` are (name as HTML, verdict, effect)."""
    body = []
    for name, verdict, effect in rows:
        arms = f'<span class="arms">{escape(_of(effect))}</span>' if effect.arms else ""
        drawing = f'<span class="no-axis">{escape(_MEASURED.get(effect.measure, effect.measure))}</span>'
        if effect.measure == "log ratio":
            others = [each.published for each in verdict.published if each.what == effect.name]
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


def forest(verdicts: Sequence[Verdict], axis: Axis) -> str:
    """Return all effects of all statistical statements on one axis; empty without any."""
    rows = []
    for verdict in verdicts:
        link = f'<a href="#claim-{identifier(verdict.number)}">{chip(verdict.word, verdict.number)}</a>'
        rows += [(f"{link} {escape(effect.name)}", verdict, effect) for effect in verdict.effects]
    return LEGEND + effects_html(rows, axis) if rows else ""
