"""Singular values of the Jacobian of the whole state: which directions of an earlier state are still there."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.datatypes.jacobian_spectrum import JacobianSpectrum

NAMES = ("rnn", "gru", "lstm")
LONGEST = 400
LAGS = 60


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """All singular values of every cell, at lags evenly spaced in the logarithm."""
    inputs = cells.series(steps)
    lags = np.unique(np.geomspace(1, min(LONGEST, len(inputs)), LAGS).round().astype(np.int64))
    arrays: dict[str, np.ndarray] = {"lag": lags, "source_step": np.array(len(inputs))}
    for name in NAMES:
        result = gs.jacobian_spectrum(cells.cell(name), inputs, lags=lags)
        arrays[f"{name}.log_singular"] = result.log_singular[:, 0].astype(np.float32)
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a panel for each cell; what float32 and float64 cannot hold shows how different their axes are."""
    fig = plotting.new_figure(10.4, 4.2)
    panels = fig.subplots(1, len(NAMES))
    for name, ax in zip(NAMES, panels, strict=True):
        result = JacobianSpectrum(
            cell=name,
            lag=arrays["lag"],
            log_singular=arrays[f"{name}.log_singular"][:, None].astype(np.float64),
            of="joint",
            wrt="joint",
            source_step=int(arrays["source_step"]),
        )
        plotting.plot_jacobian_spectrum(result, ax=ax)
        ax.set_title(f"{name}, {result.log_singular.shape[2]} singular values", loc="left")
    for ax in panels[1:]:
        ax.set_ylabel("")
    lines = [line for line in panels[0].lines if not line.get_label().startswith("_")]
    for ax in panels:
        ax.get_legend().remove()
    bands = "the bands: all of them, and their middle half"
    fig.legend(handles=lines, loc="outside lower left", ncols=3, title=bands, alignment="left")
    longest = int(arrays["lag"][-1])
    title = f"What is left of an earlier state (to lag {longest:,}, 64 units, PyTorch's initial weights)"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="jacobian_spectrum")
