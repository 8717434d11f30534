"""One benchmark problem as plain arrays, the same for every competitor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row
from gatescope.cells import get
from gatescope.datatypes import Params

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Weights, inputs and the gradient of a loss with respect to the outputs.

    Attributes
    ----------
    row : Row
    params : gatescope.Params
        Uniform in +-1/sqrt(H), PyTorch's default.
    inputs : (T, B, I)
    output_adjoint : (T, B, H)
    """

    row: Row
    params: Params
    inputs: NDArray[np.floating]
    output_adjoint: NDArray[np.floating]


def make_problem(row: Row, seed: int = 0) -> Problem:
    """Return the problem of a row; the same numbers every time."""
    rng = np.random.default_rng(seed)
    gates = get(row.cell).gates
    rows, bound = len(gates) * row.hidden_size, row.hidden_size**-0.5

    def weights(*shape: int) -> NDArray[np.floating]:
        return rng.uniform(-bound, bound, shape).astype(row.dtype)

    params = Params(
        cell=row.cell,
        weight_ih=weights(rows, row.input_size),
        weight_hh=weights(rows, row.hidden_size),
        bias_ih=weights(rows),
        bias_hh=weights(rows),
    )
    inputs = rng.standard_normal((row.steps, row.batch, row.input_size)).astype(row.dtype)
    adjoint = rng.standard_normal((row.steps, row.batch, row.hidden_size)).astype(row.dtype)
    return Problem(row=row, params=params, inputs=inputs, output_adjoint=adjoint)
