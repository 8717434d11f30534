"""Lyapunov exponents as a careful JAX user would write them: one jit of ``lax.scan``, tangents by ``vmap`` of ``jvp``.

The tangents of all vectors are pushed through the step together, which XLA turns into one matrix product and some
elementwise work, less than forming the Jacobian; then ``jnp.linalg.qr``, which calls LAPACK, at each step.
float64 is a global switch in JAX; here it is on inside the calls alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from numpy.typing import NDArray

from gatescope.datatypes import Params

Array = NDArray[Any]


def _precision(dtype: str) -> AbstractContextManager[None]:
    switch: Any = getattr(jax, "enable_x64", None)
    if switch is None:  # before JAX 0.8
        from jax.experimental import enable_x64 as switch
    return switch(dtype == "float64")  # type: ignore[no-any-return]


def _lstm(weight_hh: Any, _bias_n: Any, wx: Any, state: Any) -> Any:
    h, c = jnp.split(state, 2)
    i, f, g, o = jnp.split(wx + weight_hh @ h, 4)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return jnp.concatenate([sigmoid(o) * jnp.tanh(c), c])


def _gru(weight_hh: Any, bias_n: Any, wx: Any, h: Any) -> Any:
    hr, hz, hn = jnp.split(weight_hh @ h, 3)
    xr, xz, xn = jnp.split(wx, 3)
    z = sigmoid(xz + hz)
    n = jnp.tanh(xn + sigmoid(xr + hr) * (hn + bias_n))
    return (1 - z) * n + z * h


def compiled(
    params: Params, inputs: Array, count: int, transient: int, dtype: str, seed: int = 0
) -> Callable[[], Array]:
    """Return a function that gives the (count,) exponents of one sequence (T, I); its first call compiles."""
    step = _gru if params.cell == "gru" else _lstm
    size = (1 if params.cell == "gru" else 2) * params.hidden_size
    bias_hh = params.bias_hh.copy()
    bias_n = bias_hh[-params.hidden_size :].copy()
    if params.cell == "gru":
        bias_hh[-params.hidden_size :] = 0
    wx = inputs @ params.weight_ih.T + (params.bias_ih + bias_hh)
    start = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, size)).T)[0]

    def estimate(weight_hh: Any, bias_n: Any, wx: Any, start: Any) -> Any:
        def body(carried: Any, wx: Any) -> Any:
            state, basis = carried

            def push(tangent: Any) -> Any:
                return jax.jvp(lambda s: step(weight_hh, bias_n, wx, s), (state,), (tangent,))

            new_state, tangents = jax.vmap(push, in_axes=1, out_axes=(None, 1))(basis)
            if count == 1:  # a length is all that a QR of one vector gives
                lengths = jnp.linalg.norm(tangents, axis=0)
                return (new_state, tangents / lengths), jnp.log(lengths)
            basis, triangle = jnp.linalg.qr(tangents)
            return (new_state, basis), jnp.log(jnp.abs(jnp.diagonal(triangle)))

        zeros = jnp.zeros(size, start.dtype)
        logs = jax.lax.scan(body, (zeros, start), wx)[1]
        return logs[transient:].mean(axis=0)

    with _precision(dtype):
        cpu = jax.devices("cpu")[0]
        arguments = [jax.device_put(a.astype(dtype), cpu) for a in (params.weight_hh, bias_n, wx, start)]
        jitted = jax.jit(estimate)

    def call() -> Array:
        with _precision(dtype):
            return np.asarray(jitted(*arguments))

    return call
