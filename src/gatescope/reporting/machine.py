"""Tables for programs: a line of JSON, or CSV, in numbers that are not rounded."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gatescope.reporting.table import Table


def json_line(table: Table, notes: Sequence[str] = ()) -> str:
    """Return a table as one line of JSON: its title, a record a row, and sentences about it.

    JSON has neither NaN nor infinity: both are null.

    Examples
    --------
    >>> from gatescope.reporting.machine import json_line
    >>> from gatescope.reporting.table import Table
    >>> json_line(Table(("cell", "rate"), [("gru", float("inf")), ("rnn", 0.25)], "two"))
    '{"title": "two", "rows": [{"cell": "gru", "rate": null}, {"cell": "rnn", "rate": 0.25}], "notes": []}'
    """
    return json_text({"title": table.title, "rows": table.records(), "notes": [*notes]})


def json_text(value: Any) -> str:
    """Return plain values as JSON; NaN and infinity are null.

    Examples
    --------
    >>> from gatescope.reporting.machine import json_text
    >>> json_text({"rates": [0.5, float("nan")]})
    '{"rates": [0.5, null]}'
    """
    return json.dumps(_finite(value), allow_nan=False)


def csv_text(table: Table) -> str:
    r"""Return a table as CSV with a header; a value with its error or bounds takes a column for each.

    NaN and what is not there are empty; infinity is ``inf``.

    Examples
    --------
    >>> from gatescope.reporting.machine import csv_text
    >>> from gatescope.reporting.table import Table
    >>> from gatescope.reporting.text import with_error
    >>> csv_text(Table(("cell", "rate"), [("gru", with_error(1 / 3, 0.1)), ("rnn", None)]))
    'cell,rate,"rate, error"\ngru,0.3333333333333333,0.1\nrnn,,\n'
    """
    records = table.records()
    names: dict[str, None] = {}
    for column in table.names():
        parts = dict.fromkeys(key for record in records for key in _parts(column, record[column]))
        names |= parts or {column: None}
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*names], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow(
            {key: part for column, value in record.items() for key, part in _parts(column, value).items()}
        )
    return stream.getvalue()


def _parts(column: str, value: Any) -> dict[str, Any]:
    """Return a value as cells, by the names of their columns."""
    if isinstance(value, Mapping):
        return {
            column if key == "value" else f"{column}, {key}": part
            for key, inner in value.items()
            for part in _parts(key, inner).values()
        }
    return {column: json_text(value) if isinstance(value, list) else value}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
