"""The series that a command runs over: read from a file, or the laser series that comes with gatescope."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gatescope.cli.errors import naming
from gatescope.cli.options import InputOptions
from gatescope.errors import ShapeError, ValueRangeError

if TYPE_CHECKING:
    from gatescope.datatypes import Array

MAPPED_BYTES = 1 << 24  # a shorter file is read whole


class Series(NamedTuple):
    """Inputs of a command.

    Attributes
    ----------
    values : (T, B, I) or (T, I) array or memmap
        Float64, or of a mapped file what it holds.
    lengths : (B,) array or None
        Steps of each sequence, where the file holds them.
    source : str
        What the series is called.
    path : Path or None
        None of the laser series.
    """

    values: Array
    lengths: Array | None
    source: str
    path: Path | None


def read_inputs(options: InputOptions, *, mapped: bool = False) -> Series:
    """Read a series, cut to its first steps; the dtype of a cell is applied when it runs.

    With `mapped` a long npy file is memory-mapped and not read.
    """
    import numpy as np

    path, steps = options.inputs, options.steps
    if path is None:
        from gatescope.tasks import laser

        values, source = laser(dtype="float64").inputs, "the Santa Fe laser series"
    else:
        from gatescope.io import read_series

        array = _map(path) if mapped else None
        with naming(path="--inputs"):
            values, source = read_series(path, dtype="float64") if array is None else array, path.name
    if steps is not None and steps < 1:
        raise ValueRangeError("must be a whole number of at least 1", argument="steps", seen=steps)
    if steps is not None and steps > len(values):
        raise ValueRangeError(
            f"is longer than {source}, which has {len(values)} steps", argument="steps", seen=steps
        )
    values = values[:steps]
    lengths = None if path is None else _lengths(path)
    if lengths is not None and steps is not None:
        lengths = np.minimum(lengths, steps)
    return Series(values, lengths, source, path)


def _lengths(path: Path) -> Array | None:
    """Return the lengths in an npz, which has been read and so checked; None if it holds none."""
    import numpy as np

    if path.suffix.lower() != ".npz":
        return None
    with np.load(path, allow_pickle=False) as file:
        lengths: Array | None = file.get("lengths")
    if lengths is not None and lengths.dtype.kind == "f" and (lengths == np.floor(lengths)).all():
        lengths = lengths.astype(np.int64)  # as some programs store whole numbers
    return lengths


def _map(path: Path) -> Array | None:
    """Return a long npy file as a memory map; None for any other, which `read_series` reads or refuses."""
    import numpy as np

    try:
        if path.suffix.lower() != ".npy" or path.stat().st_size < MAPPED_BYTES:
            return None
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2, 3) or array.size == 0:
        return None
    return array[:, None] if array.ndim == 1 else array


def check_width(series: Series, label: str, expected: int) -> None:
    """Refuse a series that has more or fewer numbers a step than a network takes, before any work is done."""
    width = series.values.shape[-1]
    if width == expected:
        return
    if series.path is None:
        raise ShapeError(
            f"{label} takes {expected} numbers a step, but {series.source}, which is the default, has {width}",
            advice="give a series of yours with `inputs`",
        )
    raise ShapeError(
        f"has {width} numbers a step, but {label} takes {expected}",
        argument="inputs",
        seen=str(series.path),
        advice="give a series of that width",
    )
