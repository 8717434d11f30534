"""Which inputs each output depends on, and how strongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_count
from gatescope.datatypes.result import Result
from gatescope.errors import ValueRangeError
from gatescope.reporting.table import Table, per_sequence, some
from gatescope.reporting.text import counted


@dataclass(frozen=True, kw_only=True, repr=False)
class Connectivity(Result):
    """How strongly each output depends on each input: the log-norm of d outputs[t] / d inputs[t'].

    Steps are counted as in `inputs` and in ``run(...).outputs``, from 0: outputs[t] is made by step t, which reads
    inputs[t].

    Attributes
    ----------
    cell : str
    target_step : (R,) int64
        The steps t of the outputs, ascending.
    source_step : (C,) int64
        The steps t' of the inputs, ascending.
    log_norm : (R, C, B) float64
        In nats; ``-inf`` where the derivative is exactly zero, NaN where t' is after t, or t is no step that was
        looked at of this sequence, because it is shorter than others.
    norm : str
        ``"frobenius"`` of the Jacobian (H, I), or the norm of v J for one direction v of the outputs, ``"random"``
        or ``"unit"``.
    """

    cell: str
    target_step: Array
    source_step: Array
    log_norm: Array
    norm: str

    _axes: ClassVar[Mapping[str, str]] = {
        "target_step": "(R,) int64",
        "source_step": "(C,) int64",
        "log_norm": "(R, C, B) float64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"R": "target_step", "C": "source_step"}
    _rows: ClassVar[str] = "log_norm"

    def table(self) -> Table:
        """Return the mean log-norm at some distances between input and output, of each sequence."""
        lags, profile = self.lag_profile()
        rows = [
            (f"{counted(int(lags[at]), 'step')} between input and output", profile[at] / np.log(10))
            for at in some(len(lags))
        ]
        title = f"log10 of || d output / d input || ({self.norm}) of {self.cell}, geometric mean over pairs"
        return per_sequence(title, rows)

    def summary(self) -> str:
        """Return what the table is of, and how many derivatives were taken."""
        pairs = counted(int((~np.isnan(self.log_norm)).any(axis=2).sum()), "pair")
        outputs, inputs = counted(len(self.target_step), "output"), counted(len(self.source_step), "input")
        return f"{self.table().title}\n{pairs} of {outputs} and {inputs}"

    def row(self, step: int) -> Array:
        """Return the log-norms (C, B) of the output at one of the target steps, over all source steps.

        Raises
        ------
        ValueRangeError
            If `step` is not among `target_step`.
        """
        step = check_count("step", step, least=0)
        rows = np.flatnonzero(self.target_step == step)
        if not rows.size:
            near = min(self.target_step.tolist(), key=lambda other: abs(other - step))
            raise ValueRangeError(
                "is not among the target steps", argument="step", seen=step, advice=f"the nearest is {near}"
            )
        return np.asarray(self.log_norm[rows[0]])

    def lag(self) -> Array:
        """Return t - t' (R, C) int64, negative where the source is after the target."""
        return np.asarray(self.target_step[:, None] - self.source_step[None, :])

    def lag_profile(self) -> tuple[Array, Array]:
        """Return lags (L,), ascending, and the mean log-norm (L, B) over all pairs that are so far apart.

        It is the logarithm of the geometric mean; ``-inf`` where any of the derivatives is exactly zero, NaN where a
        sequence has no such pair.
        """
        lag = self.lag()
        pairs = lag >= 0
        lags, row = np.unique(lag[pairs], return_inverse=True)
        profile = np.empty((lags.size, self.log_norm.shape[2]))
        for b, column in enumerate(self.log_norm[pairs].T):
            known = ~np.isnan(column)
            counts = np.bincount(row[known], minlength=lags.size)
            with np.errstate(invalid="ignore"):
                profile[:, b] = np.bincount(row[known], column[known], minlength=lags.size) / counts
        return lags, profile
