"""gatescope itself: the forward pass keeps every gate and state; the backward pass is full and exact.

More is computed than the peers are asked for: the gradients of the inputs and of the initial state, and the
adjoint of every state at every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatescope as gs
from benchmarks.problem import Problem, by_name


class Competitor:
    NAME = "gatescope"

    def __init__(self, problem: Problem, threads: int) -> None:
        self.model: Any = problem.model
        self.inputs, self.adjoint = problem.inputs, problem.output_adjoint
        self.threads = threads

    def __enter__(self) -> Competitor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def forward(self) -> Any:
        return gs.run(self.model, self.inputs, threads=self.threads), None

    def train(self) -> Any:
        trace = gs.run(self.model, self.inputs, threads=self.threads)
        return trace, gs.backprop(self.model, trace, output_adjoint=self.adjoint, threads=self.threads)

    def arrays(self, result: Any) -> dict[str, NDArray[np.floating]]:
        trace, gradients = result
        arrays = {"outputs": trace.outputs}
        if gradients is not None:
            found = gradients.params
            arrays |= by_name(found.layers if isinstance(found, gs.Stack) else (found,))
        return arrays
