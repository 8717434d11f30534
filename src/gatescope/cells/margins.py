"""A cell's equations on activations that know how far they are from saturation.

Near saturation a rounded activation y has lost what its derivative is made of: 1 - y is a few units in the last place,
or 0.  An `Activation` holds its margin 1 - |y| beside its value, made from the pre-activation with all its digits, and
`complement` and products use it.  The equations of a cell run on these numbers as they stand: the functions of
`activations` in them stand for those below.

This is NumPy, and the reference; `gatescope.kernels.simd.margins` compiles it for SIMD vectors.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from numba.extending import register_jitable

from gatescope.cells import activations
from gatescope.cells.ranges import evaluate
from gatescope.cells.registry import Cell
from gatescope.checks.arrays import Array


class Activation:
    """A value within -1..1 with its margin, 1 - |value|, which has digits of its own.

    A product of two has a margin too.  In all else it is its value.
    """

    __array_ufunc__ = None  # an array on the left leaves the operation to this class

    def __init__(self, value: Array, margin: Array) -> None:
        self.value, self.margin = value, margin

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.value.shape

    def __mul__(self, other: Any) -> Any:
        return times(self, other) if isinstance(other, Activation) else self.value * other

    def __rmul__(self, other: Any) -> Any:
        return other * self.value

    def __add__(self, other: Any) -> Any:
        return self.value + value_of(other)

    def __radd__(self, other: Any) -> Any:
        return other + self.value

    def __sub__(self, other: Any) -> Any:
        return self.value - value_of(other)

    def __rsub__(self, other: Any) -> Any:
        return other - self.value

    def __truediv__(self, other: Any) -> Any:
        return self.value / value_of(other)

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.value

    def __neg__(self) -> Any:
        return negative(self)


def value_of(x: Any) -> Any:
    """Return the value of an activation; anything else as it is."""
    return x.value if isinstance(x, Activation) else x


@register_jitable
def times(a: Activation, b: Activation) -> Activation:
    """Return the product of two activations."""
    return Activation(a.value * b.value, a.margin + abs(a.value) * b.margin)


@register_jitable
def negative(x: Activation) -> Activation:
    """Return -x."""
    return Activation(-x.value, x.margin)


@register_jitable
def sigmoid(x: Any) -> Activation:
    """Return 1 / (1 + e^-x) with its margin, 1 / (1 + e^x)."""
    x = value_of(x)
    return Activation(activations.sigmoid(x), activations.sigmoid(-x))


@register_jitable
def tanh(x: Any) -> Activation:
    """Return the hyperbolic tangent with its margin, 2 / (1 + e^(2 |x|))."""
    x = value_of(x)
    part = activations.sigmoid(-2 * abs(x))
    return Activation(activations.tanh(x), part + part)


@register_jitable
def relu(x: Any) -> Any:
    """Return max(0, x)."""
    return activations.relu(value_of(x))


@register_jitable
def positive(x: Any) -> Any:
    """Return 1 where x > 0, else 0."""
    return activations.positive(value_of(x))


def complement(x: Any) -> Any:
    """Return 1 - x, of an activation by its margin."""
    if isinstance(x, Activation):
        return np.where(x.value > 0, x.margin, activations.complement(x.value))
    return activations.complement(x)


@register_jitable
def zero(x: Any) -> Any:
    """Return 0 in x's shape."""
    return activations.zero(value_of(x))


_INSTEAD = {
    getattr(activations, each.__name__): each for each in (sigmoid, tanh, relu, positive, complement, zero)
}


@cache
def with_margins(cell: Cell) -> Cell:
    """Return the cell with equations that compute with activations that know their margins."""
    functions: dict[str, Any] = {
        name: _copy(getattr(cell, name))
        for name in ("step", "step_vjp", "prepare", "operand", "prepare_vjp")
        if getattr(cell, name) is not None
    }
    return dataclasses.replace(cell, **functions)


def _copy(function: Any) -> Any:
    scope = {
        name: _INSTEAD.get(value, value) if isinstance(value, FunctionType) else value
        for name, value in function.__globals__.items()
    }
    copy = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    return register_jitable(copy)


@cache
def activation_rows(cell: Cell) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Return which saved values and which new states are activations, by running the cell's equations."""
    ones = (np.ones(1),) * len(cell.gates)
    new, saved = evaluate(with_margins(cell), ones, ones, (np.ones(1),) * len(cell.states))
    return tuple(isinstance(x, Activation) for x in saved), tuple(isinstance(x, Activation) for x in new)


@cache
def derives_of_states(cell: Cell) -> bool:
    """Return whether the derivative has an activation of its own, as the LSTM's has tanh(c)."""
    return any(
        value in (activations.sigmoid, activations.tanh)
        for name in cell.step_vjp.__code__.co_names
        if isinstance(value := cell.step_vjp.__globals__.get(name), FunctionType)
    )
