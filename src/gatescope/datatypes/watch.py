"""What was read of a model's recurrent layers while it learned in somebody's own loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_count, check_index
from gatescope.datatypes.result import Result
from gatescope.errors import ShapeError
from gatescope.reporting.table import Table, some
from gatescope.reporting.text import counted, number, percent, steps


@dataclass(frozen=True, kw_only=True, repr=False)
class WatchHistory(Result):
    """Half-lives, decay rates and saturation of L recurrent layers at M readings.

    Attributes
    ----------
    layers : tuple of str
        A name each layer and direction: the module's, and where it has several ``"lstm.layers.1.backward"``.
    cells : tuple of str
    gates : tuple of tuple of str
        Those gates of each layer that go from 0 to 1, in the order of `saturation`.
    every : int
        A reading is due after so many steps of the loop.
    loop_steps : int
        Steps that the loop has done so far, at least those of the last reading.
    step : (M,) int64
        Steps that the loop had done; 0 is before the first.
    decay_rate : (M, L) float64
        Nats per step, of the gradient of a layer's last state by earlier ones, of all the cell's states together (h and
        c of an LSTM): mean over the sequences that have one.  NaN where none has, or the reading failed.
    half_life : (M, L) float64
        The asymptotic one, ln 2 / decay_rate, in steps; infinite where the gradient does not decay.
    saturation : (M, L, K, 2) float64
        Fractions of a gate's values below 0.1 and above 0.9, over steps, sequences and units.  NaN where a layer has
        fewer gates than K, or the reading failed.
    probe_steps : (M,) int64
        Steps of the sequences that were looked at, which are shortened to keep readings cheap.
    doubts : tuple of tuple of str
        For each reading and layer, why there is no decay rate, or what it may be off by; "" where neither.
    failures : tuple of str
        For each reading, why it or part of it failed; "" where it did not.
    seconds, loop_seconds : (M,) float64
        Wall-clock time of a reading, and of the loop since the reading before.  They do not count in comparisons.
    """

    layers: tuple[str, ...]
    cells: tuple[str, ...]
    gates: tuple[tuple[str, ...], ...]
    every: int
    loop_steps: int
    step: Array
    decay_rate: Array
    half_life: Array
    saturation: Array
    probe_steps: Array
    doubts: tuple[tuple[str, ...], ...]
    failures: tuple[str, ...]
    seconds: Array = field(compare=False)
    loop_seconds: Array = field(compare=False)

    _axes: ClassVar[Mapping[str, str]] = {
        "layers": "(L,)",
        "cells": "(L,)",
        "gates": "(L,)",
        "step": "(M,) int64",
        "decay_rate": "(M, L) float64",
        "half_life": "(M, L) float64",
        "saturation": "(M, L, K, 2) float64",
        "probe_steps": "(M,) int64",
        "doubts": "(M,)",
        "failures": "(M,)",
        "seconds": "(M,) float64",
        "loop_seconds": "(M,) float64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"M": "step", "L": "layer", "K": "gate_number"}
    _labels: ClassVar[Mapping[str, object]] = {"layer": "layers"}
    _rows: ClassVar[str] = "decay_rate"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_fields("history")
        check_count("every", self.every)
        check_count("loop_steps", self.loop_steps, least=0)
        layers, gates = len(self.layers), self.saturation.shape[2]
        if not self.step.size or not layers:
            raise ShapeError("is empty", argument="step", advice="give at least one reading of one layer")
        if any(len(names) > gates for names in self.gates) or any(len(row) != layers for row in self.doubts):
            raise ShapeError(
                f"do not fit {counted(layers, 'layer')} of at most {counted(gates, 'gate')}",
                argument="gates and doubts",
                advice="give the history as it was returned",
            )

    @property
    def overhead(self) -> float:
        """Seconds of the readings in the loop over those of the loop itself; NaN before the first of them."""
        loop = float(self.loop_seconds.sum())
        return float(self.seconds[1:].sum()) / loop if loop > 0 else float("nan")

    def numbers(self, reading: int) -> dict[str, float]:
        """Return what a reading found, by names as loggers take them: ``"lstm/half_life"``, ``"lstm/f/shut"``.

        Readings are numbered from 0.
        """
        reading = check_index("reading", reading, len(self.half_life), "readings")
        numbers: dict[str, float] = {}
        for k, layer in enumerate(self.layers):
            numbers[f"{layer}/half_life"] = float(self.half_life[reading, k])
            numbers[f"{layer}/decay_rate"] = float(self.decay_rate[reading, k])
            for j, gate in enumerate(self.gates[k]):
                for side, name in enumerate(("shut", "open")):
                    numbers[f"{layer}/{gate}/{name}"] = float(self.saturation[reading, k, j, side])
        return numbers

    def table(self) -> Table:
        """Return half-life, decay rate and saturation of each layer, at some of the readings."""
        header = (
            "step",
            "layer",
            "half-life, steps",
            "decay rate, nats per step",
            "gates shut",
            "gates open",
        )
        rows = [
            (
                int(self.step[m]),
                self.layers[k],
                self.half_life[m, k],
                self.decay_rate[m, k],
                *(self._gates(m, k, side) for side in (0, 1)),
            )
            for m in some(len(self.step))
            for k in range(len(self.layers))
        ]
        count = counted(len(self.step), "reading")
        return Table(
            header, rows, f"{counted(len(self.layers), 'layer')}, {count} over {steps(self.loop_steps)}"
        )

    def _gates(self, reading: int, layer: int, side: int) -> dict[str, str]:
        values = self.saturation[reading, layer, :, side]
        return {gate: percent(value) for gate, value in zip(self.gates[layer], values, strict=False)}

    def summary(self) -> str:
        """Return what became of each half-life, what the readings took, and what there is to doubt."""
        lines = [self.table().title, *self._changes()]
        due, taken = self.loop_steps // self.every, len(self.step) - 1
        late = f"{due - taken} of {due} put off"
        if taken:
            spent = "unknown" if np.isnan(self.overhead) else f"{100 * self.overhead:.2g} %"
            lines.append(f"readings took {spent} of the loop's time{f', {late}' if taken < due else ''}")
        elif due:
            lines.append(f"no reading in the loop: {late}, since one takes too much of so short a time")
        failed = [m for m, failure in enumerate(self.failures) if failure]
        if failed:
            where = f"the first after {steps(self.step[failed[0]])}"
            lines.append(f"{counted(len(failed), 'reading')} failed, {where}: {self.failures[failed[0]]}")
        return "\n".join(lines)

    def _changes(self) -> Iterator[str]:
        """Yield a line a layer: its half-life at the first and the last reading that has one."""
        for k, layer in enumerate(self.layers):
            known = np.flatnonzero(~np.isnan(self.half_life[:, k]))
            if not known.size:
                doubt = next((row[k] for row in self.doubts if row[k]), "")
                yield f"{layer}: no half-life at any reading" + (f": {doubt}" if doubt else "")
                continue
            parts = [
                f"{number(self.half_life[m, k])} after {steps(self.step[m])}"
                for m in np.unique(known[[0, -1]])
            ]
            doubt = self.doubts[known[-1]][k]
            yield f"{layer}: half-life {' and '.join(parts)}" + (f" ({doubt})" if doubt else "")
