"""Tables in parquet files, read by pyarrow where that is installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from gatescope.errors import FileFormatError, MissingPackageError
from gatescope.io.tables.columns import PANDAS_INDEX, lookup, title
from gatescope.io.tables.text_tables import Table
from gatescope.storage.atomic import open_file


def read_parquet(
    path: str | os.PathLike[str],
    columns: Sequence[str | int] | None,
    skip: Sequence[str | int] | None,
) -> Table:
    """Read a table; columns that are not among `columns`, and those in `skip`, may hold anything."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackageError(
            f"{str(path)!r} is read with pyarrow, which is not installed",
            advice="pip install pyarrow, or save the table as csv",
        ) from error
    with open_file(path) as (stream, _):
        try:
            table = parquet.read_table(stream)
        except (pyarrow.ArrowException, OSError) as error:
            text = " ".join(str(error).split())[:200]
            raise FileFormatError(f"is not a readable parquet file ({text})", seen=path) from error
    names, width = tuple(map(str, table.column_names)), table.num_columns
    if columns is not None:
        unread = set(range(width)) - set(lookup("columns", columns, names, width, path))
    else:
        unread = set() if skip is None else set(lookup("skip_columns", skip, names, width, path))
    if not table.num_rows or not width:
        raise FileFormatError("holds no numbers; inputs need one step at least", seen=path)
    values, kinds = np.full((table.num_rows, width), np.nan), []
    for k in range(width):
        kinds.append("text" if k in unread else _kind(pyarrow, table.schema.field(k).type))
        if kinds[k] == "text" and k not in unread and not names[k].startswith(PANDAS_INDEX):
            raise FileFormatError(
                f"holds {table.schema.field(k).type} in {title(names, k)}, which is no number",
                seen=path,
                advice="leave the column out with `skip_columns`",
            )
        if kinds[k] == "numbers":
            values[:, k] = _numbers(table.column(k), path, title(names, k))
    return Table(names, values, tuple(kinds), ())


def _kind(pyarrow: Any, kind: Any) -> str:
    types = pyarrow.types
    if types.is_temporal(kind):
        return "dates"
    if types.is_null(kind):
        return "nothing"
    numbers = (
        types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind)
    )
    return "numbers" if numbers else "text"


def _numbers(column: Any, path: str | os.PathLike[str], name: str) -> np.ndarray[Any, Any]:
    if column.null_count:
        raise FileFormatError(
            f"has {column.null_count} missing values in {name}", seen=path, advice="remove or fill them"
        )
    return np.asarray(column.to_numpy(), np.float64)
