"""How long an LSTM and a GRU remember by three estimators: at PyTorch's initial weights and with chrono's biases."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.datatypes.half_life import HalfLife

PANELS = (("lstm", "pytorch"), ("lstm", "chrono"), ("gru", "pytorch"), ("gru", "chrono"))
TEXTS = ("cell", "gate")
NUMBERS = ("steps", "transient")


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Every field of the four results."""
    inputs = cells.series(steps)
    arrays: dict[str, np.ndarray] = {}
    for name, scheme in PANELS:
        life = gs.half_life(cells.cell(name, scheme), inputs)
        arrays |= {f"{name}.{scheme}.{key}": value for key, value in life.arrays().items()}
        arrays |= {f"{name}.{scheme}.{key}": np.array(getattr(life, key)) for key in TEXTS + NUMBERS}
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a panel for each cell and scheme."""
    fig = plotting.new_figure(10.5, 8.4)
    for ax, (name, scheme) in zip(fig.subplots(2, 2).flat, PANELS, strict=True):
        prefix = f"{name}.{scheme}."
        fields = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        fields |= {key: building.text(fields[key]) for key in TEXTS}
        fields |= {key: int(fields[key]) for key in NUMBERS}
        plotting.plot_half_life(HalfLife(**fields), ax=ax, markersize=3.5)
        legend = ax.get_legend()
        legend.set_title(legend.get_title().get_text().replace(name, f"{name} ({scheme})", 1))
    title = f"How long the memory lasts, by three estimators ({cells.HIDDEN_SIZE} units, laser series)"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="half_life")
