"""Files of weights that other programs read, by the ending of their names."""

from __future__ import annotations

import os

import numpy as np

from gatescope.datatypes import Bidirectional, Params, Stack
from gatescope.errors import ValueRangeError
from gatescope.io.export import as_stack, to_torch
from gatescope.io.onnx.export import save_onnx
from gatescope.storage.atomic import as_path, atomic_write

_ENDINGS = ".safetensors (a state_dict of PyTorch), .onnx, or .npz (of gatescope)"


def save_weights(path: str | os.PathLike[str], model: Params | Bidirectional | Stack) -> None:
    """Write weights for other programs, beside the file's final name first and then renamed.

    Parameters
    ----------
    path : str or path-like
        Its ending says the format: ``.safetensors`` holds what `to_torch` returns, ``.onnx`` is as `save_onnx` writes
        it, and ``.npz`` what ``model.save`` writes and `load` reads.
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
            stream.write(save(arrays))
    else:
        raise ValueRangeError(f"must end in {_ENDINGS}", argument="path", seen=str(file))
