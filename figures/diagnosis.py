"""An LSTM at PyTorch's initial weights, diagnosed: why it forgets, which gate does it, and what changes it."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from figures import _cells as cells
from gatescope import plotting
from gatescope.datatypes.diagnosis import Diagnosis
from gatescope.datatypes.result import Result
from gatescope.storage.npz import read_npz, write_npz


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Compute the whole result."""
    result = _without_command(gs.diagnose(cells.cell("lstm"), cells.series(steps)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "diagnosis.npz"
        result.save(path)
        return read_npz(path)


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw one page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "diagnosis.npz"
        write_npz(path, arrays)
        fig, _ = plotting.plot_diagnosis(gs.datatypes.load(path))
    return fig


def _without_command(result: Diagnosis) -> Diagnosis:
    """Without versions and the command: the data file is the same on every machine."""
    nested = {
        field.name: dataclasses.replace(value, provenance={})
        for field in dataclasses.fields(result)
        if isinstance(value := getattr(result, field.name), Result)
    }
    return dataclasses.replace(result, provenance={"dtype": result.provenance["dtype"]}, **nested)


if __name__ == "__main__":
    building.main(only="diagnosis")
