"""One layer of a PyTorch RNN, LSTM or GRU as `Params`, from a file, a ``state_dict`` or a live module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope._version import __version__
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_choice, check_count, check_flag, check_type, check_unused
from gatescope.datatypes import Params
from gatescope.errors import warn_accuracy
from gatescope.io.pytorch_entries import check_norms, find_layer, find_prefix, parse, unused
from gatescope.io.pytorch_layers import RNN_OF_NONLINEARITY, load_arrays, stored_direction
from gatescope.io.pytorch_sources import open_source
from gatescope.io.source_errors import listed


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
        A file that ``torch.save`` (``.pt .pth .bin .ckpt``: a ``state_dict``, a checkpoint, a whole module),
        TorchScript, safetensors or ``numpy.savez`` wrote, whatever it is called; nothing in it is run.  Or a mapping
        from names to arrays or tensors, or to such mappings.  Or a module with a ``state_dict()``, such as
        ``torch.nn.LSTM``, ``torch.nn.LSTMCell`` or a model that contains one.
    layer : int
        From 0: the number in ``weight_ih_l0``.
    nonlinearity : {"tanh", "relu"}, optional
        Of an RNN, which its weights do not state.  Default: the module's own, live or saved whole, and else tanh, with
        an `AccuracyWarning` that says so.
    reverse : bool
        Take the backward direction of a bidirectional layer.  ``Params.reverse`` says so from then on: `run` applies it
        to each sequence from its last step to its first, and returns what it gives in the order of the inputs.
    prefix : str, optional
        What precedes ``weight_ih_l0`` in the names, for example ``"encoder.lstm."`` or, in a checkpoint,
        ``"state_dict.encoder.lstm."``; the last dot may be left out.  It is found where there is one only: what an
        optimizer keeps of the weights, and an averaged copy of them, are taken only if they are named.
    batch_first : bool, optional
        Whether `run` and the measurements are given inputs (B, T, I); what they return is time-major all the same.
        Default: no, but where a module, live or saved whole, has ``batch_first=True`` they ask: say here which it is.
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
        check_choice("nonlinearity", nonlinearity, RNN_OF_NONLINEARITY)
    check_type("prefix", prefix, str, type(None), advice="give a text such as 'encoder.lstm.'")
    if batch_first is not None:
        check_flag("batch_first", batch_first)
    if dtype is not None:
        float_dtype(dtype)
    opened = open_source(source)
    names = parse(opened.entries)
    prefix = find_prefix(opened, names, prefix)
    check_norms(opened, names, prefix)
    entry = find_layer(opened, names, prefix, layer, reverse)
    stored = stored_direction(opened, entry, nonlinearity)
    if stored.cell not in RNN_OF_NONLINEARITY.values():
        check_unused(
            f"for the {stored.cell.upper()} of {opened.label}: it is for an RNN", nonlinearity=nonlinearity
        )
    weights = stored.load() if dtype is None else load_arrays(opened, entry.names, float_dtype(dtype))
    for kind in ("bias_ih", "bias_hh"):
        weights.setdefault(kind, np.zeros_like(weights["weight_hh"][:, 0]))
    provenance = opened.provenance | {
        "layer": layer,
        "prefix": prefix,
        "reverse": reverse,
        "gatescope": __version__,
    }
    text, beside = unused(names, entry)
    if text:
        provenance["unused"] = text
    if beside:
        warn_accuracy(
            f"{opened.label} holds {listed(beside)} among the weights of the layer, which no cell of gatescope has: "
            "what it computed with them is left out"
        )
    if stored.assumed:
        warn_accuracy(f"{opened.label} {stored.assumed}")
    if batch_first is None:  # where a module has another order than the default, nobody has said which it is
        batch_first = None if opened.attribute(prefix, "batch_first") is True else False
    return Params(
        cell=stored.cell, reverse=reverse, batch_first=batch_first, provenance=provenance, **weights
    )
