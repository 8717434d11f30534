"""Numbers in an ONNX model: sizes checked before memory is taken, data beside the model in its own folder only."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.io.source_errors import Wrong
from gatescope.storage.atomic import open_file

# By the number of the type: what one element is, and the field that holds the elements where they are not raw bytes.
_TYPES = {
    1: ("float32", "<f4", "float_data"),
    6: ("int32", "<i4", "int32_data"),
    7: ("int64", "<i8", "int64_data"),
    10: ("float16", "<f2", "int32_data"),
    11: ("float64", "<f8", "double_data"),
    16: ("bfloat16", "<u2", "int32_data"),
}
_EXTERNAL = 1  # TensorProto.data_location
FLOATS = ("float16", "bfloat16", "float32", "float64")


def as_text(value: str | bytes) -> str:
    """Return a text of a model; protobuf gives bytes where it is none."""
    return value if isinstance(value, str) else value.decode(errors="replace")


class NotConstantError(Exception):
    """Raised within the reader where what is asked for is no plain stored numbers; its text says what it is."""


@dataclass(frozen=True)
class Constant:
    """Numbers that a model holds, or plain rearrangements of them.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        As stored.
    load : callable
        Returns them; float16 and bfloat16 as float32, which holds them exactly.
    sources : mapping
        The number of elements of each stored tensor that goes in, by the tensor's place in memory.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], Array]
    sources: Mapping[int, int]

    def rearranged(self, function: Callable[[Array], Array]) -> Constant:
        """Return what a function of NumPy makes of the numbers that neither computes nor copies."""
        empty = np.broadcast_to(np.int8(0), self.shape)  # takes no memory, whatever the shape
        try:
            shape = function(empty).shape
        except (ValueError, IndexError, TypeError) as error:
            raise NotConstantError(f"does not fit shape {self.shape} ({error})") from error
        return Constant(shape, self.dtype, lambda: function(self.load()), self.sources)

    def cast(self, dtype: str) -> Constant:
        """Return the numbers as another type of at least float32."""
        load = self.load
        return Constant(self.shape, dtype, lambda: load().astype(dtype), self.sources)


def joined(parts: list[Constant], axis: int) -> Constant:
    """Return constants one after another; what is stored is joined, and never multiplied."""
    first = parts[0]
    ranks, dtypes = {len(part.shape) for part in parts}, {part.dtype for part in parts}
    if len(ranks) > 1 or len(dtypes) > 1 or not -len(first.shape) <= axis < len(first.shape):
        raise NotConstantError("joins what does not fit")
    axis %= len(first.shape)
    others = {part.shape[:axis] + part.shape[axis + 1 :] for part in parts}
    if len(others) > 1:
        raise NotConstantError("joins what does not fit")
    shape = (*first.shape[:axis], sum(part.shape[axis] for part in parts), *first.shape[axis + 1 :])
    sources = {key: count for part in parts for key, count in part.sources.items()}
    if math.prod(shape) > sum(sources.values()):
        raise NotConstantError("repeats stored numbers")
    return Constant(
        shape, first.dtype, lambda: np.concatenate([part.load() for part in parts], axis), sources
    )


def stored(tensor: Any, folder: Path | None, wrong: Wrong) -> Constant:
    """Return a TensorProto as a constant; `folder`: where the model lies, None if it is in memory.

    Raises
    ------
    WeightFormatError
        If its shape promises other than there is, or its data are where the reader does not go.
    NotConstantError
        If it is of a type that no weights have.
    """
    name, shape = as_text(tensor.name), tuple(int(extent) for extent in tensor.dims)
    if tensor.data_type not in _TYPES:
        raise NotConstantError(f"is stored as {_type_name(tensor)}")
    dtype, code, field = _TYPES[tensor.data_type]
    if min(shape, default=0) < 0 or len(shape) > 16 or tensor.HasField("segment"):
        raise wrong(f"holds {name!r} of the impossible shape {shape}", advice="export the model again")
    count, kind = math.prod(shape), np.dtype(code)
    needed = count * kind.itemsize

    def plain(values: Array) -> Array:
        if dtype == "bfloat16":  # the upper half of a float32
            return (values.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(shape)
        native = np.float32 if dtype == "float16" else kind.newbyteorder("=")
        return values.astype(native).reshape(shape)

    if tensor.data_location == _EXTERNAL:
        path, offset = _outside(tensor, folder, needed, wrong)
        return Constant(
            shape, dtype, lambda: plain(_read(path, offset, needed, kind, wrong)), {id(tensor): count}
        )
    raw = tensor.HasField("raw_data")
    there, promised = len(getattr(tensor, "raw_data" if raw else field)), needed if raw else count
    if there != promised:
        raise wrong(
            f"holds {name!r} whose shape {shape} promises {promised} {'bytes' if raw else 'numbers'}, but has {there}",
            advice="the file is damaged: export the model again",
        )

    def load() -> Array:
        if raw:
            return plain(np.frombuffer(tensor.raw_data, kind))
        values = getattr(tensor, field)
        if kind.itemsize == 2:  # the bits of a half, each in a number of its own
            return plain(np.array(values, np.int64).astype("<u2").view(kind))
        return plain(np.array(values, kind))

    return Constant(shape, dtype, load, {id(tensor): count})


def _type_name(tensor: Any) -> str:
    try:
        return str(type(tensor).DataType.Name(tensor.data_type)).lower()
    except ValueError:
        return f"type {tensor.data_type}"


def _outside(tensor: Any, folder: Path | None, needed: int, wrong: Wrong) -> tuple[Path, int]:
    """Return the file and the offset of a tensor's data: a plain file in the model's folder that has the bytes."""
    entries = {as_text(entry.key): as_text(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")

    def refused(why: str, advice: str) -> Exception:
        return wrong(f"keeps the data of {as_text(tensor.name)!r} in {location!r}, {why}", advice=advice)

    if location in ("", ".", "..") or "\\" in location or "\0" in location or Path(location).name != location:
        raise refused(
            "which is not the name of a file in the model's own folder",
            "export it again, or save it as one file with onnx.save_model",
        )
    if folder is None:
        raise refused("and a model in memory has no folder", "give the path of the model's file")
    numbers = [entries.get("offset") or "0", entries.get("length") or str(needed)]
    if not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers):
        raise refused(f"at {numbers[0]!r} for {numbers[1]!r} bytes", "export the model again")
    offset, length = map(int, numbers)
    path = folder / location
    try:
        status = os.lstat(path)
    except (OSError, ValueError) as error:
        raise refused("which is not there", "put it into the folder of the model, under this name") from error
    if not stat.S_ISREG(status.st_mode):
        raise refused(
            "which is a link or no regular file", "put the file itself into the folder of the model"
        )
    if length != needed or offset + length > status.st_size:
        raise refused(
            f"which has {status.st_size} bytes: it says {length} at {offset}, and its shape promises {needed}",
            "export the model again",
        )
    return path, offset


def _read(path: Path, offset: int, length: int, kind: np.dtype[Any], wrong: Wrong) -> Array:
    with open_file(path) as (stream, _):
        stream.seek(offset)
        data = stream.read(length)
    if len(data) != length:
        raise wrong(
            f"has lost the end of its data in {path.name!r} since it was opened", advice="open it again"
        )
    return np.frombuffer(data, kind)
