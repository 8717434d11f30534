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
    """Draw a row for each cell: the gate, then the state."""
    fig = plotting.new_figure(10.5, 6.2)
    grid = fig.subplots(len(PANELS), 2)
    for row, (name, shown) in zip(grid, PANELS.items(), strict=True):
        for ax, key in zip(row, shown, strict=True):
            plotting.plot_gate_heatmap(
                _trace(name, key, arrays[f"{name}.{key}"]), key, sort=True, ax=ax, interpolation="none"
            )
    return fig


def _trace(name: str, key: str, values: np.ndarray) -> gs.Trace:
    """Return a trace that holds one series alone, as a gate or as a state after each step."""
    series = values[:, None, None].astype(np.float32)
    cell = gs.cells.get(name)
    is_gate = key in cell.saved
    nothing = np.zeros((len(series) + 1, 1, 1, values.shape[1]), np.float32)
    return gs.Trace(
        cell=name,
        inputs=np.zeros((len(series), 1, 1), np.float32),
        states=nothing if is_gate else np.concatenate([nothing[:1], series]),
        gates=series if is_gate else series[:, :, :0],
        lengths=np.array([len(series)], np.int64),
        state_names=("h",) if is_gate else (key,),
        gate_names=(key,) if is_gate else (),
        gate_ranges=(gate_ranges(cell)[cell.saved.index(key)],) if is_gate else (),
    )


if __name__ == "__main__":
    building.main(only="gate_heatmap")
