"""What an HDF5 file holds, without believing it: everything is checked before a number is read, as plain bytes.

HDF5 can point anywhere: links into other files, datasets whose values lie in any file of the system, pieces that unpack
to gigabytes.  Here a file is a tree of groups and of datasets that lie in one piece in the file itself; h5py finds
where, and the values are read from there without it.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import FileFormatError, GatescopeError, MissingPackageError
from gatescope.io.keras.hdf5_texts import Texts
from gatescope.storage.atomic import open_file

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_MOST_DEPTH = 16
_MOST_OBJECTS = 10_000  # of a model of 2000 layers; looking at so many takes a second

# Names of HDF5's classes of types, in the order of their numbers, for messages.
_CLASSES = ("whole numbers", "floating-point numbers", "times", "text", "bit fields", "opaque bytes")
_BFLOAT16_FIELDS = (15, 7, 8, 0, 7)  # sign, exponent and mantissa: where each begins, and how wide it is


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Numbers that lie in one piece in a file.

    Attributes
    ----------
    name : str
        The path in the file: ``"/layers/lstm/cell/vars/0"``.
    shape : tuple of int
    dtype : str
        ``"float16"``, ``"bfloat16"``, ``"float32"``, ``"float64"``; of what is never read, its kind in words.
    read : callable
        Returns the array in the byte order of this machine; float16 and bfloat16 as float32, which holds them exactly.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group with what is in it, by name, in the order in which the file was written.

    Attributes
    ----------
    name : str
        The path in the file, ``"/"`` of the uppermost.
    attributes : mapping
        Those that were asked for, where they are texts.
    groups, datasets : mapping
    """

    name: str
    attributes: Mapping[str, str]
    groups: Mapping[str, Group]
    datasets: Mapping[str, Dataset]


def read_hdf5(
    path: str | os.PathLike[str],
    *,
    begin: int = 0,
    size: int | None = None,
    attributes: Iterable[str] = (),
    skip: Iterable[str] = (),
) -> Group:
    """Return the tree of an HDF5 file, its numbers not yet read.

    Parameters
    ----------
    path : str or path-like
    begin, size : int
        Where in the file the HDF5 lies, in bytes: a member of a zip file that is stored as it is.
    attributes : names
        Attributes of groups that are read where they are texts.
    skip : names
        Groups right below the uppermost that are not looked into; they come empty.

    Raises
    ------
    MissingPackageError
        If h5py is not installed.
    FileFormatError
        If it is no HDF5 file, is damaged, or has what such a file of weights never has: links that are not hard,
        an object at two places, datasets that are virtual, external, in chunks, filtered, or not wholly in the file.
    """
    with open_file(path) as (stream, total):
        length = total - begin if size is None else size
        window = Window(stream, begin, length)
        walk = _Walk(path, window, begin, length, tuple(attributes), frozenset(skip))
        with walk.reading():
            import h5py

            with h5py.File(window, "r") as file:
                root = h5py.h5o.open(file.id, b"/")
                return walk.group(root, h5py.h5o.get_info(root).addr, "", 0)


