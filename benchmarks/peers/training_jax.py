"""JAX: one jitted update with `value_and_grad` of a `lax.scan`, clipping by the norm, and Adam; buffers donated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import gatescope as gs
from benchmarks.peers.jax_scan import _layer

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
BETAS, EPS = (0.9, 0.999), 1e-8


class Trainer:
    """One layer, a read-out, one mean squared error a head; ``update()`` is one epoch of full back-propagation."""

    def __init__(
        self, stack: gs.Stack, inputs: NDArray[Any], targets: NDArray[Any], last: bool, lr: float, clip: float
    ) -> None:
        (params,) = stack.layers
        cell, sizes = params.cell, [head.size for head in stack.heads]
        cuts = list(np.cumsum(sizes)[:-1])
        # As in the comparison of the layers alone: a few unrolled steps win where there are many of them.
        unroll = 2 if len(inputs) >= 1_000 else 1

        def loss(theta: dict[str, Any], inputs: Any, targets: Any) -> Any:
            hidden = _layer(cell, theta, inputs, unroll)
            y = (hidden[-1:] if last else hidden) @ theta["readout_weight"].T + theta["readout_bias"]
            counted = targets[-1:] if last else targets
            pairs = zip(jnp.split(y, cuts, axis=-1), jnp.split(counted, cuts, axis=-1), strict=True)
            return sum(jnp.mean((part - target) ** 2) for part, target in pairs)

        def update(theta: Any, first: Any, second: Any, step: Any, inputs: Any, targets: Any) -> Any:
            value, gradient = jax.value_and_grad(loss)(theta, inputs, targets)
            norm = jnp.sqrt(sum(jnp.sum(g * g) for g in gradient.values()))
            scale = jnp.minimum(1.0, clip / (norm + 1e-6))
            new = ({}, {}, {})
            for name, g in gradient.items():
                m = BETAS[0] * first[name] + (1 - BETAS[0]) * scale * g
                v = BETAS[1] * second[name] + (1 - BETAS[1]) * (scale * g) ** 2
                root = jnp.sqrt(v / (1 - BETAS[1] ** step)) + EPS
                new[0][name] = theta[name] - lr * m / (1 - BETAS[0] ** step) / root
                new[1][name], new[2][name] = m, v
            return *new, step + 1, value

        self.inputs, self.targets = jnp.asarray(inputs), jnp.asarray(targets)
        theta = {name: jnp.asarray(getattr(params, name)) for name in NAMES}
        theta |= {name: jnp.asarray(getattr(stack, name)) for name in ("readout_weight", "readout_bias")}
        zeros = {name: jnp.zeros_like(value) for name, value in theta.items()}
        self.state = (
            theta,
            zeros,
            {name: jnp.zeros_like(value) for name, value in theta.items()},
            jnp.float32(1),
        )
        self._update = jax.jit(update, donate_argnums=(0, 1, 2))

    def update(self) -> float:
        """Forward, loss, backward, clip, Adam; the loss before it."""
        *state, value = self._update(*self.state, self.inputs, self.targets)
        self.state = tuple(state)
        return float(value)

    def theta(self) -> NDArray[Any]:
        """All weights (N,), in the order of ``Stack.flat``."""
        order = (*NAMES, "readout_weight", "readout_bias")
        return np.concatenate([np.asarray(self.state[0][name]).reshape(-1) for name in order])
