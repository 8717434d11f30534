"""``gatescope show``: what is in a file of a result, for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatescope.cli.errors import naming
from gatescope.cli.groups import OUTPUT, command, option
from gatescope.cli.options import FormatOption
from gatescope.errors import ValueRangeError
from gatescope.reporting.terminal import print_as, print_table


@command
def show(
    file: Annotated[Path, typer.Argument(help="Npz file of any result of gatescope.", metavar="FILE")],
    values: bool = option(
        False,
        "Print every value of what is measured by step, lag, epoch or layer, a row a value, as csv or json.",
        "--values",
        panel=OUTPUT,
    ),
    array: str | None = option(
        None,
        "Array whose values are the rows, with --values.  Default: the one that the result is about.",
        metavar="NAME",
        panel=OUTPUT,
    ),
    form: FormatOption = "table",
) -> None:
    """Show the numbers of a stored result: what measure, train, compare and gs.save have written."""
    from gatescope.checks.numbers import check_unused
    from gatescope.datatypes import load
    from gatescope.datatypes.labelled import long_form
    from gatescope.reporting.table import Table
    from gatescope.reporting.terminal import for_people

    if not values:
        check_unused("without `values`", array=array)
    with naming(path="FILE", of="--array"):
        result = load(file)
        table, summary = result.table(), result.summary().splitlines()
        if not values:
            print_table(table, summary[1:] if summary[0] == table.title else summary)
            return
        columns = long_form(result, array)
    if columns is None:
        raise ValueRangeError(
            f"has no effect on {type(result).__name__}, which is a table",
            argument="values",
            advice="leave it out, or name an `array`",
        )
    if for_people():  # so many rows are not for reading
        print_as("csv")
    rows = list(zip(*(column.tolist() for column in columns.values()), strict=True))
    print_table(Table(tuple(columns), rows, table.title))
