"""Checks of arrays: rectangular, real, finite, of a shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import DtypeError, ShapeError, ValueRangeError

Array = NDArray[Any]
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))  # in the machine's byte order


def rectangular(name: str, value: Any) -> Array:
    """`value` as an array of whatever dtype it has, without masked elements."""
    # np.asarray drops a mask, and with it what the user said of these elements.
    parts = value if isinstance(value, list | tuple) else (value,)
    masks = (np.ma.getmaskarray(part) for part in parts if isinstance(part, np.ma.MaskedArray))
    masked = sum(int(np.count_nonzero(mask)) for mask in masks)
    if masked:
        raise ValueRangeError(
            f"{name} has {masked} masked elements; fill them with .filled(value), "
            "or give shorter sequences with lengths"
        )
    try:
        return np.asarray(value)
    except ValueError as error:  # ragged nested lists
        raise ShapeError(
            f"{name} is not a rectangular array ({error}); give every row the same length"
        ) from error
    except (TypeError, RuntimeError) as error:  # of other libraries' arrays: on a GPU, or with gradients
        text = " ".join(str(error).split())
        raise DtypeError(
            f"{name} is a {type(value).__name__} that NumPy cannot read ({text}); give a list or a NumPy array"
        ) from error


def check_array(name: str, value: Any, dtype: np.dtype[Any], *, finite: bool = True) -> Array:
    """A C-contiguous array of `dtype` made from real numbers, all finite, none of them masked."""
    array = rectangular(name, value)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"{name} has dtype {array.dtype}; give real numbers (they are converted to {dtype})")
    with np.errstate(over="ignore"):  # what overflows is reported below
        converted = np.ascontiguousarray(array, dtype=dtype)
    if converted.ndim != array.ndim:  # ascontiguousarray makes a scalar one-dimensional
        converted = converted.reshape(array.shape)
    if finite:
        check_finite(name, converted, array)
    return converted


def check_finite(name: str, array: Array, original: Array | None = None) -> None:
    """No NaN and no infinity; says where the first one is."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):  # no NaN and no infinity can be in it; one pass, nothing allocated
            return
    good = np.isfinite(array)
    if good.all():
        return
    at = tuple(int(i) for i in np.argwhere(~good)[0])
    seen = array[at] if original is None else original[at]
    advice = "remove or replace such values"
    if original is not None and np.isfinite(seen):
        advice = f"it is too large for {array.dtype}; scale it or use dtype='float64'"
    raise ValueRangeError(f"{name}{list(at)} is {seen}; {advice} (there are {int((~good).sum())} of them)")


def check_shape(name: str, array: Array, shape: tuple[int, ...], axes: str) -> None:
    """Exactly `shape`, whose axes are called `axes`."""
    if array.shape != shape:
        raise ShapeError(f"{name} has shape {array.shape}, but should have {shape}, which is {axes}")


def check_saved(name: str, value: Any) -> Array:
    """An array that the kernels can read as it is; what results hold is never converted."""
    if not isinstance(value, np.ndarray):
        raise DtypeError(f"{name} is a {type(value).__name__}; convert it with numpy.asarray")
    if isinstance(value, np.ma.MaskedArray):
        raise DtypeError(f"{name} is a MaskedArray; convert it with .filled(value)")
    if not value.dtype.isnative:
        raise DtypeError(
            f"{name} has dtype {value.dtype}, whose byte order is not this machine's; "
            f"convert it with .astype({value.dtype.name!r})"
        )
    return value


def check_own_array(name: str, value: Any, axes: str) -> Array:
    """A NumPy array that is computed with as it is, of as many axes as `axes` names: "(T, B, I)"."""
    if not isinstance(value, np.ndarray):
        raise DtypeError(f"{name} is a {type(value).__name__}; give a NumPy array {axes}")
    if value.ndim != len(axes.strip("(,)").split(",")):
        raise ShapeError(f"{name} has shape {value.shape}, but should have {axes}")
    return value
