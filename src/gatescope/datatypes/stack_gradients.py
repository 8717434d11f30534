"""Exact gradients of a run of a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.gradients import Gradients
from gatescope.datatypes.stack import Stack
from gatescope.errors import ShapeError
from gatescope.reporting.table import Table


@dataclass(frozen=True, kw_only=True, repr=False)
class StackGradients(ByLayer[Gradients]):
    """Exact gradients of a model by full back-propagation through time and all layers.

    ``gradients["layers.1.backward"]`` are the `Gradients` of one direction of a layer, among them ``.adjoint``, dL/ds_t
    at every step, and ``.inputs``, what it sends to the layer below.

    Attributes
    ----------
    names : tuple of str
        As `Stack.directions` names them, from the lowest layer.
    results : tuple of Gradients
        One each.
    params : Stack
        Gradients with respect to the weights, those of the read-out too, in the form of the model.
    inputs : (T, B, I)
        Of both directions of the lowest layer together.
    """

    results: tuple[Gradients, ...]
    params: Stack
    inputs: Array

    _axes: ClassVar[Mapping[str, str]] = {**ByLayer._axes, "inputs": "(T, B, I)"}
    _dims: ClassVar[Mapping[str, str]] = {"I": "model_input"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.names != tuple(self.params.directions()):
            raise ShapeError(
                "are not the layers of `params`", argument="names", seen=self.names, advice="give one model's"
            )

    @property
    def initial_state(self) -> dict[str, Array]:
        """(B, S, H) by name: dL/d initial state of each layer and direction."""
        return {name: result.initial_state for name, result in self.items()}

    def table(self) -> Table:
        """Return the norms of the gradients of all weights, of the inputs and of the initial states."""
        arrays = {**self.params.weights(), "inputs": self.inputs}
        arrays |= {f"{name}.initial_state": state for name, state in self.initial_state.items()}
        rows = [(name, float(np.linalg.norm(array.astype(np.float64)))) for name, array in arrays.items()]
        return Table(("gradient of", "norm"), rows, self._title())

    def summary(self) -> str:
        """Return which model's gradients these are."""
        return self._title()

    def _title(self) -> str:
        return f"gradients of a run of {' on '.join(reversed(self.params.cells))}"

    def _layers(self) -> list[dict[str, str]]:
        return [self.params.prefixes(number) for number in range(len(self.params.layers))]
