"""The series that a command runs over: read from a file, or the laser series that comes with gatescope."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gatescope.cli.errors import naming, option_name
from gatescope.cli.networks import Vocabulary, refuse
from gatescope.cli.options import InputOptions, ReadingOptions
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.reporting.text import extent

if TYPE_CHECKING:
    from gatescope.datatypes import Array
    from gatescope.datatypes.result import Result
    from gatescope.io.tables.series import Reading

Kept = TypeVar("Kept", bound="Result")

MAPPED_BYTES = 1 << 24  # a shorter file is read whole
_HEADER = {"header": "--header/--no-header"}
_OF_FILES = ("columns", "skip_columns", "header", "batch_first")
_ARRAYS = (".npy", ".npz", ".parquet", ".pq")  # no texts, whatever the weights were trained on


class Series(NamedTuple):
    """Inputs of a command.

    Attributes
    ----------
    values : (T, B, I) or (T, I) array or memmap
        Float64, or of a mapped file what it holds; float32 of a text.
    lengths : (B,) array or None
        Steps of each sequence, where the file holds them.
    source : str
        What the series is called.
    path : Path or None
        None of the laser series.
    reading : str
        How it was read, in one line.
    provenance : dict
        What a result of these inputs keeps: their ``inputs_scale``, if they are standardized, and of a trace of a
        text the ``inputs_text``.
    """

    values: Array
    lengths: Array | None
    source: str
    path: Path | None
    reading: str
    provenance: Mapping[str, Any] = MappingProxyType({})

    def made_of(self, values: Array) -> Series:
        """Return what layers make of it, on a scale that is theirs."""
        kept = {name: value for name, value in self.provenance.items() if name != "inputs_scale"}
        return self._replace(values=values, provenance=kept)

    def kept_with(self, result: Kept) -> Kept:
        """Return a result with what it is to keep of the inputs."""
        from gatescope.datatypes import StackTrace, Trace

        kept = (
            self.provenance
            if isinstance(result, Trace | StackTrace)
            else {**self.provenance, "inputs_text": None}
        )
        kept = {name: value for name, value in kept.items() if value is not None}
        return dataclasses.replace(result, provenance={**result.provenance, **kept}) if kept else result


def read_inputs(
    options: InputOptions, *, mapped: bool = False, vocabulary: Vocabulary | None = None
) -> Series:
    """Read a series, cut to its first steps; the dtype of a cell is applied when it runs.

    With `mapped` a long npy file is memory-mapped and not read; by a `vocabulary` a text is read.
    """
    import numpy as np

    path, steps = options.inputs, options.steps
    of_files = {name: getattr(options, name) for name in _OF_FILES} | {
        "batch_first": options.batch_first or None
    }
    if steps is not None and steps < 1:
        raise ValueRangeError("must be a whole number of at least 1", argument="steps", seen=steps)
    text = ""
    if path is None:
        from gatescope.tasks import laser

        refuse(of_files, "is for a file", "give `inputs` too")
        values, source = laser(dtype="float64").inputs, "the Santa Fe laser series"
    elif vocabulary is not None and path.suffix.lower() not in _ARRAYS:
        refuse(
            of_files | {"standardize": options.standardize or None},
            f"is for numbers, and {str(path)!r} is read as a text",
        )
        return _text(path, vocabulary, steps)
    else:
        from gatescope.io.tables.series import in_rows

        source, array = path.name, _map(path, options) if mapped else None
        if array is None:
            reading = read_file(path, options)
            array, text = reading.values, reading.text(reading_option)
        else:
            text = "".join(in_rows(array.shape, path))
        values = array
    if steps is not None and steps > len(values):
        raise ValueRangeError(
            f"is longer than {source}, which has {len(values)} steps", argument="steps", seen=steps
        )
    whole = values.shape if values.ndim == 3 else (len(values), 1, values.shape[1])
    values = values[:steps]
    lengths = None if path is None else _lengths(path)
    if lengths is not None and steps is not None:
        lengths = np.minimum(lengths, steps)
    parts = [_extent(len(values), whole)]
    parts += [text] if text else []
    if lengths is None and whole[0] < whole[1]:
        parts += first_axis(whole, options)
        lengths = np.full(whole[1], len(values))  # asked here, so that nothing asks again
    return Series(values, lengths, source, path, f"{source}: {'; '.join(parts)}")


def read_file(path: Path, options: ReadingOptions, argument: str = "inputs") -> Reading:
    """Read the numbers of a file, which `argument` names, as the options say."""
    from gatescope.io.tables.series import read

    reads_text = "--weights of train characters" if argument == "inputs" else "train characters"
    with naming(path=f"--{argument}", **_HEADER, vocabulary=reads_text):
        return read(
            path,
            dtype="float64",
            columns=_names(options.columns),
            skip_columns=_names(options.skip_columns),
            header=options.header,
            batch_first=options.batch_first,
        )


def first_axis(shape: tuple[int, ...], options: ReadingOptions) -> list[str]:
    """Return what to ask of inputs that have fewer steps than sequences, if the options do not answer it."""
    if shape[0] >= shape[1] or options.batch_first:
        return []
    return [f"if these are {shape[0]:,} sequences of {shape[1]:,} steps, give --batch-first"]


def reading_option(argument: str) -> str:
    """Return the option of an argument that says how a file is read."""
    return option_name(argument, _HEADER)


def _text(path: Path, vocabulary: Vocabulary, steps: int | None) -> Series:
    import numpy as np

    from gatescope.io.tables.characters import read_characters

    names = {
        "vocabulary": f"the vocabulary of {vocabulary.source}",
        "encoding": "encoding to read_series in Python",
    }
    with naming(path="--inputs", **names):
        text, values, count = read_characters(
            path,
            vocabulary.characters,
            dtype=np.dtype(np.float32),
            encoding=vocabulary.encoding,
            steps=steps,
        )
    if steps is not None and steps > count:
        raise ValueRangeError(
            f"is longer than {path.name}, which has {count} characters", argument="steps", seen=steps
        )
    read = f"{_extent(len(values), (count, *values.shape[1:]))}; characters, by the vocabulary of {vocabulary.source}"
    return Series(values, None, path.name, path, f"{path.name}: {read}", {"inputs_text": text})


def _extent(steps: int, whole: tuple[int, ...]) -> str:
    cut = f", the first of {whole[0]:,}" if steps < whole[0] else ""
    return extent((steps, *whole[1:])) + cut


def _names(text: str | None) -> tuple[str, ...] | None:
    """Return names with commas between them; in quotes a name may have commas itself."""
    if text is None:
        return None
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []) if name.strip())


def _lengths(path: Path) -> Array | None:
    """Return the lengths in an npz; None if it holds none."""
    import numpy as np

    from gatescope.storage.npz import read_npz

    if path.suffix.lower() != ".npz":
        return None
    lengths: Array | None = read_npz(path, only=("lengths",)).get("lengths")
    if lengths is not None and lengths.dtype.kind == "f" and (lengths == np.floor(lengths)).all():
        lengths = lengths.astype(np.int64)  # as some programs store whole numbers
    return lengths


def _map(path: Path, options: ReadingOptions) -> Array | None:
    """Return a long npy file as a memory map; None for any other, which `read_series` reads or refuses."""
    import numpy as np

    if options.columns or options.skip_columns or options.header is not None:
        return None
    try:
        if path.suffix.lower() != ".npy" or path.stat().st_size < MAPPED_BYTES:
            return None
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2, 3) or array.size == 0:
        return None
    if options.batch_first and array.ndim != 3:
        return None
    from gatescope.io.tables.series import check_mapped

    with naming(path="--inputs"):
        check_mapped(array, path)
    if options.batch_first:
        return array.swapaxes(0, 1)
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
