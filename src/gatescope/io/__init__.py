"""Files and other packages' weights, in."""

from gatescope.io.pytorch import load_torch
from gatescope.io.tables import read_series

__all__ = ["load_torch", "read_series"]
