"""The equations of a cell as they stand in its own description: nothing else knows them."""

from __future__ import annotations

import re

from gatescope.cells.registry import Cell

_EQUATION = re.compile(r"([A-Za-z]\w*'?) = (.+)")
_BETWEEN = re.compile(r"\s{2,}")  # equations of one line
_LISTED = re.compile(r", (?![^(]*\))")  # a comma outside of brackets: a sentence, not an equation


def equations(cell: Cell) -> list[tuple[str, str]]:
    """Return the equations in the description of a cell: what is on their left side, and on the right.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.explorer.equations import equations
    >>> equations(gs.cells.get("lstm"))[-2:]
    [("c'", 'f * c + i * g'), ("h'", "o * tanh(c')")]
    """
    pairs: list[tuple[str, str]] = []
    for line in cell.description.splitlines():
        for part in _BETWEEN.split(line.strip()):
            # One equation may end a sentence: "The Elman network: h' = ... ."
            texts = (part, part.partition(": ")[2].removesuffix("."))
            found = next(filter(None, map(_EQUATION.fullmatch, texts)), None)
            if found and not _LISTED.search(found[2]):
                pairs.append((found[1], found[2]))
    return pairs
