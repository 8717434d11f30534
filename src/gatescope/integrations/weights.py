"""The one door for weights of other frameworks: read, and compared with what the framework computes."""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_flag, check_unused
from gatescope.datatypes import Bidirectional, Params, Stack
from gatescope.integrations.verify import verify_weights
from gatescope.io.weights import is_own, open_weights, own_weights


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
    verify: bool = False,
) -> Params | Bidirectional | Stack:
    """Read the recurrent layers of a model of PyTorch, Keras, ONNX, Flax, Haiku or Equinox.

    What a file is follows from its content, whatever it is called.  No framework is imported, and nothing in a file is
    run, unless `verify` asks for it.  Weights are copied into this package's order of gates; missing biases become
    zeros.

    Parameters
    ----------
    source : path, mapping or model
        A file: ``.pt``, ``.pth``, ``.bin``, ``.ckpt`` (zip), ``.safetensors`` or ``.npz`` of PyTorch, or the
        ``.index.json`` of several; ``.keras``, ``.weights.h5`` or ``.h5`` of Keras; ``.onnx``; msgpack of Flax;
        ``.eqx``.  Or a ``state_dict``, a pytree of arrays, or a live module or model.
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
    verify : bool
        Run the whole network in its framework too, on a short random sequence: PyTorch, Keras, ONNX Runtime, Flax,
        Haiku or Equinox, which has to be installed; a tree of JAX, which names no model, in the cells of its framework
        that have arrays of these names.  How far the outputs lie apart is printed, and stands in
        ``provenance["verified"]``.

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
        If there is no such layer, or one that no cell here computes: it says why.  With `verify`, if its framework
        makes no model of the source: of files of Keras's weights alone, of pickles that only code opens.
    UnknownNameError
        If there is no network of that prefix.
    MissingPackageError
        If a format needs a package that is not there, or `verify` a framework.

    Warns
    -----
    AccuracyWarning
        If something that the source does not say is taken for granted, or the network may compute what no cell here
        does (peepholes among its weights), or if `verify` shows that it does.

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
            verify=verify or None,
        )
        model = own_weights(source, layers, reverse)
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
    model = opened.load(layers, reverse)
    if not check_flag("verify", verify):
        return model
    verification = verify_weights(source, opened)
    print(f"{opened.label}: {verification}")
    return dataclasses.replace(model, provenance={**model.provenance, "verified": verification._asdict()})
