"""The two precisions that the cells compute in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope.errors import DtypeError


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """float32 or float64 as a NumPy dtype.

    Raises
    ------
    DtypeError
        If `dtype` is anything else.
    """
    try:
        wanted: np.dtype[Any] | None = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        wanted = None
    if wanted is None or wanted not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DtypeError(f"dtype={dtype!r} is not one the cells compute in; use 'float32' or 'float64'")
    return wanted
