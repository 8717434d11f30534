"""The series that a command runs over: read from a file, or the laser series that comes with gatescope."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gatescope.cli.errors import naming
from gatescope.cli.networks import refuse
from gatescope.cli.options import InputOptions
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.reporting.text import extent

if TYPE_CHECKING:
    from gatescope.datatypes import Array
    from gatescope.datatypes.result import Result

Kept = TypeVar("Kept", bound="Result")

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
    reading : str
        How it was read, in one line.
    scale : dict or None
        The ``mean`` and ``standard_deviation`` of each input, if it was standardized by these.
    """

    values: Array
    lengths: Array | None
    source: str
    path: Path | None
    reading: str
    scale: dict[str, list[float]] | None = None

    def kept_with(self, result: Kept) -> Kept:
        """Return a result whose provenance has the scale of the inputs, if there is one."""
        if self.scale is None:
            return result
        return dataclasses.replace(result, provenance={**result.provenance, "inputs_scale": self.scale})


def read_inputs(options: InputOptions, *, mapped: bool = False) -> Series:
    """Read a series, cut to its first steps; the dtype of a cell is applied when it runs.

    With `mapped` a long npy file is memory-mapped and not read.
    """
    import numpy as np

    path, steps = options.inputs, options.steps
    text = ""
    if path is None:
        from gatescope.tasks import laser

        of_files = {"columns": options.columns, "skip_columns": options.skip_columns}
        refuse(of_files | {"batch_first": options.batch_first or None}, "is for a file", "give `inputs` too")
        values, source = laser(dtype="float64").inputs, "the Santa Fe laser series"
    else:
        from gatescope.io.tables import read

        plain = not (options.batch_first or options.columns or options.skip_columns or options.standardize)
        array, source = _map(path) if mapped and plain else None, path.name
        if array is None:
            with naming(path="--inputs"):
                reading = read(
                    path,
                    dtype="float64",
                    columns=_names(options.columns),
                    skip_columns=_names(options.skip_columns),
                    batch_first=options.batch_first,
                )
            array, text = reading.values, reading.text()
        values = array
    if steps is not None and steps < 1:
        raise ValueRangeError("must be a whole number of at least 1", argument="steps", seen=steps)
    if steps is not None and steps > len(values):
        raise ValueRangeError(
            f"is longer than {source}, which has {len(values)} steps", argument="steps", seen=steps
        )
    whole = values.shape if values.ndim == 3 else (len(values), 1, values.shape[1])
    values = values[:steps]
    lengths = None if path is None else _lengths(path)
    if lengths is not None and steps is not None:
        lengths = np.minimum(lengths, steps)
    parts = [extent((len(values), *whole[1:]))]
    if steps is not None and steps < whole[0]:
        parts[0] += f", the first of {whole[0]:,}"
    parts += [text] if text else []
    scale = None
    if options.standardize:
        values, scale = _standardized(values, lengths)
        parts.append("standardized")
    if lengths is None and whole[0] < whole[1]:
        if not options.batch_first:
            parts.append(f"if these are {whole[0]:,} sequences of {whole[1]:,} steps, give --batch-first")
        lengths = np.full(whole[1], len(values))  # asked here, so that nothing asks again
    return Series(values, lengths, source, path, f"{source}: {'; '.join(parts)}", scale)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Return names with commas between them; in quotes a name may have commas itself."""
    if text is None:
        return None
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []) if name.strip())


def _standardized(values: Array, lengths: Array | None) -> tuple[Array, dict[str, list[float]]]:
    """Return inputs (T, B, I) less their means and over their standard deviations, and these, over all steps that are.

    An input that does not change is not divided.
    """
    import numpy as np

    if lengths is None:
        steps = values.reshape(-1, values.shape[-1])
    else:
        steps = values[np.arange(len(values))[:, None] < lengths]
    mean, deviation = steps.mean(axis=0), steps.std(axis=0)
    scaled = (values - mean) / np.where(deviation > 0, deviation, 1)
    if lengths is not None:
        scaled[np.arange(len(values))[:, None] >= lengths] = 0
    return scaled, {"mean": mean.tolist(), "standard_deviation": deviation.tolist()}


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
    from gatescope.io.tables import check_mapped

    with naming(path="--inputs"):
        check_mapped(array, path)
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
