"""The one door for weights of other frameworks: what a source is, by its content, and what becomes of it here."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_unused
from gatescope.datatypes import Bidirectional, Params, Stack, TrainingRun, load
from gatescope.datatypes.result import META, Result
from gatescope.datatypes.stack import Layer
from gatescope.errors import WeightFormatError, article
from gatescope.io.loading import Opened, layer_numbers, one_direction
from gatescope.io.pytorch.shards import HEAD, WEIGHT_MAP, Shards
from gatescope.io.source_errors import listed
from gatescope.io.stored import StoredWeights
from gatescope.storage.atomic import open_file

_HDF5, _NPY, _ZIP = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"PK\x03\x04"
_ENDINGS = (  # of files of weights in a folder
    (
        ".index.json",
        ".safetensors",
        ".pt",
        ".pth",
        ".bin",
        ".ckpt",
        ".keras",
        ".h5",
        ".onnx",
        ".msgpack",
        ".eqx",
    )
)
_FORMATS = (
    "a state_dict, checkpoint or module of PyTorch, safetensors or npz, a Keras, ONNX, Flax or Equinox file"
)


def open_weights(
    source: Any,
    *,
    prefix: str | None = None,
    nonlinearity: str | None = None,
    reset_after: bool | None = None,
    batch_first: bool | None = None,
    dtype: DTypeLike | None = None,
) -> Opened:
    """Return the networks of a source of another framework, ready to be loaded; arguments are as for `load_weights`."""
    precision = None if dtype is None else float_dtype(dtype)
    stored, label = _stored(source, nonlinearity, reset_after, prefix)
    provenance = _provenance(source, label)
    return Opened(
        stored, label=label, provenance=provenance, prefix=prefix, batch_first=batch_first, dtype=precision
    )


def list_weights(source: Any) -> StoredWeights | Layer | Stack:
    """Return what recurrent layers a source holds, without loading them.

    Parameters
    ----------
    source
        As for `load_weights`.

    Returns
    -------
    StoredWeights
        ``table()`` has prefix, layer, name, cell, direction, sizes and dtype of each layer and read-out, and why one
        could not be read; ``summary()`` says what else it holds.  Of a file of gatescope the weights themselves.

    Raises
    ------
    FileFormatError, WeightFormatError, MissingPackageError
        As for `load_weights`.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> stored = gs.list_weights({"rnn.weight_ih_l0": np.zeros((24, 3)), "rnn.weight_hh_l0": np.zeros((24, 8))})
    >>> stored.table().rows
    [('rnn.', 0, 'rnn_l0', 'gru', 'forward', 3, 8, 'float64')]
    """
    if is_own(source):
        return own_weights(source, None, None)
    stored, _ = _stored(source)
    return stored


def _stored(
    source: Any, nonlinearity: str | None = None, reset_after: bool | None = None, prefix: str | None = None
) -> tuple[StoredWeights, str]:
    """Return what a source holds, and how messages call it; no framework is imported to tell what it is."""
    kind = kind_of(source)
    if isinstance(source, str | os.PathLike):
        label = Path(os.fspath(source)).name
    elif isinstance(source, Mapping):
        label = "the mapping"
    else:
        label = f"{type(source).__module__}.{type(source).__qualname__}"
    if kind == "keras":
        from gatescope.io.keras.networks import read_keras

        stored = read_keras(source, nonlinearity=nonlinearity, reset_after=reset_after)
    else:
        check_unused("for networks that are not of Keras", reset_after=reset_after)
        if kind == "onnx":
            from gatescope.io.onnx.networks import read_onnx

            check_unused("for an ONNX model, which says it", nonlinearity=nonlinearity)
            stored = read_onnx(source)
        elif kind == "jax":
            from gatescope.io.jax.networks import read_jax

            stored = read_jax(source, nonlinearity=nonlinearity)
        else:
            from gatescope.io.pytorch.networks import read_torch

            stored = read_torch(source, nonlinearity=nonlinearity, prefix=prefix)
    return stored, label


def _provenance(source: Any, label: str) -> dict[str, Any]:
    """Return what is known of where weights come from: the name of a file and its SHA-256, and of files it lists."""
    if not isinstance(source, str | os.PathLike):
        return {"source": label.removeprefix("the ")}
    digest, start = _digest(source)
    known: dict[str, Any] = {"source": label, "sha256": digest}
    if start[:1] == b"{" and WEIGHT_MAP in start:
        known["files"] = {path.name: _digest(path)[0] for path in Shards(source).files if path.exists()}
    return known


def _digest(path: str | os.PathLike[str]) -> tuple[str, bytes]:
    """Return the SHA-256 of a file, and its first bytes."""
    with open_file(path) as (stream, _):
        start = stream.read(HEAD)
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest(), start  # type: ignore[arg-type]


def is_own(source: Any) -> bool:
    """Return whether a source is a file that gatescope saved."""
    if not isinstance(source, str | os.PathLike) or Path(os.fspath(source)).is_dir():
        return False
    with open_file(source) as (stream, _):
        return stream.read(len(_ZIP)) == _ZIP and f"{META}.npy" in _members(stream)


def own_weights(path: str | os.PathLike[str], layers: Any, reverse: bool | None) -> Layer | Stack:
    """Return weights that gatescope saved: of a training its best model, of a model all or the layers asked for."""
    result = load(path)
    model = result.best if isinstance(result, TrainingRun) else result
    if not isinstance(model, Params | Bidirectional | Stack):
        raise WeightFormatError(
            f"holds {article(type(model).__name__)}, not weights",
            seen=path,
            advice="give a file of Params, of a Stack, or what train wrote",
        )
    every = model.layers if isinstance(model, Stack) else (model,)
    numbers = layer_numbers(layers, len(every), Path(os.fspath(path)).name)
    if reverse is not None:
        return one_direction(path, every, numbers, reverse)
    if isinstance(layers, int | np.integer) or not isinstance(model, Stack):
        return every[numbers[0]]
    if len(numbers) == len(every):
        return model
    below = numbers[-1] < len(every) - 1
    readout: dict[str, Any] = {"readout_weight": None, "readout_bias": None, "heads": ()} if below else {}
    return dataclasses.replace(model, layers=every[numbers[0] : numbers[-1] + 1], **readout)


def format_of(path: Path) -> str:
    """Return which reader takes a file, by its content: "keras", "onnx", "jax" or "torch".

    Raises
    ------
    WeightFormatError
        If it is none of these.
    """
    if path.is_dir():
        _check_folder(path)
        return "jax"  # whose reader says what to do with what Orbax writes
    with open_file(path) as (stream, size):
        start = stream.read(HEAD)
        head = start[:16]
        if head.startswith(_ZIP):
            names = _members(stream)
            if "model.weights.h5" in names:
                return "keras"
            tree = not any(name.endswith("/data.pkl") for name in names) and any(
                "/" in name for name in names
            )
            return "jax" if tree else "torch"
    if head.startswith(_HDF5):
        return "keras"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "torch"  # safetensors
    if path.name.endswith(".weights.json"):
        raise WeightFormatError(
            "lists weights that Keras saved in several files",
            seen=path,
            advice="save them in one: model.save_weights('model.weights.h5')",
        )
    if head[:1] == b"{" and WEIGHT_MAP in start:
        return "torch"  # a list of the files that weights lie in
    if head.startswith((_NPY, b"{")):
        return "jax"  # .eqx of Equinox, with or without hyperparameters before the arrays
    if head[:1] == b"\x08":
        return "onnx"  # whose first field is the version of the format
    if head[:1] in (b"\xde", b"\xdf") or b"\x81" <= head[:1] <= b"\x8f":
        return "jax"  # a mapping in msgpack
    if path.suffix in (".onnx", ".keras", ".h5", ".msgpack", ".eqx"):
        raise WeightFormatError(
            "is damaged: it does not begin as such files do", seen=path, advice="write it again"
        )
    return "torch"  # whose reader says what is wrong with it


def _check_folder(path: Path) -> None:
    """Refuse a folder of another kind than Orbax writes, with what to give of it."""
    wrong = partial(WeightFormatError, seen=path)
    if (path / "saved_model.pb").exists():
        raise wrong(
            "is a SavedModel of TensorFlow, which is not read",
            advice="load it, and write its weights alone: model.save_weights('model.weights.h5')",
        )
    names = sorted(entry.name for entry in path.iterdir() if entry.name.endswith(_ENDINGS))
    if names:
        lists = [name for name in names if name.endswith(".json")]
        raise wrong(
            "is a folder", advice=f"give the file in it that holds the model: {listed(lists or names)}"
        )


def _members(stream: IO[bytes]) -> list[str]:
    """Return the names of what lies in a zip file; none, if it is torn: its reader says so."""
    try:
        with zipfile.ZipFile(stream) as file:
            return file.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return []


def kind_of(source: Any) -> str:
    """Return which reader takes a file or what is in memory: "keras", "onnx", "jax" or "torch"."""
    if isinstance(source, str | os.PathLike):
        return format_of(Path(os.fspath(source)))
    if callable(getattr(source, "get_weights", None)):
        return "keras"
    if callable(getattr(source, "SerializeToString", None)):
        return "onnx"
    if callable(getattr(source, "state_dict", None)) or _has_torch_names(source):
        return "torch"
    if isinstance(source, Result):
        raise WeightFormatError(
            f"is {article(type(source).__name__)}, which needs no reading",
            argument="source",
            advice="use it as it is, or name a file",
        )
    if isinstance(source, Mapping) or dataclasses.is_dataclass(source):
        return "jax"
    raise WeightFormatError(
        f"is {article(type(source).__name__)}", argument="source", advice=f"give {_FORMATS}, or a live model"
    )


def _has_torch_names(source: Any, depth: int = 4) -> bool:
    """Return whether a mapping, or one inside it, has a name that ends like those of PyTorch's recurrent weights."""
    if not isinstance(source, Mapping) or not depth:
        return False
    names = (name.rpartition(".")[2] for name in source if isinstance(name, str))
    if any(name.startswith(("weight_ih", "weight_hh")) for name in names):
        return True
    return any(_has_torch_names(value, depth - 1) for value in source.values())
