"""How every output depends on every input: the vanilla RNN, and the LSTM at PyTorch's and at chrono's weights."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.datatypes.connectivity import Connectivity

PANELS = (("rnn", "pytorch"), ("lstm", "pytorch"), ("lstm", "chrono"))
STEPS = 240
DECADES = 24


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """All pairs of the first steps, in half precision: 11 bits, and the picture shows 8."""
    inputs = cells.series(min(steps or STEPS, STEPS))
    every = np.arange(len(inputs))
    return {
        f"{scheme}.{name}": gs.connectivity(
            cells.cell(name, scheme), inputs, target_steps=every, source_steps=every
        )
        .log_norm[:, :, 0]
        .astype(np.float16)
        for name, scheme in PANELS
    }


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a map for each cell, all on one scale."""
    fig = plotting.new_figure(11.6, 4.3)
    high = max(float(np.nanmax(array)) for array in arrays.values()) / np.log(10)
    for k, ax in enumerate(fig.subplots(1, len(PANELS), sharex=True, sharey=True)):
        name, scheme = PANELS[k]
        stored = arrays[f"{scheme}.{name}"]
        result = Connectivity(
            cell=name,
            target_step=np.arange(len(stored)),
            source_step=np.arange(len(stored)),
            log_norm=stored.astype(np.float64)[:, :, None],
            norm="frobenius",
        )
        plotting.plot_connectivity(result, ax=ax, vmin=high - DECADES, vmax=high)
        ax.set_title(f"{name}, {scheme} initial weights", loc="left")
        if k > 0:
            ax.set_ylabel("")
        if k < len(PANELS) - 1:  # one for all
            ax.images[0].colorbar.remove()
    least = f"$10^{{{high - DECADES:.0f}}}$"
    title = f"How strongly each output depends on each input (64 units; darkest: {least} and less)"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="connectivity")
