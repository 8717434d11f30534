"""How often gates are shut or open (Karpathy, Johnson and Fei-Fei 2015, section 4.2)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result, index_of
from gatescope.datatypes.trace import Trace
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, number, percent

SHUT, OPEN = 0.1, 0.9  # a gate is shut below, and open above
_OFTEN = 0.9  # fraction of the steps
_LARGE = 5.0  # root mean square of an input from which it may saturate gates by itself
_MANY = 0.25  # fraction of the gate values
_PIECE = 1 << 16  # steps at a time


@dataclass(frozen=True, kw_only=True, repr=False)
class Saturation(Result):
    """Fractions of the steps at which each unit's gates are shut and open, over all sequences of a run.

    Attributes
    ----------
    cell : str
    gates : tuple of str
        The K gates that were looked at.
    shut, open : (K, H) float64
        Fractions in [0, 1] of the steps at which a gate was below `left`, and above `right`.
    left, right : float
        Thresholds.  A value that is one of them is neither shut nor open.
    steps : int
        How many steps there were, those of all sequences together.
    """

    cell: str
    gates: tuple[str, ...]
    shut: Array
    open: Array
    left: float
    right: float
    steps: int

    _axes: ClassVar[Mapping[str, str]] = {
        "gates": "(K,)",
        "shut": "(K, H) float64",
        "open": "(K, H) float64",
    }
    _labels: ClassVar[Mapping[str, object]] = {"gate": "gates"}
    _rows: ClassVar[str] = "shut"

    def gate(self, name: str) -> tuple[Array, Array]:
        """Return the fractions shut and open of one gate, (H,) each."""
        row = index_of(self.gates, name, "these gates were counted:")
        return self.shut[row], self.open[row]

    def means(self) -> dict[str, tuple[float, float]]:
        """Return the mean fractions shut and open over the units, by gate."""
        return {
            name: (float(self.shut[k].mean()), float(self.open[k].mean()))
            for k, name in enumerate(self.gates)
        }

    def saturated(self) -> float | None:
        """Return the fraction of all gate values that are shut or open, the mean over gates; None without gates."""
        means = self.means().values()
        return statistics.fmean(shut + opened for shut, opened in means) if means else None

    def table(self) -> Table:
        """Return the mean fractions of each gate, and how many units are shut or open at over 90 % of the steps."""
        rows = [
            (name, *map(percent, means), *(np.count_nonzero(part > _OFTEN) for part in self.gate(name)))
            for name, means in self.means().items()
        ]
        title = (
            f"gates of {self.cell}, {counted(self.shut.shape[1], 'unit')} over {counted(self.steps, 'step')}: "
            f"shut below {self.left:g}, open above {self.right:g}"
        )
        often = f"at over {_OFTEN:.0%} of the steps"
        return Table(("gate", "shut", "open", f"units shut {often}", f"units open {often}"), rows, title)

    def summary(self) -> str:
        """Return what the table is of, and the fraction of all values that are saturated."""
        return f"{self.table().title}\n{percent(self.saturated())} of all gate values are saturated"


def is_large(inputs: Array) -> bool:
    """Return whether one of the inputs (T, B, I) is of a size that can saturate gates by itself."""
    return bool((_moments(inputs)[1] > _LARGE).any())


def saturating_inputs(trace: Trace) -> dict[str, float]:
    """Return numbers of inputs that saturate the gates of a run, none where they do not.

    A cell without gates in (0, 1) is judged by its output, if that stays in (-1, 1), as 2 s - 1 of a gate s.

    Returns
    -------
    dict
        ``inputs_mean`` and ``inputs_deviation`` of the largest input, and ``inputs_saturated``, the fraction of the
        gate values that are below 0.1 or above 0.9.
    """
    mean, size = _moments(trace.inputs, trace.mask)
    largest = int(np.argmax(size))
    if not size[largest] > _LARGE:
        return {}
    counts, total = 0, 0
    names = trace.sigmoid_names
    for begin in range(0, len(trace.mask), _PIECE):
        inside = trace.mask[begin : begin + _PIECE]
        if names:
            values = [trace.gate(name)[begin : begin + _PIECE][inside] for name in names]
        else:
            values = [(1 + trace.outputs[begin : begin + _PIECE][inside]) / 2]
        if not names and not ((values[0] >= 0) & (values[0] <= 1)).all():
            return {}
        counts += sum(int(np.count_nonzero((part < SHUT) | (part > OPEN))) for part in values)
        total += sum(part.size for part in values)
    if not total or counts / total <= _MANY:
        return {}
    deviation = float(np.sqrt(max(0.0, size[largest] ** 2 - mean[largest] ** 2)))
    return {
        "inputs_mean": float(mean[largest]),
        "inputs_deviation": deviation,
        "inputs_saturated": counts / total,
    }


def saturating_text(numbers: Mapping[str, float]) -> str:
    """Return the sentence about what `saturating_inputs` returned, with the cure."""
    return (
        f"The inputs saturate the gates: {percent(numbers['inputs_saturated'])} of the gate values are below {SHUT:g} "
        f"or above {OPEN:g}, with inputs of mean {number(numbers['inputs_mean'])} and standard deviation "
        f"{number(numbers['inputs_deviation'])}, so that the numbers are those of a saturated cell; standardize the "
        "inputs, (x - mean) / sd, or give --standardize on the command line."
    )


def _moments(inputs: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """Return mean and root mean square of each input (T, B, I), over the steps where `mask` is True."""
    total, squares, count = 0.0, 0.0, 0
    for begin in range(0, len(inputs), _PIECE):
        piece = inputs[begin : begin + _PIECE]
        rows = piece.reshape(-1, piece.shape[-1]) if mask is None else piece[mask[begin : begin + _PIECE]]
        rows = np.asarray(rows, np.float64)
        with np.errstate(over="ignore"):
            total, squares = total + rows.sum(axis=0), squares + (rows * rows).sum(axis=0)
        count += len(rows)
    return np.asarray(total) / max(count, 1), np.sqrt(np.asarray(squares) / max(count, 1))
