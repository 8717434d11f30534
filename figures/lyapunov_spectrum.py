"""Lyapunov exponents: vanilla RNN, GRU and LSTM over the laser series, all of them, and how the leading one settles."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum

NAMES = ("rnn", "gru", "lstm")
_WHOLE = ("transient", "qr_every", "steps", "size")


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """All exponents of every cell, with their running estimates."""
    inputs = cells.series(steps)
    arrays: dict[str, np.ndarray] = {}
    for name in NAMES:
        spectrum = gs.lyapunov_spectrum(cells.cell(name), inputs, checks=False)
        arrays |= {
            f"{name}.exponents": spectrum.exponents[0],
            f"{name}.error": spectrum.error[0],
            f"{name}.running": spectrum.running[:, 0].astype(np.float32),
            f"{name}.running_step": spectrum.running_step,
            f"{name}.smallest_sine": spectrum.smallest_sine,
            f"{name}.rounding": spectrum.rounding,
        }
        arrays |= {f"{name}.{field}": np.array(getattr(spectrum, field)) for field in _WHOLE}
    return arrays


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """All exponents on the left, how the leading one of each cell settles on the right."""
    spectra = {name: _spectrum(arrays, name) for name in NAMES}
    fig = plotting.new_figure(10.4, 5.6)
    grid = fig.add_gridspec(len(NAMES), 2, width_ratios=(1.3, 1))
    plotting.plot_lyapunov_spectrum(list(spectra.values()), ax=fig.add_subplot(grid[:, 0]))
    for row, (name, spectrum) in enumerate(spectra.items()):
        ax = plotting.plot_lyapunov_convergence(spectrum, ks=(0,), ax=fig.add_subplot(grid[row, 1]))
        label = ax.get_legend().get_texts()[0].get_text()
        ax.set_title(f"{name}, {label}", loc="left")
        ax.get_legend().remove()
        ax.set_ylabel("nats per step" if row == 1 else "")
        if row < len(NAMES) - 1:
            ax.set_xlabel("")
    steps = spectra["lstm"].steps
    title = f"Lyapunov exponents ({steps:,} steps of the laser series, 64 units, PyTorch's initial weights)"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


def _spectrum(arrays: dict[str, np.ndarray], name: str) -> LyapunovSpectrum:
    unknown = np.full(1, np.nan)
    return LyapunovSpectrum(
        cell=name,
        exponents=arrays[f"{name}.exponents"][None],
        error=arrays[f"{name}.error"][None],
        running=arrays[f"{name}.running"][:, None].astype(np.float64),
        running_step=arrays[f"{name}.running_step"],
        smallest_sine=arrays[f"{name}.smallest_sine"],
        rounding=arrays[f"{name}.rounding"],
        log_det=unknown,
        log_det_sum=unknown,
        perturbation=unknown,
        perturbation_reference=unknown,
        **{field: int(arrays[f"{name}.{field}"]) for field in _WHOLE},
    )


if __name__ == "__main__":
    building.main(only="lyapunov_spectrum")
