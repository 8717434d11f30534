"""Fixed points of a cell under a constant input, and how it moves near them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table
from gatescope.reporting.text import NumberText, counted, listing, number

_SHOWN_POINTS = 20


@dataclass(frozen=True, kw_only=True, repr=False)
class FixedPoints(Result):
    """States that a cell maps to themselves under a constant input, and the eigenvalues of its Jacobian there.

    In order of the number of unstable directions, then of how often each was found.

    Attributes
    ----------
    cell : str
    inputs : (I,) float64
        The constant input.
    states : (P, S, H) float64
        The whole state at each fixed point, the cell's first state first.
    residual : (P,) float64
        The greatest absolute component of new state minus state.
    eigenvalues : (P, n) complex128
        Of the exact Jacobian d new_state / d state of size n = S*H, by falling modulus.
    stable : (P,) bool
        Whether all moduli are below 1 by more than `margin`.
    found_by : (P,) int64
        How many starts led to each fixed point.
    starts : int
        How many starts were tried.
    margin : float
        Moduli within this of 1 are taken for 1.
    state_names : tuple of str
    """

    cell: str
    inputs: Array
    states: Array
    residual: Array
    eigenvalues: Array
    stable: Array
    found_by: Array
    starts: int
    margin: float
    state_names: tuple[str, ...]

    _axes: ClassVar[Mapping[str, str]] = {
        "inputs": "(I,) float64",
        "states": "(P, S, H) float64",
        "residual": "(P,) float64",
        "eigenvalues": "(P, S*H) complex128",
        "stable": "(P,) bool",
        "found_by": "(P,) int64",
        "state_names": "(S,)",
    }
    _dims: ClassVar[Mapping[str, str]] = {"P": "point", "S*H": "eigenvalue"}
    _labels: ClassVar[Mapping[str, object]] = {"state": "state_names"}

    @property
    def count(self) -> int:
        """Return P, the number of fixed points."""
        return int(self.states.shape[0])

    @property
    def not_converged(self) -> int:
        """Return how many starts led to no fixed point."""
        return int(self.starts - self.found_by.sum())

    @property
    def h(self) -> Array:
        """Return the first state (P, H), a view, which is the output."""
        return self.states[:, 0]

    def spectral_radius(self) -> Array:
        """Return the greatest modulus of an eigenvalue at each fixed point, (P,)."""
        return np.asarray(np.abs(self.eigenvalues).max(axis=1))

    def unstable_directions(self) -> Array:
        """Return the number (P,) int64 of eigenvalues whose modulus is above 1 by more than `margin`."""
        return np.asarray((np.abs(self.eigenvalues) > 1 + self.margin).sum(axis=1), np.int64)

    def marginal(self) -> Array:
        """Return whether (P,) a modulus is 1 to within `margin`, so that linearization does not tell stability."""
        return np.asarray((np.abs(np.abs(self.eigenvalues) - 1) <= self.margin).any(axis=1))

    def time_constants(self) -> Array:
        """Return -1 / ln abs(eigenvalue) in steps (P, n), in the eigenvalues' order.

        After so many steps a small deviation along an eigenvector is smaller by a factor e; where the value is negative
        it is larger by that factor.  Infinite where the modulus is 1, 0 where the eigenvalue is 0.
        """
        with np.errstate(divide="ignore"):
            rate = -np.log(np.abs(self.eigenvalues))
            return np.asarray(np.where(rate == 0, np.inf, 1 / rate))

    def table(self) -> Table:
        """Return the first 20 fixed points, a row each."""
        slowest, radius = self.time_constants(), self.spectral_radius()
        rows = [
            (
                p,
                self._kind(p),
                radius[p],
                slowest[p, 0],
                NumberText(f"{self.residual[p]:.1e}", self.residual[p]),
                self.found_by[p],
            )
            for p in range(min(self.count, _SHOWN_POINTS))
        ]
        header = (
            "",
            "directions",
            "greatest modulus",
            "time constant, steps",
            "residual",
            "found by, starts",
        )
        title = f"fixed points of {self.cell} under the constant input {listing(self.inputs, most=8, form=number)}"
        return Table(header, rows, title)

    def summary(self) -> str:
        """Return what the table is of, and how many fixed points there are."""
        missed = f"; {self.not_converged:,} led to none" if self.not_converged else ""
        stable = int(self.stable.sum())
        return (
            f"{self.table().title}\n{counted(self.count, 'fixed point')}, {stable:,} of them stable, "
            f"from {counted(self.starts, 'start')}{missed}"
        )

    def _kind(self, p: int) -> str:
        directions = int(self.unstable_directions()[p])
        if self.stable[p]:
            return "stable"
        if not directions:
            return "marginal"
        return f"{directions} unstable" + (", others marginal" if self.marginal()[p] else "")
