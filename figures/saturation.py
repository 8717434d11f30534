"""How often gates are shut and open when their biases ask for memories of up to 20 steps (chrono).

At PyTorch's initial weights no gate is ever saturated: all marks would lie on one point.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.datatypes.saturation import OPEN, SHUT, Saturation

NAMES = ("lstm", "gru")
SCHEME = "chrono(20)"


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Compute the fractions of steps, by unit, of every gate."""
    inputs = cells.series(steps)
    arrays: dict[str, np.ndarray] = {}
    for name in NAMES:
        result = gs.saturation(gs.run(cells.cell(name, SCHEME), inputs))
        for gate in result.gates:
            arrays[f"{name}.{gate}"] = np.stack(result.gate(gate))
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a panel for each cell."""
    fig = plotting.new_figure(9.6, 4.9)
    for ax, name in zip(fig.subplots(1, len(NAMES)), NAMES, strict=True):
        keys = [key for key in arrays if key.startswith(f"{name}.")]
        shut, opened = np.stack([arrays[key] for key in keys], axis=1)
        result = Saturation(
            cell=name,
            gates=tuple(key.rpartition(".")[2] for key in keys),
            shut=shut,
            open=opened,
            left=SHUT,
            right=OPEN,
            steps=0,
        )
        plotting.plot_saturation(result, ax=ax)
    return fig


if __name__ == "__main__":
    building.main(only="saturation")
