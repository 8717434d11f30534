"""Readers of other packages' files: weights of PyTorch, series."""

from gatescope.io.pytorch import load_torch
from gatescope.io.tables import read_series

__all__ = ["load_torch", "read_series"]
