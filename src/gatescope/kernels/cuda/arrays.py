"""Checks of the arrays given to a call on the GPU: NumPy arrays as on the CPU, device arrays of any library.

A device array is checked by its ``__cuda_array_interface__``, so nothing is copied and nothing waits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.checks.arrays import check_array, check_finite, check_shape, on_device
from gatescope.checks.network import check_input_axes, check_inputs, time_major
from gatescope.datatypes import Array
from gatescope.errors import DtypeError, ShapeError
from gatescope.kernels.cuda import backend


def take_inputs(inputs: Any, params: Any) -> Any:
    """Return inputs (T, B, I): a NumPy array, or a device array."""
    x = _on_device("inputs", inputs, params.dtype)
    if x is None:
        return check_inputs(inputs, params)  # asks params for sizes, dtype and the order of axes only
    if params.batch_first and len(x.shape) == 3:
        raise ShapeError(
            "`params` have batch_first=True, and axes are swapped on the host",
            argument="inputs",
            seen=tuple(x.shape),
            advice="give a NumPy array, or (T, B, I) and load_weights(..., batch_first=False)",
        )
    shape = check_input_axes("inputs", time_major(x, params), params.input_size)
    return x if len(x.shape) == 3 else x.reshape(*shape)


def take_state(name: str, value: Any, shape: tuple[int, ...], axes: str, dtype: np.dtype[Any]) -> Any:
    """Return a state or its adjoint: a NumPy array, zeros if there is none, or a device array."""
    if value is None:
        return np.zeros(shape, dtype)
    array = _on_device(name, value, dtype)
    if array is None:
        array = check_array(name, value, dtype)
    check_shape(name, array, shape, axes)
    return array


def take_output_adjoint(value: Any, shape: tuple[int, ...], lengths: Any, dtype: np.dtype[Any]) -> Any:
    """Return adjoints of the outputs (T, B, H): None, a NumPy array, or a device array."""
    if value is None:
        return None
    array: Any = _on_device("output_adjoint", value, dtype)
    from_host = array is None
    if from_host:
        array = check_array("output_adjoint", value, dtype, finite=False)
    if array.ndim == 2 and shape[1] == 1:
        array = array.reshape(array.shape[0], 1, array.shape[1])
    check_shape("output_adjoint", array, shape, "(T, B, H)")
    if from_host:
        _check_finite_within(array, lengths)
    return array


def _check_finite_within(output_adjoint: Array, lengths: Any) -> None:
    """Refuse NaN and infinity within the sequences; what lies past their ends is never read."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(output_adjoint.sum()):
            return
    sizes = backend.current().to_host(lengths) if on_device(lengths) else lengths
    within = np.arange(output_adjoint.shape[0])[:, None] < sizes[None, :]
    zero = np.zeros((), output_adjoint.dtype)
    check_finite("output_adjoint", np.where(within[:, :, None], output_adjoint, zero))


def _on_device(name: str, value: Any, dtype: np.dtype[Any]) -> Any | None:
    """Return a C-contiguous device array of `dtype` if `value` is on the GPU already, else None."""
    if (isinstance(value, np.ndarray) and not on_device(value)) or not getattr(value, "is_cuda", True):
        return None
    try:
        interface = getattr(value, "__cuda_array_interface__", None)
    except Exception as error:  # PyTorch's of a tensor with gradients, or of a dtype that NumPy lacks
        text = " ".join(str(error).split())
        raise DtypeError(
            f"on the GPU cannot be read ({text})",
            argument=name,
            advice=f"detach it, or convert it to {dtype} there",
        ) from error
    if interface is None:
        return None
    shape, strides = tuple(interface["shape"]), interface.get("strides")
    if np.dtype(interface["typestr"]) != dtype:
        raise DtypeError(
            f"on the GPU, but params have {dtype}",
            argument=name,
            seen=np.dtype(interface["typestr"]),
            advice="convert it there",
        )
    if interface.get("mask") is not None:
        raise DtypeError(
            "on the GPU has a mask",
            argument=name,
            advice="fill it there, or give shorter sequences with `lengths`",
        )
    if 0 in shape:
        raise ShapeError("needs at least one step and one sequence", argument=name, seen=shape)
    if not _contiguous(shape, strides, dtype.itemsize):
        raise ShapeError(
            f"its strides {tuple(strides)} are not C-contiguous",
            argument=name,
            seen=shape,
            advice="make a contiguous copy on the GPU",
        )
    return backend.current().adopt(value)


def _contiguous(shape: tuple[int, ...], strides: Any, itemsize: int) -> bool:
    if strides is None:
        return True
    step = itemsize
    for size, stride in zip(reversed(shape), reversed(tuple(strides)), strict=True):
        if stride == 0 or (size > 1 and stride != step):  # numba-cuda reshapes nothing that has a stride of 0
            return False
        step *= size
    return True
