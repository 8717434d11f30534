"""A table as data: what a result has to show, for the command line, the report page and notebooks alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gatescope.reporting.text import show


class Table(NamedTuple):
    """A header and rows; the first column names what the others say.

    Attributes
    ----------
    header : sequence of str
        One heading a column; the first may be empty.
    rows : sequence of sequences
        Values, which `texts` makes readable: numbers stay numbers here.
    title : str
        What the table is of, in a line.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""

    def texts(self) -> list[list[str]]:
        """Return the rows as a reader wants to see them.

        Examples
        --------
        >>> from gatescope.reporting.table import Table
        >>> Table(("lag, steps", "norm"), [(1000, 0.25), (2000, None)]).texts()
        [['1,000', '0.25'], ['2,000', '–']]
        """
        return [[show(value) for value in row] for row in self.rows]
