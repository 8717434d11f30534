"""Arrays of a tree of JAX weights by their paths: live, or in files of Flax, Equinox and NumPy."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import GatescopeError, MissingPackageError, WeightFormatError, shortened
from gatescope.io.source_errors import Wrong
from gatescope.storage.atomic import open_file
from gatescope.storage.npz import read_npy_header, read_npz

_MOST_LEAVES, _MOST_NESTED = 20_000, 32
_MOST_LINE = 1 << 16  # of the hyperparameters that Equinox's documentation writes before the arrays
_TYPES = {"float16": "<f2", "bfloat16": "<u2", "float32": "<f4", "float64": "<f8"}
MSGPACK = "Flax (msgpack)"  # what such files are called
_FLAX_ARRAY = 1  # code of msgpack's extension types
_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_CONVERSION = (
    "restore it, and numpy.savez('model.npz', **{'/'.join(map(str, k)): v for k, v in "
    "flax.traverse_util.flatten_dict(tree).items()})"
)

Place = tuple[str, ...]  # names from the root of a tree to an array


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        As stored.
    load : callable
        Returns it; float16 and bfloat16 as float32, which holds them exactly.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], Array]


def read_leaves(source: Any) -> tuple[str, dict[Place, Leaf], Wrong]:
    """Return what a source is, its arrays of floating-point numbers by their places, and what makes errors about it."""
    if isinstance(source, str | os.PathLike):
        return _of_file(source)
    wrong: Wrong = partial(WeightFormatError, argument="source")
    leaves = dict(_of_tree(source, wrong))
    if not leaves:
        raise wrong(
            f"is {type(source).__name__} without arrays",
            advice="give the mapping of parameters (of Flax nnx: nnx.state(model)), an Equinox module, or a file",
        )
    return "JAX tree", leaves, wrong


def _of_tree(source: Any, wrong: Wrong) -> Iterator[tuple[Place, Leaf]]:
    """Yield the arrays of nested mappings, sequences and dataclasses, in their order."""
    todo: list[tuple[Place, Any]] = [((), source)]
    looked_at = 0
    while todo:
        place, value = todo.pop()
        looked_at += 1
        if looked_at > _MOST_LEAVES or len(place) > 2 * _MOST_NESTED:
            raise wrong("is a tree too large or too deep for weights", advice="give the parameters alone")
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            if str(value.dtype) in _TYPES:
                yield place, Leaf(tuple(map(int, value.shape)), str(value.dtype), partial(_host, value))
            continue
        more = [((*place, *str(name).split("/")), child) for name, child in _children(value)]
        todo += reversed(more)


def _children(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return what is in a node of a tree, by its names; nothing, if it is none."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple):
        return enumerate(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return [(name, getattr(value, name)) for name in names if hasattr(value, name)]
    return ()


def _host(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)


def _of_file(source: str | os.PathLike[str]) -> tuple[str, dict[Place, Leaf], Wrong]:
    wrong: Wrong = partial(WeightFormatError, seen=source)
    if Path(os.fspath(source)).is_dir():
        raise wrong("is a folder, such as Orbax writes, which is not read", advice=_CONVERSION)
    with open_file(source) as (stream, size):
        start = stream.read(len(_NPY))
        if start.startswith(_ZIP):
            return "JAX tree (.npz)", dict(_of_tree(read_npz(source), wrong)), wrong
        if start.startswith((_NPY, b"{")):
            return "Equinox (.eqx)", _named(list(_of_equinox(source, stream, size, wrong))), wrong
        if start and (start[0] & 0xF0 == 0x80 or start[0] in (0xDE, 0xDF)):  # a mapping
            stream.seek(0)
            return MSGPACK, dict(_of_tree(_unpacked(stream.read(size), wrong), wrong)), wrong
    raise wrong(
        "is no tree of JAX weights: neither msgpack of Flax, nor .npz, nor .eqx of Equinox",
        advice="write it with flax.serialization.to_bytes, numpy.savez or equinox.tree_serialise_leaves",
    )


class _Packed:
    """An array of Flax in msgpack, as bytes."""

    def __init__(self, data: bytes, unpack: Callable[..., Any], wrong: Wrong) -> None:
        try:
            shape, dtype, values = unpack(data)
            self.shape, self.dtype = tuple(shape), dtype if isinstance(dtype, str) else dtype.decode()
            whole = all(type(extent) is int and extent >= 0 for extent in self.shape)
            length = len(values)
        except (ValueError, TypeError, AttributeError) as error:
            raise wrong(
                f"holds an array that is none of Flax's ({error})", advice="write it again"
            ) from error
        size = math.prod(self.shape) * np.dtype(_TYPES.get(self.dtype, "u1")).itemsize if whole else -1
        if size < 0 or len(self.shape) > 32 or (self.dtype in _TYPES and size != length):
            raise wrong(
                f"holds an array of {length} bytes that promises shape {self.shape} of {self.dtype[:40]}",
                advice="the file is damaged: write it again",
            )
        self._values = values

    def __array__(self, *_: Any, **__: Any) -> Array:
        return _numbers(self._values, self.dtype).reshape(self.shape)


def _numbers(data: bytes, dtype: str) -> Array:
    array = np.frombuffer(data, _TYPES[dtype])
    if dtype == "bfloat16":  # the upper half of a float32
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array


def _unpacked(data: bytes, wrong: Wrong) -> Any:
    """Return the mappings of a msgpack file of Flax, with arrays as they lie there."""
    try:
        import msgpack
    except ImportError as error:
        raise MissingPackageError(
            "msgpack files of Flax are read with msgpack, which is not installed",
            advice='pip install "gatescope[flax]"',
        ) from error
    # Only shapes are lists; room for what a longer list claims would be taken before it is read.
    limits = {"max_array_len": 64, "max_map_len": _MOST_LEAVES, "strict_map_key": False}

    def array(code: int, payload: bytes) -> Any:
        return _Packed(payload, partial(msgpack.unpackb, **limits), wrong) if code == _FLAX_ARRAY else None

    try:
        tree = msgpack.unpackb(data, ext_hook=array, **limits)
    except GatescopeError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise wrong(
            f"is not a readable msgpack file of Flax ({shortened(text, 200)})",
            advice="write it again with flax.serialization.to_bytes",
        ) from error
    chunked = "__msgpack_chunked_array__"
    if chunked.encode() in data:
        raise wrong(
            "holds an array in several chunks, as Flax writes those of 1 GiB and more", advice=_CONVERSION
        )
    return tree


def _of_equinox(source: str | os.PathLike[str], stream: IO[bytes], size: int, wrong: Wrong) -> Iterator[Leaf]:
    """Yield the arrays of an ``.eqx`` file: one ``.npy`` after another, perhaps after a line of hyperparameters."""
    stream.seek(0)
    if stream.read(1) == b"{":
        line = stream.readline(_MOST_LINE)
        if not line.endswith(b"\n"):
            raise wrong(
                "begins with a brace, but not with a line of hyperparameters", advice="write it again"
            )
    else:
        stream.seek(0)
    name = str(source)
    for _ in range(_MOST_LEAVES):
        start = stream.tell()
        if start == size:
            return
        try:
            shape, fortran, dtype, used = read_npy_header(stream, name)
        except Exception as error:  # ValueError, TokenError, SyntaxError, RecursionError...
            text = shortened(" ".join(str(error).split()), 200)
            raise wrong(
                f"is not a readable .eqx file: at byte {start} there is no array ({text})",
                advice="write it again with equinox.tree_serialise_leaves",
            ) from error
        if dtype.hasobject or any(extent < 0 for extent in shape):
            raise wrong("holds pickled objects, which are never loaded", advice="write arrays alone")
        length = math.prod(int(extent) for extent in shape) * dtype.itemsize
        if start + used + length > size:
            raise wrong(
                f"promises {length} bytes (shape {shape}, {dtype}) at byte {start}, but has {size - start - used}",
                advice="the file is damaged: write it again",
            )
        stream.seek(length, os.SEEK_CUR)
        kind = "bfloat16" if dtype.kind == "V" and dtype.itemsize == 2 else dtype.name
        order = "F" if fortran else "C"
        yield Leaf(shape, kind, partial(_read, source, start + used, length, dtype, shape, order))
    raise wrong(f"holds more than {_MOST_LEAVES:,} arrays", advice="write the recurrent layers alone")


def _read(
    source: Any, offset: int, length: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any
) -> Array:
    with open_file(source) as (stream, _):
        stream.seek(offset)
        data = stream.read(length)
    if len(data) != length:
        raise WeightFormatError("has lost its end since it was opened", seen=source, advice="open it again")
    if dtype.kind == "V":
        return _numbers(data, "bfloat16").reshape(shape, order=order)
    return _host(np.frombuffer(data, dtype).reshape(shape, order=order))


def _named(arrays: Sequence[Leaf]) -> dict[Place, Leaf]:
    """Return the arrays of an ``.eqx`` file, which has no names, by places that their shapes and order tell."""
    leaves: dict[Place, Leaf] = {}
    k = 0
    while k < len(arrays):
        names = _names(arrays[k : k + 4])
        for name, leaf in zip(names, arrays[k:], strict=False):
            leaves[(str(k), name)] = leaf
        k += len(names)
    return leaves


def _names(arrays: Sequence[Leaf]) -> tuple[str, ...]:
    """Return the names of the first of some arrays, as the fields of Equinox's modules lie."""
    shapes = [leaf.shape for leaf in arrays]
    rows = shapes[0][0] if len(shapes[0]) == 2 else 0
    units = shapes[1][1] if len(shapes) > 1 and len(shapes[1]) == 2 and shapes[1][0] == rows else 0
    if units and rows == 4 * units:
        return ("weight_ih", "weight_hh", "bias")[: 3 if shapes[2:3] == [(rows,)] else 2]
    if units and rows == 3 * units:
        return ("weight_ih", "weight_hh", "bias", "bias_n")[: 4 if shapes[2:] == [(rows,), (units,)] else 2]
    return ("weight", "bias") if rows and shapes[1:2] == [(rows,)] else ("value",)
