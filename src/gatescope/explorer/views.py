"""What the page shows of each run: which gates and states, in which words, which gradients, which marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import Cell, get
from gatescope.cells.registry import names as registered_cells
from gatescope.cells.roles import ROLES
from gatescope.datatypes import Array, GradientFlow, Trace
from gatescope.datatypes.saturation import OPEN, SHUT
from gatescope.explorer.encoding import coding_of, encode, fields, packed
from gatescope.explorer.equations import equations
from gatescope.explorer.levels import Detail, reduced
from gatescope.plotting._palette import BLACK, gate_styles
from gatescope.plotting._trace_view import gate_names, reference_name, time_mean, values
from gatescope.reporting.text import show

_STATES = {"joint": "the state"}  # h, and c of an LSTM, together
_LABEL = 40  # letters of an event that are shown
_VISIBLE = str.maketrans({" ": "␣", "\n": "↲", "\t": "→"})  # what would not be seen on an axis
_FEW = 4  # series that are drawn as lines, and coded in 16 bits: they take no room


@dataclass(frozen=True, kw_only=True)
class View:
    """One run of one cell: a sequence of a trace, and gradients by the unit that they are of, None of the whole."""

    label: str
    trace: Trace
    sequence: int
    flows: Mapping[int | None, GradientFlow]
    marks: Mapping[int, str]
    tokens: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Number of steps of the sequence."""
        return int(self.trace.lengths[self.sequence])

    @property
    def size(self) -> int:
        """Number of values of all steps that take room in a page."""
        units = self.trace.states.shape[3] * len(self.names)
        width = self.trace.inputs.shape[2]
        return self.steps * int(units + 2 * len(self.flows) + (width if width > _FEW else 2 * width))

    @property
    def names(self) -> tuple[str, ...]:
        """The gates worth showing, and the states."""
        return gate_names(self.trace) + self.trace.state_names

    @property
    def cell(self) -> Cell | None:
        """The cell; None if it is not registered here."""
        return get(self.trace.cell) if self.trace.cell in registered_cells() else None

    def data(self, detail: Detail) -> dict[str, Any]:
        """Return what the page holds of the run, in some detail."""
        inputs = self.trace.inputs[: self.steps, self.sequence]
        cell = self.cell
        return {
            "label": self.label,
            "steps": self.steps,
            "units": int(self.trace.states.shape[3]),
            "every": detail.every,
            "chosen": reference_name(self.trace),
            "inputs": {"name": "inputs", **_block(inputs, detail)},
            "rows": [self._row(name, color, detail) for name, color in self._colors()],
            "gradients": self._gradients(detail),
            "marks": [(step, " ".join(label.split())[:_LABEL]) for step, label in self.marks.items()],
            "tokens": [token.translate(_VISIBLE) or "∅" for token in self.tokens[: self.steps]],
            "equations": equations(cell) if cell else [],
        }

    def _colors(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, style in zip(self.names, gate_styles(self.names), strict=True):
            color = "ink" if style.color == BLACK else style.color  # black is not seen on dark paper
            yield name, {"color": color, "dash": [] if style.linestyle == "-" else style.linestyle[1]}

    def _row(self, name: str, look: dict[str, Any], detail: Detail) -> dict[str, Any]:
        trace, cell = self.trace, self.cell
        series = values(trace, name)[: self.steps, self.sequence]
        is_gate = trace.bounds(name) == (0, 1)
        memory = memory_gate(cell) if cell else None
        # What the gate says of how long memory lasts: the fraction kept is its value, or one minus that.
        keeps = memory.sign if memory and memory.name == name and is_gate else 0
        title = f"{name}, {ROLES[name]}" if name in ROLES else name
        row = {
            "name": name,
            "title": title,
            "caption": title + {0: "", 1: ", keeps the memory", -1: ", 1 − it keeps the memory"}[keeps],
            "kind": "state" if name in trace.state_names else "gate",
            "keeps": keeps,
            "mean": _numbers(time_mean(series)),
            "shut": _numbers(np.mean(series < SHUT, axis=0)) if is_gate else None,
            "open": _numbers(np.mean(series > OPEN, axis=0)) if is_gate else None,
            **look,
            **_block(series, detail, gate=is_gate),
        }
        if row["kind"] == "state":
            row["initial"] = _numbers(trace.state(name)[0, self.sequence])
        return row

    def _gradients(self, detail: Detail) -> list[dict[str, Any]]:
        rows = []
        for unit, flow in self.flows.items():
            flow = flow.sequence(self.sequence if flow.log_norm.shape[1] > 1 else 0)
            rows.append(
                {
                    "unit": unit,
                    "name": f"gradient of {_STATES.get(flow.of, flow.of)} by {_STATES.get(flow.wrt, flow.wrt)}, ln",
                    "source": flow.source_step - 1,
                    "words": _decay(
                        flow, "the whole gradient" if unit is None else f"the gradient of unit {unit}"
                    ),
                    **_block(by_step(flow, self.steps)[:, None], detail),
                }
            )
        return rows


def _decay(flow: GradientFlow, whose: str) -> str:
    """Return in words how soon a gradient of one sequence is gone."""
    gone, half = float(flow.steps_to_half()[0]), flow.half_life()
    soon = (
        f"half is gone after {show(gone)} step{'' if gone == 1 else 's'}"
        if np.isfinite(gone)
        else "more than half is left at the longest lag"
    )
    if half.is_rate[0] and np.isfinite(half.value[0]):
        return f"Of {whose} {soon}; asymptotic half-life {show(float(half.value[0]))} steps."
    return f"Of {whose} {soon}; no half-life{f': {half.why_none[0]}' if half.why_none and half.why_none[0] else ''}."


def by_step(flow: GradientFlow, steps: int) -> Array:
    """Return the log-norms (T,) of a flow of one sequence by the step whose state they are by; NaN where none is.

    Between lags that were left out they lie on straight lines.
    """
    place = flow.source_step - 1 - flow.lag[::-1]  # lag `source_step` is the initial state, before all steps
    norms = np.asarray(flow.log_norm[::-1, 0], np.float64)
    known = np.isfinite(norms) & (place >= 0) & (place < steps)
    line = np.full(steps, np.nan)
    if known.any():
        place, norms = place[known], norms[known]
        inside = np.arange(place[0], place[-1] + 1)
        line[inside] = np.interp(inside, place, norms)
    return line


def _block(series: Array, detail: Detail, *, gate: bool = False) -> dict[str, Any]:
    """Return series (T, K) as codes: each value, or of runs of steps the least, the mean and the greatest."""
    bits = 16 if series.shape[1] <= _FEW else detail.bits
    parts = {"mean": series}
    if detail.every > 1:
        parts = dict(zip(("min", "mean", "max"), reduced(series, detail.every), strict=True))
    edges = np.stack([parts["min"], parts["max"]]) if detail.every > 1 else series
    coding = coding_of(edges, bits, gate=gate)
    codes = {name: packed(encode(part, coding)) for name, part in parts.items()}
    return {"coding": fields(coding), "series": int(series.shape[1]), "codes": codes}


def _numbers(array: Array) -> list[float | None]:
    """Return numbers as JSON has them, to six digits; None for what is not finite."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in array]
