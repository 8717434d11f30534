"""What the command line shows on a terminal: tables, a spinner, and texts the terminal can encode."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

import typer

from gatescope.checks.numbers import check_choice
from gatescope.errors import printable
from gatescope.reporting.machine import csv_text, json_line
from gatescope.reporting.text import byte_count

if TYPE_CHECKING:
    from rich.text import Text

    from gatescope.reporting.table import Table


# What numbers and headings hold beyond ASCII; a minus must not become a question mark.
_ASCII = str.maketrans({"−": "-", "–": "-", "²": "^2", "∞": "inf", "×": "x", "·": "*", "±": "+-"})
_WIDTH = 160  # of tables that do not go to a terminal
FORMATS = ("table", "json", "csv")
_format: ContextVar[str] = ContextVar("format", default=FORMATS[0])


@contextmanager
def format_of_a_command() -> Iterator[None]:
    """Undo at the end what `print_as` has chosen."""
    token = _format.set(FORMATS[0])
    try:
        yield
    finally:
        _format.reset(token)


def print_as(chosen: str) -> str:
    """Choose how the command prints its tables, one of `FORMATS`; with all but tables, sentences go to stderr."""
    _format.set(check_choice("format", chosen, FORMATS))
    return chosen


def for_people() -> bool:
    """Return whether tables are printed to be read by people."""
    return _format.get() == FORMATS[0]


def on_terminal() -> bool:
    """Return whether stderr is a terminal; progress is shown only there."""
    return sys.stderr.isatty()


def encodable(text: str, stream: TextIO | None = None) -> str:
    """Return the text with plainer signs for those that a stream cannot encode, and ``?`` for the last resort.

    `stream` is stdout by default.  Signs that would command a terminal are written as escapes.
    """
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    text = printable(text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def echo(text: str) -> None:
    """Print a sentence on stdout, or where that is for programs on stderr."""
    if not for_people():
        report(text)
        return
    typer.echo(_wrapped(encodable(text), sys.stdout))


def report(text: str) -> None:
    """Print a sentence on stderr."""
    typer.echo(_wrapped(encodable(text, sys.stderr), sys.stderr), err=True)


def _wrapped(text: str, stream: TextIO) -> str:
    """Return a text in lines as wide as the terminal; in one line, which programs can search, where there is none."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = (
        textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )
    return "\n".join("\n".join(parts) for parts in lines)


def file_sizes(files: Sequence[str | os.PathLike[str]]) -> str:
    """Return the names of files with their sizes, in one sentence."""
    return ", ".join(f"{os.fspath(file)} ({byte_count(os.path.getsize(file))})" for file in files)


def list_files(files: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]) -> None:
    """Print the files of a folder with their sizes, a line each."""
    from rich.table import Table as RichTable

    grid = RichTable(box=None, show_header=False, pad_edge=False)
    grid.add_column(justify="right")
    grid.add_column(overflow="fold")
    for file in files:
        grid.add_row(byte_count(os.path.getsize(file)), literal(os.path.relpath(file, folder)))
    show(grid)


@contextmanager
def working(message: str) -> Iterator[None]:
    """Show what is being done with a spinner, if there is a terminal."""
    if not on_terminal():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(printable(message))):
        yield


def print_table(table: Table, notes: Sequence[str] = (), *, aside: bool = False) -> None:
    """Print a table under its title, and sentences about it; one `aside` is never for programs.

    Words begin at the left, as the first column does, numbers end at the right.  For programs it is a line of JSON, or
    CSV on stdout with the sentences on stderr.
    """
    chosen = _format.get()
    if chosen == "json" and not aside:
        typer.echo(json_line(table, notes))
        return
    if chosen == "csv" and not aside:
        typer.echo(encodable(csv_text(table)), nl=False)
    else:
        _print_grid(table)
    for note in notes:
        echo(note)


def _print_grid(table: Table) -> None:
    from rich.table import Table as RichTable

    if table.title:
        echo(table.title)  # a title of rich's would be wrapped to the table's width
    grid = RichTable(show_header=any(table.header))
    texts = table.texts()
    for index, heading in enumerate(table.header):
        words = not index or all(row[index][:1].isalpha() for row in texts)
        grid.add_column(literal(heading), justify="left" if words else "right")
    for row in texts:
        grid.add_row(*map(literal, row))
    show(grid)


def show(what: Any) -> None:
    """Print what rich lays out where `echo` prints sentences."""
    from rich.console import Console

    stream = sys.stdout if for_people() else sys.stderr
    Console(width=table_width(), file=stream).print(what)


def literal(text: str) -> Text:
    """Return a text in which rich finds neither markup nor emoji: labels come from the names of files."""
    from rich.text import Text

    return Text(encodable(text))


def table_width() -> int | None:
    """Return the width of tables: None, the terminal's, or a roomy one where there is no terminal."""
    return None if sys.stdout.isatty() else _WIDTH
