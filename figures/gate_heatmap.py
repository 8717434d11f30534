"""The gate that keeps the memory, and the memory, of all units of an LSTM and a GRU."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.cells.ranges import gate_ranges

PANELS = {"lstm": ("f", "c"), "gru": ("z", "h")}
STEPS = 400  # a column each, and a few pixels a column


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Every unit, in half precision: 11 bits, and the picture shows 8."""
    inputs = cells.series(min(steps or STEPS, STEPS))
    arrays: dict[str, np.ndarray] = {}
    for name, shown in PANELS.items():
        trace = gs.run(cells.cell(name), inputs)
        for key in shown:
            values = trace.gate(key) if key in trace.gate_names else trace.state(key)[1:]
            arrays[f"{name}.{key}"] = values[:, 0].astype(np.float16)
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a column for each cell: the gate, then the state, of the same units in the same order."""
    fig = plotting.new_figure(10.5, 5.4)
    fig.set_dpi(150)  # that of the file: there is a pixel for every step
    for part, (name, shown) in zip(fig.subfigures(1, len(PANELS), wspace=0.03), PANELS.items(), strict=True):
        plotting.plot_gate_heatmaps(_trace(name, *shown, arrays), fig=part)
    return fig


def _trace(name: str, gate: str, state: str, arrays: dict[str, np.ndarray]) -> gs.Trace:
    """Return a trace that holds one gate and one state alone."""
    values, states = (arrays[f"{name}.{key}"][:, None, None].astype(np.float32) for key in (gate, state))
    cell = gs.cells.get(name)
    return gs.Trace(
        cell=name,
        inputs=np.zeros((len(values), 1, 1), np.float32),
        states=np.concatenate([np.zeros_like(states[:1]), states]),
        gates=values,
        lengths=np.array([len(values)], np.int64),
        state_names=(state,),
        gate_names=(gate,),
        gate_ranges=(gate_ranges(cell)[cell.saved.index(gate)],),
    )


if __name__ == "__main__":
    building.main(only="gate_heatmap")