class Window(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, stream: IO[bytes], begin: int, size: int) -> None:
        self._stream, self._begin, self._size, self._at = stream, begin, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte of the part, and return which."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the part reaches, and return how many bytes that are."""
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._size - self._at))
        self._stream.seek(self._begin + self._at)
        data = self._stream.read(length)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Walk:
    """One walk through a file, and the limits it has used up so far."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        texts: Window,
        begin: int,
        size: int,
        attributes: tuple[str, ...],
        skip: frozenset[str],
    ) -> None:
        self._path, self._begin, self._size = path, begin, size
        self._texts = Texts(texts, size, self._refuse_texts)
        self._attributes, self._skip = attributes, skip
        self._seen: set[int] = set()  # addresses of objects
        self._left = size  # bytes that datasets may still have

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Make a FileFormatError of whatever a damaged or hostile file provokes inside h5py."""
        try:
            yield
        except GatescopeError:
            raise
        except ImportError as error:
            raise MissingPackageError(
                f"{str(self._path)!r} is an HDF5 file, which is read with h5py, which is not installed",
                advice="pip install h5py (the extra 'keras' of gatescope)",
            ) from error
        except Exception as error:  # OSError, RuntimeError, ValueError, KeyError, UnicodeError...
            text = " ".join(str(error).split())[:200] or type(error).__name__
            raise FileFormatError(
                f"is not a readable HDF5 file ({text})", seen=self._path, advice="save it again"
            ) from error

    def refused(self, what: str, name: str) -> FileFormatError:
        return FileFormatError(
            f"holds {name!r}, {what}, which no file of weights needs and is never read",
            seen=self._path,
            advice="save it again with Keras, or copy the weights into a file that you trust",
        )

    def group(self, identity: Any, address: int, name: str, depth: int) -> Group:
        """Return what a group holds; `name` is its path, empty of the uppermost."""
        import h5py

        self._first_sight(address, name)
        groups: dict[str, Group] = {}
        datasets: dict[str, Dataset] = {}
        if depth > _MOST_DEPTH:
            raise self.refused(f"which lies in more than {_MOST_DEPTH} groups", name)
        if depth == 1 and name.removeprefix("/") in self._skip:
            return Group(name=name, attributes={}, groups=groups, datasets=datasets)
        children = []
        for child in self._children(identity, name):
            opened = h5py.h5o.open(identity, child)
            children.append((h5py.h5o.get_info(opened).addr, child.decode(errors="replace"), opened))
        for place, short, opened in sorted(children, key=lambda each: each[0]):
            path = f"{name}/{short}"
            if isinstance(opened, h5py.h5g.GroupID):
                groups[short] = self.group(opened, place, path, depth + 1)
            elif isinstance(opened, h5py.h5d.DatasetID):
                datasets[short] = self._dataset(opened, place, path)
            else:
                raise self.refused("a named type", path)
        texts = self._texts.of(address, self._attributes)
        return Group(name=name or "/", attributes=texts, groups=groups, datasets=datasets)

    def _first_sight(self, address: int, name: str) -> None:
        """Refuse what is at two places, as what leads into itself is."""
        if address in self._seen:
            raise self.refused("which is also at another place", name or "/")
        self._seen.add(address)
        if len(self._seen) > _MOST_OBJECTS:
            raise self.refused(f"and more than {_MOST_OBJECTS:,} others", name)

    def _children(self, identity: Any, name: str) -> list[bytes]:
        """Return the names of what a group links to, if all links are hard ones."""
        import h5py

        names: list[bytes] = []
        left = _MOST_OBJECTS - len(self._seen)

        def visit(child: bytes, info: Any) -> bytes | None:
            if info.type != h5py.h5l.TYPE_HARD:
                return child
            names.append(child)
            return child if len(names) > left else None

        stopped, _ = identity.links.iterate(visit, info=True)
        if stopped is not None:
            path = f"{name}/{stopped.decode(errors='replace')}"
            if len(names) > left:
                raise self.refused(f"and more than {_MOST_OBJECTS:,} others", path)
            raise self.refused("a link to another place or file", path)
        return names

    def _refuse_texts(self) -> None:
        raise self.refused("whose texts are longer than the file", "/")

    def _dataset(self, identity: Any, address: int, name: str) -> Dataset:
        import h5py

        self._first_sight(address, name)
        plan = identity.get_create_plist()
        # What a virtual dataset is, its shape may depend on other files: nothing else is asked of it.
        if plan.get_layout() == h5py.h5d.VIRTUAL:
            raise self.refused("a virtual dataset, whose values lie in other files", name)
        if plan.get_external_count():
            raise self.refused("a dataset whose values lie in other files", name)
        if plan.get_layout() != h5py.h5d.CONTIGUOUS or plan.get_nfilters():
            raise self.refused("a dataset in chunks, compressed, or inside its own header", name)
        kind, shape = identity.get_type(), tuple(int(extent) for extent in identity.shape)
        nbytes = math.prod(shape) * kind.get_size()
        offset = identity.get_offset() if nbytes else 0
        if identity.get_storage_size() != nbytes or offset is None or offset + nbytes > self._size:
            raise self.refused(f"a dataset of shape {shape} that is not wholly in the file", name)
        self._left -= nbytes
        if self._left < 0:
            raise self.refused("a dataset that shares its bytes with others", name)
        dtype, form = self._dtype(kind, address)
        begin = self._begin + offset

        def read() -> Array:
            return _read(self._path, name, begin, nbytes, form, shape)

        return Dataset(name=name, shape=shape, dtype=dtype, read=read)

    def _dtype(self, kind: Any, address: int) -> tuple[str, str]:
        """Return the name of a type, and NumPy's for what is in the file; empty of one that is not read."""
        import h5py

        types = h5py.h5t
        for name, code, forms in (
            ("float32", "f4", (types.IEEE_F32LE, types.IEEE_F32BE)),
            ("float64", "f8", (types.IEEE_F64LE, types.IEEE_F64BE)),
            ("float16", "f2", (types.IEEE_F16LE, types.IEEE_F16BE)),
        ):
            for order, form in zip("<>", forms, strict=True):
                if kind == form:
                    return name, order + code
        number = kind.get_class()
        if kind.get_size() == 2:
            fields = kind.get_fields() if number == types.FLOAT else None
            texts = self._texts.of(address, ("dtype",)) if number == types.OPAQUE else {}
            if fields == _BFLOAT16_FIELDS or texts.get("dtype") == "bfloat16":
                return "bfloat16", ">u2" if fields and kind.get_order() == types.ORDER_BE else "<u2"
        return _CLASSES[number] if 0 <= number < len(_CLASSES) else "records", ""


def _read(
    path: str | os.PathLike[str], name: str, begin: int, nbytes: int, form: str, shape: tuple[int, ...]
) -> Array:
    if not form:
        raise FileFormatError(f"holds {name!r}, which is of no floating-point dtype", seen=path)
    with open_file(path) as (stream, _):
        stream.seek(begin)
        data = stream.read(nbytes)
    if len(data) != nbytes:
        raise FileFormatError(
            f"has changed since it was opened: {name!r} ends after {len(data)} of {nbytes} bytes", seen=path
        )
    values = np.frombuffer(data, form).reshape(shape)
    if form[1:] == "u2":  # the upper half of a float32
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype({"f2": "f4"}.get(form[1:], form[1:]))
