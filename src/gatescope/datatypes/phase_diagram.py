"""Where gradients vanish and where they explode, over the scales of the initial weights."""

from __future__ import annotations

from dataclasses import dataclass

from gatescope.datatypes.result import Array, Result


@dataclass(frozen=True, kw_only=True, repr=False)
class PhaseDiagram(Result):
    """Rates at which gradients vanish or explode, over gain, bias of the holding gate, and initialization scheme.

    Means over the networks and sequences of each point; NaN where a network's states left the range of floating
    point, so that there is no rate (see `diverged`).

    Attributes
    ----------
    cell : str
    gate : str
        The gate whose bias is varied: f of an LSTM, z of a GRU; ``""`` for a cell that has none.
    scheme : tuple of str
        C schemes of `gatescope.init`.
    gain : (G,) float64
        What the scheme's recurrent weights (those of gain 1) are multiplied by.
    bias : (N,) float64
        What is added to the bias of `gate`.
    decay_rate : (C, G, N)
        Minus the slope of the adjoint's log-norm against the lag, nats per step: positive where gradients vanish.
    exponent, exponent_error : (C, G, N)
        Leading Lyapunov exponent in nats per step, negative where gradients vanish; its standard error, over networks
        and sequences if there are several, else over blocks of time.
    half_life : (C, G, N)
        ln 2 / -exponent in steps; infinite where the exponent is 0 or above.
    diverged : (C, G, N) bool
        Whether states left the range of floating point in any of the networks.
    hidden_size, steps, transient, seeds : int
        Units; steps of each run, and how many of them at its beginning were left out; networks a point.
    """

    cell: str
    gate: str
    scheme: tuple[str, ...]
    gain: Array
    bias: Array
    decay_rate: Array
    exponent: Array
    exponent_error: Array
    half_life: Array
    diverged: Array
    hidden_size: int
    steps: int
    transient: int
    seeds: int
