"""Exact gradients of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.params import Params
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table


@dataclass(frozen=True, kw_only=True, repr=False)
class Gradients(Result):
    """Exact gradients by full back-propagation through time.

    Attributes
    ----------
    params : Params
        Gradients with respect to the weights, in the shapes of the weights.
    inputs : (T, B, I)
    initial_state : (B, S, H)
    adjoint : (T+1, B, S, H)
        dL/ds_t at every step, the output adjoint of that step included.  Each state's holds the others fixed: that of
        an LSTM's c leaves out what goes through h of the same step, which automatic differentiation adds.
    """

    params: Params
    inputs: Array
    initial_state: Array
    adjoint: Array

    _axes: ClassVar[Mapping[str, str]] = {
        "inputs": "(T, B, I)",
        "initial_state": "(B, S, H)",
        "adjoint": "(T+1, B, S, H)",
    }
    _rows: ClassVar[str] = "adjoint"

    def table(self) -> Table:
        """Return the norms of the gradients of the weights, the inputs and the initial state."""
        host = self.to_host()
        arrays = {**host.params.arrays(), "inputs": host.inputs, "initial_state": host.initial_state}
        rows = [(name, float(np.linalg.norm(array.astype(np.float64)))) for name, array in arrays.items()]
        return Table(("gradient of", "norm"), rows, f"gradients of a run of {host.params.cell}")
