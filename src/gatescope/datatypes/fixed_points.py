"""Fixed points of a cell under a constant input, and how it moves near them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatescope.datatypes.result import Array, Result


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

    @property
    def count(self) -> int:
        """P, the number of fixed points."""
        return int(self.states.shape[0])

    @property
    def not_converged(self) -> int:
        """How many starts led to no fixed point."""
        return int(self.starts - self.found_by.sum())

    @property
    def h(self) -> Array:
        """(P, H) view: the first state, which is the output."""
        return self.states[:, 0]

    def spectral_radius(self) -> Array:
        """(P,): the greatest modulus of an eigenvalue."""
        value: Array = np.abs(self.eigenvalues).max(axis=1)
        return value

    def unstable_directions(self) -> Array:
        """(P,) int64: the number of eigenvalues whose modulus is above 1 by more than `margin`."""
        return np.asarray((np.abs(self.eigenvalues) > 1 + self.margin).sum(axis=1), np.int64)

    def marginal(self) -> Array:
        """(P,) bool: whether a modulus is 1 to within `margin`, so that linearization does not tell stability."""
        value: Array = (np.abs(np.abs(self.eigenvalues) - 1) <= self.margin).any(axis=1)
        return value

    def time_constants(self) -> Array:
        """(P, n): -1 / ln |eigenvalue| in steps, in the eigenvalues' order.

        After so many steps a small deviation along an eigenvector is smaller by a factor e; where the value is negative
        it is larger by that factor.  Infinite where the modulus is 1, 0 where the eigenvalue is 0.
        """
        with np.errstate(divide="ignore"):
            rate = -np.log(np.abs(self.eigenvalues))
            return np.asarray(np.where(rate == 0, np.inf, 1 / rate))

    def summary(self) -> str:
        """What was found, in words and numbers, a line a fixed point."""
        missed = f"; {self.not_converged} led to none" if self.not_converged else ""
        lines = [
            f"{self.cell}: {self.count} fixed point{'' if self.count == 1 else 's'}, "
            f"{int(self.stable.sum())} of them stable, from {self.starts} starts{missed}"
        ]
        slowest = self.time_constants()
        described = zip(
            self.stable, self.marginal(), self.unstable_directions(), self.spectral_radius(), strict=True
        )
        for p, (stable, marginal, directions, radius) in enumerate(described):
            if stable:
                kind = "stable"
            elif directions:
                kind = f"{directions} unstable direction{'' if directions == 1 else 's'}"
            else:
                kind = "marginal"
            if marginal and directions:
                kind += ", others marginal"
            lines.append(
                f"{p}: {kind}, greatest modulus {radius:.6g} (time constant {slowest[p, 0]:.4g} steps), "
                f"residual {self.residual[p]:.1e}, found by {self.found_by[p]}"
            )
        return "\n".join(lines)
