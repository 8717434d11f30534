"""Recurrent networks of Keras: files of Keras 3, older HDF5 files, and live layers and models.

Files are read by h5py alone; Keras is never imported, and nothing that a file holds is run.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any

from gatescope.checks.numbers import check_choice, check_flag, check_unused
from gatescope.errors import FileFormatError, GatescopeError, WeightFormatError
from gatescope.io.keras.graph import Networks
from gatescope.io.keras.hdf5 import SIGNATURE, Group, read_hdf5
from gatescope.io.keras.layers import Node, Options
from gatescope.io.keras.live import from_live, is_live
from gatescope.io.keras.trees import Spec, from_groups, from_legacy, mapping
from gatescope.io.stored import StoredWeights
from gatescope.storage.atomic import open_file

_ATTRIBUTES = ("name", "keras_version", "model_config")
# What else Keras stores with a model; an optimizer's state has the shapes of the weights, and is none of them.
_BESIDE = ("optimizer", "optimizer_weights", "metrics", "_compile_metrics", "_loss_tracker")

_WEIGHTS, _CONFIG, _METADATA = "model.weights.h5", "config.json", "metadata.json"
_MOST_CONFIG = (
    3 * 2**20
)  # bytes; a model of 1000 layers is described in 1.5 MB, and 3 MB of {} take 70 in memory
_MOST_DIRECTORY = 2**20  # bytes that name the members of a zip file; Keras writes three

_SAVE = "save it again with model.save('model.keras')"
_NOT_DESCRIBED = (
    "The source does not describe all of its layers: which activations they have, whether one goes backwards, and "
    "which feeds which, a .keras file of a Sequential or functional model says, or the live model."
)


def read_keras(
    source: str | os.PathLike[str] | object,
    *,
    nonlinearity: str | None = None,
    reset_after: bool | None = None,
) -> StoredWeights:
    """Return the recurrent networks in a file or a live model of Keras, without loading their weights.

    LSTM, GRU in both forms, SimpleRNN, RNN of these cells, also several one on another, and Bidirectional are read,
    wherever in the model they lie.  Those that follow each other with nothing between that computes are one network.

    Parameters
    ----------
    source : path, layer or model
        A ``.keras`` file, a ``.weights.h5``, an ``.h5`` file of an earlier Keras, by what is in it and not by its name;
        or a layer or model of Keras.
    nonlinearity : {"tanh", "relu"}, optional
        Of a SimpleRNN of which the source does not say it, as files of weights alone.
    reset_after : bool, optional
        Of a GRU without biases, likewise.

    Returns
    -------
    StoredWeights
        What is assumed of a layer because the source does not say it stands in `StoredDirection.assumed`, why a layer
        cannot be loaded in `StoredLayer.refused`.

    Raises
    ------
    MissingPackageError
        If h5py is not installed, and the source is a file.
    FileFormatError
        If the file is missing, damaged or hostile, or none of Keras.
    WeightFormatError
        If the source is no file and nothing of Keras.
    ValueRangeError
        If an argument is not what the source itself says, or no layer needs it.
    """
    if nonlinearity is not None:
        check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    if reset_after is not None:
        check_flag("reset_after", reset_after)
    options = Options(nonlinearity=nonlinearity, reset_after=reset_after)
    networks = Networks(options=options)
    if isinstance(source, str | os.PathLike):
        try:
            file = _open(source)
            networks.walk(file.model)
        except RecursionError as error:
            raise FileFormatError("has layers in layers without end", seen=source, advice=_SAVE) from error
        except GatescopeError as error:
            if error.argument != "source":
                raise
            raise FileFormatError(error.problem, seen=source, advice=error.advice or _SAVE) from error
    elif is_live(source):
        file = _File(format="live Keras model", model=from_live(source))
        networks.walk(file.model)
    else:
        raise WeightFormatError(
            f"is of type {type(source).__name__}",
            argument="source",
            advice="pass a .keras or .h5 file, or a layer or model of Keras",
        )
    for option, kind in (("nonlinearity", "SimpleRNN"), ("reset_after", "GRU")):
        if option not in options.needed:
            check_unused(f"for a source without a {kind}", **{option: getattr(options, option)})
    several = len(networks.networks) > 1
    return StoredWeights(
        format=file.format,
        networks=tuple(each if several else replace(each, prefix="") for each in networks.networks),
        unused=(*networks.unused, *file.unused),
        notes=(*((_NOT_DESCRIBED,) if networks.assuming() else ()), *networks.notes),
    )


@dataclass(frozen=True, kw_only=True)
class _File:
    format: str
    model: Node
    unused: tuple[str, ...] = ()


def _open(path: str | os.PathLike[str]) -> _File:
    with open_file(path) as (stream, size):
        head = stream.read(len(SIGNATURE))
        if head == SIGNATURE:
            return _hdf5(path)
        if head.startswith(b"PK\x03\x04"):
            return _archive(stream, size, path)
        if head.lstrip().startswith(b"{"):
            raise FileFormatError(
                "is a text: the list of the files that the weights are shared out to, if Keras wrote it",
                seen=path,
                advice="load it with Keras, and save the weights as one file: model.save_weights('model.weights.h5')",
            )
    raise FileFormatError("is no file of Keras: neither HDF5 nor a .keras archive", seen=path, advice=_SAVE)


def _hdf5(path: str | os.PathLike[str]) -> _File:
    """Read a file of weights, or a whole model of an earlier Keras."""
    root = read_hdf5(path, attributes=_ATTRIBUTES, skip=_BESIDE)
    if _has_variables(root):
        return _weights(root, {}, "Keras .weights.h5")
    text = root.attributes.get("model_config")
    spec = _spec(text, "model_config", path) if text else {}
    weights = root.groups.get("model_weights", root)
    version = _version(root.attributes.get("keras_version", weights.attributes.get("keras_version")))
    kept = {name: group for name, group in weights.groups.items() if name not in _BESIDE}
    return _File(
        format=f"Keras{version} .h5",
        model=from_legacy(replace(weights, groups=kept), spec),
        unused=tuple(name for name in _BESIDE if name in root.groups),
    )


def _weights(root: Group, spec: Spec, label: str) -> _File:
    kept = {name: group for name, group in root.groups.items() if name not in _BESIDE}
    return _File(
        format=label,
        model=from_groups(replace(root, groups=kept), spec),
        unused=tuple(name for name in _BESIDE if name in root.groups),
    )


def _has_variables(group: Group) -> bool:
    return any(name == "vars" or _has_variables(child) for name, child in group.groups.items())


def _archive(stream: IO[bytes], size: int, path: str | os.PathLike[str]) -> _File:
    """Read a .keras archive, whose members lie in it as they are."""

    def refused(problem: str) -> FileFormatError:
        return FileFormatError(problem, seen=path, advice=_SAVE)

    _check_directory(stream, size, refused)
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError, struct.error) as error:
        raise refused(f"is not a readable .keras archive ({error})") from error
    places = {}
    for info in members:
        if info.filename in (_WEIGHTS, _CONFIG, _METADATA):
            if info.filename in places:
                raise refused(f"holds {info.filename!r} twice")
            places[info.filename] = _place(stream, size, info, refused)
    if _WEIGHTS not in places:
        raise refused(f"is a zip file without {_WEIGHTS!r}, which a .keras file has")

    def description(name: str) -> Spec:
        begin, length = places.get(name, (0, 0))
        if length > _MOST_CONFIG:
            raise refused(f"holds {name!r} of {length} bytes, more than any model needs")
        stream.seek(begin)
        return _spec(stream.read(length).decode(errors="replace"), name, path) if length else {}

    spec, version = description(_CONFIG), _version(description(_METADATA).get("keras_version"))
    begin, length = places[_WEIGHTS]
    root = read_hdf5(path, begin=begin, size=length, attributes=_ATTRIBUTES, skip=_BESIDE)
    return _weights(root, spec, f"Keras{version} .keras")


def _check_directory(stream: IO[bytes], size: int, refused: Callable[[str], FileFormatError]) -> None:
    """Refuse a list of members that is longer than any of Keras's, before it is read."""
    begin = max(0, size - 2**16 - 22)
    stream.seek(begin)
    end = stream.read()
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or len(end) < at + 22:
        raise refused("is not a readable .keras archive: it has no list of members")
    (length,) = struct.unpack_from("<I", end, at + 12)
    if length > _MOST_DIRECTORY or (end.rfind(b"PK\x06\x07", 0, at) >= 0 and size < 2**32 - 1):
        raise refused("has a list of members that Keras does not write")
    stream.seek(0)


def _place(
    stream: IO[bytes], size: int, info: zipfile.ZipInfo, refused: Callable[[str], FileFormatError]
) -> tuple[int, int]:
    """Return where the bytes of a member begin, and how many there are."""
    stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
    if not stored or info.flag_bits & 1:
        raise refused(f"holds {info.filename!r} compressed or encrypted, as Keras never writes it")
    stream.seek(info.header_offset)
    header = stream.read(30)
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        raise refused(f"does not hold {info.filename!r} where it says")
    begin = info.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26))
    if begin + info.file_size > size:
        raise refused(f"ends before {info.filename!r} does")
    return begin, info.file_size


def _spec(text: str, name: str, path: str | os.PathLike[str]) -> Spec:
    if len(text) > _MOST_CONFIG:
        raise FileFormatError(f"holds {name!r}, longer than any model needs", seen=path, advice=_SAVE)
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(
            f"holds {name!r}, which is no readable JSON ({error})", seen=path, advice=_SAVE
        ) from error


def _version(value: Any) -> str:
    """Return the version of Keras for a text, if it is one."""
    return f" {value}" if isinstance(value, str) and re.fullmatch(r"[0-9][\w.+-]{0,20}", value) else ""
