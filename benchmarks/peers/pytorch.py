"""PyTorch's own layers: torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU, used as in a training loop.

Gradients are asked of the parameters alone (the inputs do not require grad), which is what users do and
favours the peer.  ``torch.autograd.grad`` is used, so that no time goes into accumulating ``.grad``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.problem import Problem, by_name

_LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


class Competitor:
    NAME = "pytorch"

    def __init__(self, problem: Problem, threads: int) -> None:
        self.threads = threads
        row, weights = problem.row, by_name(problem.layers)
        layer = _LAYERS[row.cell](row.input_size, row.hidden_size, num_layers=row.layers)
        self.layer = layer.to(getattr(torch, row.dtype))
        self.parameters = {name: getattr(self.layer, name) for name in weights}
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.from_numpy(weights[name]))
        self.inputs = torch.from_numpy(problem.inputs)
        self.adjoint = torch.from_numpy(problem.output_adjoint)

    def __enter__(self) -> Competitor:
        self.threads_before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self.threads_before)

    def forward(self) -> Any:
        with torch.inference_mode():
            return self.layer(self.inputs)[0], None

    def train(self) -> Any:
        outputs, _ = self.layer(self.inputs)
        return outputs, torch.autograd.grad(outputs, list(self.parameters.values()), self.adjoint)

    def arrays(self, result: Any) -> dict[str, NDArray[np.floating]]:
        outputs, gradients = result
        arrays = {"outputs": outputs.detach().numpy()}
        if gradients is not None:
            arrays |= {n: gradient.numpy() for n, gradient in zip(self.parameters, gradients, strict=True)}
        return arrays
