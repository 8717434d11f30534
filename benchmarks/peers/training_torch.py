"""PyTorch's training loop as its users write it: torch.nn layer, torch.nn.Linear, clip_grad_norm_, torch.optim.Adam."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import gatescope as gs

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


class Trainer:
    """One layer, a read-out, one mean squared error a head; ``update()`` is one epoch of full back-propagation.

    Where only the last step counts, the read-out is applied to it alone, which favours the peer.
    """

    def __init__(
        self, stack: gs.Stack, inputs: NDArray[Any], targets: NDArray[Any], last: bool, lr: float, clip: float
    ) -> None:
        (params,) = stack.layers
        self.layer = _LAYERS[params.cell](params.input_size, params.hidden_size)
        self.readout = torch.nn.Linear(params.hidden_size, stack.output_size)
        self.weights = [
            *(getattr(self.layer, f"{name}_l0") for name in PARAMETERS),
            self.readout.weight,
            self.readout.bias,
        ]
        with torch.no_grad():
            for tensor, value in zip(self.weights, stack.weights().values(), strict=True):
                tensor.copy_(torch.from_numpy(value))
        self.sizes = [head.size for head in stack.heads]
        self.inputs, self.targets = torch.from_numpy(inputs), torch.from_numpy(targets)
        self.last, self.clip = last, clip
        self.adam = torch.optim.Adam(self.weights, lr=lr)

    def update(self) -> float:
        """Forward, loss, backward, clip, Adam; the loss before it."""
        self.adam.zero_grad()
        hidden, _ = self.layer(self.inputs)
        y, counted = self.readout(hidden[-1:] if self.last else hidden), self.targets
        counted = counted[-1:] if self.last else counted
        parts = zip(y.split(self.sizes, dim=-1), counted.split(self.sizes, dim=-1), strict=True)
        loss = sum(torch.nn.functional.mse_loss(part, target) for part, target in parts)
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.adam.step()
        return float(loss.detach())

    def theta(self) -> NDArray[Any]:
        """All weights (N,), in the order of ``Stack.flat``."""
        return np.concatenate([value.detach().numpy().reshape(-1) for value in self.weights])
