"""Tensors out of a file that ``torch.save`` wrote, one at a time, without PyTorch and without believing what it says.

The zip that ``torch.save`` writes since version 1.6 holds a pickle, ``data.pkl``, which says what is saved, and beside
it the numbers of each tensor as they lie in memory.  The pickle is read as data by `gatescope.io.pytorch.inert_pickle`.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import FileFormatError, WeightFormatError
from gatescope.io.pytorch.inert_pickle import Call, Global, PersistentId, parse
from gatescope.storage.atomic import open_file
from gatescope.storage.npz import reading

PICKLE = "data.pkl"  # of the zip: the member that says what is saved
LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # how files of before PyTorch 1.6 begin

# Of each type of storage the dtype that its tensors have, and that in which the numbers lie in the file; of bfloat16,
# which NumPy lacks, the bits.
_DTYPES = {
    "Float": ("float32", "f4"),
    "Double": ("float64", "f8"),
    "Half": ("float16", "f2"),
    "BFloat16": ("bfloat16", "u2"),
    "Long": ("int64", "i8"),
    "Int": ("int32", "i4"),
    "Short": ("int16", "i2"),
    "Char": ("int8", "i1"),
    "Byte": ("uint8", "u1"),
    "Bool": ("bool", "?"),
}
_PARTS_OF_A_MODULE = ("_parameters", "_buffers", "_modules")
# What makes tensors, and the objects in which quantized ones are packed.
_PACKED = "torch.ScriptObject"
_MAKE_A_TENSOR = ("torch._utils._rebuild_", "torch._tensor._rebuild_", _PACKED)
_MOST_PICKLE_BYTES = 2**25
_MOST_ENTRIES, _MOST_CHARACTERS = 30_000, 2**23  # the characters of all names together
_DEEPEST = 64  # dicts, lists and modules in each other
_MOST_AXES = 16


class SavedModule(NamedTuple):
    """What a file says of a module that was saved whole: the name of its class, and its attributes."""

    kind: str
    attributes: Mapping[Any, Any]


class _Tensor(NamedTuple):
    """Where the numbers of a tensor lie; the offset and the strides count numbers, not bytes."""

    dtype: str
    stored: np.dtype[Any]
    member: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def extent(self) -> int:
        """How many numbers lie between the first and the last, both included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))


