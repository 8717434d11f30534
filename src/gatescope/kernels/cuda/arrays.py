"""What users hand in for a call on the GPU, checked: NumPy arrays as on the CPU, device arrays of any library.

A device array is checked by what its ``__cuda_array_interface__`` tells, so nothing is copied and nothing waits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.checks.arrays import check_array, check_finite, check_shape, on_device
from gatescope.checks.network import check_inputs
from gatescope.datatypes import Array
from gatescope.errors import DtypeError, ShapeError
from gatescope.kernels.cuda import backend


def take_inputs(inputs: Any, params: Any) -> Any:
    """Inputs (T, B, I): a NumPy array, or a device array."""
    x = _on_device("inputs", inputs, params.dtype)
    if x is None:
        return check_inputs(inputs, params)  # asks params for input_size and dtype only
    shape = tuple(x.shape)
    if len(shape) not in (2, 3):
        raise ShapeError(f"inputs has shape {shape}, but should have (T, B, I), or (T, I) for one sequence")
    if shape[-1] != params.input_size:
        raise ShapeError(
            f"inputs has shape {shape}, but its last axis should be input_size = {params.input_size}"
        )
    return x if len(shape) == 3 else x.reshape(shape[0], 1, shape[1])


def take_state(name: str, value: Any, shape: tuple[int, ...], axes: str, dtype: np.dtype[Any]) -> Any:
    """A state or its adjoint: a NumPy array, zeros if there is none, or a device array."""
    if value is None:
        return np.zeros(shape, dtype)
    array = _on_device(name, value, dtype)
    if array is None:
        array = check_array(name, value, dtype)
    check_shape(name, array, shape, axes)
    return array


def take_seeds(output_adjoint: Any, shape: tuple[int, ...], lengths: Any, dtype: np.dtype[Any]) -> Any:
    """Adjoints of the outputs: None, a NumPy array, or a device array."""
    if output_adjoint is None:
        return None
    seeds: Any = _on_device("output_adjoint", output_adjoint, dtype)
    arriving = seeds is None
    if arriving:
        seeds = check_array("output_adjoint", output_adjoint, dtype, finite=False)
    if seeds.ndim == 2 and shape[1] == 1:
        seeds = seeds.reshape(seeds.shape[0], 1, seeds.shape[1])
    check_shape("output_adjoint", seeds, shape, "(T, B, H)")
    if arriving:
        _check_seeds(seeds, lengths)
    return seeds


def _check_seeds(seeds: Array, lengths: Any) -> None:
    """No NaN and no infinity within the sequences; what stands past their ends is never read."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(seeds.sum()):
            return
    sizes = backend.current().to_host(lengths) if on_device(lengths) else lengths
    within = np.arange(seeds.shape[0])[:, None] < sizes[None, :]
    check_finite("output_adjoint", np.where(within[:, :, None], seeds, np.zeros((), seeds.dtype)))


def _on_device(name: str, value: Any, dtype: np.dtype[Any]) -> Any | None:
    """`value` as a C-contiguous device array of `dtype` if it is on the GPU already (of any library), else None."""
    if (isinstance(value, np.ndarray) and not on_device(value)) or not getattr(value, "is_cuda", True):
        return None
    try:
        interface = getattr(value, "__cuda_array_interface__", None)
    except (
        Exception
    ) as error:  # PyTorch's of a tensor that requires gradients, or has a dtype that NumPy lacks
        text = " ".join(str(error).split())
        raise DtypeError(
            f"{name} on the GPU cannot be read ({text}); detach it, or convert it to {dtype} there"
        ) from error
    if interface is None:
        return None
    here, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    if here != dtype:
        raise DtypeError(f"{name} on the GPU has dtype {here}, but params have {dtype}; convert it there")
    if interface.get("mask") is not None:
        raise DtypeError(
            f"{name} on the GPU has a mask; fill it there, or give shorter sequences with lengths"
        )
    if 0 in shape:
        raise ShapeError(
            f"{name} on the GPU has shape {shape}; at least one step and one sequence are needed"
        )
    if not _contiguous(shape, interface.get("strides"), dtype.itemsize):
        raise ShapeError(
            f"{name} on the GPU has shape {shape} and strides {tuple(interface['strides'])}, which is not "
            "C-contiguous; make a contiguous copy there"
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
