"""torch.compile: a cell written in PyTorch and compiled for the CPU, a few steps at a time, in a loop over time.

torch.compile does not compile torch.nn.LSTM, GRU or RNN: "Dynamo does not support RNN, GRU, or LSTM", so that they
run as they do without it.  What it does compile is a cell written out.  A whole series would be unrolled into one
function, which takes minutes to compile already for tens of steps, so it is a step, or as many of `UNROLL` as train
faster on the row, which is tried during the warm-up.  The product of a layer's inputs with weight_ih is one matrix
product before the loop, with the biases that may be added there.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import MissingPeer, pytorch, seconds
from benchmarks.problem import Problem

UNROLL = (1, 5)
_SHORT = 50  # with fewer steps (a smoke run) the choice is not worth its compile time

_State = tuple[torch.Tensor, ...]


def _rnn(state: _State, wx: torch.Tensor, weight_hh: torch.Tensor, _: torch.Tensor) -> _State:
    return (torch.tanh(wx + state[0] @ weight_hh.T),)


def _lstm(state: _State, wx: torch.Tensor, weight_hh: torch.Tensor, _: torch.Tensor) -> _State:
    h, c = state
    i, f, g, o = (wx + h @ weight_hh.T).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru(state: _State, wx: torch.Tensor, weight_hh: torch.Tensor, bias_n: torch.Tensor) -> _State:
    # PyTorch's convention: the reset gate multiplies the recurrent product of n and its bias.
    (h,) = state
    hr, hz, hn = (h @ weight_hh.T).chunk(3, -1)
    xr, xz, xn = wx.chunk(3, -1)
    z = torch.sigmoid(xz + hz)
    n = torch.tanh(xn + torch.sigmoid(xr + hr) * (hn + bias_n))
    return ((1 - z) * n + z * h,)


_STEPS = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}


def missing() -> str | None:
    """Return why nothing can be compiled here, or None."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler, and there is no {compiler!r}; install it, or name one in CXX"
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    if not header.exists():
        return f"torch.compile needs Python's headers, and there is no {header}; install them"
    return None


class Competitor(pytorch.Competitor):
    NAME = "torchcompile"

    def __init__(self, problem: Problem, threads: int) -> None:
        why_not = missing()
        if why_not is not None:
            raise MissingPeer(why_not)
        super().__init__(problem, threads)
        self.row = problem.row

    def __enter__(self) -> Competitor:
        super().__enter__()  # compiled code is for so many threads
        self._compile(UNROLL[0])
        if self.row.steps >= _SHORT:
            fitting = [unroll for unroll in UNROLL if self.row.steps % unroll == 0]
            self._compile(min(fitting, key=self._seconds))
        return self

    def _compile(self, unroll: int) -> None:
        torch.compiler.reset()  # it refuses to compile the same lines for many sizes
        step = _STEPS[self.row.cell]

        def steps(state: _State, wx: torch.Tensor, weight_hh: torch.Tensor, bias_n: torch.Tensor) -> Any:
            outputs = []
            for one in wx.unbind(0):
                state = step(state, one, weight_hh, bias_n)
                outputs.append(state[0])
            return torch.stack(outputs), state

        self.unroll = unroll
        self._steps: Callable[..., Any] = torch.compile(steps, fullgraph=True, dynamic=False)

    def _seconds(self, unroll: int) -> float:
        self._compile(unroll)
        return seconds(self.train)

    def forward(self) -> Any:
        raise NotImplementedError("torch.compile is compared in training alone")

    def train(self) -> Any:
        outputs = self.inputs
        for number in range(self.row.layers):
            outputs = self._layer(number, outputs)
        return outputs, torch.autograd.grad(outputs, list(self.parameters.values()), self.adjoint)

    def _layer(self, number: int, inputs: torch.Tensor) -> torch.Tensor:
        weight_ih, weight_hh, bias_ih, bias_hh = (
            self.parameters[f"{name}_l{number}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        size, gru = self.row.hidden_size, self.row.cell == "gru"
        bias_n = bias_hh[-size:]
        added = torch.cat([bias_hh[:-size], torch.zeros_like(bias_n)]) if gru else bias_hh
        wx = inputs @ weight_ih.T + (bias_ih + added)
        # Requiring a gradient, as all later states do: else the first steps would be compiled for themselves.
        state = tuple(
            torch.zeros(self.row.batch, size, dtype=wx.dtype, requires_grad=True)
            for _ in range(2 if self.row.cell == "lstm" else 1)
        )
        outputs = []
        for some in wx.split(self.unroll):
            several, state = self._steps(state, some, weight_hh, bias_n)
            outputs.append(several)
        return torch.cat(outputs)
