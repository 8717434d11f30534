"""Other packages' files: weights read and written, series."""

from gatescope.io.export import to_flax, to_keras, to_torch
from gatescope.io.onnx.export import save_onnx
from gatescope.io.saving import save_weights
from gatescope.io.tables.series import read_series
from gatescope.io.weights import list_weights

__all__ = [
    "list_weights",
    "read_series",
    "save_onnx",
    "save_weights",
    "to_flax",
    "to_keras",
    "to_torch",
]
