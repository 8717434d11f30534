"""What a source of PyTorch weights holds: a file of any kind that has them, a mapping, a live module.

PyTorch itself is never imported: a module or tensor that is passed in brings it along, and files are read without it.
Files are told apart by what is in them, whatever they are called.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import WeightFormatError
from gatescope.io.pytorch.safetensors import SafetensorsFile
from gatescope.io.pytorch.shards import HEAD, WEIGHT_MAP, Shards, check_whole
from gatescope.io.pytorch.torch_files import LEGACY, PICKLE, TorchFile
from gatescope.io.source_errors import Wrong, finite_copy
from gatescope.reporting.text import counted
from gatescope.storage.atomic import open_file
from gatescope.storage.npz import read_npz

OWN = "gatescope"  # in the metadata of safetensors files that are written here: by which version
_LOADED_AS = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
# What files of these suffixes should be, for the messages about those that are torn.
_KINDS = {".safetensors": "safetensors", ".npz": "npz"} | dict.fromkeys(
    (".pt", ".pth", ".bin", ".ckpt", ".pkl"), "torch"
)
_TENSORFLOW = re.compile(r".+\.(index|meta|data-\d{5}-of-\d{5})", re.DOTALL)
_FILES = "a file of torch.save, safetensors or numpy.savez"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Entries by name, and what else a source says of them.

    Attributes
    ----------
    entries : mapping
        From names to arrays or tensors; those of a file are read when they are asked for.
    wrong : callable
        Makes an error about the source, from a problem and an advice.
    format : str
        What it is, in words.
    label : str
        How messages call it.
    containers : mapping
        Of each entry the beginning of its name that leads to the state_dict it lies in; empty if that is the source.
    live : object
        The live module; None of a file or a mapping.
    """

    entries: Mapping[str, Any]
    wrong: Wrong
    format: str
    label: str
    containers: Mapping[str, str] = field(default_factory=dict)
    live: object = None

    def module(self, prefix: str) -> object:
        """Return the live module whose weights have a prefix; None if there is none."""
        module = self.live
        for name in prefix.removesuffix(".").split(".") if prefix else ():
            module = getattr(module, name, None)
        return module if callable(getattr(module, "state_dict", None)) else None

    @property
    def written_here(self) -> bool:
        """Whether gatescope wrote the file, which says what its modules are."""
        return isinstance(self.entries, SafetensorsFile) and OWN in self.entries.metadata

    def attribute(self, prefix: str, name: str) -> Any:
        """Return an attribute of a module, live or as it was saved; None if nothing says it."""
        if isinstance(self.entries, SafetensorsFile):
            return self.entries.metadata.get(f"{prefix}{name}") if self.written_here else None
        if isinstance(self.entries, TorchFile):
            saved = self.entries.modules.get(prefix)
            return None if saved is None else saved.attributes.get(name)
        return getattr(self.module(prefix), name, None)

    def kind(self, prefix: str) -> str:
        """Return the name of the class of a module, live or as it was saved; empty if nothing says it."""
        if isinstance(self.entries, TorchFile):
            saved = self.entries.modules.get(prefix)
            return "" if saved is None else saved.kind.rpartition(".")[2]
        module = self.module(prefix)
        return (
            "" if module is None else getattr(module, "original_name", type(module).__name__)
        )  # of a ScriptModule

    def describe(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return shape and dtype of an entry, which is checked to be floating-point.

        Raises
        ------
        FileFormatError
            If a file lacks what it claims.
        WeightFormatError
            If it is no array of numbers, or of others.
        """
        if isinstance(self.entries, TorchFile | SafetensorsFile | Shards):
            shape, dtype = self.entries.describe(name)
        else:
            value = self.value(name)
            if _is_tensor(value):
                shape, dtype = tuple(value.shape), str(value.dtype).removeprefix("torch.")
            else:
                array = self._array(name, value)
                shape, dtype = array.shape, str(array.dtype.newbyteorder("="))
        if dtype not in _LOADED_AS:
            raise self.wrong(
                f"holds {name!r} of dtype {dtype}, not floating-point weights",
                advice="convert it to float32 or float64 (quantized weights must be dequantized)",
            )
        return shape, dtype

    def load(self, name: str, dtype: np.dtype[Any]) -> Array:
        """Return a C-contiguous copy of an entry in `dtype`, checked to be finite."""
        return finite_copy(name, self._array(name, self.value(name)), dtype, self.wrong)

    def value(self, name: str) -> Any:
        """Return an entry; of a live module the attribute, whatever that is made of."""
        prefix, _, attribute = name.rpartition(".")
        module = self.module(prefix)
        own = None if module is None else getattr(module, attribute, None)
        return self.entries[name] if own is None else own

    def _array(self, name: str, value: Any) -> Array:
        try:
            if _is_tensor(value):
                value = value.detach().cpu()
                if str(value.dtype) == "torch.bfloat16":  # NumPy has no such dtype
                    value = value.float()
                value = value.numpy()
            return np.asarray(value)
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise self.wrong(
                f"holds {name!r}, which is no array of numbers ({error})",
                advice="give a dense array or tensor",
            ) from error


def common_dtype(dtypes: list[str]) -> np.dtype[Any]:
    """Return the dtype that weights of these are loaded as: float32 holds half precision exactly.

    Examples
    --------
    >>> from gatescope.io.pytorch.sources import common_dtype
    >>> common_dtype(["bfloat16", "float16"]).name
    'float32'
    """
    return np.result_type(*(_LOADED_AS[dtype] for dtype in dtypes))


def open_source(source: object) -> Source:
    """Return what a path, a mapping or a module holds; mappings in a mapping are named by the way to them.

    Raises
    ------
    FileFormatError
        If a file is missing, truncated or hostile.
    WeightFormatError
        If it is of a kind that holds no PyTorch weights.
    """
    wrong = partial(WeightFormatError, argument="source")
    if isinstance(source, Mapping):
        if not any(isinstance(value, Mapping) for value in source.values()):
            return Source(
                entries=source,
                wrong=wrong,
                format="mapping",
                label="the mapping",
            )
        entries: dict[str, Any] = {}
        containers: dict[str, str] = {}
        _flatten(source, "", entries, containers, set())
        return Source(
            entries=entries,
            wrong=wrong,
            format="mapping of mappings",
            label="the mapping",
            containers=containers,
        )
    if isinstance(source, str | os.PathLike):
        return _open_file(source)
    state_dict = getattr(source, "state_dict", None)
    if callable(state_dict):
        kind = f"{type(source).__module__}.{type(source).__qualname__}"
        return Source(
            entries=state_dict(),
            wrong=wrong,
            format="live module",
            label=kind,
            live=source,
        )
    raise wrong(
        f"is of type {type(source).__name__}", advice=f"pass {_FILES}, a state_dict or a PyTorch module"
    )


def _flatten(
    mapping: Mapping[Any, Any],
    prefix: str,
    entries: dict[str, Any],
    containers: dict[str, str],
    walked: set[int],
) -> None:
    if id(mapping) in walked:
        return
    walked.add(id(mapping))
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{prefix}{key}.", entries, containers, walked)
        elif (name := f"{prefix}{key}") in entries:
            raise WeightFormatError(
                f"names two entries {name!r}", argument="source", advice="give one state_dict"
            )
        else:
            entries[name], containers[name] = value, prefix


def _open_file(path: str | os.PathLike[str]) -> Source:
    file, wrong = Path(os.fspath(path)), partial(WeightFormatError, seen=path)
    check_whole(file)
    entries: Mapping[str, Any]
    with open_file(file) as (stream, size):
        kind = _kind(stream, size, file.suffix.lower())
    containers: Mapping[str, str] = {}
    if kind == "torch":
        entries = TorchFile(file)
        kind, containers = entries.format, entries.containers
    elif kind == "safetensors":
        entries = SafetensorsFile(file)
    elif kind == "shards":
        entries = Shards(file)
        kind = f"weights in {counted(len(entries.files), 'file')}"
    elif kind == "npz":
        entries = read_npz(file)
        if "gatescope_meta" in entries:
            raise wrong("was saved by gatescope", advice="read it with gatescope.load")
    elif kind == "legacy":
        raise wrong(
            "is of the format that PyTorch wrote before version 1.6, which is a row of pickles",
            advice="save it again: torch.save(torch.load(path, weights_only=True), path)",
        )
    elif kind == "pickle":
        raise wrong(
            "looks like a pickle, which can run any code and is never opened",
            advice="save the state_dict with torch.save",
        )
    elif _TENSORFLOW.fullmatch(file.name):
        raise wrong(
            "looks like a checkpoint of TensorFlow, which is not read",
            advice="load it, and write its weights alone: model.save_weights('model.weights.h5')",
        )
    else:
        others = "a file of Keras, ONNX, Flax or Equinox, which load_weights reads"
        raise wrong("holds no weights in a form that is known here", advice=f"give {_FILES}, or {others}")
    return Source(
        entries=entries,
        wrong=wrong,
        format=kind,
        label=file.name,
        containers=containers,
    )


def _kind(stream: IO[bytes], size: int, suffix: str) -> str:
    """Return what a file is, by its first bytes and, of a zip, what lies in it; by its suffix only if it is torn."""
    start = stream.read(len(LEGACY))
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        try:
            with zipfile.ZipFile(stream) as archive:
                names = archive.namelist()
        except (
            Exception
        ):  # whatever a torn or hostile directory provokes: the reader of that kind says what it is
            return _KINDS.get(suffix, "torch")
        if any(name.endswith(f"/{PICKLE}") for name in names):
            return "torch"
        return "npz" if any(name.endswith(".npy") for name in names) else _KINDS.get(suffix, "")
    if start[:1] == b"{":
        stream.seek(0)
        return "shards" if WEIGHT_MAP in stream.read(HEAD) else ""
    if start == LEGACY:
        return "legacy"
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        return "pickle"
    kind = _KINDS.get(suffix, "")
    return "pickle" if kind == "torch" else kind


def _is_tensor(value: Any) -> bool:
    return callable(getattr(value, "detach", None))
