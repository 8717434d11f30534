"""A table as data: what a result has to show, for the command line, the report page and notebooks alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatescope.reporting.text import number, plain, show

_MOST_ROWS, _MOST_SEQUENCES = 8, 6  # that a reader takes in


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

    def names(self) -> list[str]:
        """Return a name for each column, no two alike; the first is ``"quantity"`` where it has no heading.

        Examples
        --------
        >>> from gatescope.reporting.table import Table
        >>> Table(("", "norm", ""), []).names()
        ['quantity', 'norm', 'column 3']
        """
        names: list[str] = []
        for index, heading in enumerate(self.header):
            name = str(heading) or (f"column {index + 1}" if index else "quantity")
            names.append(name if name not in names else f"{name} ({index + 1})")
        return names

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as programs want them: by the names of the columns, numbers with all their digits.

        Examples
        --------
        >>> from gatescope.reporting.table import Table
        >>> from gatescope.reporting.text import percent
        >>> Table(("gate", "shut"), [("f", percent(1 / 3)), ("i", float("nan"))]).records()
        [{'gate': 'f', 'shut': 0.3333333333333333}, {'gate': 'i', 'shut': None}]
        """
        names = self.names()
        return [dict(zip(names, map(plain, row), strict=True)) for row in self.rows]

    def markdown(self) -> str:
        r"""Return header and rows as a table in Markdown.

        Examples
        --------
        >>> from gatescope.reporting.table import Table
        >>> print(Table(("lag", "a|b"), [(1000, None)]).markdown())
        | lag | a\|b |
        | --- | --- |
        | 1,000 | – |
        """
        lines = [self.header, ("---",) * len(self.header), *self.texts()]
        return "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )


def per_sequence(title: str, rows: Iterable[tuple[str, Iterable[Any]]]) -> Table:
    """Return a table of quantities with a column for each sequence of a batch, the first six of them.

    Examples
    --------
    >>> from gatescope.reporting.table import per_sequence
    >>> per_sequence("rates", [("decay, nats per step", [0.5, 0.25])]).header
    ('', 'sequence 0', 'sequence 1')
    """
    cut = [(name, *values) for name, values in rows]
    columns = max((len(row) - 1 for row in cut), default=0)
    names = [f"sequence {b}" for b in range(columns)] if columns > 1 else [""] * columns
    return Table(("", *names[:_MOST_SEQUENCES]), [row[: _MOST_SEQUENCES + 1] for row in cut], title)


def by_sequence(sentences: Iterable[str]) -> list[str]:
    """Return a sentence on each sequence of a batch, with its number if there are several.

    Examples
    --------
    >>> from gatescope.reporting.table import by_sequence
    >>> by_sequence(["vanishing", "growing"]), by_sequence(["vanishing"])
    (['sequence 0: vanishing', 'sequence 1: growing'], ['vanishing'])
    """
    texts = list(sentences)
    return [f"sequence {b}: {text}" for b, text in enumerate(texts)] if len(texts) > 1 else texts


def over_sequences(name: str, values: Any, unit: str) -> str:
    """Return median and range of a quantity over the sequences of a batch; NaN is left out, and said.

    Examples
    --------
    >>> from gatescope.reporting.table import over_sequences
    >>> over_sequences("half-life", [10.0, 30.0, 20.0], "steps")
    'half-life: median 20, from 10 to 30 steps over 3 sequences'
    """
    known = np.sort(np.asarray(values, np.float64))
    known = known[~np.isnan(known)]
    if not known.size:
        return f"{name}: not known of any of {len(values)} sequences"
    # Not np.median, which averages the middle two: infinity and a finite number have no useful mean.
    low, middle, high = (number(known[k]) for k in (0, (known.size - 1) // 2, -1))
    count = f"{known.size} of {len(values)}" if known.size < len(values) else f"{known.size}"
    return f"{name}: median {middle}, from {low} to {high} {unit} over {count} sequences"


def some(count: int) -> list[int]:
    """Return at most eight indices over a list, the first and the last among them, closer together at its beginning.

    Examples
    --------
    >>> from gatescope.reporting.table import some
    >>> some(3), some(10_000)
    ([0, 1, 2], [0, 3, 13, 51, 192, 719, 2682, 9999])
    """
    return [
        int(index) for index in np.unique(np.geomspace(1, max(count, 1), min(count, _MOST_ROWS)).round()) - 1
    ]
