"""JAX: jit of lax.scan, written as a careful JAX user would.

Layers come one after another.  The product of a layer's inputs with weight_ih is one matrix product before its
scan, the biases that may be added there are, and the gradients come from ``jax.vjp`` of the whole, for the
parameters alone.  The steps of the scan are unrolled by whichever of `UNROLL` trains fastest on the row: they
are tried during the warm-up.  XLA's threads are as many as the cores the process may use, so their number is
set by the affinity of the process, before JAX starts.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from numpy.typing import NDArray

from benchmarks.peers import seconds
from benchmarks.problem import PARAMETERS, Problem

UNROLL = (1, 2, 4)  # 8 and 16 compile for many seconds and gained at most 2 % in any row
_SHORT = 1_000  # with fewer steps (a smoke run) the choice is not worth its compile time


def _rnn(weights: dict[str, Any], h: Any, wx: Any) -> Any:
    return jnp.tanh(wx + h @ weights["weight_hh"].T)


def _lstm(weights: dict[str, Any], state: Any, wx: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(wx + h @ weights["weight_hh"].T, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def _gru(weights: dict[str, Any], h: Any, wx: Any) -> Any:
    # PyTorch's convention: the reset gate multiplies the recurrent product of n and its bias.
    hr, hz, hn = jnp.split(h @ weights["weight_hh"].T, 3, axis=-1)
    xr, xz, xn = jnp.split(wx, 3, axis=-1)
    z = sigmoid(xz + hz)
    n = jnp.tanh(xn + sigmoid(xr + hr) * (hn + weights["bias_hh"][-h.shape[-1] :]))
    return (1 - z) * n + z * h


def _layer(cell: str, weights: dict[str, Any], inputs: Any, unroll: int) -> Any:
    """(T, B, H) from (T, B, I)."""
    hidden_size = weights["weight_hh"].shape[1]
    bias_hh = weights["bias_hh"]
    if cell == "gru":
        bias_hh = bias_hh.at[-hidden_size:].set(0)
    wx = inputs @ weights["weight_ih"].T + (weights["bias_ih"] + bias_hh)
    zeros = jnp.zeros((inputs.shape[1], hidden_size), inputs.dtype)

    def step(state: Any, wx: Any) -> Any:
        if cell == "lstm":
            state = _lstm(weights, state, wx)
            return state, state[0]
        state = (_gru if cell == "gru" else _rnn)(weights, state, wx)
        return state, state

    start = (zeros, zeros) if cell == "lstm" else zeros
    return jax.lax.scan(step, start, wx, unroll=unroll)[1]


def _outputs(cell: str, layers: list[dict[str, Any]], inputs: Any, unroll: int) -> Any:
    """(T, B, H) of the uppermost layer."""
    for weights in layers:
        inputs = _layer(cell, weights, inputs, unroll)
    return inputs


class Competitor:
    NAME = "jax"

    def __init__(self, problem: Problem, threads: int) -> None:
        if problem.row.dtype != "float32":
            raise ValueError("the table compares with JAX in float32 only; float64 is a global switch in JAX")
        device = jax.devices("cpu")[0]
        self.cell = problem.row.cell
        layers = [{name: getattr(params, name) for name in PARAMETERS} for params in problem.layers]
        self.layers = jax.device_put(layers, device)
        self.inputs = jax.device_put(problem.inputs, device)
        self.adjoint = jax.device_put(problem.output_adjoint, device)
        self.unroll = UNROLL[0]
        if problem.row.steps >= _SHORT:
            self.unroll = min(UNROLL, key=self._seconds)
        self._compile(self.unroll)

    def _compile(self, unroll: int) -> None:
        def forward(layers: Any, inputs: Any) -> Any:
            return _outputs(self.cell, layers, inputs, unroll)

        def train(layers: Any, inputs: Any, adjoint: Any) -> Any:
            outputs, pull_back = jax.vjp(lambda w: _outputs(self.cell, w, inputs, unroll), layers)
            return outputs, pull_back(adjoint)[0]

        self._forward, self._train = jax.jit(forward), jax.jit(train)

    def _seconds(self, unroll: int) -> float:
        self._compile(unroll)
        return seconds(self.train)

    def __enter__(self) -> Competitor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def forward(self) -> Any:
        return self._forward(self.layers, self.inputs).block_until_ready(), None

    def train(self) -> Any:
        return jax.block_until_ready(self._train(self.layers, self.inputs, self.adjoint))

    def arrays(self, result: Any) -> dict[str, NDArray[np.floating]]:
        outputs, gradients = result
        arrays = {"outputs": np.asarray(outputs)}
        if gradients is not None:
            for number, layer in enumerate(gradients):
                arrays |= {f"{name}_l{number}": np.asarray(layer[name]) for name in PARAMETERS}
        return arrays
