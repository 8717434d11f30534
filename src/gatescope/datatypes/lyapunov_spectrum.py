"""Lyapunov exponents, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_index
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table, per_sequence
from gatescope.reporting.text import counted, number, with_error

# Beyond so many of its errors, a difference of the two halves is no accident of the noise.
_DRIFT = 8.0
# Of an exponent's size (or of one nat per step), below which a drift does not matter.
_NEGLIGIBLE = 1e-3
# Of the leading exponent, or in nats per step, up to which its error is small enough to go by.
_RELATIVE, _ABSOLUTE = 0.1, 1e-3
# Nats per step that rounding may put into an exponent before it is said.
ROUNDED = 1e-3
# Fields with an entry for each sequence, but for `running`.
BATCHED = (
    "exponents",
    "error",
    "smallest_sine",
    "rounding",
    "log_det",
    "log_det_sum",
    "perturbation",
    "perturbation_reference",
)


@dataclass(frozen=True, kw_only=True, repr=False)
class LyapunovSpectrum(Result):
    """Lyapunov exponents of a driven cell: mean rates at which small changes of its whole state grow.

    Attributes
    ----------
    cell : str
    exponents : (B, k) float64
        Descending, in nats per step; ``-inf`` where a direction is lost altogether.
    error : (B, k) float64
        Standard error of each, from the means of 20 blocks of consecutive steps; NaN where there are too few steps.
    running : (M, B, k) float64
        Estimates from the first `running_step` steps, in the order of the last.
    running_step : (M,) int64
        Steps after the transient.
    transient : int
        Steps before the measurement, in which the directions align.
    qr_every : int
        Steps between orthonormalizations.
    steps : int
        Measured steps, transient excluded.
    size : int
        n = S*H, the size of the whole state and the number of exponents there are.
    smallest_sine : (B,) float64
        Of the angle between a direction and the span of those before it, at any orthonormalization.
    rounding : (B,) float64
        About as much as rounding may have put into the last exponents, in nats per step: the mean of eps / sine.
    log_det, log_det_sum : (B,) float64
        Mean ln abs(det J) over sampled steps, and the sum of all exponents over the same steps: they have to agree.
        NaN where not all exponents were asked for, or no checks.
    perturbation, perturbation_reference : (B,) float64
        The leading exponent over some steps by perturbing the state itself, without any derivative, and from the
        directions over the same steps.
    by_sequence : (B, 3) int64 or None
        `transient`, `qr_every` and `steps` of each sequence, if they differ; then those fields are of the longest, and
        `running` is NaN where a sequence has no such step.
    """

    cell: str
    exponents: Array
    error: Array
    running: Array
    running_step: Array
    transient: int
    qr_every: int
    steps: int
    size: int
    smallest_sine: Array
    rounding: Array
    log_det: Array
    log_det_sum: Array
    perturbation: Array
    perturbation_reference: Array
    by_sequence: Array | None = None

    def sequence(self, number: int) -> LyapunovSpectrum:
        """Return the spectrum of one sequence, as it is when it is measured alone."""
        b = check_index("number", number, len(self.exponents), "sequences")
        changes: dict[str, Any] = {name: getattr(self, name)[b : b + 1] for name in BATCHED}
        running, step = self.running[:, b : b + 1], self.running_step
        if self.by_sequence is not None:
            changes |= dict(
                zip(("transient", "qr_every", "steps"), self.by_sequence[b].tolist(), strict=True)
            )
            own = ~np.isnan(running).all(axis=(1, 2))
            running, step = running[own], step[own]
        return dataclasses.replace(self, **changes, running=running, running_step=step, by_sequence=None)

    def table(self) -> Table:
        """Return the first and the last exponent, what follows from all, and the checks, of each sequence."""
        last = self.exponents.shape[1]
        quantities: dict[str, Any] = {
            "leading exponent, nats per step": map(with_error, self.exponents[:, 0], self.error[:, 0]),
            f"exponent {last}, nats per step": map(with_error, self.exponents[:, -1], self.error[:, -1]),
            "Kaplan-Yorke dimension": self.kaplan_yorke_dimension(),
            "sum of the positive ones, nats per step": self.entropy_rate(),
        }
        checks = {
            "check: mean log |det J|, nats per step": self.log_det,
            "and the sum of all over the same steps": self.log_det_sum,
            "check: leading one by perturbing the state": self.perturbation,
            "and that over the same steps": self.perturbation_reference,
        }
        quantities |= {name: values for name, values in checks.items() if not np.isnan(values).all()}
        title = (
            f"Lyapunov exponents{f' of {self.cell}' if self.cell else ''} over "
            f"{'up to ' if self.by_sequence is not None else ''}{counted(self.steps, 'step')}, after "
            f"{self.transient:,} that do not count; QR every {counted(self.qr_every, 'step')}"
        )
        return per_sequence(title, quantities.items())

    def summary(self) -> str:
        """Return what the table is of, and the verdict on each sequence."""
        return "\n".join([self.table().title, *self.verdict()])

    def kaplan_yorke_dimension(self) -> Array:
        """Return the dimension (B,), j + (l_1 + ... + l_j) / abs(l_{j+1}) [1]_.

        j is the greatest number of exponents whose sum is not negative; 0 if all are negative; NaN if more exponents
        would be needed to tell.

        References
        ----------
        .. [1] J. L. Kaplan and J. A. Yorke, "Chaotic behavior of multidimensional difference equations", 1979.
        """
        return np.array([_kaplan_yorke(row, self.size) for row in self.exponents])

    def entropy_rate(self) -> Array:
        """Return the sum (B,) of the positive exponents, in nats per step.

        It bounds the rate at which entropy is made from above, and is the rate itself where the measure is smooth along
        the unstable directions (Pesin 1977).  NaN if the last exponent that was computed is still positive.
        """
        total = np.where(self.exponents > 0, self.exponents, 0).sum(axis=1)
        unfinished = (self.exponents[:, -1] > 0) & (self.exponents.shape[1] < self.size)
        return np.where(unfinished, np.nan, total)

    def drift(self) -> Array:
        """Return by how much (B, k) the second half of the steps differs from the first, nats per step."""
        if self.by_sequence is not None:
            return np.concatenate([one.drift() for one in self._sequences()])
        if len(self.running_step) < 2:
            return np.full_like(self.exponents, np.nan)
        total = self.running_step[-1]
        half = int(np.argmin(np.abs(self.running_step - total / 2)))
        fraction = self.running_step[half] / total
        with np.errstate(invalid="ignore"):
            return np.asarray((self.running[-1] - self.running[half]) / (1 - fraction))

    def converged(self) -> Array:
        """Return whether (B,) there were steps enough.

        No exponent's second half may differ from its first by more than 8 standard errors (there are many
        exponents, and noise has memory) or a thousandth of it, whichever is more; and the error of the leading
        exponent must be within a tenth of it, or a thousandth of a nat per step; and rounding must not have put more
        than that thousandth into an exponent.
        """
        if self.by_sequence is not None:
            return np.concatenate([one.converged() for one in self._sequences()])
        finite = np.isfinite(self.exponents)
        with np.errstate(invalid="ignore"):
            bound = np.maximum(_DRIFT * self.error, _NEGLIGIBLE * np.maximum(1, np.abs(self.exponents)))
            steady = (np.abs(self.drift()) <= bound) | ~finite
        leading, error = self.exponents[:, 0], self.error[:, 0]
        with np.errstate(invalid="ignore"):
            sharp = error <= np.maximum(_RELATIVE * np.abs(leading), _ABSOLUTE)
        resolved = (self.rounding <= ROUNDED) | (self.qr_every == 1)
        return np.asarray(steady.all(axis=1) & (sharp | ~finite[:, 0]) & resolved)

    def verdict(self) -> tuple[str, ...]:
        """Return a sentence for each sequence: the leading exponent, and whether the series was long enough to tell."""
        return tuple(one._sentence() for one in self._sequences())

    def _sequences(self) -> Iterator[LyapunovSpectrum]:
        return (self.sequence(b) for b in range(len(self.exponents)))

    def _sentence(self) -> str:
        """Return the verdict on the one sequence there is."""
        leading, error, rounding = (
            float(part[0]) for part in (self.exponents[:, 0], self.error[:, 0], self.rounding)
        )
        over = counted(self.steps, "step")
        if np.isneginf(leading):
            return f"every change of the state is lost at once, over {over}"
        measured = f"leading exponent {with_error(leading, error)} nats per step over {over}"
        if rounding > ROUNDED and self.qr_every > 1:
            return (
                f"{measured}; directions all but coincide between orthonormalizations, and rounding may have put "
                f"{number(rounding)} nats per step into the last exponents: lower qr_every={self.qr_every}"
            )
        if self.converged()[0]:
            return f"{measured}; converged"
        if not np.isfinite(error):
            return f"{measured}; T too short: its error is not known"
        enough = max(_RELATIVE * abs(leading), _ABSOLUTE)
        if error > enough:
            needed = self.steps * (error / enough) ** 2
            more = f"about {_round_up(needed):,} steps would bring the error to {number(enough)}"
            return f"{measured}; T too short: {more}"
        drift = self.drift()[0]
        worst = int(np.nanargmax(np.abs(np.where(np.isfinite(drift), drift, 0))))
        return (
            f"{measured}; T too short: exponent {worst + 1} still drifts, by {number(drift[worst])} from the first "
            "half to the second"
        )


def _kaplan_yorke(exponents: Array, size: int) -> float:
    sums = np.cumsum(exponents)
    not_negative = np.flatnonzero(sums >= 0)
    if not not_negative.size:
        return 0.0 if np.isfinite(exponents[0]) or exponents[0] < 0 else float("nan")
    j = int(not_negative[-1]) + 1
    if j == len(exponents):
        return float(size) if j == size else float("nan")
    return j + float(sums[j - 1] / abs(exponents[j]))


def _round_up(number: float) -> int:
    """Return a number rounded up to one digit."""
    digit = 10.0 ** np.floor(np.log10(number))
    return int(np.ceil(number / digit) * digit)
