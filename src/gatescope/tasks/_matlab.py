"""Cell arrays of numeric matrices from a MATLAB level-5 file, and nothing else that such a file may hold.

Why not ``scipy.io.loadmat``: it believes the sizes that the file states (a cell array of 2^31 cells, a stream that
inflates to 4 GiB) and allocates them before it has seen the bytes, and it builds objects, structures and functions
that no piano roll needs.  Here every size is checked against the bytes that are there before anything is allocated.

The format: "MAT-File Format", The MathWorks, chapter "Level 5 MAT-File Format".
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from gatescope.datatypes import Array
from gatescope.errors import FileFormatError, GatescopeError
from gatescope.storage.atomic import open_file
from gatescope.storage.npz import most_unpacked

_HEADER = 128  # bytes before the first variable
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_KINDS = {
    -1: "complex matrix",
    1: "cell array",
    2: "structure",
    3: "MATLAB object",
    4: "text",
    5: "sparse matrix",
}
_COMPLEX = 0x800
_SIZES_BYTES = range(8, 129, 4)  # of 2 to 32 sizes: MATLAB knows no fewer, and nobody more
_NAME_BYTES = 4096  # a variable's header and name lie in so many bytes

_LARGEST_FILE = 2**30
_MOST_PIECES = 100_000

_WRITER = "write it with MATLAB's save -v7 or scipy.io.savemat"


class MissingVariableError(FileFormatError):
    """Raised when a file could be read, and a variable that was asked for is not in it."""


def read_cells(data: bytes, name: str, variables: Sequence[str]) -> dict[str, list[Array]]:
    """Return the cell arrays called `variables`, lists of matrices, from the bytes of a ``.mat`` file called `name`."""
    try:
        return _read(data, name, variables)
    except GatescopeError:
        raise
    except (zlib.error, struct.error, ValueError) as error:
        raise FileFormatError(f"is a damaged .mat file ({error})", seen=name, advice=_WRITER) from error


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file that begins as a level-5 ``.mat`` file does."""
    with open_file(path) as (stream, size):
        head = stream.read(_HEADER)
        _order(head, str(path))
        if size > _LARGEST_FILE:
            raise FileFormatError(
                f"has {size} bytes, more than the {_LARGEST_FILE} that are read of a piano-roll archive",
                seen=path,
                advice="divide it",
            )
        return head + stream.read()


def _order(head: bytes, name: str) -> str:
    """Return the file's byte order as `struct` writes it."""
    if head.startswith(b"MATLAB 7.3"):
        raise FileFormatError(
            "is a .mat file of version 7.3 (HDF5), which is not read", seen=name, advice=_WRITER
        )
    if head.startswith(b"\x80"):
        raise FileFormatError("looks like a pickle, which is never loaded", seen=name, advice=_WRITER)
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128], "")
    if len(head) < _HEADER or not order or struct.unpack(order + "H", head[124:126]) != (0x0100,):
        raise FileFormatError("is not a .mat file of MATLAB's level 5", seen=name, advice=_WRITER)
    return order


def _read(data: bytes, name: str, variables: Sequence[str]) -> dict[str, list[Array]]:
    order = _order(data[:_HEADER], name)
    allowed = most = most_unpacked(len(data))
    arrays: dict[str, list[Array]] = {}
    seen: list[str] = []
    for code, payload in _elements(memoryview(data)[_HEADER:], order):
        packed = code == _COMPRESSED
        body = _Unpacked(payload, order) if packed else None
        inside = body.begin if body else payload
        if (body.code if body else code) != _MATRIX:
            raise ValueError(f"a variable of type {code}")
        kind, sizes, variable, _ = _matrix_header(inside, order)
        seen.append(variable[:40])
        if variable not in variables:
            continue
        if variable in arrays:
            raise FileFormatError(f"holds {variable!r} twice", seen=name, advice=_WRITER)
        if body:
            allowed -= body.size
            if allowed < 0:
                raise FileFormatError(
                    f"has {len(data)} bytes and would unpack to more than {most}, which looks like a decompression "
                    "bomb",
                    seen=name,
                    advice="if it is yours, save it uncompressed (MATLAB's save -v6)",
                )
            inside = body.whole()
        if kind != 1 or sorted(sizes)[:-1] != [1] * (len(sizes) - 1):
            text = " x ".join(map(str, sizes))
            raise FileFormatError(
                f"holds {variable!r}, a {text} {_kind(kind)}, which has to be a row or a column of cells, one matrix a "
                "piece",
                seen=name,
            )
        arrays[variable] = _cells(inside, order, f"{variable} in {name!r}")
    for variable in variables:
        if variable not in arrays:
            listed = ", ".join(map(repr, seen[:12])) or "nothing"
            raise MissingVariableError(f"has no {variable!r}; it holds {listed}", seen=name)
    return arrays


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type code and bytes of the data elements that lie one after another."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("it ends within a tag")
        code, size = struct.unpack_from(order + "II", data, at)
        begin = at + 8
        if code >> 16:  # up to four bytes lie in the tag itself
            code, size, begin = code & 0xFFFF, code >> 16, at + 4
            if size > 4:
                raise ValueError(f"{size} bytes in a tag for 4")
        if begin + size > len(data):
            raise ValueError(f"it ends after {len(data) - begin} of {size} bytes")
        yield code, data[begin : begin + size]
        at = begin + size
        if code != _COMPRESSED:
            at += -at % 8


