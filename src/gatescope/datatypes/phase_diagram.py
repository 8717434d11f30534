"""Where gradients vanish and where they explode, over the scales of the initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted

_ERRORS = 2.0  # that an exponent is away from 0 where its sign is known


@dataclass(frozen=True, kw_only=True, repr=False)
class PhaseDiagram(Result):
    """Rates at which gradients vanish or explode, over gain, bias of the memory gate, and initialization scheme.

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
        The asymptotic one, ln 2 / -exponent in steps; infinite where the exponent is 0 or above.
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

    _axes: ClassVar[Mapping[str, str]] = {
        "scheme": "(C,)",
        "gain": "(G,) float64",
        "bias": "(N,) float64",
        "decay_rate": "(C, G, N)",
        "exponent": "(C, G, N)",
        "exponent_error": "(C, G, N)",
        "half_life": "(C, G, N)",
        "diverged": "(C, G, N) bool",
    }
    _dims: ClassVar[Mapping[str, str]] = {"C": "scheme", "G": "gain", "N": "bias"}
    _rows: ClassVar[str] = "decay_rate"

    def table(self) -> Table:
        """Return where gradients begin to explode, and the longest half-life, for each scheme and bias."""
        rows = [
            (name, bias, *_edge(self.gain, self._sign()[c, :, n], self.half_life[c, :, n]))
            for c, name in enumerate(self.scheme)
            for n, bias in enumerate(self.bias)
        ]
        of = f"bias of {self.gate}" if self.gate else "bias"
        title = (
            f"phases of {self.cell} with {counted(self.hidden_size, 'unit')} over {counted(self.steps, 'step')}, "
            f"{counted(self.gain.size, 'gain')}"
        )
        return Table(
            ("scheme", of, "gradients explode from gain", "longest asymptotic half-life, steps", "at gain"),
            rows,
            title,
        )

    def summary(self) -> str:
        """Return what the table is of, and at how many points gradients vanish and explode."""
        signs = self._sign()[~self.diverged]
        open_ = np.count_nonzero(signs == 0)
        undecided = f"; at {open_:,} the exponent is within two of its errors of 0" if open_ else ""
        return (
            f"{self.table().title}\ngradients vanish at {np.count_nonzero(signs < 0):,} of "
            f"{counted(self.exponent.size, 'point')} and explode at {np.count_nonzero(signs > 0):,}{undecided}; states "
            f"left the range of floats at {np.count_nonzero(self.diverged):,}"
        )

    def _sign(self) -> Array:
        """Return the signs (C, G, N) of the exponents, 0 where they are within two of their errors of 0, or NaN."""
        told = np.abs(self.exponent) > _ERRORS * np.nan_to_num(self.exponent_error)
        return np.where(told, np.sign(self.exponent), 0.0)


def _edge(gain: Array, sign: Array, half_life: Array) -> tuple[Any, Any, Any]:
    """Return the least gain with an exponent above 0, the longest finite half-life and its gain.

    Each is None where there is none.
    """
    above = np.flatnonzero(sign > 0)
    edge = gain[above[0]] if above.size else None
    if not np.isfinite(half_life).any():
        return edge, None, None
    best = int(np.argmax(np.where(np.isfinite(half_life), half_life, -1.0)))
    return edge, half_life[best], gain[best]
