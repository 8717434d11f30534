"""What ``gatescope train`` tells when it is done: losses, accuracies, and what they have to be compared with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gatescope.cli.train.data import Material
    from gatescope.datatypes.stack import Stack
    from gatescope.datatypes.training_run import History, TrainingRun


def _last_again(batch: Any, which: str) -> list[tuple[str, str]]:
    """What predicting the last value again comes to: where a series moves slowly, that is what a model has to beat."""
    found = batch.provenance.get("persistence")
    return [] if found is None else [(f"  the last value again has, {which}", f"{found:.4g}")]


def course(run: TrainingRun, given: Material, at: str | None) -> list[tuple[str, str]]:
    """How the training went: its end, losses and accuracies beside what they have to beat, its time."""
    history, last = run.history, slice(-1, None)
    epochs = len(history.epoch)
    # The task states what is known where its own loss counts; elsewhere the two are not comparable.
    baseline = given.example.baseline if at is None else math.nan
    rows = [("how it ended", run.message), ("parameters", f"{run.model.count():,}")]
    if epochs:
        updates = int(history.updates[-1])
        rows += [
            ("epochs, updates", f"{epochs:,}, {updates:,}"),
            (
                "training loss, first to last epoch",
                f"{history.loss[0]:.4g} to {_judged(history.loss[-1], baseline)}",
            ),
        ]
    if given.example.baseline == given.example.baseline:  # NaN where there is none
        rows.append((f"baseline: {given.example.baseline_of}", f"{given.example.baseline:.4g}"))
        rows += _last_again(given.example, "training")
    rows += _accuracy("training accuracy, last epoch", history.accuracy[last], given.example, at)
    if history.validation_loss.size:
        rows += [
            (
                f"validation loss ({given.judged_on}), last",
                _judged(history.validation_loss[-1], baseline),
            ),
            *_accuracy("validation accuracy, last", history.validation_accuracy[last], given.validation, at),
        ]
    what = "validation" if history.validation_loss.size else "training"
    if epochs:
        rows.append((f"lowest {what} loss after epoch", f"{run.best_epoch:,}"))
        clipped = f"{history.gradient_norm[-1]:.3g}; {history.clipped.mean():.0%}"
        rows.append(("gradient norm, last epoch; clipped updates", clipped))
        rows.append(("time of the updates; of one, median over epochs", _times(history)))
    return rows


def _judged(loss: float, baseline: float) -> str:
    """A loss, and that nothing has been learned yet, if so."""
    return f"{loss:.4g}{', still above the baseline' if loss > baseline else ''}"


def _times(history: History) -> str:
    """Of all updates, and of one: the first epoch compiles, which moves a mean but no median."""
    updates = np.diff(history.updates, prepend=0)
    some = updates > 0
    each = np.median(history.seconds[some] / updates[some]) if some.any() else math.nan
    return f"{history.seconds.sum():.1f} s; {1000 * each:.3g} ms"


def _accuracy(name: str, values: Any, data: Any, at: str | None) -> list[tuple[str, str]]:
    """Only of tasks that have one; beside what the commonest answer has, where the data are at hand."""
    from gatescope.datatypes import Batch
    from gatescope.training.evaluation import majority_accuracy

    rows = [(name, f"{value:.2%}") for value in values.tolist() if value == value]
    if rows and isinstance(data, Batch):
        rows.append(("  always the commonest answer has", f"{majority_accuracy(data, at=at):.2%}"))
    return rows


def tested(stack: Stack, given: Material, at: str | None, threads: int | None) -> list[tuple[str, str]]:
    """What the best model is worth on data that nothing was chosen by."""
    from gatescope.training.evaluation import evaluate

    assert given.test is not None
    score = evaluate(stack, given.test, at=at, threads=threads)
    accuracy = _accuracy("test accuracy, of the best model", np.array([score.accuracy]), given.test, at)
    loss = [("test loss, of the best model", f"{score.loss:.4g}"), *_last_again(given.test, "test")]
    return [*loss, *accuracy]
