"""Tensors out of a ``.safetensors`` file, one at a time, without believing its header."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import FileFormatError, GatescopeError, WeightFormatError
from gatescope.storage.atomic import open_file

# Little-endian in the file.  bfloat16, which NumPy lacks, is handled in __getitem__.
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


class SafetensorsFile(Mapping[str, NDArray[Any]]):
    """The tensors of a file by name; each is read when it is asked for.

    bfloat16 comes as float32, which holds it exactly.

    Parameters
    ----------
    path : str or path-like

    Attributes
    ----------
    metadata : dict
        What the file says besides, as whoever wrote it liked: texts by name.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated, or its header lies.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        with open_file(path) as (stream, size):
            if size < 8:
                raise self._damaged(f"it has {size} bytes, and its header needs 8 at least")
            length = int.from_bytes(stream.read(8), "little")
            if length > size - 8:
                raise self._damaged(f"its header promises {length} bytes and the file has {size}")
            self._check_with_safetensors()
            text = stream.read(length)
        self._start = 8 + length
        self._size = size - self._start  # bytes of all tensors
        try:
            header = json.loads(text)
            self.metadata = dict(header.pop("__metadata__", None) or {})
            self._entries = {str(name): _entry(entry) for name, entry in header.items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged(f"its header is not what the format asks for ({error})") from error

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> NDArray[Any]:
        shape, dtype, begin = self._checked(name)
        stored = np.dtype("<u2") if dtype == "bfloat16" else np.dtype(dtype).newbyteorder("<")
        nbytes = math.prod(shape) * stored.itemsize
        with open_file(self.path) as (stream, _):
            stream.seek(self._start + begin)
            data = stream.read(nbytes)
        if len(data) != nbytes:
            raise self._damaged(f"entry {name!r} ends after {len(data)} of {nbytes} bytes")
        values = np.frombuffer(data, stored).reshape(shape)
        if dtype == "bfloat16":  # the upper half of a float32
            return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return values.astype(stored.newbyteorder("="))

    def describe(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return shape and dtype of an entry, which the file has the bytes for; none is read.

        Raises
        ------
        FileFormatError
            If it claims others than it has.
        WeightFormatError
            If NumPy has no such dtype.
        """
        return self._checked(name)[:2]

    def _checked(self, name: str) -> tuple[tuple[int, ...], str, int]:
        """Return shape, dtype and first byte of an entry."""
        code, shape, begin, end = self._entries[name]
        if code not in _DTYPES:
            raise WeightFormatError(
                f"holds {name!r} of dtype {code}", seen=self.path, advice="save it as float32 or float64"
            )
        dtype = _DTYPES[code]
        nbytes = math.prod(shape) * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize)
        if min(shape, default=0) < 0 or not 0 <= begin <= end <= self._size or end - begin != nbytes:
            raise self._damaged(
                f"entry {name!r} of shape {list(shape)} and dtype {code} lies at {begin}..{end} "
                f"of {self._size}"
            )
        return shape, dtype, begin

    def _check_with_safetensors(self) -> None:
        """Let the format's own library map the file and check sizes, overlaps and holes; it reads no tensor."""
        from safetensors import safe_open

        try:
            with safe_open(os.fspath(self.path), framework="np"):
                pass
        except GatescopeError:
            raise
        except Exception as error:  # SafetensorError, and OSError from the mapping
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> FileFormatError:
        return FileFormatError(
            f"is not a readable safetensors file: {why}",
            seen=self.path,
            advice="write it again with safetensors.torch.save_file",
        )


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    begin, end = entry["data_offsets"]
    numbers = [*entry["shape"], begin, end]
    if not isinstance(entry["dtype"], str) or not all(type(number) is int for number in numbers):
        raise TypeError("shape and data_offsets must be whole numbers, dtype a name")
    return entry["dtype"], tuple(entry["shape"]), begin, end
