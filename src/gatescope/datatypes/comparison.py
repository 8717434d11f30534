"""Several cells over the same inputs: what each costs, how far back its gradient reaches, how its gates behave."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.checks.numbers import check_choice
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.gradient_flow import GradientFlow
from gatescope.datatypes.params import Params
from gatescope.datatypes.result import Result
from gatescope.datatypes.saturation import Saturation, saturating_inputs, saturating_text
from gatescope.datatypes.stack import Stack
from gatescope.datatypes.stack_trace import StackTrace
from gatescope.datatypes.trace import Trace
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, listing


@dataclass(frozen=True, kw_only=True, repr=False)
class CellMeasurements(Result):
    """What `gatescope.compare` measures of one cell, or of a model of several layers.

    Attributes
    ----------
    label : str
    params : Params or Stack
    trace : Trace or StackTrace
        Every state and gate of the run.
    flow : GradientFlow
        v d s_T / d s_(T-lag) of the whole state s (h, and c of an LSTM), for every lag, with one random unit vector v.
        The headline: an LSTM carries its memory in c, which d h / d h alone leaves out.  Of a model s is the joint
        state of all layers.
    flow_h : GradientFlow
        v d h_T / d h_(T-lag), for every lag, with one random unit vector v; of a model h of the uppermost layer by h
        of the lowest.
    flow_c : GradientFlow or None
        v d h_T / d c_(T-lag), with the same v, of a model by c of the lowest layer; None where that has no state c.
    multiply_adds, activations, elementwise : int
        Of one step of one sequence; see `gatescope.cells.operation_counts.OperationCounts`.
    nanoseconds : float
        One step of the whole batch, forward alone: the median of `timing_runs` sweeps with weights and buffers ready,
        divided by T.
    timing_runs : int
    threads : int or None
        The most threads a sweep may have used; None on a GPU.
    saturation : Saturation, or ByLayer of these
        Of no gates for a cell without any in (0, 1), see ``Trace.sigmoid_names``.
    """

    label: str
    params: Params | Stack
    trace: Trace | StackTrace
    flow: GradientFlow
    flow_h: GradientFlow
    flow_c: GradientFlow | None
    multiply_adds: int
    activations: int
    elementwise: int
    nanoseconds: float
    timing_runs: int
    threads: int | None
    saturation: Saturation | ByLayer[Saturation]

    @property
    def parts(self) -> dict[str, tuple[Trace, Saturation]]:
        """Return trace and saturation of each layer and direction, by its label: of a cell its own."""
        if isinstance(self.trace, Trace):
            assert isinstance(self.saturation, Saturation)
            return {self.label: (self.trace, self.saturation)}
        assert isinstance(self.saturation, ByLayer)
        return {
            label: (self.trace[name], self.saturation[name])
            for name, label in part_labels(self.label, self.params).items()
        }

    def saturated(self) -> float | None:
        """Return the fraction of all gate values that are shut or open; None without gates."""
        several = [one for _, one in self.parts.values() if one.gates]
        sizes = [one.shut.size for one in several]
        if not sizes:
            return None
        fractions = [one.saturated() or 0.0 for one in several]
        return float(np.average(fractions, weights=sizes))

    def numbers(self) -> dict[str, Any]:
        """Return all that was measured as plain values, as a table or a JSON file needs them.

        Of several sequences the rates, half-lives and R^2 are medians, over those whose norms follow a line.  Where
        none do, the rate is None and `no_rate` says why; an asymptotic half-life is None too where the gradient does
        not decay, and the steps to half where more than half of it is left.
        """
        steps, sequences, _ = self.trace.inputs.shape
        gates: dict[str, Any] = {}
        for name, (_, part) in zip(part_labels("", self.params), self.parts.values(), strict=True):
            for gate, (shut, opened) in part.means().items():
                gates[f"{name}.{gate}" if name else gate] = {"shut": shut, "open": opened}
        left, right = self.thresholds
        return {
            "cell": self.cell,
            "input_size": self.params.input_size,
            "hidden_size": self.hidden_size,
            "dtype": self.params.dtype.name,
            "steps": int(steps),
            "sequences": int(sequences),
            "parameters": self.params.count(),
            "multiply_adds_per_step": self.multiply_adds,
            "activations_per_step": self.activations,
            "elementwise_per_step": self.elementwise,
            "nanoseconds_per_step": self.nanoseconds,
            "timing_runs": self.timing_runs,
            "threads": self.threads,
            "gradient": {
                state: _fit_numbers(flow)
                for state, flow in (("joint", self.flow), ("h", self.flow_h), ("c", self.flow_c))
                if flow is not None
            },
            "saturation": {
                "left": left,
                "right": right,
                "saturated_fraction": self.saturated(),
                "gates": gates,
            },
        }

    @property
    def cell(self) -> str:
        """Return the name of the cell, of a model those of all layers, from the uppermost."""
        return (
            self.params.cell if isinstance(self.params, Params) else " on ".join(reversed(self.params.cells))
        )

    @property
    def hidden_size(self) -> int | list[int]:
        """Return the number of units, of a model that of each layer and direction."""
        if isinstance(self.params, Params):
            return self.params.hidden_size
        return [params.hidden_size for params in self.params.directions().values()]

    @property
    def thresholds(self) -> tuple[float, float]:
        """Return below and above what a gate is saturated."""
        _, first = next(iter(self.parts.values()))
        return first.left, first.right


def part_labels(label: str, model: Params | Stack) -> dict[str, str]:
    """Return labels of the layers and directions of a model by their names; of a cell its own by ``""``."""
    if isinstance(model, Params):
        return {"": label}
    return {name: f"{label}, {name}" for name in model.directions()}


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Result):
    """The cells of a comparison, by label, in the order they were given.

    Attributes
    ----------
    cells : tuple of CellMeasurements
    """

    cells: tuple[CellMeasurements, ...]

    def __getitem__(self, label: str) -> CellMeasurements:
        return self.cells[self.labels.index(check_choice("label", label, self.labels))]

    def __iter__(self) -> Iterator[CellMeasurements]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels, in order."""
        return tuple(cell.label for cell in self.cells)

    @property
    def sequences(self) -> int:
        """Return the number of sequences that all cells ran over."""
        return int(self.cells[0].trace.inputs.shape[1])

    def numbers(self) -> dict[str, dict[str, Any]]:
        """Return `CellMeasurements.numbers` of every cell, by label."""
        return {cell.label: cell.numbers() for cell in self.cells}

    def table(self) -> Table:
        """Return one row a quantity, one column a cell; None where a cell has nothing to show."""
        batch = f" of all {self.sequences} sequences" if self.sequences > 1 else ""
        quantities: dict[str, Callable[[dict[str, Any]], Any]] = {
            "parameters": lambda cell: cell["parameters"],
            "multiply-adds per step": lambda cell: cell["multiply_adds_per_step"],
            "activations per step": lambda cell: cell["activations_per_step"],
            f"forward, ns per step{batch}": lambda cell: cell["nanoseconds_per_step"],
            "steps to half of the gradient, whole state": _gradient("joint", "steps_to_half"),
            "asymptotic half-life, whole state, steps": _gradient("joint", "asymptotic_half_life_steps"),
            "gradient decay, whole state, nats per step": _gradient("joint", "decay_rate_nats_per_step"),
            "R² of that decay": _gradient("joint", "r_squared"),
            "steps to half, h to h alone": _gradient("h", "steps_to_half"),
            "asymptotic half-life, h to h alone, steps": _gradient("h", "asymptotic_half_life_steps"),
            "steps to half, h to c alone": _gradient("c", "steps_to_half"),
            "asymptotic half-life, h to c alone, steps": _gradient("c", "asymptotic_half_life_steps"),
            "saturated gates, %": lambda cell: _percent(cell["saturation"]["saturated_fraction"]),
        }
        cells = self.numbers().values()
        rows = [(quantity, *map(pick, cells)) for quantity, pick in quantities.items()]
        # Where no cell has gates or a state c, nothing is said of them; that there is no rate says something.
        always = ("whole state", "to h alone", "R²")
        rows = [
            row
            for row in rows
            if any(text in row[0] for text in always) or any(value is not None for value in row[1:])
        ]
        return Table(("", *self.labels), rows, self._title())

    def summary(self) -> str:
        """Return the extent of the series, how the times were taken, and when a gate counts as saturated."""
        first = self.cells[0]
        left, right = first.thresholds
        text = (
            f"{self._title()}\nns per step: median of {counted(first.timing_runs, 'run')} {self.timed_on()}; "
            f"saturated: below {left:g} or above {right:g}\n"
            "steps to half: from which lag on half of the gradient is gone; asymptotic half-life: ln 2 / decay rate of "
            "its tail" + "".join(f"\n{cell.label}: no single rate: {why}" for cell, why in self._no_rates())
        )
        apart = self.apart_text()
        text += f"\n{apart}" if apart else ""
        beyond = [cell.label for cell in self.cells if _beyond(cell.flow)]
        if beyond:
            text += f"\n{listing(beyond)}: the asymptotic half-life is longer than all lags, so that it is extrapolated"
        resting = {cell.label: cell.flow.resting_text() for cell in self.cells}
        text += "".join(f"\n{label}: {why}" for label, why in resting.items() if why)
        warning = self.scale_warning()
        return f"{text}\n{warning}" if warning else text

    def apart_text(self) -> str:
        """Return which models were compared a direction at a time, and why; empty if none were."""
        apart = self.provenance.get("taken_apart")
        if not isinstance(apart, list) or not apart:
            return ""
        return (
            f"{listing(apart)}: both ways, so that no state is made of earlier steps alone: each direction is compared "
            "by itself, on what it gets in the model; of a backward one steps count from the end"
        )

    def _is_upper(self, label: str) -> bool:
        """Return whether a label is that of a direction that gets what the layers below it in its model give."""
        apart = self.provenance.get("taken_apart", ())
        return any(re.match(rf"{re.escape(model)}, layers\.[1-9]", label) for model in apart)

    def scale_warning(self) -> str:
        """Return what to do about inputs that saturate the gates of one of the cells, empty if they do not."""
        reading = [cell for cell in self.cells if not self._is_upper(cell.label)]
        saturating = {cell.label: saturating_inputs(_lowest(cell)) for cell in reading}
        texts = [f"{label}: {saturating_text(numbers)}" for label, numbers in saturating.items() if numbers]
        others = [label for label, numbers in saturating.items() if numbers][1:]
        more = f" So they do in {listing(others)}." if others else ""
        return texts[0] + more if texts else ""

    def _no_rates(self) -> Iterator[tuple[CellMeasurements, str]]:
        """Yield the cells whose gradient has no single rate, and why."""
        for cell in self.cells:
            why = _fit_numbers(cell.flow)["no_rate"]
            if why:
                yield cell, why

    def timed_on(self) -> str:
        """Return what the times were taken on, in words."""
        if self.provenance.get("device") == "cuda":
            simulated = self.provenance.get("backend") == "cudasim"
            where = "in Numba's simulator of a GPU" if simulated else "on the GPU"
            return f"{where}, the copy of the inputs to it included"
        return f"with at most {counted(self.cells[0].threads or 1, 'thread')} on the CPU"

    def _title(self) -> str:
        steps = counted(self.cells[0].trace.inputs.shape[0], "step")
        return f"{steps}, {'one sequence' if self.sequences == 1 else counted(self.sequences, 'sequence')}"


