"""Lyapunov exponents, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_index
from gatescope.datatypes.lyapunov_sentences import RELATIVE, ROUNDED, doubt_of, sentence_of
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table, over_sequences, per_sequence
from gatescope.reporting.text import counted, listing, with_error

# Beyond so many of its errors, a difference of the two halves is no accident of the noise.
_DRIFT = 8.0
# Of an exponent's size, below which a drift does not matter.
_NEGLIGIBLE = 1e-3
# Times 1 / abs(leading exponent): the steps in which what the state began with is forgotten.
_SEVERAL = 3.0
# Nats per step: an exponent below it is 0 but for rounding, which puts about this into every step.
EXACT = 4 * float(np.finfo(np.float64).eps)
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
    "start_error",
    "moved",
    "cuts",
    "between",
    "between_error",
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
        Standard error of each: from the means of 20 blocks of consecutive steps, with their correlation, and
        `start_error` added in square.  1.96 errors on both sides are an interval of 95 %.  NaN where there are too few
        steps.
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
    start_error : (B, k) float64 or None
        What the directions to start with may have put into each, by two starts that are compared.
    moved : (B,) bool or None
        Whether the state was ever another than the first.  A state that never moved is a fixed point, stable or not,
        and the exponents are those of that point.  None where Jacobians were given.
    cuts : (B, k) int64 or None
        In how many of the M stretches of the run a change of the state is lost (a direction becomes 0, or all but 0),
        if they are a tenth of them at most; else 0.
    between, between_error : (B, k) float64 or None
        The exponents over the other stretches, and their errors.
    layers : tuple of str
        Of the joint state of a stack, the names of its layers; else none.
    layer : (B, k) int64 or None
        Which of these each exponent belongs to.
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
    start_error: Array | None = None
    moved: Array | None = None
    cuts: Array | None = None
    between: Array | None = None
    between_error: Array | None = None
    layers: tuple[str, ...] = ()
    layer: Array | None = None

    _axes: ClassVar[Mapping[str, str]] = {
        "exponents": "(B, k) float64",
        "error": "(B, k) float64",
        "running": "(M, B, k) float64",
        "running_step": "(M,) int64",
        "smallest_sine": "(B,) float64",
        "rounding": "(B,) float64",
        "log_det": "(B,) float64",
        "log_det_sum": "(B,) float64",
        "perturbation": "(B,) float64",
        "perturbation_reference": "(B,) float64",
        "by_sequence": "(B, 3) int64",
        "start_error": "(B, k) float64",
        "moved": "(B,) bool",
        "cuts": "(B, k) int64",
        "between": "(B, k) float64",
        "between_error": "(B, k) float64",
        "layer": "(B, k) int64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"M": "running_step", "3": "setting"}
    _labels: ClassVar[Mapping[str, object]] = {"setting": ("transient", "qr_every", "steps")}
    _rows: ClassVar[str] = "exponents"

    def sequence(self, number: int) -> LyapunovSpectrum:
        """Return the spectrum of one sequence, as it is when it is measured alone."""
        b = check_index("number", number, len(self.exponents), "sequences")
        fields = {name: getattr(self, name) for name in (*BATCHED, "layer")}
        changes: dict[str, Any] = {n: v[b : b + 1] for n, v in fields.items() if v is not None}
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
        if self.layer is not None:
            quantities["layer of the leading exponent"] = self.of_layers(1)
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
        """Return what the table is of, and the verdict; of several sequences what is common to their verdicts."""
        if len(self.exponents) == 1:
            return "\n".join([self.table().title, *self.verdict(), *self._by_layer()])
        settled = int(np.count_nonzero(self.converged()[:, 0]))
        lines = [
            over_sequences("leading exponent", self.exponents[:, 0], "nats per step"),
            f"the leading exponent is converged for {settled} of {len(self.exponents)} sequences",
        ]
        if self.layer is not None:
            counts = np.bincount(self.layer[:, 0], minlength=len(self.layers))
            texts = (f"{name} in {count}" for name, count in zip(self.layers, counts, strict=True) if count)
            lines.append(f"it is that of {listing(texts)} of {len(self.exponents)}")
        if settled < len(self.exponents):
            first = int(np.argmin(self.converged()[:, 0]))
            lines.append(f"sequence {first}: {self.sequence(first).verdict()[0]}")
        return "\n".join([self.table().title, *lines])

    def of_layers(self, most: int | None = None) -> list[str]:
        """Return for each sequence the names of the layers that its exponents belong to, in their order."""
        if self.layer is None:
            return [""] * len(self.exponents)
        return [listing(self.layers[index] for index in row[:most]) for row in self.layer]

    def _by_layer(self) -> list[str]:
        """Return where the exponents of each layer of a stack begin."""
        if self.layer is None:
            return []
        texts = []
        for index, name in enumerate(self.layers):
            own = self.layer[0] == index
            if own.any():
                first = with_error(self.exponents[0, own][0], self.error[0, own][0])
                texts.append(f"{name} {first} ({counted(int(own.sum()), 'exponent')})")
        return [f"the leading exponents of the layers, nats per step: {listing(texts)}"]

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
        """Return whether (B, k) each exponent can be gone by.

        That is so where

        - its error is at most a tenth of it (an exponent that is 0 but for rounding has none to speak of);
        - the transient is at least three times 1 / abs(leading exponent), the time in which the state forgets what it
          began with, unless the state never moved;
        - the state moved, or the fixed point that it stayed at is stable;
        - its second half differs from its first by no more than 8 errors (there are many exponents, and noise has
          memory) or a thousandth of it;
        - rounding has not put more than a thousandth of a nat per step into the last exponents.

        An exponent of -inf is: what is lost is lost.  Whether the directions have settled is part of the errors.
        """
        if self.by_sequence is not None:
            return np.concatenate([one.converged() for one in self._sequences()])
        finite = np.isfinite(self.exponents)
        size = np.abs(self.exponents)
        with np.errstate(invalid="ignore"):
            steady = np.abs(self.drift()) <= np.maximum(_DRIFT * self.error, _NEGLIGIBLE * size + EXACT)
            sharp = self.error <= RELATIVE * size + EXACT
        resolved = (self.rounding <= ROUNDED) | (self.qr_every == 1)
        start = (self.relaxed() & ~self.stuck() & resolved)[:, None]
        return np.asarray((steady & sharp & start) | ~finite)

    def at_rest(self) -> Array:
        """Return whether (B,) the state never moved from where it began: a fixed point, stable or not."""
        return np.zeros(len(self.exponents), np.bool_) if self.moved is None else ~self.moved

    def stuck(self) -> Array:
        """Return whether (B,) the state stayed at a fixed point that is not stable."""
        return np.asarray(self.at_rest() & (self.exponents[:, 0] > EXACT))

    def relaxed(self) -> Array:
        """Return whether (B,) the transient was long enough for the state; of given Jacobians that is not known."""
        long_enough = self.transient >= self.settling_steps()
        return np.asarray(long_enough | self.at_rest() | (self.moved is None))

    def settling_steps(self) -> Array:
        """Return three times 1 / abs(leading exponent), (B,): how long a transient should be; 0 if it is 0 or -inf."""
        leading = np.abs(self.exponents[:, 0])
        with np.errstate(divide="ignore"):
            return np.asarray(np.where(leading > EXACT, _SEVERAL / leading, 0.0))

    def doubts(self) -> tuple[str, ...]:
        """Return for each sequence why its leading exponent cannot be gone by; "" where it can."""
        return tuple(doubt_of(one) for one in self._sequences())

    def verdict(self) -> tuple[str, ...]:
        """Return a sentence for each sequence: the leading exponent, and whether the series was long enough to tell."""
        return tuple(sentence_of(one) for one in self._sequences())

    def _sequences(self) -> Iterator[LyapunovSpectrum]:
        return (self.sequence(b) for b in range(len(self.exponents)))


def _kaplan_yorke(exponents: Array, size: int) -> float:
    sums = np.cumsum(exponents)
    not_negative = np.flatnonzero(sums >= 0)
    if not not_negative.size:
        return 0.0 if np.isfinite(exponents[0]) or exponents[0] < 0 else float("nan")
    j = int(not_negative[-1]) + 1
    if j == len(exponents):
        return float(size) if j == size else float("nan")
    return j + float(sums[j - 1] / abs(exponents[j]))
