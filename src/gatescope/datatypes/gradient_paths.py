"""By which ways a gradient goes back in time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table, some
from gatescope.reporting.text import NumberText, counted, percent

DIRECT = "direct"  # the name of the path from state to state
CANCELS = 100  # times the norm of the whole: where the parts' norms are more, a part's fraction says nothing


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientPaths(Result):
    """An adjoint as the sum of what stayed on the direct path and what left it through each gate.

    The whole is a_k = d of_t / d wrt_{t-k} for one direction of `of`.  Its part ``"direct"``, the direct (carry) path,
    is the product of the states' own factors alone (f of an LSTM, z of a GRU).  The part of a gate gathers all paths
    that, going back from t, leave the direct path for the first time through this gate's pre-activation.  The parts
    sum to the whole.  A gate that acts only inside another, as r of gru_reset_before in n, has a part of 0: its paths
    are in the part of the other.  Where a shorter sequence has no such lag, all is NaN.

    Attributes
    ----------
    cell : str
    lag : (L,) int64
        Steps back from `source_step`, ascending.
    paths : tuple of str
        ``"direct"``, then the cell's gates: the axis P.
    log_norm : (L, P, B) float64
        ln || part ||, in nats; ``-inf`` where a part is exactly zero.
    fraction : (L, P, B) float64
        <part, whole> / <whole, whole>: how much of the whole a part makes up, with its sign; the fractions of a lag
        sum to 1.  NaN where the whole is zero, or so far below its parts, which cancel, that rounding leaves fewer
        than three digits.
    total_log_norm : (L, B) float64
        ln || whole ||, in nats, from an adjoint carried back by itself: right however far the parts cancel.
    of, wrt : str
        What is differentiated, and with respect to what: a state of the cell or ``"joint"``.
    source_step : int
        Index t into the states, 1..T; that of the longest sequence, if they differ.
    norm : str
        The direction of `of`: ``"random"`` or ``"unit"``.
    vectors : (L, P, B, S, H) float64 or None
        The parts with respect to all states, times 2^exponents[l, b].
    exponents : (L, B) int64 or None
    source_steps : (B,) int64 or None
        That of each sequence, if they differ.
    """

    cell: str
    lag: Array
    paths: tuple[str, ...]
    log_norm: Array
    fraction: Array
    total_log_norm: Array
    of: str
    wrt: str
    source_step: int
    norm: str
    vectors: Array | None = None
    exponents: Array | None = None
    source_steps: Array | None = None

    _axes: ClassVar[Mapping[str, str]] = {
        "lag": "(L,) int64",
        "paths": "(P,)",
        "log_norm": "(L, P, B) float64",
        "fraction": "(L, P, B) float64",
        "total_log_norm": "(L, B) float64",
        "vectors": "(L, P, B, S, H) float64",
        "exponents": "(L, B) int64",
        "source_steps": "(B,) int64",
    }
    _labels: ClassVar[Mapping[str, object]] = {"path": "paths"}
    _rows: ClassVar[str] = "log_norm"

    def table(self) -> Table:
        """Return the norm of the gradient of the first sequence at some of the lags, and the fraction of each path.

        Of lags at which the parts cancel there are their norms instead, in powers of ten as that of the whole.
        """
        decades, parts = (values[..., 0] / np.log(10) for values in (self.total_log_norm, self.log_norm))
        rows = [
            (
                self.lag[at],
                decades[at],
                *(
                    [NumberText(f"norm {_power(part)}", {"log10 of the norm": part}) for part in parts[at]]
                    if self.cancels[at, 0]
                    else map(percent, self.fraction[at, :, 0])
                ),
            )
            for at in some(len(self.lag))
        ]
        first = ", sequence 0" if self.fraction.shape[2] > 1 else ""
        title = f"parts of the gradient of {self.of} by an earlier {self.wrt}, {self.cell}{first}"
        return Table(("lag, steps", "log10 of the norm", *self.paths), rows, title)

    def summary(self) -> str:
        """Return what the table is of, how to read it, where parts cancel, and which gates have no part."""
        lines = [self.table().title, "fractions have signs and sum to 100 %: parts beyond that cancel"]
        if self.cancels.any():
            lines.append(self.cancelling_text())
        reached = np.isfinite(self.total_log_norm).any()
        for part, name in enumerate(self.paths):
            if part and reached and np.isneginf(self.log_norm[:, part]).all():
                lines.append(
                    f"part {name} is 0: no path leaves by {name} first; any through it are in other parts"
                )
        return "\n".join(lines)

    @property
    def cancels(self) -> Array:
        """Whether the norms of the parts add up to more than 100 times that of the whole, (L, B)."""
        return np.asarray(self.cancellation() > math.log(CANCELS))

    def cancelling_text(self) -> str:
        """Return at how many lags the parts cancel, and how far where they do most."""
        cancels, nats = self.cancels, np.nan_to_num(self.cancellation(), nan=-np.inf, posinf=np.inf)
        at, sequence = np.unravel_index(int(nats.argmax()), nats.shape)
        several = cancels.shape[1] > 1
        factor = (
            "infinitely many" if np.isinf(nats[at, sequence]) else _power(nats[at, sequence] / np.log(10))
        )
        return (
            f"the parts cancel at {cancels.sum()} of {counted(cancels.size, 'lag')}"
            f"{' of all sequences' if several else ''}: their norms add up to more than {CANCELS} times that of the "
            f"whole, at lag {self.lag[at]:,}{f' of sequence {sequence}' if several else ''} to {factor} times; "
            "fractions of the whole say nothing there, and norms of the parts stand in their place"
        )

    def path(self, name: str) -> tuple[Array, Array]:
        """Return log-norm and fraction of one part, each (L, B)."""
        part = self.paths.index(check_choice("name", name, self.paths))
        return self.log_norm[:, part], self.fraction[:, part]

    def norm_fractions(self) -> Array:
        """Return each part's norm over the sum of all parts' norms, (L, P, B); NaN where all are zero."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.exp(self.log_norm - self._sum_of_norms()[:, None]))

    def cancellation(self) -> Array:
        """Return ln of the sum (L, B) of the parts' norms over the norm of the whole, in nats.

        0 where all parts point the same way; ln 2 where half of what they carry cancels; infinite where all does.
        """
        with np.errstate(invalid="ignore"):
            return self._sum_of_norms() - self.total_log_norm

    def _sum_of_norms(self) -> Array:
        return np.asarray(np.logaddexp.reduce(self.log_norm, axis=1))


def _power(decades: float) -> str:
    """Return ten to some power, to two digits of the power; 0 for minus infinity."""
    return "0" if np.isneginf(decades) else f"10^{decades:.2f}".replace("-", "−")
