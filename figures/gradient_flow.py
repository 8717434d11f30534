"""The norm of the gradient against the lag: LSTM and GRU against the vanilla RNN, at PyTorch's initial weights."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting

NAMES = ("rnn", "gru", "lstm")
NEAR = 100  # lags of the close-up


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Compute the flow of every cell over all lags."""
    inputs = cells.series(steps)
    arrays: dict[str, np.ndarray] = {}
    for name in NAMES:
        arrays |= cells.flow_arrays(name, gs.gradient_flow(cells.cell(name), inputs, **cells.WHOLE))
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """All lags on the left, the first few on the right."""
    fig = plotting.new_figure(9.6, 4.7)
    far, near = fig.subplots(1, 2, width_ratios=(1.75, 1))
    plotting.plot_gradient_flow([cells.flow_from(arrays, name) for name in NAMES], ax=far)
    plotting.plot_gradient_flow([cells.flow_from(arrays, name, NEAR) for name in NAMES], ax=near, fit=False)
    near.get_legend().remove()
    near.set_ylabel("")
    near.set_title(f"the first {int(near.get_xlim()[1])} lags")
    longest = int(arrays["lstm.lag"][-1])
    title = f"How far back the gradient reaches ({longest:,} steps, 64 units, PyTorch's initial weights)"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="gradient_flow")
