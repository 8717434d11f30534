"""One fixed color, line and marker for every cell, gate and unit.

The colors are those of Okabe and Ito, which stay apart for color-blind readers.  Whatever is drawn
together also differs in lightness, and in line or marker, so that it survives a grey print.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gatescope.cells.roles import ROLES

BLACK = "#000000"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
ORANGE = "#E69F00"
GREY = "#595959"  # of helping lines, never of data

DASH = (0, (6, 2))
DASH_DOT = (0, (6, 2, 1.5, 2))
DOT = (0, (1.5, 1.5))
DASH_DOT_DOT = (0, (6, 2, 1.5, 2, 1.5, 2))
SHORT_DASH = (0, (3, 1.5))


class Style(NamedTuple):
    """The look of one thing, wherever it is drawn."""

    color: str
    linestyle: Any
    marker: str

    def line(self, points: int = 2) -> dict[str, Any]:
        """Return the keywords of a line of that many points: without markers, unless it is one point."""
        look = {"color": self.color, "linestyle": self.linestyle}
        return look if points != 1 else look | {"marker": self.marker}


CELLS: dict[str, Style] = {
    "rnn": Style(BLACK, DOT, "s"),
    "lstm": Style(BLUE, "-", "o"),
    "gru": Style(ORANGE, DASH, "^"),
    "gru_reset_before": Style(GREEN, DASH_DOT, "v"),
    "rnn_relu": Style(PURPLE, DASH_DOT_DOT, "D"),
}

GATES: dict[str, Style] = {  # and states, by what they are
    "input gate": Style(ORANGE, DASH, "^"),
    "forget gate": Style(BLUE, "-", "o"),
    "candidate": Style(PURPLE, DASH_DOT_DOT, "D"),
    "output gate": Style(BLACK, DOT, "s"),
    "reset gate": Style(BLACK, DOT, "s"),
    "update gate": Style(GREEN, "-", "o"),
    "hidden state": Style(VERMILLION, DASH_DOT, "v"),
    "cell state": Style(SKY, SHORT_DASH, "P"),
}

# What has no fixed style.  The first three differ by lightness alone (70, 46 and 0 of 100), because
# dashes cannot be read on a line that swings up and down many times; only then do dashes begin.
CYCLE: tuple[Style, ...] = (
    Style(ORANGE, "-", "^"),
    Style(BLUE, "-", "o"),
    Style(BLACK, "-", "s"),
    Style(GREEN, DASH_DOT, "v"),
    Style(PURPLE, DASH_DOT_DOT, "D"),
    Style(VERMILLION, SHORT_DASH, "P"),
    Style(SKY, DOT, "X"),
)
_KINDS = list(dict.fromkeys(style.linestyle for style in CYCLE))


def cell_styles(names: Iterable[str]) -> list[Style]:
    """Return the style of each cell; a name that comes again, or is not known, gets one that is still free."""
    return _styles(CELLS, list(names))


def gate_styles(names: Iterable[str]) -> list[Style]:
    """Return the style of each gate or state, as `cell_styles` gives it for cells."""
    fixed = {name: GATES[role] for name, role in ROLES.items() if role in GATES}
    return _styles(fixed, list(names))


def unit_styles(count: int) -> list[Style]:
    """Return styles of `count` units; each time round the cycle, the colors meet the next kind of line."""
    return [_turned(CYCLE[k % len(CYCLE)], k // len(CYCLE)) for k in range(count)]


def _turned(style: Style, turn: int) -> Style:
    """Return the style with the kind of line that stands so many kinds further on in the cycle."""
    return style._replace(linestyle=_KINDS[(_KINDS.index(style.linestyle) + turn) % len(_KINDS)])


def describe(name: str) -> str:
    """Return a gate's or state's letter with what it is: ``"f (forget gate)"``."""
    return f"{name} ({ROLES[name]})" if name in ROLES else name


def _styles(fixed: dict[str, Style], names: list[str]) -> list[Style]:
    # Fixed styles go first, so that no other name takes one of theirs.
    chosen: dict[int, Style] = {}
    for k, name in enumerate(names):
        if name in fixed and fixed[name] not in chosen.values():
            chosen[k] = fixed[name]
    for k, name in enumerate(names):
        if k not in chosen:
            chosen[k] = _free(name, tuple(chosen.values()))
    return [chosen[k] for k in range(len(names))]


def _free(name: str, taken: Sequence[Style]) -> Style:
    """Return a color that is taken least, in a kind of line that it is not taken in.

    Variants of the cells have no fixed style: there are more of them than colors that can be told apart.
    """
    # A stable hash: the same name looks the same in every run.  Two turns lead to a kind of line that looks other.
    first = zlib.crc32(name.encode())
    order = [
        _turned(CYCLE[(first + k) % len(CYCLE)], 2 * turn)
        for turn in range(len(_KINDS))
        for k in range(len(CYCLE))
    ]
    colors = [style.color for style in taken]
    looks = [style[:2] for style in taken]
    free = [style for style in order if style[:2] not in looks]
    return min(free or order, key=lambda style: colors.count(style.color))
