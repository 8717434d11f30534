"""The gates of an LSTM and a GRU before and after they learn the adding problem."""

from __future__ import annotations

import functools

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from gatescope import plotting
from gatescope.cells.ranges import gate_ranges

ROWS = {"lstm": ("i", "f", "o", "c"), "gru": ("r", "z", "h")}
STEPS = 50
SEQUENCES = 8
HIDDEN_SIZE = 32
LEARNING_RATE = 3e-3
FULL = {"epochs": 40, "updates": 50}
FAST = {"epochs": 2, "updates": 2}
TEST_SEED = 10**6  # far from the seeds of the training data
WHEN = ("before", "after")


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Traces of the same sequences before and after training; half precision is finer than the drawing."""
    size = FAST if steps else FULL
    length = min(steps or STEPS, STEPS)
    task = functools.partial(gs.tasks.adding, steps=length, sequences=50)
    test = gs.tasks.adding(steps=length, sequences=SEQUENCES, seed=TEST_SEED)
    arrays = {"inputs": test.inputs, "updates": np.array(size["epochs"] * size["updates"])}
    for cell in ROWS:
        stack = gs.init_stack(cell, hidden_size=HIDDEN_SIZE, heads=test, seed=0)
        run = gs.train(
            stack, task, lr=LEARNING_RATE, epochs=size["epochs"], updates_per_epoch=size["updates"], seed=0
        )
        arrays[f"{cell}.loss"] = run.history.loss
        for when, model in zip(WHEN, (stack, run.model), strict=True):
            trace = gs.run(model.layers[0], test.inputs)
            arrays[f"{cell}.{when}.states"] = trace.states.astype(np.float16)
            arrays[f"{cell}.{when}.gates"] = trace.gates.astype(np.float16)
            arrays[f"{cell}.state_names"] = np.array(trace.state_names)
            arrays[f"{cell}.gate_names"] = np.array(trace.gate_names)
    return arrays


def trace_from(arrays: dict[str, np.ndarray], cell: str, when: str) -> gs.Trace:
    """Return a trace that `compute` stored."""
    inputs = arrays["inputs"]
    return gs.Trace(
        cell=cell,
        inputs=inputs,
        states=arrays[f"{cell}.{when}.states"].astype(np.float32),
        gates=arrays[f"{cell}.{when}.gates"].astype(np.float32),
        lengths=np.full(inputs.shape[1], len(inputs), np.int64),
        state_names=tuple(map(str, arrays[f"{cell}.state_names"])),
        gate_names=tuple(map(str, arrays[f"{cell}.gate_names"])),
        gate_ranges=gate_ranges(gs.cells.get(cell)),
    )


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """One cell above the other; grey lines are the two steps whose numbers are to be added."""
    marks = arrays["inputs"][:, :, 1] > 0
    sequence = int(marks.argmax(axis=0).argmax())  # the first step to be added is farthest from the edge
    # Laid out by hand: with so many panels the automatic layout's last digits differ from run to run, and so the bytes.
    fig = Figure(figsize=(10.5, 12.2), layout="none")
    _, *parts = fig.subfigures(3, 1, height_ratios=[0.3, *(len(names) + 0.9 for names in ROWS.values())])
    for part, (cell, names) in zip(parts, ROWS.items(), strict=True):
        before, after = (trace_from(arrays, cell, when) for when in WHEN)
        labels = ("before training", f"after {int(arrays['updates']):,} updates")
        plotting.plot_gates_before_after(
            before,
            after,
            gates=names,
            sequence=sequence,
            labels=labels,
            marks=np.flatnonzero(marks[:, sequence]),
            fig=part,
        )
        height = len(names) + 0.9  # as many parts of the height as there are rows, and texts above and below
        part.subplots_adjust(
            left=0.085, right=0.985, top=1 - 0.62 / height, bottom=0.36 / height, wspace=0.06, hspace=0.3
        )
        legend = part.legends[0]
        loss = arrays[f"{cell}.loss"]
        legend.set_title(f"{legend.get_title().get_text()}; loss {loss[0]:.2g} to {loss[-1]:.2g}")
    title = "Gates and the adding problem: grey lines are the two steps whose numbers are to be added"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="gates_before_after")
