"""Results as DataFrames of pandas, imported when a result is given to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatescope.datatypes.labelled import long_form
from gatescope.datatypes.result import Result

if TYPE_CHECKING:
    import pandas


def in_pandas(result: Result, of: str | None = None) -> pandas.DataFrame:
    """Return a result as `Exchanged.to_dataframe` says."""
    import pandas

    columns = long_form(result, of)
    if columns is not None:
        return pandas.DataFrame(columns)
    table = result.table()
    return pandas.DataFrame(table.records(), columns=table.names())
