"""LSTMs whose gradient along the cell state is known at every lag, and how far a measured one is from it.

Their states stay at 0, as g does, so that tanh has slope 1 and i, f and o are the sigmoids of their biases.  With
weights s K from h to g, a step back takes the adjoint of c to (f I + i o s K') times it.

gate    s = 0: d c_t / d c_(t-k) = f^k.
dense   K is the Kronecker product of Hadamard's matrix and of a rotation by a right angle, so that K' = -K and
        K' K = n I with n = H / 2.  Then f I + i o s K' is a rotation times r = sqrt(f^2 + n (i o s)^2), and
        || v d c_t / d c_(t-k) || = f r^(k-1): of the first step f alone counts, h being held fixed.  The other
        gates have random weights, which are multiplied, too; what flows through them is 0, since g, c and tanh(c) are.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatescope as gs

NETWORKS = ("gate", "dense")
# Both forget half in about 6,000 steps, so that over 10^8 the norm falls to about e^-10,000.
_FORGET_BIAS = {"gate": 9.0, "dense": 4.0}
_RATE = 1.2e-4  # nats per step, of the dense network


def network(name: str, hidden_size: int, dtype: str) -> gs.Params:
    """Return one of `NETWORKS`; `hidden_size` is a power of two."""
    blocks = [[[1, 1], [1, -1]]] * (hidden_size.bit_length() - 2)
    known = reduce(np.kron, blocks, np.array([[0, 1], [-1, 0]]))
    bias = np.repeat([0.0, _FORGET_BIAS[name], 0.0, 0.0], hidden_size)
    weight_hh = np.zeros((4 * hidden_size, hidden_size))
    if name == "dense":
        weight_hh = np.random.default_rng(0).uniform(-1, 1, weight_hh.shape) / math.sqrt(hidden_size)
        _, forget = _exact_gates(_FORGET_BIAS[name])
        scale = math.sqrt((math.exp(-2 * _RATE) - forget**2) / (hidden_size / 2)) / 0.25  # i = o = 1/2
        weight_hh[2 * hidden_size : 3 * hidden_size] = scale * known
    return gs.Params(
        cell="lstm",
        weight_ih=np.zeros((4 * hidden_size, 1)),
        weight_hh=weight_hh,
        bias_ih=bias,
        bias_hh=np.zeros_like(bias),
    ).astype(dtype)


def _exact_gates(forget_bias: float) -> tuple[float, float]:
    """Return i, which o equals, and f, as exactly as float64 has them."""
    return 0.5, 1 / (1 + math.exp(-forget_bias))


def log_norms(params: gs.Params, lags: NDArray[np.int64], gates: tuple[float, float]) -> NDArray[np.float64]:
    """Return the logarithms of the norms at lags, with the gates i = o and f."""
    opening, forget = gates
    scale = float(np.abs(params.gate("g")["weight_hh"]).max())
    rate = math.log(forget**2 + params.hidden_size / 2 * (opening**2 * scale) ** 2) / 2
    return np.where(lags > 0, math.log(forget) + (lags - 1) * rate, 0.0)


def used_gates(params: gs.Params) -> tuple[float, float]:
    """Return i, which o equals, and f, as the kernel has them, which are the same for all units and steps."""
    trace = gs.run(params, np.ones((3, 1)))
    values = [float(trace.gate(name)[0, 0, 0]) for name in ("i", "f", "o")]
    if any((trace.gate(name) != value).any() for name, value in zip(("i", "f", "o"), values, strict=True)):
        raise AssertionError("units differ in their gates, so nothing is known of the gradient")
    if values[0] != values[2] or (trace.states != 0).any():
        raise AssertionError(
            "i and o differ, or the states do not stay at 0: nothing is known of the gradient"
        )
    return values[0], values[1]


def compared(params: gs.Params, flow: gs.GradientFlow) -> dict[str, Any]:
    """Return how far log-norms of c by c are from the known ones.

    ``error_nats`` is the largest difference over all lags, ``relative_error`` the largest over the known log-norm
    where that is beyond one nat (None if it is nowhere), both with the gates that the kernel uses;
    ``gates_error_nats`` is how far that log-norm at the last lag lies from that of the network whose gates are not
    rounded.
    """
    known = log_norms(params, flow.lag, used_gates(params))
    error = np.abs(flow.log_norm[:, 0] - known)
    far = np.abs(known) > 1
    exact = log_norms(params, flow.lag[-1:], _exact_gates(float(params.gate("f")["bias_ih"][0])))
    return {
        "known_last_log_norm": float(known[-1]),
        "error_nats": float(error.max()),
        "relative_error": float((error[far] / np.abs(known[far])).max()) if far.any() else None,
        "errors_up_to": {
            str(10**power): float(error[flow.lag <= 10**power].max())
            for power in range(2, len(str(int(flow.lag[-1]))))
        },
        "gates_error_nats": float(abs(known[-1] - exact[0])),
    }
