"""One benchmark problem as plain arrays, the same for every competitor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import gatescope as gs
from benchmarks.rows import Row
from gatescope.cells import get

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Weights, inputs and the gradient of a loss with respect to the outputs.

    Attributes
    ----------
    row : Row
    layers : tuple of gatescope.Params
        From the lowest.  Uniform in +-1/sqrt(H), PyTorch's default.
    inputs : (T, B, I)
    output_adjoint : (T, B, H)
        By the outputs of the uppermost layer.
    """

    row: Row
    layers: tuple[gs.Params, ...]
    inputs: NDArray[np.floating]
    output_adjoint: NDArray[np.floating]

    @property
    def params(self) -> gs.Params:
        """Weights of the one layer; a problem of several has none of this name."""
        (only,) = self.layers
        return only

    @property
    def model(self) -> gs.Params | gs.Stack:
        """What a user of gatescope calls functions with: one layer as it is, several as a stack."""
        return self.params if len(self.layers) == 1 else gs.Stack(layers=self.layers)


def by_name(layers: Iterable[gs.Params]) -> dict[str, NDArray[np.floating]]:
    """Return the arrays of all layers under PyTorch's names: ``weight_ih_l0``..."""
    return {f"{name}_l{k}": getattr(layer, name) for k, layer in enumerate(layers) for name in PARAMETERS}


def make_problem(row: Row, seed: int = 0) -> Problem:
    """Return the problem of a row; the same numbers every time."""
    rng = np.random.default_rng(seed)
    rows, bound = len(get(row.cell).gates) * row.hidden_size, row.hidden_size**-0.5

    def weights(*shape: int) -> NDArray[np.floating]:
        return rng.uniform(-bound, bound, shape).astype(row.dtype)

    layers = tuple(
        gs.Params(
            cell=row.cell,
            weight_ih=weights(rows, input_size),
            weight_hh=weights(rows, row.hidden_size),
            bias_ih=weights(rows),
            bias_hh=weights(rows),
        )
        for input_size in row.input_sizes
    )
    inputs = rng.standard_normal((row.steps, row.batch, row.input_size)).astype(row.dtype)
    adjoint = rng.standard_normal((row.steps, row.batch, row.hidden_size)).astype(row.dtype)
    return Problem(row=row, layers=layers, inputs=inputs, output_adjoint=adjoint)
