"""A model that can be trained: cells one on top of another, and a linear read-out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from gatescope.checks.arrays import Array, check_own_array, check_shape, on_device, real_array
from gatescope.checks.numbers import check_type, set_checked
from gatescope.datatypes.batch import Head, check_heads
from gatescope.datatypes.params import WEIGHT_NAMES, Params
from gatescope.datatypes.result import Result
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted


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
    ValueRangeError
        If a layer is the backward direction of a bidirectional one.

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

    _axes: ClassVar[Mapping[str, str]] = {
        "readout_weight": "(O, H)",
        "readout_bias": "(O,)",
    }

    def __post_init__(self) -> None:
        check_type("layers", self.layers, tuple, list, advice="give a tuple of Params, from the lowest layer")
        set_checked(self, heads=check_heads(self.heads), layers=tuple(self.layers))
        if not self.layers:
            raise ShapeError("is empty", argument="layers", advice="give at least one Params")
        for name in ("readout_weight", "readout_bias"):
            if not on_device(getattr(self, name)):
                check_type(name, getattr(self, name), np.ndarray, advice="give a NumPy array")
        for k, layer in enumerate(self.layers):
            check_type(f"layers[{k}]", layer, Params, advice="give Params, made with init or load_torch")
            if layer.reverse:
                raise ValueRangeError(
                    "is a backward direction, which models that are trained here do not have",
                    argument=f"layers[{k}].reverse",
                    seen=True,
                    advice="run and measure it by itself, or give a forward layer",
                )
            if layer.batch_first is not False:
                raise ValueRangeError(
                    "must be False: models that are trained here take (T, B, I)",
                    argument=f"layers[{k}].batch_first",
                    seen=layer.batch_first,
                    advice="read the weights with load_torch(..., batch_first=False)",
                )
        for k, (below, above) in enumerate(pairwise(self.layers)):
            if above.input_size != below.hidden_size:
                raise ShapeError(
                    f"takes {above.input_size} inputs, but layers[{k}] gives {below.hidden_size}",
                    argument=f"layers[{k + 1}]",
                    advice="make them equal",
                )
        if any(value.dtype != self.dtype for value in self.weights().values()):
            raise ShapeError("the layers and the read-out have different dtypes", advice="give all one")
        outputs, units = sum(head.size for head in self.heads), self.layers[-1].hidden_size
        axes = f"(O, H) with O = {outputs} outputs of the heads and H = {units}"
        check_shape("readout_weight", self.readout_weight, (outputs, units), axes)
        check_shape("readout_bias", self.readout_bias, (outputs,), "(O,)")

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
        """Return the number of trainable numbers."""
        return sum(int(value.size) for value in self.weights().values())

    def weights(self) -> dict[str, Array]:
        """Return all trainable arrays by name, ``"layers.0.weight_ih"`` to ``"readout_bias"``, ordered as in `flat`."""
        layers = {
            f"layers.{k}.{name}": getattr(layer, name)
            for k, layer in enumerate(self.layers)
            for name in WEIGHT_NAMES
        }
        return {**layers, "readout_weight": self.readout_weight, "readout_bias": self.readout_bias}

    def flat(self) -> Array:
        """Return all trainable numbers in one vector (N,): every array of `weights`, row after row."""
        return np.concatenate([value.reshape(-1) for value in self.weights().values()])

    def with_flat(self, vector: Array) -> Stack:
        """Return the same model with the numbers of `vector` (N,), which are copied.

        Raises
        ------
        ShapeError
            If there are more or fewer than N.
        DtypeError
            If it is no NumPy array of real numbers.
        """
        real_array("vector", check_own_array("vector", vector, "(N,)"))
        check_shape("vector", vector, (self.count(),), "(N,)")
        arrays: dict[str, Any] = {}
        begin = 0
        for name, value in self.weights().items():
            arrays[name] = vector[begin : begin + value.size].reshape(value.shape).astype(self.dtype)
            begin += value.size
        layers = tuple(
            dataclasses.replace(
                layer,
                **{name: arrays.pop(f"layers.{k}.{name}") for name in WEIGHT_NAMES},
                provenance={**layer.provenance, "replaced": True},
            )
            for k, layer in enumerate(self.layers)
        )
        return dataclasses.replace(self, layers=layers, **arrays)

    def table(self) -> Table:
        """Return cell and sizes of each layer, and of the read-out."""
        rows: list[tuple[Any, ...]] = [
            (f"layer {k}", layer.cell, layer.input_size, layer.hidden_size, layer.count())
            for k, layer in enumerate(self.layers)
        ]
        outputs, units = self.readout_weight.shape
        rows.append(("read-out", "linear", units, outputs, self.readout_weight.size + outputs))
        title = f"{' on '.join(reversed(self.cells))}, {counted(self.count(), 'parameter')}, {self.dtype}"
        return Table(("", "cell", "inputs", "units", "parameters"), rows, title)
