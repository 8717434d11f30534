"""A model that can be trained: cells one on top of another, and a linear read-out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.batch import Head
from gatescope.datatypes.params import WEIGHT_NAMES, Params
from gatescope.datatypes.result import Result
from gatescope.errors import DtypeError, ShapeError


@dataclass(frozen=True, kw_only=True, repr=False)
class Stack(Result):
    """One or more layers of cells, each fed by the outputs of the one below, and a linear read-out.

    With h the outputs of the uppermost layer, the model's outputs are ``y_t = readout_weight h_t + readout_bias``.

    Attributes
    ----------
    layers : tuple of Params
        From the lowest; cells and sizes may differ.
    readout_weight : (O, H)
        H is the uppermost layer's hidden size.
    readout_bias : (O,)
    heads : tuple of Head
        The O outputs, in order; their sizes add up to O.

    Raises
    ------
    ShapeError
        If the sizes do not fit each other.

    Examples
    --------
    >>> import gatescope as gs
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=2, hidden_size=[16, 8], heads=[gs.Head("y", 1)], seed=0)
    >>> stack.cells, stack.readout_weight.shape, stack.count()
    (('lstm', 'gru'), (1, 8), 1913)
    >>> gs.gradient_flow(stack.layers[0], gs.tasks.adding(steps=50).inputs).cell  # a layer is measured by itself
    'lstm'
    """

    layers: tuple[Params, ...]
    readout_weight: Array
    readout_bias: Array
    heads: tuple[Head, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", tuple(Head(*head) for head in self.heads))
        if not self.layers:
            raise ShapeError("layers is empty; give at least one Params")
        for k, (below, above) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)):
            if above.input_size != below.hidden_size:
                raise ShapeError(
                    f"layers[{k + 1}] takes {above.input_size} inputs, but layers[{k}] gives {below.hidden_size}; "
                    "make them equal"
                )
        found = [self.readout_weight.dtype, self.readout_bias.dtype, *(layer.dtype for layer in self.layers)]
        if any(dtype != self.dtype for dtype in found):
            raise ShapeError("the layers and the read-out have different dtypes; give all one")
        outputs = sum(head.size for head in self.heads)
        if self.readout_weight.shape != (outputs, self.layers[-1].hidden_size):
            raise ShapeError(
                f"readout_weight has the shape {self.readout_weight.shape}; {outputs} outputs of the heads and "
                f"{self.layers[-1].hidden_size} units need {(outputs, self.layers[-1].hidden_size)}"
            )
        if self.readout_bias.shape != (outputs,):
            raise ShapeError(f"readout_bias has the shape {self.readout_bias.shape}; give {(outputs,)}")

    @property
    def input_size(self) -> int:
        """I, the number of inputs of the lowest layer."""
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        """O, the number of outputs of the read-out."""
        return int(self.readout_weight.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self.layers[0].dtype

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the layers' cells."""
        return tuple(layer.cell for layer in self.layers)

    def count(self) -> int:
        """Number of trainable numbers."""
        return sum(int(value.size) for value in self.weights().values())

    def weights(self) -> dict[str, Array]:
        """All trainable arrays by name (``"layers.0.weight_ih"``, ..., ``"readout_bias"``), in the order of `flat`."""
        found = {
            f"layers.{k}.{name}": getattr(layer, name)
            for k, layer in enumerate(self.layers)
            for name in WEIGHT_NAMES
        }
        return {**found, "readout_weight": self.readout_weight, "readout_bias": self.readout_bias}

    def flat(self) -> Array:
        """All trainable numbers in one vector (N,): every array of `weights`, row after row."""
        return np.concatenate([value.reshape(-1) for value in self.weights().values()])

    def with_flat(self, vector: Array) -> Stack:
        """The same model with the numbers of `vector` (N,), which are copied.

        Raises
        ------
        ShapeError
            If there are more or fewer than N.
        DtypeError
            If it is no NumPy array of real numbers.
        """
        if not isinstance(vector, np.ndarray) or vector.dtype.kind not in "fiub":
            what = vector.dtype if isinstance(vector, np.ndarray) else type(vector).__name__
            raise DtypeError(f"vector is {what}; give a NumPy array (N,) of real numbers, as flat() does")
        if vector.shape != (self.count(),):
            raise ShapeError(f"vector has the shape {vector.shape}; this model has {self.count()} numbers")
        named: dict[str, Any] = {}
        begin = 0
        for name, value in self.weights().items():
            end = begin + value.size
            named[name] = vector[begin:end].reshape(value.shape).astype(self.dtype)
            begin = end
        layers = tuple(
            dataclasses.replace(layer, **{name: named[f"layers.{k}.{name}"] for name in WEIGHT_NAMES})
            for k, layer in enumerate(self.layers)
        )
        return dataclasses.replace(
            self,
            layers=layers,
            readout_weight=named["readout_weight"],
            readout_bias=named["readout_bias"],
        )
