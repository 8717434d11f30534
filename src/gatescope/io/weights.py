"""The one door for weights of other frameworks: what a source is, by its content, and what becomes of it here."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Mapping
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
from gatescope.io.stored import StoredWeights
from gatescope.storage.atomic import open_file

_HDF5, _NPY, _ZIP = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"PK\x03\x04"
_FORMATS = (
    "a state_dict, checkpoint or module of PyTorch, safetensors or npz, a Keras, ONNX, Flax or Equinox file"
)


def load_weights(
    source: Any,
    *,
    layers: Any = None,
    prefix: str | None = None,
    reverse: bool | None = None,
    nonlinearity: str | None = None,
    reset_after: bool | None = None,
    batch_first: bool | None = None,
    dtype: DTypeLike | None = None,
) -> Params | Bidirectional | Stack:
    """Read the recurrent layers of a model of PyTorch, Keras, ONNX, Flax, Haiku or Equinox.

    What a file is follows from its content, whatever it is called.  No framework is imported, and nothing in a file is
    run.  Weights are copied into this package's order of gates; missing biases become zeros.

    Parameters
    ----------
    source : path, mapping or model
        A file: ``.pt``, ``.pth``, ``.bin``, ``.ckpt`` (zip), ``.safetensors`` or ``.npz`` of PyTorch; ``.keras``,
        ``.weights.h5`` or ``.h5`` of Keras; ``.onnx``; msgpack of Flax; ``.eqx``.  Or a ``state_dict``, a pytree of
        arrays, or a live module or model.
    layers : int or sequence of int, optional
        Numbers of the layers to read, from 0, the lowest; several follow each other.  Default: all, with the read-out
        where there is one without doubt.
    prefix : str, optional
        Name of the network, where the source holds several.
    reverse : bool, optional
        Of one layer with two directions, take the backward one, or the forward one.  Default: what there is.
    nonlinearity : {"tanh", "relu"}, optional
        Of a vanilla RNN whose source does not say it.
    reset_after : bool, optional
        Of a GRU of Keras without biases whose source does not say it.
    batch_first : bool, optional
        Whether `run` and the measurements are given inputs (B, T, I), as for ``Params.batch_first``.
    dtype : {"float32", "float64"}, optional
        Default: that of the weights; float16 and bfloat16 become float32, which holds them exactly.

    Returns
    -------
    Params, Bidirectional or Stack
        One layer in one direction, one in both, or several layers or a read-out.  `provenance` names the source, the
        SHA-256 of a file, its format, the layer, what of the source is not used, and notes of how it was read.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated or hostile.
    WeightFormatError
        If there is no such layer, or one that no cell here computes: it says why.
    UnknownNameError
        If there is no network of that prefix.
    MissingPackageError
        If a format needs a package that is not there.

    Warns
    -----
    AccuracyWarning
        If something that the source does not say is taken for granted, or the network may compute what no cell here
        does (peepholes among its weights).

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> shapes = {"weight_ih_l0": (32, 3), "weight_hh_l0": (32, 8), "weight_ih_l1": (32, 8), "weight_hh_l1": (32, 8)}
    >>> stack = gs.load_weights({name: np.zeros(shape) for name, shape in shapes.items()})
    >>> stack.cells, stack.input_size, stack.output_size
    (('lstm', 'lstm'), 3, 8)
    >>> gs.load_weights({name: np.zeros(shape) for name, shape in shapes.items()}, layers=1).input_size
    8
    """
    if is_own(source):
        check_unused(
            "for a file of gatescope, which says it",
            prefix=prefix,
            nonlinearity=nonlinearity,
            reset_after=reset_after,
            batch_first=batch_first,
        )
        model = _own(source, layers, reverse)
        return model if dtype is None else model.astype(dtype)
    opened = open_weights(
        source,
        prefix=prefix,
        nonlinearity=nonlinearity,
        reset_after=reset_after,
        batch_first=batch_first,
        dtype=dtype,
    )
    opened.warn()
    return opened.load(layers, reverse)


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
        return _own(source, None, None)
    stored, _ = _stored(source)
    return stored


def _stored(
    source: Any, nonlinearity: str | None = None, reset_after: bool | None = None, prefix: str | None = None
) -> tuple[StoredWeights, str]:
    """Return what a source holds, and how messages call it; no framework is imported to tell what it is."""
    if isinstance(source, str | os.PathLike):
        path = Path(os.fspath(source))
        kind, label = format_of(path), path.name
    else:
        kind = _kind_of(source)
        label = (
            "the mapping"
            if isinstance(source, Mapping)
            else f"{type(source).__module__}.{type(source).__qualname__}"
        )
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
    """Return what is known of where weights come from: the name of a file and its SHA-256."""
    if not isinstance(source, str | os.PathLike):
        return {"source": label.removeprefix("the ")}
    with open_file(source) as (stream, _):
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    return {"source": label, "sha256": digest}


def is_own(source: Any) -> bool:
    """Return whether a source is a file that gatescope saved."""
    if not isinstance(source, str | os.PathLike) or Path(os.fspath(source)).is_dir():
        return False
    with open_file(source) as (stream, _):
        return stream.read(len(_ZIP)) == _ZIP and f"{META}.npy" in _members(stream)


def _own(path: str | os.PathLike[str], layers: Any, reverse: bool | None) -> Layer | Stack:
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
        return "jax"  # whose reader says what to do with what Orbax writes
    with open_file(path) as (stream, size):
        head = stream.read(16)
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


def _members(stream: IO[bytes]) -> list[str]:
    """Return the names of what lies in a zip file; none, if it is torn: its reader says so."""
    try:
        with zipfile.ZipFile(stream) as file:
            return file.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return []


def _kind_of(source: Any) -> str:
    """Return which reader takes what is in memory."""
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
