"""Weights of a PyTorch RNN, LSTM or GRU, from a file, a ``state_dict`` or a live module.

PyTorch itself is never imported: a module or tensor that is passed in brings it along, and files are read
without it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope._version import __version__
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_choice, check_count, check_flag, check_type, check_unused
from gatescope.datatypes import Array, Params
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.datatypes.stack import Bidirectional, Layer, outputs_of
from gatescope.errors import ValueRangeError, WeightFormatError, warn_accuracy
from gatescope.io.pytorch_entries import Wrong, find_layer, find_prefix, listed, parse, suffix_of, unused
from gatescope.io.safetensors import SafetensorsFile
from gatescope.storage.atomic import open_file
from gatescope.storage.npz import read_npz

# Row blocks of weight_hh: a GRU has r z n, an LSTM i f g o.
_CELL_OF_BLOCKS = {3: "gru", 4: "lstm"}
_RNN_OF_NONLINEARITY = {"tanh": "rnn", "relu": "rnn_relu"}


def load_torch(
    source: str | os.PathLike[str] | Mapping[str, Any] | object,
    *,
    layer: int = 0,
    nonlinearity: str | None = None,
    reverse: bool = False,
    prefix: str | None = None,
    batch_first: bool | None = None,
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
        Of an RNN, which its weights do not state.  Default: the module's own, and tanh for files and mappings, with
        an `AccuracyWarning` that says so.
    reverse : bool
        Take the backward direction of a bidirectional layer.  ``Params.reverse`` says so from then on: `run` applies it
        to each sequence from its last step to its first, and returns what it gives in the order of the inputs.
    prefix : str, optional
        What precedes ``weight_ih_l0`` in the names, for example ``"encoder.lstm."``; the last dot may be left
        out.  It is found where there is one only.
    batch_first : bool, optional
        Whether `run` and the measurements are given inputs (B, T, I); what they return is time-major all the same.
        Default: no, but where a live module has ``batch_first=True`` they ask: say here which it is.
    dtype : {"float32", "float64"}, optional
        Default: that of the weights; float16 and bfloat16 become float32, which holds them exactly.

    Returns
    -------
    Params
        `provenance` names the source, the SHA-256 of a file, the layer, what of the source is not used, and the
        version of gatescope.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated or hostile.
    WeightFormatError
        If there is no such layer or prefix, several prefixes to choose from, a projection (``proj_size``), an
        entry of a wrong shape or dtype, a weight that is NaN or infinite, or one that is stored as what weight norm,
        spectral norm, pruning or a parametrization makes it of (a live module has the weight itself).
    ValueRangeError
        If `nonlinearity` is not that of a module which states its own, or given for an LSTM or a GRU.

    Warns
    -----
    AccuracyWarning
        If an RNN is taken for one of tanh, or entries lie among the weights that no cell here has, such as peepholes.

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
    check_type("prefix", prefix, str, type(None), advice="give a text such as 'encoder.lstm.'")
    precision = None if dtype is None else float_dtype(dtype)
    entries, wrong, provenance = _open(source)
    parsed = parse(entries)
    prefix = find_prefix(entries, parsed, prefix, wrong)
    module, suffix = _module_of(source, prefix), suffix_of(layer, reverse)
    attributes = {f"{kind}{suffix}" for kind in WEIGHT_NAMES if hasattr(module, f"{kind}{suffix}")}
    entry = find_layer(parsed, prefix, layer, reverse, attributes, wrong)
    values = {
        name: getattr(module, f"{kind}{suffix}") if f"{kind}{suffix}" in attributes else entries[name]
        for kind, name in entry.names.items()
    }
    arrays = {kind: _numbers(name, values[name], wrong) for kind, name in entry.names.items()}
    blocks = _check_shapes(arrays, entry.names, wrong)
    common = precision or np.result_type(*(value.dtype for value in arrays.values()))
    weights = {kind: _convert(value, common, entry.names[kind], wrong) for kind, value in arrays.items()}
    for kind in ("bias_ih", "bias_hh"):
        weights.setdefault(kind, np.zeros(len(weights["weight_hh"]), common))
    provenance |= {"layer": layer, "prefix": prefix, "reverse": reverse, "gatescope": __version__}
    text, beside = unused(entries, parsed, entry)
    if text:
        provenance["unused"] = text
    label = "the mapping" if isinstance(source, Mapping) else provenance["source"]
    if beside:
        warn_accuracy(
            f"{label} holds {listed(beside)} among the weights of the layer, which no cell of gatescope has: what it "
            "computed with them is left out"
        )
    return Params(
        cell=_cell(blocks, module, nonlinearity, label),
        reverse=reverse,
        batch_first=_batch_first(module, batch_first),
        provenance=provenance,
        **weights,
    )


def load_layers_below(source: Any, layer: int, **options: Any) -> tuple[Layer, ...]:
    """Read the layers below one of a PyTorch network, from the lowest, each with the directions whose outputs go up.

    Parameters
    ----------
    source
        As for `load_torch`.
    layer : int
        The layer that is looked at.
    **options
        Further arguments of `load_torch`, but for `reverse`.

    Returns
    -------
    tuple of Params or Bidirectional

    Raises
    ------
    WeightFormatError
        If the source lacks a layer below, or its outputs do not fit what the one above it takes.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.io.pytorch import load_layers_below
    >>> shapes = {"weight_ih_l0": (32, 3), "weight_hh_l0": (32, 8), "weight_ih_l1": (32, 8), "weight_hh_l1": (32, 8)}
    >>> (params,) = load_layers_below({name: np.zeros(shape) for name, shape in shapes.items()}, 1)
    >>> params.input_size, params.hidden_size
    (3, 8)
    """
    below: list[Layer] = []
    if layer:
        entries, wrong, _ = _open(source)
        parsed = parse(entries)
        prefix = find_prefix(entries, parsed, options.get("prefix"), wrong)
        missing = sorted({*range(layer)} - {entry.layer for entry in parsed if entry.prefix == prefix})
        if missing:
            raise wrong(
                f"has no layer {missing[0]}, whose outputs go up to `layer` {layer}",
                advice="save the whole state_dict",
            )
    width = load_torch(source, layer=layer, **options).input_size
    for number in reversed(range(layer)):
        forward = load_torch(source, layer=number, **options)
        made: Layer = forward
        if width == 2 * forward.hidden_size:
            backward = load_torch(source, layer=number, reverse=True, **options)
            made = Bidirectional(forward=forward, backward=backward)
        outputs = outputs_of(made)
        if outputs != width:
            raise WeightFormatError(
                f"has a layer {number + 1} that takes {width} inputs, but layer {number} gives {outputs}",
                argument="source",
                advice="give the state_dict of one network",
            )
        below.append(made)
        width = made.input_size
    return tuple(reversed(below))


def _open(source: object) -> tuple[Mapping[str, Any], Wrong, dict[str, Any]]:
    """Return the entries by name, what makes errors about their source, and what is known of where they come from."""
    wrong = partial(WeightFormatError, argument="source")
    if isinstance(source, Mapping):
        inner = [name for name, value in source.items() if isinstance(value, Mapping)]
        if inner:
            raise wrong(
                f"is a checkpoint with mappings inside ({listed(inner)}), not a state_dict",
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


def _open_file(path: str | os.PathLike[str]) -> tuple[Mapping[str, Any], Wrong, dict[str, Any]]:
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


def _numbers(name: str, value: Any, wrong: Wrong) -> Array:
    """Return an entry as an array of floating-point numbers; half precision becomes float32."""
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


def _check_shapes(arrays: Mapping[str, Array], names: Mapping[str, str], wrong: Wrong) -> int:
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


def _convert(value: Array, dtype: np.dtype[Any], name: str, wrong: Wrong) -> Array:
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


def _cell(blocks: int, module: object, asked: str | None, source: str) -> str:
    """Return the cell; what an RNN squashes with the live module knows, files and mappings do not."""
    if blocks in _CELL_OF_BLOCKS:
        cell = _CELL_OF_BLOCKS[blocks]
        check_unused(f"for the {cell.upper()} of {source}: it is for an RNN", nonlinearity=asked)
        return cell
    own = getattr(module, "nonlinearity", None)
    if own not in _RNN_OF_NONLINEARITY:
        if asked is None:
            warn_accuracy(
                f"{source} does not say what its RNN squashes its states with, and tanh is assumed; give "
                "nonlinearity='relu' if it is that, and nonlinearity='tanh' to say so"
            )
        return _RNN_OF_NONLINEARITY[asked or "tanh"]
    if asked is not None and asked != own:
        raise ValueRangeError(
            f"is not the module's own, {own!r}", argument="nonlinearity", seen=asked, advice="leave it out"
        )
    return _RNN_OF_NONLINEARITY[own]


def _module_of(source: object, prefix: str) -> object:
    """Return the live module whose weights have a prefix; None of a file or a mapping."""
    get_submodule = getattr(source, "get_submodule", None)
    try:
        return get_submodule(prefix.removesuffix(".")) if callable(get_submodule) else None
    except AttributeError:  # a state_dict whose names are not those of its modules
        return None


def _batch_first(module: object, asked: bool | None) -> bool | None:
    """Return the order of the axes of inputs: that which was said; None if a module has another and nobody said."""
    if asked is not None:
        return check_flag("batch_first", asked)
    return None if getattr(module, "batch_first", False) is True else False
