"""How an RNN, an LSTM and a GRU learn the adding problem: losses of five seeds, gradient norms and half-lives."""

from __future__ import annotations

import functools

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from gatescope import plotting

CELLS = ("rnn", "lstm", "gru")
STEPS = 50
HIDDEN_SIZE = 32
LEARNING_RATE = 3e-3
FULL = {"seeds": 5, "epochs": 40, "updates": 50}
FAST = {"seeds": 2, "epochs": 4, "updates": 2}
TEST_SEED = 10**6  # far from the seeds of the training data


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Train every cell from every seed; return the history of each run, without its times."""
    size = FAST if steps else FULL
    length = min(steps or STEPS, STEPS)
    task = functools.partial(gs.tasks.adding, steps=length, sequences=50)
    test = gs.tasks.adding(steps=length, sequences=200, seed=TEST_SEED)
    arrays = {
        "seeds": np.array(size["seeds"]),
        "steps": np.array(length),
        "baseline": np.array(test.baseline),
    }
    for cell in CELLS:
        for seed in range(size["seeds"]):
            run = gs.train(
                gs.init_stack(cell, hidden_size=HIDDEN_SIZE, heads=test, seed=seed),
                task,
                lr=LEARNING_RATE,
                epochs=size["epochs"],
                updates_per_epoch=size["updates"],
                validation=test,
                validate_every=2,
                probe_every=2,
                seed=seed,
            )
            arrays[f"{cell}.{seed}.status"] = np.array(str(run.status))
            for name, values in run.history.arrays().items():
                if name != "seconds":
                    arrays[f"{cell}.{seed}.{name}"] = values
    return arrays


def runs_from(arrays: dict[str, np.ndarray], cell: str) -> list[gs.TrainingRun]:
    """Return the runs that `compute` stored, with models that were never trained: no plot looks at their weights."""
    stack = gs.init_stack(cell, input_size=2, hidden_size=HIDDEN_SIZE, heads=[gs.Head("sum", 1)])
    runs = []
    for seed in range(int(arrays["seeds"])):
        prefix = f"{cell}.{seed}."
        fields = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        status = building.text(fields.pop("status"))
        runs.append(
            gs.TrainingRun(
                model=stack,
                best=stack,
                best_epoch=0,
                history=gs.History(**fields),
                status=gs.Status(status),
                message="",
                config={"clip_norm": 1.0},
                seed=seed,
                snapshot_epoch=np.zeros(0, np.int64),
                snapshots=np.zeros((0, stack.size), np.float32),
            )
        )
    return runs


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Losses to the left, gradients to the right."""
    runs = {cell: runs_from(arrays, cell) for cell in CELLS}
    fig = plotting.new_figure(12.6, 6.2)
    left, right = fig.subfigures(1, 2, wspace=0.03)
    plotting.plot_loss_curves(
        runs, baseline=float(arrays["baseline"]), baseline_label="always the mean", ax=left.subplots()
    )
    plotting.plot_training_gradients(runs, fig=right)
    title = f"Learning the adding problem over {int(arrays['steps'])} steps ({HIDDEN_SIZE} units, Adam, learning rate "
    fig.suptitle(f"{title}{LEARNING_RATE:g})", x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="loss_curves")
