"""Reading and writing files safely: nothing is left half-written, nothing is unpickled.

A file is written beside its final name and renamed, so a reader sees the old bytes or the new
ones and never a torn file.  Reading an ``.npz`` checks every member's header against the bytes
that are really there before any array is allocated.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from gatescope.errors import FileFormatError, GatescopeError, OutputError, article
from gatescope.storage.atomic import as_path, atomic_write, open_file

# A fixed time stamp inside the zip: the same arrays give the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)

# An archive that unpacks to more than this, and to more than so many times its own size, is taken for
# a trap: Deflate reaches a factor of 1032 on zeros, measured numbers seldom one of 10.
_HARMLESS_BYTES = 16 * 2**20
_MAX_EXPANSION = 200

_MAX_HEADER_BYTES = 10_000  # numpy's own limit for a header it evaluates
_CHUNK_BYTES = 2**20
_PLAIN_KINDS = "biufcUS"  # bool, integers, floats, complex, text: what is stored and what is read

_TUPLE = "__tuple__"  # JSON has lists only; a tuple is stored under this key


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write arrays to an ``.npz`` atomically, with bytes that depend on the arrays alone.

    What this writes, `read_npz` reads: arrays that compress so well that the file would look like a trap
    are stored uncompressed.

    Raises
    ------
    OutputError
        If `path` cannot be written, or an array holds Python objects, records or dates.
    """
    plain = {name: np.asarray(value) for name, value in arrays.items()}
    for name, array in plain.items():
        if array.dtype.kind not in _PLAIN_KINDS or array.dtype.itemsize == 0:
            raise OutputError(
                f"cannot be written: array {name!r} holds {array.dtype}",
                seen=path,
                advice="only plain numbers and text are saved",
            )
    with atomic_write(path) as stream:
        members = _write_members(stream, plain, zipfile.ZIP_DEFLATED)
        if _looks_like_a_trap(members, stream.tell()):
            stream.seek(0)
            stream.truncate()
            _write_members(stream, plain, zipfile.ZIP_STORED)


def _write_members(
    stream: IO[bytes], arrays: Mapping[str, np.ndarray[Any, Any]], compression: int
) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(stream, "w", compression, compresslevel=4) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        return archive.infolist()


