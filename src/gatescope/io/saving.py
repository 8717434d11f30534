"""Files of weights that other programs read, by the ending of their names."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from gatescope._version import __version__
from gatescope.datatypes import Bidirectional, Params, Stack
from gatescope.datatypes.stack import directions
from gatescope.errors import ValueRangeError
from gatescope.io.export import as_stack, to_torch
from gatescope.io.onnx.export import save_onnx
from gatescope.io.pytorch.layers import RNN_OF_NONLINEARITY
from gatescope.io.pytorch.sources import OWN
from gatescope.storage.atomic import as_path, atomic_write

_ENDINGS = ".safetensors (a state_dict of PyTorch), .onnx, or .npz (of gatescope)"


def save_weights(path: str | os.PathLike[str], model: Params | Bidirectional | Stack) -> None:
    """Write weights for other programs, beside the file's final name first and then renamed.

    Parameters
    ----------
    path : str or path-like
        Its ending says the format: ``.safetensors`` holds what `to_torch` returns, and what its RNNs squash with,
        ``.onnx`` is as `save_onnx` writes it, and ``.npz`` what ``model.save`` writes and `load` reads.  Heads and
        their losses, whether inputs are (B, T, I), and that a layer is a Stack of one, are in ``.npz`` alone.
    model : Params, Bidirectional or Stack

    Raises
    ------
    ValueRangeError
        If the ending is another one.
    WeightFormatError
        If the format has no such cell or layer.
    MissingPackageError
        If a format needs a package that is not there.
    OutputError
        If `path` cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile, gatescope as gs
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "gru.safetensors"
    >>> gs.save_weights(path, gs.init("gru", input_size=3, hidden_size=5))
    >>> gs.load_weights(path).cell
    'gru'
    """
    file = as_path(path)
    host = as_stack(model)
    if file.suffix == ".npz":
        model.save(file)
    elif file.suffix == ".onnx":
        save_onnx(file, host)
    elif file.suffix == ".safetensors":
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(value) for name, value in to_torch(host).items()}
        with atomic_write(file) as stream:
            # Hugging Face's readers refuse files that say something of themselves, and not their format.
            stream.write(save(arrays, {"format": "pt", OWN: __version__, **_nonlinearities(host, arrays)}))
    else:
        raise ValueRangeError(f"must end in {_ENDINGS}", argument="path", seen=str(file))


def _nonlinearities(stack: Stack, names: Iterable[str]) -> dict[str, str]:
    """Return what the RNNs among the modules of a state_dict squash their states with, as attributes by name."""
    own = {cell: nonlinearity for nonlinearity, cell in RNN_OF_NONLINEARITY.items()}
    prefixes = dict.fromkeys(name.rpartition("weight_ih")[0] for name in names if "weight_ih" in name)
    cells = [next(iter(directions(layer).values())).cell for layer in stack.layers]
    # Layers of one cell are one module; of several, each is one of its own.
    return {
        f"{prefix}nonlinearity": own[cell]
        for prefix, cell in zip(prefixes, cells, strict=False)
        if cell in own
    }