class TorchFile(Mapping[str, NDArray[Any]]):
    """The tensors of a file by name; each is read when it is asked for.

    What lies in dicts, lists and modules is named by the way to it, with dots: ``"state_dict.lstm.weight_ih_l0"``.  A
    container that lies in several places is named by the first.  bfloat16 comes as float32, which holds it exactly.

    Parameters
    ----------
    path : str or path-like

    Attributes
    ----------
    format : str
        What the file is, in words.
    containers : dict
        Of each entry the beginning of its name that leads to the ``state_dict`` or the outermost module it lies in.
    modules : dict
        A `SavedModule` by the beginning of the names of what is in it, for modules that were saved whole.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated, or not what ``torch.save`` writes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.containers: dict[str, str] = {}
        self.modules: dict[str, SavedModule] = {}
        self._entries: dict[str, Call] = {}
        self._walked: set[int] = set()
        self._characters = 0
        with self._reading(), open_file(path) as (stream, size), zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            self._members = {info.filename: info for info in members}
            pickles = [name for name in self._members if name.count("/") == 1 and name.endswith(f"/{PICKLE}")]
            if len(pickles) != 1:
                raise self._damaged(f"it has {len(pickles)} members named {PICKLE}")
            self._folder = pickles[0].removesuffix(PICKLE)
            self._check_members(members, size)
            if self._members[pickles[0]].file_size > _MOST_PICKLE_BYTES:
                raise self._damaged(f"its {PICKLE} has more than {_MOST_PICKLE_BYTES} bytes")
            self._big_endian = self._text(archive, "byteorder") == "big"
            root = parse(archive.read(pickles[0]))
            self.format = self._format(root)
            self._walk(root, "", "")
        self._walked.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> NDArray[Any]:
        tensor = self._checked(name)
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, tensor.dtype if tensor.dtype != "bfloat16" else "float32")
        size, begin = tensor.stored.itemsize, tensor.offset * tensor.stored.itemsize
        nbytes = tensor.extent * size
        with self._reading(), open_file(self.path) as (stream, _), zipfile.ZipFile(stream) as archive:
            with archive.open(tensor.member) as member:
                member.seek(begin)
                data = member.read(nbytes)
                if begin + nbytes == self._members[tensor.member].file_size:
                    member.read(1)  # the checksum is compared at the end
            if len(data) != nbytes:
                raise self._damaged(f"entry {name!r} ends after {len(data)} of {nbytes} bytes")
            values = np.frombuffer(data, tensor.stored)
            view = np.lib.stride_tricks.as_strided(
                values, tensor.shape, [stride * size for stride in tensor.strides], writeable=False
            )
            array = np.array(view, tensor.stored.newbyteorder("="), order="C")
        if tensor.dtype == "bfloat16":  # the upper half of a float32
            return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return array

    def describe(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return shape and dtype of an entry, which the file has the bytes for; none is read.

        Raises
        ------
        FileFormatError
            If it claims more numbers than there are.
        WeightFormatError
            If it is no plain tensor: sparse, quantized.
        """
        tensor = self._checked(name)
        return tensor.shape, tensor.dtype

    def _check_members(self, members: Iterable[zipfile.ZipInfo], size: int) -> None:
        names: set[str] = set()
        for info in members:
            if info.filename in names:
                raise self._damaged(f"it holds {info.filename!r} twice")
            names.add(info.filename)
            if not info.filename.startswith((f"{self._folder}data", f"{self._folder}byteorder")):
                continue  # nothing else is read
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise self._damaged(f"it packs {info.filename!r}, which torch.save never does")
            inside = 0 <= info.header_offset <= size - info.file_size
            if info.file_size != info.compress_size or not inside:
                raise self._damaged(f"{info.filename!r} claims {info.file_size} bytes that the file lacks")

    def _text(self, archive: zipfile.ZipFile, name: str) -> str:
        """Return a short text among the members; empty if there is none."""
        if self._folder + name not in self._members:
            return ""
        with archive.open(self._folder + name) as member:
            return member.read(16).decode()

    def _format(self, root: Any) -> str:
        if f"{self._folder}constants.pkl" in self._members:
            return "TorchScript (zip)"
        if _is_module(root):
            return "PyTorch module (zip)"
        values = (
            root.items.values() if isinstance(root, Call) else root.values() if isinstance(root, dict) else ()
        )
        flat = all(isinstance(value, Call) and value.name.startswith(_MAKE_A_TENSOR) for value in values)
        return "PyTorch state_dict (zip)" if flat else "PyTorch checkpoint (zip)"

    def _walk(self, value: Any, prefix: str, container: str, whole: bool = False, depth: int = 0) -> None:
        """Name the tensors in a value, which lies in a container; `whole`: that is a module."""
        if isinstance(value, Call) and value.name.startswith(_MAKE_A_TENSOR):
            self._add(prefix.removesuffix("."), value, container)
            return
        if not isinstance(value, dict | list | tuple | Call):
            return
        if depth > _DEEPEST:
            raise self._damaged(f"its containers lie in each other more than {_DEEPEST} deep")
        if not whole:
            container = prefix
        if _is_module(value):
            whole = True
            self.modules[prefix] = SavedModule(value.name, value.state)
        for key, inner in self._contents(value):
            self._walk(inner, f"{prefix}{key}.", container, whole, depth + 1)

    def _contents(self, value: Any) -> Iterator[tuple[Any, Any]]:
        """Yield what lies in a value, with its key or its number; nothing of what was walked before."""
        if id(value) in self._walked:
            return
        self._walked.add(id(value))
        if isinstance(value, dict):
            yield from value.items()
        elif isinstance(value, list | tuple):
            yield from enumerate(value)
        else:
            inner = [value.items, *(value.state if isinstance(value.state, tuple) else (value.state,))]
            if isinstance(value.state, dict) and _PARTS_OF_A_MODULE[0] in value.state:
                inner = [value.state.get(part) for part in _PARTS_OF_A_MODULE]
                yield from ((key, part) for key, part in value.state.items() if _is_packed(part))
            for part in inner:
                if isinstance(part, dict | Call):
                    yield from self._contents(part)

    def _add(self, name: str, tensor: Call, container: str) -> None:
        if name in self._entries:
            raise self._damaged(f"two of its entries are named {name!r}")
        self._characters += len(name)
        if len(self._entries) == _MOST_ENTRIES or self._characters > _MOST_CHARACTERS:
            raise self._damaged(
                f"it has more than {_MOST_ENTRIES} entries, or names of {_MOST_CHARACTERS} characters"
            )
        self._entries[name], self.containers[name] = tensor, container

    def _checked(self, name: str) -> _Tensor:
        """Return where an entry lies, after a check that it lies there and claims no more numbers than there are."""
        call = self._entries[name]
        while call.name.startswith("torch._utils._rebuild_parameter") and (
            inner := [value for value in call.arguments[:1] if isinstance(value, Call)]
        ):
            (call,) = inner
        if call.name not in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            raise WeightFormatError(
                f"holds {name!r} as {call.name.rpartition('.')[2]!r} makes it, which is no plain tensor",
                seen=self.path,
                advice="save it as a dense tensor of float32 or float64",
            )
        tensor, numbers = self._located(name, call.arguments)
        nbytes = numbers * tensor.stored.itemsize
        if tensor.member not in self._members:
            raise self._damaged(f"entry {name!r} lies in {tensor.member!r}, which it lacks")
        if nbytes != self._members[tensor.member].file_size:
            raise self._damaged(
                f"entry {name!r} claims {numbers} numbers, which {tensor.member!r} does not hold"
            )
        if math.prod(tensor.shape) > numbers or tensor.offset + tensor.extent > numbers:
            raise self._damaged(f"entry {name!r} of shape {tensor.shape} claims more than {numbers} numbers")
        return tensor

    def _located(self, name: str, arguments: tuple[Any, ...]) -> tuple[_Tensor, int]:
        """Return what a tensor says of where it lies, and how many numbers its storage is said to have."""
        match arguments:
            case (
                PersistentId(("storage", Global(kind), str(key), _, int(numbers))),
                int(offset),
                tuple(shape),
                tuple(strides),
                *_,
            ) if len(shape) == len(strides) <= _MOST_AXES and all(
                type(number) is int and 0 <= number < 2**62 for number in (numbers, offset, *shape, *strides)
            ):
                code = kind.rpartition(".")[2].removesuffix("Storage")
                if code not in _DTYPES:
                    raise WeightFormatError(
                        f"holds {name!r} of dtype {code}",
                        seen=self.path,
                        advice="save it as float32 or float64",
                    )
                dtype, stored = _DTYPES[code][0], np.dtype(_DTYPES[code][1])
                stored = stored.newbyteorder(">" if self._big_endian else "<")
                return _Tensor(dtype, stored, f"{self._folder}data/{key}", offset, shape, strides), numbers
        raise self._damaged(f"entry {name!r} is not described as a tensor is")

    def _reading(self) -> Any:
        return reading(str(self.path), "file of torch.save", "torch.save")

    def _damaged(self, why: str) -> FileFormatError:
        return FileFormatError(
            f"is not a readable file of torch.save: {why}",
            seen=self.path,
            advice="save the state_dict again with torch.save",
        )


def _is_module(value: Any) -> TypeGuard[Call]:
    """Return whether an object was saved by its attributes; those of a dict that has some are of no interest."""
    return isinstance(value, Call) and isinstance(value.state, dict) and not value.items


def _is_packed(value: Any) -> bool:
    return isinstance(value, Call) and value.name == _PACKED
