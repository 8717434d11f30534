"""How long the gradient stays on the direct path: LSTM and GRU, at PyTorch's and at chrono's initial weights."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.datatypes.gradient_paths import GradientPaths

NAMES = ("lstm", "gru")
SCHEMES = ("pytorch", "chrono")


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Norms over the sum of the parts' norms, in half precision: 11 bits, and a picture shows 10."""
    inputs = cells.series(steps)
    arrays: dict[str, np.ndarray] = {}
    for scheme in SCHEMES:
        for name in NAMES:
            result = gs.gradient_paths(cells.cell(name, scheme), inputs)
            key = f"{scheme}.{name}"
            arrays[f"{key}.fractions"] = result.norm_fractions()[1:, :, 0].astype(np.float16)
            arrays[f"{key}.whole"] = np.exp(-result.cancellation()[1:, 0]).astype(np.float16)
            arrays[f"{key}.paths"] = np.array(result.paths)
            arrays[f"{key}.wrt"] = np.array(result.wrt)
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a row for each scheme, a column for each cell."""
    fig = plotting.new_figure(10.0, 6.6)
    grid = fig.subplots(len(SCHEMES), len(NAMES), sharex=True, sharey=True)
    for (row, column), ax in np.ndenumerate(grid):
        scheme, name = SCHEMES[row], NAMES[column]
        result = _from(arrays, scheme, name)
        plotting.plot_gradient_paths(result, ax=ax)
        ax.set_title(f"{name}, {scheme} initial weights", loc="left")
        legend = ax.get_legend()
        if row == 0:
            ax.set_xlabel("")
            legend.remove()
        else:  # there is space for it on the direct path
            names = [text.get_text() for text in legend.texts]
            ax.legend(legend.legend_handles, names, loc="lower left", frameon=True, borderaxespad=0.8)
        if column > 0:
            ax.set_ylabel("")
    title = f"Where the gradient of the last output leaves the direct path ({result.source_step:,} steps, 64 units)"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


def _from(arrays: dict[str, np.ndarray], scheme: str, name: str) -> GradientPaths:
    """Paths with the stored ratios for norms: the picture shows no others."""
    key = f"{scheme}.{name}"
    with np.errstate(divide="ignore"):
        log_norm = np.log(arrays[f"{key}.fractions"].astype(np.float64))[:, :, None]
        whole = np.log(arrays[f"{key}.whole"].astype(np.float64))[:, None]
    return GradientPaths(
        cell=name,
        lag=np.arange(1, len(whole) + 1),
        paths=tuple(map(str, arrays[f"{key}.paths"])),
        log_norm=log_norm,
        fraction=np.full(log_norm.shape, np.nan),
        total_log_norm=whole,
        of="h",
        wrt=building.text(arrays[f"{key}.wrt"]),
        source_step=len(whole),
        norm="random",
    )


if __name__ == "__main__":
    building.main(only="gradient_paths")
