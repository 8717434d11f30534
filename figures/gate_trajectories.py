"""Gates and states of three units of an LSTM and a GRU, step by step, over a burst and a collapse of the laser."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.plotting._trace_view import spread_units

NAMES = ("gru", "lstm")
STEPS = 300


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Three units, from the smallest to the greatest mean of the gate that keeps the memory."""
    inputs = cells.series(min(steps or STEPS, STEPS))
    arrays: dict[str, np.ndarray] = {}
    for name in NAMES:
        trace = gs.run(cells.cell(name), inputs)
        units = np.array(spread_units(trace)[0])
        arrays |= cells.trace_arrays(name, trace, len(inputs), units, np.float32)
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a column for each cell."""
    fig = plotting.new_figure(10.5, 8.2)
    for part, name in zip(fig.subfigures(1, len(NAMES), wspace=0.03), NAMES, strict=True):
        trace = cells.trace_from(arrays, name)
        units = arrays[f"{name}.units"]
        _, axes = plotting.plot_gate_trajectories(trace, units=range(len(units)), fig=part)
        legend = next(ax.get_legend() for ax in axes.values() if ax.get_legend() is not None)
        for entry, unit in zip(legend.get_texts(), units, strict=True):  # the numbers they have in the cell
            entry.set_text(f"unit {unit} {entry.get_text().rpartition(' ')[2]}")
    return fig


if __name__ == "__main__":
    building.main(only="gate_trajectories")
