"""The two precisions that the cells compute in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope.errors import DtypeError, shown

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # in the machine's byte order


def float_dtype(dtype: DTypeLike, name: str = "dtype") -> np.dtype[Any]:
    """Return float32 or float64 as a NumPy dtype.

    Raises
    ------
    DtypeError
        If `dtype` is anything else.
    """
    try:
        known: np.dtype[Any] | None = np.dtype(dtype) if dtype is not None else None
    except Exception:  # NumPy asks whatever it gets for a dtype, and that raises what it likes
        known = None
    if known is None or known not in FLOATS:
        seen = (
            dtype
            if dtype is None or isinstance(dtype, str)
            else getattr(dtype, "__name__", None) or shown(dtype, str)
        )
        raise DtypeError(
            "is not one the cells compute in", argument=name, seen=seen, advice="use 'float32' or 'float64'"
        )
    return known
