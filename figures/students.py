"""Can an LSTM do all that a GRU can?  Students of both kinds learn from untrained teachers of both: claim 21."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from figures import _building as building
from gatescope import plotting
from gatescope.datatypes import Verdict
from gatescope.plotting.effects import WIDTH, height_of
from gatescope.storage.npz import read_npz, write_npz

VERDICT = building.HERE / "claims" / "verdicts" / "21.npz"  # of the full run of `gatescope claims`


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Return the committed verdict, whatever the steps: its runs take twenty minutes."""
    return read_npz(VERDICT)


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw a forest: errors of the student of the other kind over those of the teacher's own; three sizes."""
    with tempfile.TemporaryDirectory() as folder:
        write_npz(Path(folder, "verdict.npz"), arrays)
        verdict = Verdict.load(Path(folder, "verdict.npz"))
    fig = plotting.new_figure(WIDTH, height_of(len(verdict.effects)) + 0.6)
    plotting.plot_effects(
        verdict.effects, title="errors of students, each kind over the teacher's own", ax=fig.add_subplot()
    )
    title = f'"{verdict.statement}":\n{verdict.text}'
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="students")
