"""What the command line shows on a terminal: tables, a spinner, and texts the terminal can encode."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.text import Text


# What numbers and headings hold beyond ASCII; a minus must not become a question mark.
_ASCII = str.maketrans({"−": "-", "–": "-", "²": "^2", "∞": "inf", "×": "x", "·": "*", "±": "+-"})


def on_terminal() -> bool:
    """Whether someone watches: then progress is shown."""
    return sys.stderr.isatty()


def encodable(text: str) -> str:
    """The text, with plainer signs for those that stdout cannot encode, and ``?`` for the last resort."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def echo(text: str) -> None:
    """Print a line on stdout."""
    typer.echo(encodable(text))


@contextmanager
def working(message: str) -> Iterator[None]:
    """Show what is being done, with a spinner, if there is a terminal."""
    if not on_terminal():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(message)):
        yield


def print_measurement(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The table of a measurement: its first column names what the others say."""
    from rich.console import Console
    from rich.table import Table

    echo(title)  # a table's own title would be wrapped to its width
    table = Table(show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(literal(column), justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(literal, row))
    Console(width=table_width()).print(table)


def literal(text: str) -> Text:
    """A text in which rich finds neither markup nor emoji: labels come from the names of files."""
    from rich.text import Text

    return Text(encodable(text))


def table_width() -> int | None:
    """Of tables: that of the terminal, but roomy where there is none."""
    return None if sys.stdout.isatty() else 160
