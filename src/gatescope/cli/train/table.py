"""Rows of the table that ``gatescope train`` prints: losses, accuracies, and what they have to be compared with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gatescope.reporting.text import number, percent

if TYPE_CHECKING:
    from gatescope.cli.train.data import Material
    from gatescope.datatypes.stack import Stack
    from gatescope.datatypes.training_run import History, TrainingRun


def _last_again(batch: Any, which: str) -> list[tuple[str, str]]:
    """Return the loss of predicting the last value again, which a model of a slow series has to beat."""
    loss = batch.provenance.get("persistence")
    return [] if loss is None else [(f"  the last value again has, {which}", number(loss))]


def progress_rows(run: TrainingRun, chosen: Material, at: str | None) -> list[tuple[str, str]]:
    """Return how the training went: its end, losses and accuracies beside what they have to beat, its time."""
    history, last = run.history, slice(-1, None)
    epochs = len(history.epoch)
    # The task states what is known where its own loss counts; elsewhere the two are not comparable.
    baseline = chosen.example.baseline if at is None else math.nan
    rows = [("how it ended", run.message), ("parameters", number(run.count()))]
    rows += [("clamped gates, which are not trained", run.clamp_text())] if run.clamp else []
    if epochs:
        updates = int(history.updates[-1])
        rows += [
            ("epochs, updates", f"{number(epochs)}, {number(updates)}"),
            (
                "training loss, first to last epoch",
                f"{number(history.loss[0])} to {_judged(history.loss[-1], baseline)}",
            ),
        ]
    if chosen.example.baseline == chosen.example.baseline:  # NaN where there is none
        rows.append((f"baseline: {chosen.example.baseline_of}", number(chosen.example.baseline)))
        rows += _last_again(chosen.example, "training")
    rows += _accuracy("training accuracy, last epoch", history.accuracy[last], chosen.example, at)
    if history.validation_loss.size:
        rows += [
            (f"validation loss ({chosen.judged_on}), last", _judged(history.validation_loss[-1], baseline)),
            *_accuracy("validation accuracy, last", history.validation_accuracy[last], chosen.validation, at),
        ]
    what = "validation" if history.validation_loss.size else "training"
    if epochs:
        rows.append((f"lowest {what} loss after epoch", number(run.best_epoch)))
        clipped = f"{number(history.gradient_norm[-1])}; {percent(history.clipped.mean())}"
        rows.append(("gradient norm, last epoch; clipped updates", clipped))
        rows.append(("time of the updates; of one, median over epochs", _times(history)))
    return rows


def _judged(loss: float, baseline: float) -> str:
    """Return a loss, with a note where nothing has been learned yet."""
    return f"{number(loss)}{', still above the baseline' if loss > baseline else ''}"


def _times(history: History) -> str:
    """Return the time of all updates, and of one: the first epoch compiles, which moves a mean but no median."""
    updates = np.diff(history.updates, prepend=0)
    trained = updates > 0
    each = np.median(history.seconds[trained] / updates[trained]) if trained.any() else math.nan
    return f"{number(history.seconds.sum())} s; {number(1000 * each)} ms"


def _accuracy(name: str, values: Any, data: Any, at: str | None) -> list[tuple[str, str]]:
    """Return the accuracy of a task that has one, beside that of the commonest answer, where the data are at hand."""
    from gatescope.datatypes import Batch
    from gatescope.training.evaluation import majority_accuracy

    rows = [(name, percent(value)) for value in values.tolist() if value == value]
    if rows and isinstance(data, Batch):
        rows.append(("  always the commonest answer has", percent(majority_accuracy(data, at=at))))
    return rows


def test_rows(stack: Stack, chosen: Material, at: str | None, threads: int | None) -> list[tuple[str, str]]:
    """Return loss and accuracy of the best model on the test data, by which nothing was chosen."""
    from gatescope.training.evaluation import evaluate

    assert chosen.test is not None
    score = evaluate(stack, chosen.test, at=at, threads=threads)
    accuracy = _accuracy("test accuracy, of the best model", np.array([score.accuracy]), chosen.test, at)
    loss = [("test loss, of the best model", number(score.loss)), *_last_again(chosen.test, "test")]
    return [*loss, *accuracy]
