"""What an open gate does: the gradient at PyTorch's initial weights and with biases that hold the memory (chrono)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting

NAMES = ("rnn", "gru", "lstm")
CHRONO = ("gru", "lstm")  # an RNN has no gate to open


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Compute the flow of every cell over all lags, thinned out to what is drawn."""
    inputs = cells.series(steps)
    longest = inputs.shape[0]
    near = np.geomspace(1, longest, 300).round().astype(np.int64)
    far = np.arange(
        longest // 10, longest + 1, 5
    )  # evenly where the rate is fitted: each lag weighs the same
    lags = np.unique(np.r_[0, near[near < far[0]], far, longest])
    arrays: dict[str, np.ndarray] = {}
    for name in NAMES:
        arrays |= cells.flow_arrays(
            name, gs.gradient_flow(cells.cell(name), inputs, lags=lags, **cells.WHOLE)
        )
    for name in CHRONO:
        flow = gs.gradient_flow(cells.cell(name, "chrono"), inputs, lags=lags, **cells.WHOLE)
        arrays |= cells.flow_arrays(f"{name}.chrono", flow)
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Both axes logarithmic: the rates differ by a factor of several hundred."""
    fig = plotting.new_figure(7.6, 5.2)
    keys = [*NAMES, *(f"{name}.chrono" for name in CHRONO)]
    flows = [cells.flow_from(arrays, key) for key in keys]
    labels = [key.replace(".chrono", ", chrono") for key in keys]
    plotting.plot_gradient_flow(flows, labels=labels, scale="log", ax=fig.add_subplot())
    title = "What open gates do: PyTorch's initial weights against chrono's biases"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="open_gates")
