"""Weights of a PyTorch RNN, LSTM or GRU, from a file, a ``state_dict`` or a live module.

PyTorch itself is never imported: a module or tensor that is passed in brings it along, and files are read
without it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope._version import __version__
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_choice, check_count, check_flag
from gatescope.datatypes import Array, Params
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.errors import ValueRangeError, WeightFormatError
from gatescope.io.safetensors import SafetensorsFile
from gatescope.storage.atomic import open_file
from gatescope.storage.npz import read_npz

_WEIGHT = re.compile(r"(?P<prefix>(?:.*\.)?)weight_[ih]h_l(?P<layer>\d{1,9})(?P<reverse>_reverse)?")
_SHOWN = 12  # as many names as an error message lists

# Row blocks of weight_hh: a GRU has r z n, an LSTM i f g o.
_CELL_OF_BLOCKS = {3: "gru", 4: "lstm"}
_RNN_OF_NONLINEARITY = {"tanh": "rnn", "relu": "rnn_relu"}

_Wrong = Callable[..., WeightFormatError]  # makes an error about a source, from a problem and an advice


def load_torch(
    source: str | os.PathLike[str] | Mapping[str, Any] | object,
    *,
    layer: int = 0,
    nonlinearity: str | None = None,
    reverse: bool = False,
    prefix: str | None = None,
    dtype: DTypeLike | None = None,
) -> Params:
    """Read one layer of a PyTorch RNN, LSTM or GRU as `Params`.

    The cell follows from the shape of ``weight_hh``, (G*H, H): G = 1 is an RNN, 3 a GRU (PyTorch's resets
    after the recurrent product), 4 an LSTM.  The weights are copied; missing biases become zeros.

    Parameters
    ----------
    source : path, mapping or module
        A ``.safetensors`` or ``.npz`` file that holds a ``state_dict``; or a mapping from names to arrays or
        tensors; or a module with a ``state_dict()``, such as ``torch.nn.LSTM`` or a model that contains one.
    layer : int
        From 0: the number in ``weight_ih_l0``.
    nonlinearity : {"tanh", "relu"}, optional
        Of an RNN, which its weights do not state.  Default: the module's own, and tanh for files and mappings.
    reverse : bool
        Take the backward direction of a bidirectional layer.  ``Params.reverse`` says so from then on: `run` applies it
        to each sequence from its last step to its first, and returns what it gives in the order of the inputs.
    prefix : str, optional
        What precedes ``weight_ih_l0`` in the names, for example ``"encoder.lstm."``; the last dot may be left
        out.  It is found where there is one only.
    dtype : {"float32", "float64"}, optional
        Default: that of the weights; float16 and bfloat16 become float32, which holds them exactly.

    Returns
    -------
    Params
        `provenance` names the source, the SHA-256 of a file, the layer and the version of gatescope.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated or hostile.
    WeightFormatError
        If there is no such layer or prefix, several prefixes to choose from, a projection (``proj_size``), an
        entry of a wrong shape or dtype, or a weight that is NaN or infinite.
    ValueRangeError
        If `nonlinearity` is not that of a module which states its own.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> rng = np.random.default_rng(0)
    >>> shapes = {"lstm.weight_ih_l0": (32, 3), "lstm.weight_hh_l0": (32, 8)}
    >>> params = gs.load_torch({name: rng.normal(size=shape) for name, shape in shapes.items()})
    >>> params.cell, params.input_size, params.hidden_size
    ('lstm', 3, 8)
    """
    layer, reverse = check_count("layer", layer, least=0), check_flag("reverse", reverse)
    if nonlinearity is not None:
        check_choice("nonlinearity", nonlinearity, _RNN_OF_NONLINEARITY)
    precision = None if dtype is None else float_dtype(dtype)
    entries, wrong, provenance = _open(source)
    matches = [match for name in entries if isinstance(name, str) and (match := _WEIGHT.fullmatch(name))]
    prefix = _find_prefix(entries, matches, prefix, wrong)
    suffix = f"_l{layer}{'_reverse' if reverse else ''}"
    known = {(int(match["layer"]), bool(match["reverse"])) for match in matches if match["prefix"] == prefix}
    _check_layer(known, layer, reverse, wrong)
    if f"{prefix}weight_hr{suffix}" in entries:
        raise wrong(
            f"holds '{prefix}weight_hr{suffix}', a projection (proj_size > 0), which no cell of gatescope has",
            advice="use a network with proj_size=0",
        )
    names = {kind: f"{prefix}{kind}{suffix}" for kind in WEIGHT_NAMES}
    for kind in ("weight_ih", "weight_hh"):
        if names[kind] not in entries:
            raise wrong(
                f"has no entry {names[kind]!r}, which layer {layer} needs",
                advice="save the whole state_dict",
            )
    arrays = {kind: _numbers(entries, name, wrong) for kind, name in names.items() if name in entries}
    blocks = _check_shapes(arrays, names, wrong)
    common = precision or np.result_type(*(value.dtype for value in arrays.values()))
    weights = {kind: _convert(value, common, names[kind], wrong) for kind, value in arrays.items()}
    for kind in ("bias_ih", "bias_hh"):
        weights.setdefault(kind, np.zeros(len(weights["weight_hh"]), common))
    provenance |= {"layer": layer, "prefix": prefix, "reverse": reverse, "gatescope": __version__}
    return Params(
        cell=_cell(blocks, source, prefix, nonlinearity), reverse=reverse, provenance=provenance, **weights
    )


def _open(source: object) -> tuple[Mapping[str, Any], _Wrong, dict[str, Any]]:
    """Return the entries by name, what makes errors about their source, and what is known of where they come from."""
    wrong = partial(WeightFormatError, argument="source")
    if isinstance(source, Mapping):
        inner = [name for name, value in source.items() if isinstance(value, Mapping)]
        if inner:
            raise wrong(
                f"is a checkpoint with mappings inside ({_list(inner)}), not a state_dict",
                advice=f"pass source[{inner[0]!r}], or the entry that holds the weights",
            )
        return source, wrong, {"source": "mapping"}
    if isinstance(source, str | os.PathLike):
        return _open_file(source)
    state_dict = getattr(source, "state_dict", None)
    if callable(state_dict):
        kind = f"{type(source).__module__}.{type(source).__qualname__}"
        return state_dict(), wrong, {"source": kind}
    raise wrong(
        f"is of type {type(source).__name__}",
        advice="pass a .safetensors or .npz file, a state_dict or a PyTorch module",
    )


def _open_file(path: str | os.PathLike[str]) -> tuple[Mapping[str, Any], _Wrong, dict[str, Any]]:
    file, wrong = Path(os.fspath(path)), partial(WeightFormatError, seen=path)
    entries: Mapping[str, Any]
    with open_file(file) as (stream, _):
        if file.suffix == ".safetensors":
            entries = SafetensorsFile(file)
        elif file.suffix == ".npz":
            entries = read_npz(file)
        elif file.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"):
            raise wrong(
                "looks like a pickle, which can run any code and is never opened",
                advice="save the state_dict with safetensors.torch.save_file instead",
            )
        else:
            raise wrong(f"ends in {file.suffix!r}; weights are read from .safetensors and .npz files")
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    if "gatescope_meta" in entries:
        raise wrong("was saved by gatescope", advice="read it with gatescope.load")
    return entries, wrong, {"source": file.name, "sha256": digest}


def _find_prefix(
    entries: Mapping[str, Any], matches: list[re.Match[str]], prefix: str | None, wrong: _Wrong
) -> str:
    candidates = sorted({match["prefix"] for match in matches})
    if not candidates:
        raise wrong(
            f"has no recurrent layer: none of its {len(entries)} entries ({_list(entries)}) is named like weight_ih_l0",
            advice="give the state_dict of a torch.nn.RNN, LSTM or GRU",
        )
    if prefix is None:
        if len(candidates) > 1:
            raise wrong(
                f"has {len(candidates)} recurrent networks",
                advice=f"choose one with `prefix`: {_list(candidates)}",
            )
        return candidates[0]
    for candidate in (prefix, f"{prefix}."):
        if candidate in candidates:
            return candidate
    raise wrong(f"has no `prefix` {prefix!r}; it has {_list(candidates)}")


def _check_layer(known: set[tuple[int, bool]], layer: int, reverse: bool, wrong: _Wrong) -> None:
    """Check that a layer is among the numbers and directions known."""
    if (layer, reverse) not in known:
        layers = sorted({number for number, backward in known if backward == reverse})
        raise wrong(
            f"has no `layer` {layer}{' in the backward direction' if reverse else ''}; its layers are "
            f"{', '.join(map(str, layers)) or 'all forward: leave `reverse` out'}"
        )


def _numbers(entries: Mapping[str, Any], name: str, wrong: _Wrong) -> Array:
    """Return the entry as an array of floating-point numbers; half precision becomes float32."""
    value = entries[name]
    try:
        if callable(getattr(value, "detach", None)):  # a tensor of PyTorch's
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":  # NumPy has no such dtype
                value = value.float()
            value = value.numpy()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise wrong(
            f"holds {name!r}, which is no array of numbers ({error})", advice="give a dense array or tensor"
        ) from error
    if array.dtype == np.float16 or array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise wrong(
            f"holds {name!r} of dtype {array.dtype}, not floating-point weights",
            advice="convert it to float32 or float64 (quantized weights must be dequantized)",
        )
    return array


def _check_shapes(arrays: Mapping[str, Array], names: Mapping[str, str], wrong: _Wrong) -> int:
    """Return G, the number of row blocks, if every shape fits the others."""

    def refuse(kind: str, needed: str) -> WeightFormatError:
        return wrong(f"holds {names[kind]!r} of shape {arrays[kind].shape}, which must be {needed}")

    shape = arrays["weight_hh"].shape
    rows, units = shape if len(shape) == 2 else (0, 0)
    blocks = rows // units if units else 0
    if blocks not in (1, *_CELL_OF_BLOCKS) or rows != blocks * units:
        raise refuse("weight_hh", "(H, H) for an RNN, (3*H, H) for a GRU or (4*H, H) for an LSTM")
    why = f"because {names['weight_hh']!r} has shape {shape}"
    inputs = arrays["weight_ih"].shape[1] if arrays["weight_ih"].ndim == 2 else 0
    if inputs == 0 or len(arrays["weight_ih"]) != rows:
        raise refuse("weight_ih", f"({rows}, I) with I >= 1, {why}")
    for kind in ("bias_ih", "bias_hh"):
        if kind in arrays and arrays[kind].shape != (rows,):
            raise refuse(kind, f"({rows},), {why}")
    return blocks


def _convert(value: Array, dtype: np.dtype[Any], name: str, wrong: _Wrong) -> Array:
    """Return a C-contiguous copy in `dtype`, checked to be finite."""
    with np.errstate(over="ignore"):  # an overflow is reported below
        weights = np.array(value, dtype=dtype, order="C", copy=True)
    bad = np.argwhere(~np.isfinite(weights))
    if len(bad):
        first = tuple(int(k) for k in bad[0])
        advice = "train it without them" if not np.isfinite(value[first]) else "use `dtype`='float64'"
        raise wrong(
            f"holds {name!r} with {len(bad)} weights that are not finite in {dtype}, the first {value[first]} at "
            f"{list(first)}",
            advice=advice,
        )
    return weights


def _cell(blocks: int, source: object, prefix: str, asked: str | None) -> str:
    """Return the cell; what an RNN squashes with the live module knows, files and mappings do not."""
    if blocks in _CELL_OF_BLOCKS:
        return _CELL_OF_BLOCKS[blocks]
    module = source
    get_submodule = getattr(source, "get_submodule", None)
    if callable(get_submodule) and prefix:
        module = get_submodule(prefix.removesuffix("."))
    own = getattr(module, "nonlinearity", None)
    if own not in _RNN_OF_NONLINEARITY:
        return _RNN_OF_NONLINEARITY[asked or "tanh"]
    if asked is not None and asked != own:
        raise ValueRangeError(
            f"is not the module's own, {own!r}", argument="nonlinearity", seen=asked, advice="leave it out"
        )
    return _RNN_OF_NONLINEARITY[own]


def _list(names: Any) -> str:
    shown = [repr(name) for _, name in zip(range(_SHOWN), names, strict=False)]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
