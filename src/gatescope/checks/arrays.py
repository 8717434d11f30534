"""Checks of arrays: rectangular, of real numbers, finite, of a shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import DtypeError, ShapeError, ValueRangeError

Array = NDArray[Any]
REAL_KINDS = "fiub"  # kinds of dtypes that hold real numbers
_FEW = 10_000  # numbers, for which to allocate as many answers takes less than to say what NumPy is to ignore


def rectangular(name: str, value: Any) -> Array:
    """Return `value` as an array of whatever dtype it has; masked elements are refused."""
    if type(value) is np.ndarray:  # as in every update of a training
        return value
    # np.asarray drops a mask, and with it what the user said of these elements.
    parts = value if isinstance(value, list | tuple) else (value,)
    masks = (np.ma.getmaskarray(part) for part in parts if isinstance(part, np.ma.MaskedArray))
    masked = sum(int(np.count_nonzero(mask)) for mask in masks)
    if masked:
        raise ValueRangeError(
            f"has {masked} masked elements",
            argument=name,
            advice="fill them with .filled(value), or give shorter sequences with `lengths`",
        )
    try:
        return np.asarray(value)
    except ValueError as error:  # ragged nested lists
        raise ShapeError(
            f"is not a rectangular array ({error})", argument=name, advice="give every row the same length"
        ) from error
    except (TypeError, RuntimeError) as error:  # of other libraries' arrays: on a GPU, or with gradients
        text = " ".join(str(error).split())
        raise DtypeError(
            f"that NumPy cannot read ({text})",
            argument=name,
            seen=type(value),
            advice="give a list or a NumPy array",
        ) from error


def real_array(name: str, value: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """Return `value` as an array of real numbers, of whatever dtype it has; `dtype`: what it is converted to later."""
    array = rectangular(name, value)
    if array.dtype.kind not in REAL_KINDS:
        advice = "give real numbers" + (f" (they are converted to {dtype})" if dtype is not None else "")
        raise DtypeError(argument=name, seen=array.dtype, advice=advice)
    return array


def check_array(name: str, value: Any, dtype: np.dtype[Any], *, finite: bool = True) -> Array:
    """Return a C-contiguous array of `dtype` made from real numbers, all finite, none of them masked."""
    array = real_array(name, value, dtype)
    if array.dtype == dtype:
        converted = np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore"):  # what overflows is reported below
            converted = np.ascontiguousarray(array, dtype=dtype)
    if converted.ndim != array.ndim:  # ascontiguousarray makes a scalar one-dimensional
        converted = converted.reshape(array.shape)
    if finite:
        check_finite(name, converted, array)
    return converted


def check_finite(name: str, array: Array, original: Array | None = None) -> None:
    """Refuse NaN and infinity; the error says where the first one is.  `original` is what `array` was made from."""
    if array.size > _FEW:
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(array.sum()):  # no NaN and no infinity can be in it; one pass, nothing allocated
                return
    good = np.isfinite(array)
    if good.all():
        return
    at = [int(i) for i in np.argwhere(~good)[0]]
    seen = array[tuple(at)] if original is None else original[tuple(at)]
    advice = "remove or replace such values"
    if original is not None and np.isfinite(seen):
        advice = f"it is too large for {array.dtype}; scale it or use dtype='float64'"
    raise ValueRangeError(
        f"is {seen}", argument=f"{name}{at}", advice=f"{advice} (there are {int((~good).sum())} of them)"
    )


def check_shape(name: str, array: Array, shape: tuple[int, ...], axes: str) -> None:
    """Refuse any other shape than `shape`, whose axes are called `axes`."""
    if tuple(array.shape) != shape:
        raise ShapeError(f"should have {shape}, which is {axes}", argument=name, seen=tuple(array.shape))


def on_device(value: Any) -> bool:
    """Return whether a value is an array on a device, as gatescope's kernels make and read them there."""
    return hasattr(value, "copy_to_host")


def is_array(value: Any) -> bool:
    """Return whether a value is an array, of NumPy or on a device."""
    return isinstance(value, np.ndarray) or on_device(value)


def check_host(name: str, value: Any) -> Any:
    """Return a value that must not be an array on a GPU, of whatever library."""
    if on_device(value) or (
        not isinstance(value, np.ndarray)
        and (getattr(value, "is_cuda", False) or hasattr(value, "__cuda_array_interface__"))
    ):
        raise DtypeError("is on the GPU", argument=name, advice="give a list or a NumPy array")
    return value


def dtype_of(array: Any) -> np.dtype[Any]:
    """Return the dtype of an array, as NumPy's, wherever the array is."""
    dtype: np.dtype[Any] = np.dtype(array.dtype)
    return dtype


def check_ascending(
    name: str, value: Any, *, whole: bool = False, least: float = -np.inf, most: float = np.inf
) -> Array:
    """Return ascending values, at least one, each of them once: float64, or int64 if they have to be whole numbers."""
    array = rectangular(name, value) if whole else check_array(name, value, np.dtype(np.float64))
    array = np.atleast_1d(array)
    if whole and array.size and array.dtype.kind not in "iu":
        raise DtypeError(argument=name, seen=array.dtype, advice="give whole numbers")
    if array.ndim != 1 or array.size == 0:
        raise ShapeError("should have one axis with at least one value", argument=name, seen=array.shape)
    values = array.astype(np.int64) if whole else array
    if (np.diff(values) <= 0).any() or values[0] < least or values[-1] > most:
        limits = f" and must not be below {least:g}" if most == np.inf else f" and lie in {least:,}..{most:,}"
        raise ValueRangeError(
            f"must ascend{'' if least == -np.inf else limits}", argument=name, seen=array.tolist()[:8]
        )
    return values


def check_saved(name: str, value: Any) -> Array:
    """Return an array that the kernels can read as it is; what results hold is never converted."""
    if on_device(value):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        way = ".filled(value)" if isinstance(value, np.ndarray) else "numpy.asarray"
        raise DtypeError(argument=name, seen=type(value), advice=f"convert it with {way}")
    if not value.dtype.isnative:
        raise DtypeError(
            ", whose byte order is not this machine's",
            argument=name,
            seen=value.dtype,
            advice=f"convert it with .astype({value.dtype.name!r})",
        )
    return value


def check_own_array(name: str, value: Any, axes: str, *, written: bool = False) -> Array:
    """Return a NumPy array that is computed with as it is, of as many axes as `axes` names: "(T, B, I)".

    `written`: the kernels change it, too.
    """
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise DtypeError(argument=name, seen=type(value), advice=f"give a NumPy array {axes}")
    if value.ndim != len(axes.strip("(,)").split(",")):
        raise ShapeError(f"should have {axes}", argument=name, seen=value.shape)
    if written and not (value.flags.c_contiguous and value.flags.writeable):
        problem = "cannot be written" if value.flags.c_contiguous else "is not C-contiguous"
        raise DtypeError(problem, argument=name, advice="give numpy.ascontiguousarray of it, or a copy")
    return value
