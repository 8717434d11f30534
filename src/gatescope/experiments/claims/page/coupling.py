"""The figure of coupled and uncoupled gates: what trained LSTMs keep and let in, beside the GRU's rule."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gatescope.datatypes import Verdict
from gatescope.experiments.claims.page.words import identifier
from gatescope.reporting.html import escape
from gatescope.reporting.text import percent

NUMBER = "25"
_BIN = re.compile(r"(.+): fraction with kept \+ let in - 1 in (\S+) to (\S+)")
_WIDTH, _HEIGHT, _TOP = 100, 62, 4  # of the drawing: a unit is a percent of its width
_MIDDLE = 0.1  # from the middle, within which gates count as coupled
_TICKS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def histograms(verdict: Verdict) -> dict[str, list[tuple[float, float, float]]]:
    """Return (low, high, fraction) of every bin, in ascending order, by arm."""
    bins: dict[str, list[tuple[float, float, float]]] = {}
    for name, (fraction, _) in verdict.measured.items():
        if match := _BIN.fullmatch(name):
            low, high = (float(text.replace("−", "-")) for text in match.groups()[1:])
            bins.setdefault(match[1], []).append((low, high, fraction))
    return {arm: sorted(some) for arm, some in bins.items()}


def coupling(known: Mapping[str, Verdict]) -> str:
    """Return the figure as HTML; empty where no trained network was measured."""
    verdict = known.get(NUMBER)
    if verdict is None or not (bins := histograms(verdict)):
        return ""
    figures = "\n".join(_histogram(arm, some) for arm, some in bins.items())
    return (
        "<p>What a gate keeps of the old state and what another lets in add to 1 in a GRU, always: it writes only "
        "where it has erased, and all of it would stand at 0 here. An LSTM has a gate for each, and after training its "
        "units and steps stand elsewhere, too. The band is within a tenth of the GRU’s rule; the numbers are in "
        f'<a href="#claim-{identifier(NUMBER)}">row {NUMBER}</a>.</p>\n<div class="histograms">\n{figures}\n</div>'
    )


def _histogram(arm: str, bins: list[tuple[float, float, float]]) -> str:
    low, high = bins[0][0], bins[-1][1]
    most = max(fraction for *_, fraction in bins) or 1.0

    def place(value: float) -> float:
        return _WIDTH * (value - low) / (high - low)

    bars = "".join(
        f'<rect class="bar" x="{place(left):.2f}%" width="{place(right) - place(left):.2f}%" '
        f'y="{_TOP + _HEIGHT * (1 - fraction / most):.2f}" height="{_HEIGHT * fraction / most:.2f}"/>'
        for left, right, fraction in bins
    )
    ticks = "".join(
        f'<text x="{place(tick):.2f}%" y="{_HEIGHT + 22}" text-anchor="{_anchor(tick, low, high)}">{tick:g}</text>'
        for tick in _TICKS
        if low <= tick <= high
    ).replace(">-", ">−")
    near = sum(fraction for left, right, fraction in bins if abs(left + right) / 2 < _MIDDLE)
    says = f"{percent(near)} within a tenth of 0, the fullest bin {percent(most)}"
    band = (
        f'<rect class="margin" x="{place(-_MIDDLE):.2f}%" width="{place(_MIDDLE) - place(-_MIDDLE):.2f}%" '
        f'y="{_TOP}" height="{_HEIGHT}"/>'
    )
    zero = f'<line class="one" x1="{place(0):.2f}%" x2="{place(0):.2f}%" y1="0" y2="{_HEIGHT + 8}"/>'
    return (
        f'<figure><svg class="histogram" role="img" aria-label="{escape(f"{arm}: {says}")}">{band}{bars}{zero}{ticks}'
        f"</svg><figcaption>{escape(arm)}: kept + let in − 1; {escape(says)}</figcaption></figure>"
    )


def _anchor(tick: float, low: float, high: float) -> str:
    return "start" if tick == low else "end" if tick == high else "middle"