class _Unpacked:
    """A compressed variable: its beginning at once, the whole when it is asked for."""

    def __init__(self, payload: memoryview, order: str) -> None:
        self._inflate = zlib.decompressobj()
        self._begin = self._inflate.decompress(payload, _NAME_BYTES)
        self.code, self.size = struct.unpack_from(order + "II", self._begin)
        self.begin = memoryview(self._begin)[8:]

    def whole(self) -> memoryview:
        """Return all bytes that the variable's tag states; the stream's checksum is compared on the way."""
        missing = 8 + self.size - len(self._begin)
        if missing > 0:
            self._begin += self._inflate.decompress(self._inflate.unconsumed_tail, missing)
        more = self._inflate.decompress(self._inflate.unconsumed_tail, 1)
        if more or not self._inflate.eof or len(self._begin) != 8 + self.size:
            raise ValueError(f"a variable of {self.size} bytes unpacks to another number of them")
        return memoryview(self._begin)[8:]


def _matrix_header(
    data: memoryview, order: str
) -> tuple[int, tuple[int, ...], str, Iterator[tuple[int, memoryview]]]:
    """Return class (-1 if complex), sizes and name of a matrix, and the elements that come after them."""
    parts = _elements(data, order)
    try:
        (flags_code, flags), (sizes_code, sizes), (name_code, name) = next(parts), next(parts), next(parts)
    except StopIteration:
        raise ValueError("a matrix without a name") from None
    if (flags_code, len(flags), sizes_code, name_code) != (6, 8, 5, 1) or len(sizes) not in _SIZES_BYTES:
        raise ValueError("a matrix whose header is wrong")
    word = struct.unpack_from(order + "I", flags)[0]
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if min(shape) < 0:
        raise ValueError(f"a matrix of the shape {shape}")
    kind = -1 if word & _COMPLEX else word & 0xFF
    return kind, shape, bytes(name).decode("latin-1"), parts


def _cells(data: memoryview, order: str, where: str) -> list[Array]:
    """Return the matrices of a cell array."""
    _, sizes, _, parts = _matrix_header(data, order)
    count = math.prod(sizes)
    if count > _MOST_PIECES:
        raise FileFormatError(
            f"{where} states {count} pieces, more than the {_MOST_PIECES} that are read", advice="divide it"
        )
    cells: list[Array] = []
    for code, payload in islice(parts, count):
        if code != _MATRIX:
            raise ValueError(f"a cell of type {code}")
        cells.append(_matrix(payload, order, f"piece {len(cells)} of {where}"))
    if len(cells) != count or next(parts, None) is not None:
        raise ValueError(f"another number of cells than the {count} that are stated")
    return cells


def _matrix(data: memoryview, order: str, where: str) -> Array:
    """Return a numeric matrix, in this machine's byte order."""
    kind, shape, _, parts = _matrix_header(data, order) if data else (6, (0, 0), "", iter(()))  # no data: []
    if not 6 <= kind <= 15:
        raise FileFormatError(f"{where} is a {_kind(kind)}, not a matrix of numbers")
    if 0 in shape:
        raise FileFormatError(f"{where} is empty: its shape is {shape}", advice="leave it out")
    code, payload = next(parts, (0, memoryview(b"")))
    if code not in _NUMBERS:
        raise ValueError(f"numbers of type {code}")
    numbers = np.frombuffer(payload, np.dtype(order + _NUMBERS[code]))
    if numbers.size != math.prod(shape):
        raise ValueError(f"{numbers.size} numbers in a matrix of the shape {shape}")
    return numbers.reshape(shape, order="F").astype(numbers.dtype.newbyteorder("="))


def _kind(code: int) -> str:
    return _KINDS.get(code, "matrix of numbers" if 6 <= code <= 15 else f"value of class {code}")
