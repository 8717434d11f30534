"""Where gradients vanish and where they explode: an LSTM and a GRU over gain and bias of the gate that holds memory."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from figures import _building as building
from gatescope import plotting
from gatescope.datatypes.phase_diagram import PhaseDiagram
from gatescope.measurements.phase_diagram import phase_diagram

NAMES = ("lstm", "gru")
SCHEMES = ("gaussian", "orthogonal")
STEPS, SEEDS, UNITS = 1000, 2, 64
NUMBERS = ("hidden_size", "steps", "transient", "seeds")


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Compute a diagram for each cell; fewer points, units and networks where a series would be cut short."""
    fast = steps is not None
    arrays: dict[str, np.ndarray] = {}
    for name in NAMES:
        diagram = phase_diagram(
            name,
            gain=np.linspace(0, 4, 5 if fast else 17),
            bias=np.linspace(-2, 6, 3 if fast else 9),
            scheme=SCHEMES,
            hidden_size=16 if fast else UNITS,
            steps=min(steps or STEPS, STEPS),
            seeds=1 if fast else SEEDS,
        )
        arrays |= {f"{name}.{key}": value for key, value in diagram.arrays().items()}
        arrays |= {f"{name}.{key}": np.array(getattr(diagram, key)) for key in NUMBERS}
        arrays[f"{name}.gate"] = np.array(diagram.gate)
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a row for each cell, a panel for each scheme."""
    fig = plotting.new_figure(9.0, 8.4)
    for part, name in zip(fig.subfigures(len(NAMES), 1, hspace=0.03), NAMES, strict=True):
        prefix = f"{name}."
        fields = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        fields |= {key: int(fields[key]) for key in NUMBERS}
        fields |= {"cell": name, "scheme": SCHEMES, "gate": building.text(fields["gate"])}
        plotting.plot_phase_diagram(PhaseDiagram(**fields), fig=part)
    return fig


if __name__ == "__main__":
    building.main(only="phase_diagram")
