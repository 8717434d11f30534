"""Limits on the gradient of an update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gatescope.checks.arrays import check_own_array
from gatescope.checks.numbers import check_above_zero, set_checked
from gatescope.datatypes import Array
from gatescope.errors import DtypeError, ShapeError, UnknownNameError
from gatescope.kernels.cpu.loops import optimizers as kernels

KINDS = ("global", "tensor", "value")

# PyTorch's clip_grad_norm_ adds this to the norm, so that a norm of 0 can be divided by.
_EPS = 1e-6


@dataclass(frozen=True)
class Clip:
    """A limit on the gradient, and the measure of its norm.

    =========== ====================================================================================
    kind        what is done to a gradient g
    =========== ====================================================================================
    ``global``  g times min(1, limit / (||g|| + 1e-6)) [1]_, as PyTorch's ``clip_grad_norm_``
    ``tensor``  the same for the gradient of every weight array on its own
    ``value``   every element cut to -limit..limit
    =========== ====================================================================================

    A gradient that is not finite, or whose norm is not, is measured and left as it is.

    Parameters
    ----------
    kind : str
    limit : float or None
        Above 0; None measures only.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    ValueRangeError
        If the limit is not a finite number above 0.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
       algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.training.clipping import Clip
    >>> gradient = np.array([3.0, 4.0])
    >>> Clip("global", 1.0).apply(gradient)
    (5.0, True)
    >>> gradient.round(6).tolist()
    [0.6, 0.8]
    """

    kind: str = "global"
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError(f"kind={self.kind!r} is not known; choose one of {', '.join(KINDS)}")
        if self.limit is not None:
            set_checked(self, limit=check_above_zero("limit", self.limit))

    def apply(self, gradient: Array, sizes: Sequence[tuple[int, int]] = ()) -> tuple[float, bool]:
        """Clip a gradient in place.

        Parameters
        ----------
        gradient : (N,)
            float32 or float64; changed.
        sizes : sequence of (begin, end)
            Of every weight array in it; for ``"tensor"`` only.

        Returns
        -------
        norm : float
            The Euclidean norm of the whole gradient before, summed in float64, always in the same order.
        clipped : bool
            Whether the gradient was changed.

        Raises
        ------
        ShapeError, DtypeError
            If the gradient is not a vector of floats, or sizes do not lie in it.
        """
        if check_own_array("gradient", gradient, "(N,)").dtype not in (np.float32, np.float64):
            raise DtypeError(f"gradient has dtype {gradient.dtype}; give float32 or float64")
        norm = float(kernels.norm(gradient, 0, gradient.size))
        if self.limit is None or not math.isfinite(norm):
            return norm, False
        if self.kind == "value":
            return norm, kernels.clamp(gradient, self.limit) > 0
        if self.kind == "global":
            return norm, _shorten(gradient, 0, gradient.size, norm, self.limit)
        if not sizes:
            raise ShapeError("sizes is empty; kind='tensor' needs (begin, end) of every weight array")
        clipped = False
        for begin, end in sizes:
            if not 0 <= begin <= end <= gradient.size:
                raise ShapeError(f"sizes has ({begin}, {end}), beyond a gradient of {gradient.size} elements")
            part = float(kernels.norm(gradient, begin, end))
            clipped = _shorten(gradient, begin, end, part, self.limit) or clipped
        return norm, clipped


def _shorten(gradient: Array, begin: int, end: int, norm: float, limit: float) -> bool:
    coefficient = limit / (norm + _EPS)
    if coefficient >= 1 or norm == 0:
        return False
    kernels.scale(gradient, begin, end, coefficient)
    return True
