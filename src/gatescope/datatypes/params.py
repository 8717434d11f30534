"""The weights of one layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from gatescope.cells.registry import get
from gatescope.checks.arrays import Array, dtype_of
from gatescope.checks.dtypes import float_dtype
from gatescope.datatypes.exported import Exported
from gatescope.datatypes.result import Result, index_of
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted

# The arrays of a layer, in the order in which its weights are laid out, passed on, and counted.
WEIGHT_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True, kw_only=True, repr=False)
class Params(Exported, Result):
    """The weights of one layer, in PyTorch's names, shapes and gate order.

    Other programs get it by ``to_torch()``, ``to_keras()``, ``to_flax()`` and ``to_onnx(path)``.

    Attributes
    ----------
    cell : str
        Name of the cell, one of ``gatescope.cells.names()``.
    weight_ih : (G*H, I)
    weight_hh : (G*H, H)
    bias_ih, bias_hh : (G*H,)
        Arrays of NumPy or, after `to_device`, of the GPU.
    reverse : bool
        Whether this is the backward direction of a bidirectional layer, which takes each sequence from its last step
        to its first.  `run` and `backprop` take and return everything in the order of the inputs all the same.
        Measurements count steps and lags as the cell takes them: step 1 is the last of the inputs.
    batch_first : bool or None
        Whether `run` and the measurements are given inputs (B, T, I) and not (T, B, I).  None: they ask, since the
        module that the weights come from took (B, T, I), and nobody said what they are given.  What they return is
        time-major whatever this says.
    """

    cell: str
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    reverse: bool = False
    batch_first: bool | None = False

    _axes: ClassVar[Mapping[str, str]] = {
        "weight_ih": "(G*H, I)",
        "weight_hh": "(G*H, H)",
        "bias_ih": "(G*H,)",
        "bias_hh": "(G*H,)",
    }
    _dims: ClassVar[Mapping[str, str]] = {"I": "input"}
    _labels: ClassVar[Mapping[str, object]] = {"gate": "gate_names"}

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Names of the G row blocks, as the cell gives them."""
        return get(self.cell).gates

    @property
    def input_size(self) -> int:
        """I, the number of inputs."""
        return int(self.weight_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        """H, the number of units."""
        return int(self.weight_hh.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64; the kernels compute in it."""
        return dtype_of(self.weight_hh)

    def gate(self, name: str) -> dict[str, Array]:
        """Return views of the rows that belong to one gate, by parameter name."""
        row = index_of(self.gate_names, name, f"{self.cell} has weights for the gates")
        rows = slice(row * self.hidden_size, (row + 1) * self.hidden_size)
        return {key: value[rows] for key, value in self.arrays().items()}

    @property
    def size(self) -> int:
        """How many numbers the four arrays hold, with those that stay 0."""
        return sum(int(value.size) for value in self.arrays().values())

    def count(self) -> int:
        """Return the number of trainable numbers, both biases included; a gate may lack some (see `Cell.lacks`)."""
        cell = get(self.cell)
        return sum(
            int(value.size) // len(cell.gates) * cell.lacks(name).count(False)
            for name, value in self.arrays().items()
        )

    def astype(self, dtype: DTypeLike) -> Params:
        """Return the same weights in float32 or float64; arrays that have that dtype already are shared."""
        target = float_dtype(dtype)
        arrays: dict[str, Any] = self.to_host().arrays()
        return dataclasses.replace(
            self, **{name: value.astype(target, copy=False) for name, value in arrays.items()}
        )

    def table(self) -> Table:
        """Return the root mean squares of the weights and biases of each gate."""
        params = self.to_host()
        rows = [
            (
                gate,
                *(
                    float(np.sqrt(np.mean(np.square(part, dtype=np.float64))))
                    for part in params.gate(gate).values()
                ),
            )
            for gate in self.gate_names
        ]
        sizes = f"{counted(self.input_size, 'input')}, {counted(self.hidden_size, 'unit')}"
        title = f"{self.cell}, {sizes}, {counted(self.count(), 'parameter')}, {self.dtype}"
        title += ", backward direction" if self.reverse else ""
        return Table(("gate", *(f"rms of {name}" for name in WEIGHT_NAMES)), rows, title)

    def _sizes(self) -> dict[str, int]:
        return {"G": len(self.gate_names)}

    def _derived(self) -> dict[str, Any]:
        return {"gate_names": self.gate_names}
