"""The result of training: the model, and the history of its losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_count
from gatescope.datatypes.result import Result
from gatescope.datatypes.stack import Stack, direction_text, layers_text
from gatescope.errors import ValueRangeError
from gatescope.reporting.table import Table, some
from gatescope.reporting.text import listing, number, percent


class Status(StrEnum):
    """Ways in which training ends; each is a str, too.

    Examples
    --------
    >>> import gatescope as gs
    >>> gs.Status.DIVERGED == "diverged", gs.Status("early-stopped")
    (True, <Status.EARLY_STOPPED: 'early-stopped'>)
    """

    FINISHED = "finished"
    EARLY_STOPPED = "early-stopped"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True, repr=False)
class History(Result):
    """The history of training; E epochs are done, V validations and M probes were taken.

    Attributes
    ----------
    epoch : (E,) int64
        1, 2, ...
    loss : (E,) float64
        Training loss, the mean over the epoch's updates, weighted by the steps that counted; with the weights before
        each update, and with dropout and noise if there are any.
    head_loss : (E, heads) float64
        The same, a column a head, without the heads' weights.
    accuracy : (E,) float64
        Fraction of right answers of the heads that have any (cross-entropy: the likeliest class; Bernoulli: every
        output counts, right if p is on the side of the target); NaN if no head has.  Compare it with
        `majority_accuracy` of the data, which an answer that is always the same reaches.
    gradient_norm, largest_gradient_norm : (E,) float64
        Global norm of the gradient before clipping: mean and maximum over the epoch's updates.
    clipped : (E,) float64
        Fraction of updates whose gradient was clipped.
    learning_rate : (E,) float64
        At the epoch's last update.
    updates : (E,) int64
        Updates done since the beginning.
    seconds : (E,) float64
        Wall-clock time of the epoch's updates.  Does not count in comparisons.
    validation_epoch : (V,) int64
    validation_loss, validation_accuracy : (V,) float64
    probe_epoch : (M,) int64
        0 is before the first update.
    decay_rate : (M, layers) float64
        Nats per step: of the gradient of that layer's last state by earlier ones, of all the cell's states together
        (h and c of an LSTM); the mean over those of the sequences whose norms follow a line, NaN where none do.  A
        layer that goes both ways has two columns, the forward direction's first; `Stack.directions` of the model names
        them all.  The last state of a backward direction is that of the first step, and its gradient goes to later
        ones.
    half_life : (M, layers) float64
        The asymptotic one, ln 2 / decay_rate, in steps; infinite where the gradient does not decay.
    saturation : (M, layers, K, 2) float64
        Fractions of a gate's values in [0, 0.1) and (0.9, 1] (sigmoid gates), over steps, sequences and units; NaN
        where a layer saves fewer gates than K, or the gate is not in [0, 1].
    probe_gates : tuple of tuple of str
        The gates that each layer and direction saves, in the order of `saturation`.
    probe_doubts : tuple of tuple of str
        For each probe, layer and direction, why there is no decay rate, or of how many of the sequences it is; "" if of
        all.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.laser(steps=100)
    >>> model = gs.init("gru", input_size=1, hidden_size=8, seed=0)
    >>> history = gs.train(model, batch, epochs=20, lr=0.01, probe_every=10).history
    >>> history.epoch[[0, -1]], bool(history.loss[-1] < history.loss[0])
    (array([ 1, 20]), True)
    >>> history.probe_epoch, history.half_life.shape, history.probe_gates
    (array([ 0, 10, 20]), (3, 1), (('r', 'z', 'n', 'q'),))
    """

    epoch: Array
    loss: Array
    head_loss: Array
    accuracy: Array
    gradient_norm: Array
    largest_gradient_norm: Array
    clipped: Array
    learning_rate: Array
    updates: Array
    validation_epoch: Array
    validation_loss: Array
    validation_accuracy: Array
    probe_epoch: Array
    decay_rate: Array
    half_life: Array
    saturation: Array
    probe_gates: tuple[tuple[str, ...], ...] = ()
    probe_doubts: tuple[tuple[str, ...], ...] = ()
    seconds: Array = field(default_factory=lambda: np.zeros(0), compare=False)

    _axes: ClassVar[Mapping[str, str]] = {
        "epoch": "(E,) int64",
        "loss": "(E,) float64",
        "head_loss": "(E, heads) float64",
        "accuracy": "(E,) float64",
        "gradient_norm": "(E,) float64",
        "largest_gradient_norm": "(E,) float64",
        "clipped": "(E,) float64",
        "learning_rate": "(E,) float64",
        "updates": "(E,) int64",
        "validation_epoch": "(V,) int64",
        "validation_loss": "(V,) float64",
        "validation_accuracy": "(V,) float64",
        "probe_epoch": "(M,) int64",
        "decay_rate": "(M, layers) float64",
        "half_life": "(M, layers) float64",
        "saturation": "(M, layers, K, 2) float64",
        "seconds": "(E,) float64",
    }
    _dims: ClassVar[Mapping[str, str]] = {
        "V": "validation_epoch",
        "M": "probe_epoch",
        "heads": "head",
        "layers": "layer",
        "K": "gate_number",
    }
    _rows: ClassVar[str] = "loss"


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainingRun(Result):
    """A model that was trained, and the history of its training.

    Attributes
    ----------
    model : Stack
        The model after the last update; if training diverged, that of the last finite loss and gradient.
    best : Stack
        The model with the lowest validation loss.  If nothing was validated: that of the epoch with the lowest training
        loss, at its end; where an epoch is a single update, the model before it, whose loss that was, so the last
        update's model is never it.
    best_epoch : int
        After how many epochs that model was; 0: before the first.
    history : History
    status : Status
    message : str
        The same in a sentence.
    config : mapping
        Every argument that the result depends on.
    seed : int
    snapshot_epoch : (M,) int64
    snapshots : (M, N)
        The weights after these epochs, as `Stack.flat` orders them.
    baseline : float or None
        The loss of an answer that learns nothing from the past, on the validation's data or, without one, on the
        training's; None if the task states none.
    baseline_of : str
        Whose loss that is, in words.
    constant_loss : float or None
        The loss of the best answer that is always the same, on the very data that the run is judged by; None where each
        update's are new.  A baseline that is an expectation may lie above it.
    clamp : mapping
        Gates that kept a value, and which: ``{"layers.0.f": 1.0}``, by unit where values differ.
    trained : int or None
        How many numbers were trained: without those of clamped gates.  None: all that `model` counts.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.laser(steps=100)
    >>> model = gs.init("gru", input_size=1, hidden_size=8, seed=0)
    >>> run = gs.train(model, batch, epochs=20, lr=0.01, snapshot_every=10)
    >>> run.status, run.message, run.snapshot_epoch
    (<Status.FINISHED: 'finished'>, 'finished: 20 epochs, 20 updates', array([ 0, 10, 20]))
    >>> gs.evaluate(run.best, batch).loss < gs.evaluate(run.at(0), batch).loss
    True
    """

    model: Stack
    best: Stack
    best_epoch: int
    history: History
    status: Status
    message: str
    config: Mapping[str, Any]
    seed: int
    snapshot_epoch: Array
    snapshots: Array
    baseline: float | None = None
    baseline_of: str = ""
    constant_loss: float | None = None
    clamp: Mapping[str, Any] = field(default_factory=dict)
    trained: int | None = None

    _axes: ClassVar[Mapping[str, str]] = {
        "snapshot_epoch": "(M,) int64",
        "snapshots": "(M, N)",
    }
    _dims: ClassVar[Mapping[str, str]] = {"M": "snapshot_epoch", "N": "weight"}
    _rows: ClassVar[str] = "history"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "status", Status(self.status))

    def __str__(self) -> str:
        return "; ".join(self.summary().splitlines())

    def count(self) -> int:
        """Return how many numbers were trained; those of clamped gates were not."""
        return self.model.count() if self.trained is None else self.trained

    def summary(self) -> str:
        """Return which model was trained, how that ended, its losses, and whether they beat the task's baseline."""
        lines = [f"{layers_text(self.model)}: {self.message}"]
        lines += [f"clamped: {self.clamp_text()}"] if self.clamp else []
        loss, judged = self.history.loss, self.history.validation_loss
        if loss.size:
            losses = f"training loss {number(loss[0])} to {number(loss[-1])}"
            lines.append(losses + (f", validation loss {number(judged[-1])}" if judged.size else ""))
        doubts = self.history.probe_doubts[-1:]
        lines += [
            f"{direction_text(name)}, half-life at the last probe: {why}"
            for row in doubts
            for name, why in zip(self.model.directions(), row, strict=True)
            if why
        ]
        return "\n".join([*lines, f"best after epoch {self.best_epoch}{self._against_baseline()}"])

    def clamp_text(self) -> str:
        """Return which gates kept which value: ``"layers.0.f at 1"``."""

        def at(value: Any) -> str:
            if not isinstance(value, Mapping):
                return number(value)
            return listing(f"{number(each)} (unit {unit})" for unit, each in value.items())

        return "; ".join(f"{gate} at {at(value)}" for gate, value in self.clamp.items())

    def _against_baseline(self) -> str:
        """Return how the least loss compares with the task's baseline, which counts all heads alike."""
        history = self.history
        if history.validation_loss.size and all(head.weight == 1 for head in self.model.heads):
            name, losses = "validation", history.validation_loss
        else:
            name, losses = "training", history.head_loss.sum(axis=1)
        losses = losses[np.isfinite(losses)]
        if not losses.size:
            return ""
        if self.baseline is None:
            return "; the task states no baseline"
        least, whose = float(losses.min()), f" ({self.baseline_of})" if self.baseline_of else ""
        bar, what = self.baseline, "the task's baseline"
        of_others = name == "training" and history.validation_loss.size > 0
        if self.constant_loss is not None and self.constant_loss < bar and not of_others:
            whose = f" (the task's baseline is {number(bar)}: {self.baseline_of})" if whose else ""
            bar, what = self.constant_loss, "the best constant answer for these data"
        beats = least < bar
        by = f", by {percent((bar - least) / abs(bar))}" if beats and bar else ""
        verdict = "beats" if beats else "does not beat"
        return f"; the least {name} loss, {number(least)}, {verdict} {what}, {number(bar)}{by}{whose}"

    def table(self) -> Table:
        """Return losses, accuracies, gradients and times: some epochs of the history, the last one among them."""
        history, epochs = self.history, self.history.epoch.tolist()
        validations = dict(
            zip(history.validation_epoch.tolist(), history.validation_loss.tolist(), strict=True)
        )
        columns: dict[str, Any] = {
            "epoch": epochs,
            "training loss": history.loss,
            "validation loss": [validations.get(epoch) for epoch in epochs],
            "accuracy": [None if np.isnan(a) else percent(a) for a in history.accuracy],
            "gradient norm": history.gradient_norm,
            "clipped": [percent(fraction) for fraction in history.clipped],
            "learning rate": history.learning_rate,
        }
        rows = [tuple(column[k] for column in columns.values()) for k in some(len(epochs))]
        return Table(tuple(columns), rows, self.summary().partition("\n")[0])

    def at(self, epoch: int) -> Stack:
        """Return the model as it was after that many epochs, if a snapshot was taken then.

        Raises
        ------
        ValueRangeError
            If there is no snapshot of that epoch.
        """
        epoch = check_count("epoch", epoch, least=0)
        rows = np.flatnonzero(self.snapshot_epoch == epoch)
        if not rows.size:
            epochs = listing(self.snapshot_epoch.tolist()) or "none"
            raise ValueRangeError(
                f"has no snapshot (there are: {epochs})",
                argument="epoch",
                seen=epoch,
                advice="train with `snapshot_every`",
            )
        return self.model.with_flat(self.snapshots[rows[0]])
