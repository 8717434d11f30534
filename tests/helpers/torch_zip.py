"""Files such as ``torch.save`` writes, written by hand, so that they can also say what is not true."""

import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

KINDS = {"float32": "Float", "float64": "Double", "float16": "Half", "uint16": "BFloat16", "int64": "Long"}


class Tensor(NamedTuple):
    """An array, and what the file is to say of it where that is something else than the truth."""

    array: np.ndarray
    key: str
    says: dict[str, Any] = {}  # noqa: RUF012 - numbers, offset, shape, strides, kind, or the instructions that make it


class Name(NamedTuple):
    """A function or a class, ``"torch.nn.modules.rnn LSTM"``."""

    text: str


class Made(NamedTuple):
    """An object: a class, what is called with, and the state that is put into it."""

    kind: str
    arguments: tuple = ()
    state: Any = None


class Instructions(bytes):
    """Part of a pickle as it stands."""


def module(kind, parameters, modules=None, **attributes):
    """Return a module as ``torch.save(module, path)`` describes it."""
    state = {"training": True, "_parameters": parameters, "_buffers": {}, "_modules": modules or {}}
    return Made(kind, (), {**state, **attributes})


def instructions(value):
    """Return the part of a pickle of protocol 2 that makes a value."""
    match value:
        case Instructions():
            return bytes(value)
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case Name():
            return b"c" + value.text.replace(" ", "\n").encode() + b"\n"
        case Tensor():
            return value.says.get("made") or _tensor(value)
        case Made():
            made = instructions(Name(value.kind)) + instructions(value.arguments) + b"\x81"
            return made + (instructions(value.state) + b"b" if value.state is not None else b"")
        case dict():
            pairs = b"".join(instructions(part) for pair in value.items() for part in pair)
            return b"}(" + pairs + b"u"
        case list():
            return b"](" + b"".join(map(instructions, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(instructions, value)) + b"t"
    raise TypeError(type(value))


def _tensor(tensor):
    array, says = tensor.array, tensor.says
    strides = tuple(stride // array.itemsize for stride in array.strides)
    kind = says.get("kind", KINDS[array.dtype.newbyteorder("=").name])
    storage = ("storage", Name(f"torch {kind}Storage"), tensor.key, "cpu", says.get("numbers", array.size))
    arguments = b"(" + instructions(storage) + b"Q" + instructions(says.get("offset", 0))
    arguments += instructions(says.get("shape", array.shape)) + instructions(says.get("strides", strides))
    arguments += b"\x89" + instructions(Name("collections OrderedDict")) + b")Rt"
    return instructions(Name("torch._utils _rebuild_tensor_v2")) + arguments + b"R"


def write_torch(path, value, *, compression=zipfile.ZIP_STORED, order="little", folder="archive", more=()):
    """Write a value with its tensors; `more` are further members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", b"\x80\x02" + instructions(value) + b".")
        archive.writestr(f"{folder}/byteorder", order)
        for key, array in {tensor.key: tensor.array for tensor in _tensors(value)}.items():
            archive.writestr(f"{folder}/data/{key}", array.tobytes())
        for name, data in more:
            archive.writestr(name, data)
    return path


def _tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple) and not isinstance(value, Name):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _tensors(inner)


def tensors(entries, **says):
    """Return arrays by name as tensors, and what the file is to say of one: ``weight_hh_l0={"shape": ...}``."""
    return {
        name: Tensor(np.ascontiguousarray(array), str(key), says.get(name, {}))
        for key, (name, array) in enumerate(entries.items())
    }
