"""The 20,000-step experiment: loss curves of LSTM and GRU over 1,000 epochs, ten seeds each, and their volatility.

The full run takes half an hour, so its result is not made here but kept: after ``gatescope experiment long-series``
copy its ``result.npz`` to ``figures/data/long_series.npz``, then run this script.  It takes the times of an epoch from
``benchmarks/results/epochs.json``, as the table in docs/benchmarks.md does, and writes ``out/long_series.md``, too.

So many updates amplify rounding: with another order of sums in float32 the same seeds agree to 5e-9 for 50 epochs, and
to some percent once the loss has begun to fall.  What is close may then change side even over ten seeds: the quotient
of the final losses, GRU / LSTM, was 1.016 [1.001, 1.025] with shorter segments; ``out/long_series.md`` has that of now.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from figures import _building as building
from gatescope import plotting
from gatescope.datatypes.long_series import LongSeriesResult
from gatescope.errors import FileFormatError
from gatescope.experiments.long_series.report import markdown
from gatescope.experiments.long_series.run import run_long_series as experiment
from gatescope.storage.npz import read_npz, write_npz

COMMITTED = building.HERE / "data" / "long_series.npz"
TIMES = building.HERE.parent / "benchmarks" / "results" / "epochs.json"
FAST = {"epochs": 30, "seeds": 3, "sequences": 4}


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Return the stored result of the full run; with `steps`, a tiny run of its own."""
    if steps is None:
        if not COMMITTED.exists():
            raise FileFormatError(
                f"there is no {COMMITTED.name!r} in {COMMITTED.parent.name!r}; run `gatescope experiment long-series` "
                "and copy its result.npz there"
            )
        result = LongSeriesResult.load(COMMITTED)
        if TIMES.exists():
            rows, threads = json.loads(TIMES.read_text())["rows"], result.provenance["threads"]
            seconds = {row["cell"]: row["seconds"] for row in rows if row["threads"] == threads}
            result = dataclasses.replace(result, seconds=np.array([seconds[cell] for cell in result.cells]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            result = experiment(folder, steps=steps, checkpoint_seconds=3600, **FAST)
        # Times are other ones in every run, and are not drawn.
        result = dataclasses.replace(result, seconds=np.full(result.seconds.shape, np.nan))
    # Where the command line put its files is of no interest.
    provenance = {name: value for name, value in result.provenance.items() if name != "command"}
    return _arrays(dataclasses.replace(result, provenance=provenance))


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw the loss of both cells above, spikes and volatility below."""
    fig, _ = plotting.plot_long_series(_result(arrays))
    assert isinstance(fig, Figure)
    return fig


def page(arrays: dict[str, np.ndarray]) -> str:
    """Return the table beside the published values, in Markdown."""
    return markdown(_result(arrays))


def _result(arrays: dict[str, np.ndarray]) -> LongSeriesResult:
    with tempfile.TemporaryDirectory() as folder:
        write_npz(Path(folder) / "result.npz", arrays)
        return LongSeriesResult.load(Path(folder) / "result.npz")


def _arrays(result: LongSeriesResult) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        result.save(Path(folder) / "result.npz")
        return read_npz(Path(folder) / "result.npz")


if __name__ == "__main__":
    building.main(only="long_series")