def read_npz(
    path: str | os.PathLike[str], only: Collection[str] | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """Read the arrays of an ``.npz`` without pickle, in the byte order of this machine; all, or those named in `only`.

    Raises
    ------
    FileFormatError
        If the file is missing, torn, not an ``.npz``, holds pickled objects, unpacks to absurdly more than
        its own size, or a member's header promises another amount of data than the member has.
    """
    name = str(as_path(path))
    with (
        reading(name, ".npz file", "numpy.savez"),
        open_file(path) as (stream, size),
        zipfile.ZipFile(stream) as archive,
    ):
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        _check_members(members, size, name)
        arrays = {}
        for info in members:
            key = info.filename.removesuffix(".npy")
            if only is None or key in only:
                with archive.open(info) as member:
                    arrays[key] = _read_array(member, info.file_size, f"{name}:{info.filename}")
        return arrays


def read_npy(path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """Read one array from an ``.npy`` without pickle; errors as for `read_npz`."""
    name = str(as_path(path))
    with reading(name, ".npy file", "numpy.save"), open_file(path) as (stream, size):
        return _read_array(stream, size, name)


@contextmanager
def reading(name: str, kind: str, writer: str) -> Iterator[None]:
    """Make a FileFormatError of whatever a damaged or hostile file provokes inside the readers."""
    try:
        yield
    except GatescopeError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, ValueError, EOFError, RecursionError, MemoryError...
        why = str(error) or type(error).__name__
        raise FileFormatError(
            f"is not a readable {kind} ({why})", seen=name, advice=f"write it with {writer}"
        ) from error


def _check_members(members: list[zipfile.ZipInfo], size: int, name: str) -> None:
    def refused(problem: str, advice: str = "write it with numpy.savez") -> FileFormatError:
        return FileFormatError(problem, seen=name, advice=advice)

    if not members:
        raise refused("holds no arrays")
    seen: set[str] = set()
    for info in members:
        if info.filename in seen:
            raise refused(f"holds {info.filename!r} twice")
        seen.add(info.filename)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refused(
                f"packs {info.filename!r} with zip method {info.compress_type}, which numpy never does"
            )
    if sum(info.compress_size for info in members) > size:
        raise refused("holds members that overlap or are cut off")
    if _looks_like_a_trap(members, size):
        raise refused(
            f"has {size} bytes and would unpack to {sum(info.file_size for info in members)}, which looks like a "
            "decompression bomb",
            "if it is yours, write it uncompressed with numpy.savez",
        )


def most_unpacked(size: int) -> int:
    """Return how many bytes a file of `size` bytes may unpack to; one that unpacks to more is taken for a trap."""
    return max(_HARMLESS_BYTES, _MAX_EXPANSION * size)


def _looks_like_a_trap(members: Iterable[zipfile.ZipInfo], size: int) -> bool:
    return sum(info.file_size for info in members) > most_unpacked(size)


def _read_array(stream: IO[bytes], size: int, name: str) -> np.ndarray[Any, Any]:
    """Read an array from `stream`, which holds at most `size` bytes."""

    def refused(problem: str, advice: str = "save it again with numpy.save") -> FileFormatError:
        return FileFormatError(problem, seen=name, advice=advice)

    # numpy allocates what the header says before it reads, so the header is checked first.
    shape, fortran_order, dtype, used = read_npy_header(stream, name)
    if dtype.hasobject:
        raise refused("holds pickled Python objects, which are never loaded", "save plain numeric arrays")
    if dtype.kind not in _PLAIN_KINDS or dtype.itemsize == 0:
        raise refused(f"holds {dtype}", "save an array of plain numbers")
    if any(extent < 0 for extent in shape):
        raise refused(f"has the impossible shape {shape}")
    promised = math.prod(int(extent) for extent in shape) * dtype.itemsize
    if used + promised != size:
        raise refused(
            f"promises {promised} bytes (shape {shape}, {dtype}) but holds {max(size - used, 0)}: it is truncated or "
            "damaged"
        )
    data = np.empty(promised, np.uint8)
    view = data.data
    filled = 0
    while filled < promised:
        piece = stream.read(min(_CHUNK_BYTES, promised - filled))
        if not piece:
            raise refused(f"ends early, after {filled} of {promised} bytes: it is truncated")
        view[filled : filled + len(piece)] = piece
        filled += len(piece)
    stream.read(1)  # a zip member's checksum is compared when its end is reached
    array = data.view(dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), order="C", copy=False)


def read_npy_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Read the header of an ``.npy``; return shape, Fortran order, dtype, and the number of bytes up to the data."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise FileFormatError(
            f"has .npy format version {version}", seen=name, advice="save it again with numpy.save"
        )
    width = 2 if version == (1, 0) else 4
    prefix = stream.read(width)
    length = int.from_bytes(prefix, "little")
    if length > _MAX_HEADER_BYTES:
        raise FileFormatError(
            f"has a header of {length} bytes", seen=name, advice="save it again with numpy.save"
        )
    header = io.BytesIO(prefix + stream.read(length))
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = read(header)
    except MemoryError:  # which Python's parser raises without taking any
        raise FileFormatError(
            "has a header that is nested too deeply", seen=name, advice="save it again with numpy.save"
        ) from None
    return shape, fortran_order, dtype, np.lib.format.MAGIC_LEN + width + length


def encode_json(value: object, where: str) -> str:
    """Return JSON of plain values (None, bool, numbers, text, tuples, lists, dicts), which `decode_json` gives back.

    NumPy scalars become Python's numbers, NumPy arrays lists, dtypes and paths text.

    Raises
    ------
    OutputError
        If something else is in it; the message says where.
    """
    return json.dumps(_plain(value, where), sort_keys=True)


def decode_json(text: str) -> Any:
    """Return the value that `encode_json` was given.

    Raises
    ------
    ValueError
        If the text is something else, or nested more deeply than anything that is stored.
    """
    try:
        value = json.loads(text, object_hook=_unmarked)
        if "\\ud" in text.lower():  # halves of characters, which are no text by themselves
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError as error:
        raise ValueError(f"JSON that nothing here writes ({error})") from error


def _unmarked(value: dict[str, Any]) -> Any:
    """Return what a JSON object was before it was written: a mapping, or a tuple."""
    if _TUPLE not in value:
        return value
    items = value[_TUPLE]
    if len(value) > 1 or not isinstance(items, list):
        raise ValueError(f"{_TUPLE} stands for what is no tuple")
    return tuple(items)


def _plain(value: object, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), where)
    if isinstance(value, np.dtype | os.PathLike):
        return str(value)
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(item, f"{where}[{k}]") for k, item in enumerate(value)]}
    if isinstance(value, list):
        return [_plain(item, f"{where}[{k}]") for k, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _TUPLE:
                raise OutputError(
                    f"has the key {key!r}, which is not saved",
                    argument=where,
                    advice="use another text as key",
                )
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise OutputError(
        f"is {article(type(value).__name__)}, which is not saved",
        argument=where,
        advice="use None, bool, numbers, text, tuples, lists or dicts with text as keys",
    )