def _lowest(cell: CellMeasurements) -> Trace:
    """Return the trace of what reads the inputs."""
    return next(iter(cell.parts.values()))[0]


def _gradient(state: str, key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda cell: cell["gradient"].get(state, {}).get(key)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _fit_numbers(flow: GradientFlow) -> dict[str, Any]:
    rate, half = flow.decay_rate(), flow.half_life()
    known = rate.is_rate
    return {
        "steps_to_half": _median(flow.steps_to_half()),
        "decay_rate_nats_per_step": _median(rate.value[known]),
        "asymptotic_half_life_steps": _median(half.value[known]),
        "r_squared": _median(rate.r_squared[known]),
        "no_rate": None if known.any() else rate.why_none[0],
        "fit_range": list(rate.fit_range),
        "longest_lag": int(flow.lag[-1]),
        "log_norm_at_longest_lag": _median(flow.log_norm[-1]),
    }


def _beyond(flow: GradientFlow) -> bool:
    """Return whether the half-life of a flow is longer than the lags from which it was read off."""
    half_life = _fit_numbers(flow)["asymptotic_half_life_steps"]
    return half_life is not None and half_life > flow.lag[-1]


def _median(values: Any) -> float | None:
    """Return the median over the sequences, None if there is none or it is not a finite number."""
    if not np.size(values):
        return None
    middle = float(np.median(values))
    return middle if math.isfinite(middle) else None
