"""The equations of a cell as they stand in its own description: nothing else knows them."""

from __future__ import annotations

import re

from gatescope.cells.registry import Cell

_EQUATION = re.compile(r"([A-Za-z]\w*'?) = (.+)")
_BETWEEN = re.compile(r"\s{2,}")  # equations of one line
_LISTED = re.compile(r", (?![^(]*\))")  # a comma outside of brackets: a sentence, not an equation
_WEIGHTS = re.compile(r"\b[WRb]_|\bW x")  # which a trace does not have


def equations(cell: Cell) -> list[tuple[str, str, bool]]:
    """Return the equations in the description of a cell: their left side, their right, and whether it has weights.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.explorer.equations import equations
    >>> equations(gs.cells.get("lstm"))[-2:]
    [("c'", 'f * c + i * g', False), ("h'", "o * tanh(c')", False)]
    """
    found: list[tuple[str, str, bool]] = []
    for line in cell.description.splitlines():
        for part in _BETWEEN.split(line.strip()):
            # One equation may end a sentence: "The Elman network: h' = ... ."
            texts = (part, part.partition(": ")[2].removesuffix("."))
            match = next(filter(None, map(_EQUATION.fullmatch, texts)), None)
            if match and not _LISTED.search(match[2]):
                found.append((match[1], match[2], bool(_WEIGHTS.search(match[2]))))
    return found
