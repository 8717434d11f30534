"""Limits on the gradient of an update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatescope.checks.arrays import check_own_array
from gatescope.checks.dtypes import FLOATS
from gatescope.checks.numbers import check_above_zero, check_fields, or_none
from gatescope.datatypes import Array
from gatescope.errors import DtypeError, ShapeError
from gatescope.kernels.cpu.loops import optimizers as kernels

# PyTorch's clip_grad_norm_ adds this to the norm, so that a norm of 0 can be divided by.
_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Limits on a gradient g, the smallest unit first: each holds for what is left by those before.

    A gradient that is not finite, or whose norm is not, is measured and left as it is.

    Parameters
    ----------
    value : float, optional
        Cut every element to -value..value.
    tensor_norm : float, optional
        Multiply the gradient of every weight array by min(1, tensor_norm / (its norm + 1e-6)).
    norm : float, optional
        Multiply g by min(1, norm / (||g|| + 1e-6)) [1]_, as PyTorch's ``clip_grad_norm_``.

    Raises
    ------
    ValueRangeError
        If a limit is not a finite number above 0.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
       algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.training.clipping import Clip
    >>> gradient = np.array([3.0, 4.0])
    >>> Clip(norm=1.0).apply(gradient)
    (5.0, True)
    >>> gradient.round(6).tolist()
    [0.6, 0.8]
    """

    value: float | None = None
    tensor_norm: float | None = None
    norm: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, **dict.fromkeys(("value", "tensor_norm", "norm"), or_none(check_above_zero)))

    def apply(self, gradient: Array, sizes: Sequence[tuple[int, int]] = ()) -> tuple[float, bool]:
        """Clip a gradient in place.

        Parameters
        ----------
        gradient : (N,)
            float32 or float64; changed.
        sizes : sequence of (begin, end)
            Of every weight array in it; for `tensor_norm` only.

        Returns
        -------
        norm : float
            The Euclidean norm of the whole gradient before, summed in float64, always in the same order.
        clipped : bool
            Whether the gradient was changed.
        """
        if check_own_array("gradient", gradient, "(N,)", written=True).dtype not in FLOATS:
            raise DtypeError(argument="gradient", seen=gradient.dtype, advice="give float32 or float64")
        _check_sizes(sizes, gradient.size)
        norm, clipped = euclidean_norm(gradient), False
        if not math.isfinite(norm):
            return norm, False
        if self.value is not None:
            clipped = kernels.clamp(gradient, self.value) > 0
        if self.tensor_norm is not None:
            if not sizes:
                advice = "give (begin, end) of every weight array"
                raise ShapeError("is empty", argument="sizes", advice=advice)
            for begin, end in sizes:
                part = gradient[begin:end]
                clipped |= _shorten(part, euclidean_norm(part), self.tensor_norm)
        if self.norm is not None:
            clipped |= _shorten(gradient, euclidean_norm(gradient) if clipped else norm, self.norm)
        return norm, clipped


def _check_sizes(sizes: Any, count: int) -> None:
    """Refuse what does not say where arrays begin and end in a vector of that many numbers."""
    try:
        within = all(0 <= begin <= end <= count for begin, end in sizes)
    except (TypeError, ValueError):
        within = False
    if not within:
        raise ShapeError(
            f"are not (begin, end) of arrays in the {count} numbers of the gradient",
            argument="sizes",
            advice="give those of Engine.sizes",
        )


def euclidean_norm(vector: Array) -> float:
    """Return the Euclidean norm of a vector (N,), summed in float64: infinite or NaN if an element is."""
    return float(kernels.norm(vector, 0, vector.size))


def _shorten(gradient: Array, norm: float, limit: float) -> bool:
    """Bring a gradient of that norm to the limit; return whether it was beyond."""
    coefficient = limit / (norm + _EPS)
    if coefficient >= 1 or norm == 0:
        return False
    kernels.scale(gradient, 0, gradient.size, coefficient)
    return True
