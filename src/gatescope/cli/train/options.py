"""The options of ``gatescope train`` beyond those of its files: the data, the model, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gatescope.cli.groups import option
from gatescope.cli.options import ReadingOptions
from gatescope.cli.train.names import LOSSES


@dataclass(frozen=True, kw_only=True)
class _DataFile:
    data: Path | None = option(
        None,
        "File that piano-roll (a .mat archive), characters (a text) and own read.  own takes an npz with the "
        "arrays inputs (T, B, I) and targets (T, B, C), (T, B), or (B,) for one a sequence, and if need be mask "
        "(T, B) and lengths (B,); or a table or npy, of which the next row is predicted.  Default: none.",
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions(ReadingOptions, _DataFile):
    """The options that say what data a task gives."""

    PANEL: ClassVar[str] = "Data"

    loss: str | None = option(
        None, f"Loss of the task own from an npz: {', '.join(LOSSES[:-1])} or {LOSSES[-1]}.  Default: mse."
    )
    steps: int | None = option(
        None, "Steps of a sequence, where the task has a choice.  Default: the task's."
    )
    sequences: int | None = option(
        None,
        "Number of sequences; where the task makes fresh data, those of each update.  Default: the task's.",
    )
    setting: list[str] | None = option(
        None,
        "Set another argument of the task.  May be given several times.  Default: the task's values.",
        "--set",
        metavar="NAME=VALUE",
    )
    fixed: bool = option(False, "Train on one batch at all updates, not on fresh data.", "--fixed")
    validation: bool | None = option(
        None,
        "Judge by data that are not trained on.  Default: where the task has a split for it.",
        "--validation/--no-validation",
    )


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The options that say what model is trained."""

    PANEL: ClassVar[str] = "Model"

    cell: str = option(
        "lstm", "Cell of each layer: one for all, or one each from the lowest, as in gru,lstm."
    )
    hidden_size: str = option("64", "Units of a layer: one number for all layers, or one each.")
    layers: int | None = option(None, "Number of layers.  Default: as many as cells or sizes.")
    bidirectional: bool = option(
        False, "Make each layer of two directions, with so many units each.", "--bidirectional"
    )
    init: str = option(
        "pytorch",
        "Initialization of the weights: pytorch, keras, orthogonal, chrono, gaussian or identity, as in 'chrono(100)'.",
        metavar="SCHEME",
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options that are arguments of `gatescope.train`, by their names."""

    PANEL: ClassVar[str] = "Training"

    epochs: int = option(100, "Number of epochs: passes over the data, or of --updates-per-epoch.")
    updates_per_epoch: int | None = option(
        None, "Updates in an epoch of a task with fresh data.  Default: 10."
    )
    batch_size: int | None = option(
        None, "Sequences in an update, where the data stay the same.  Default: all."
    )
    optimizer: str = option("adam", "Optimizer: adam, adamw, rmsprop or sgd.")
    lr: float = option(1e-3, "Learning rate.")
    schedule: str | None = option(
        None,
        "Schedule of the learning rate, as in cosine, 'step(1000, 0.5)' or 'warmup(100, cosine)'.  "
        "Default: constant.",
    )
    clip_norm: float = option(1.0, "Largest global norm of a gradient; 0 does not clip it.")
    clip_tensor_norm: float | None = option(
        None, "Largest norm of the gradient of each weight array; applied before --clip-norm.  Default: none."
    )
    clip_value: float | None = option(
        None,
        "Largest absolute value of an element of the gradient; applied before the other two.  Default: none.",
    )
    at: str | None = option(
        None, "Steps at which the loss counts: last or every.  Default: those of the task."
    )
    bptt_steps: int | None = option(
        None,
        "Steps between two updates in truncated back-propagation.  Default: whole sequences.",
        metavar="STEPS",
    )
    stateful: bool = option(False, "Carry the state from one truncated part to the next.", "--stateful")
    dropout: str | None = option(
        None,
        "Probability of dropout, as in inputs=0.1,recurrent=0.2; the names are inputs, between, outputs and "
        "recurrent.  A bare number is for between and outputs, so for the outputs of every layer.  Default: none.",
        metavar="P",
    )
    weight_noise: float = option(0.0, "Standard deviation of noise that is added to the weights.")
    clamp: list[str] | None = option(
        None,
        "Clamp a gate to a value all along, as in f=1.0 or, of one layer, layers.1.f=1.0, or some units of it, as in "
        "'f[0,3]=1.0'.  May be given several times.  Default: no gate is clamped.",
        "--clamp",
        metavar="GATE=VALUE",
    )
    patience: int | None = option(
        None, "Stop after so many epochs without a lower loss.  Default: never.", metavar="EPOCHS"
    )
    target_loss: float | None = option(None, "Stop when the loss is below this.  Default: never.")
    probe_every: int | None = option(
        None, "Epochs between measurements of half-life and saturation.  Default: none.", metavar="EPOCHS"
    )
    snapshot_every: int | None = option(
        None, "Epochs between two copies of the weights.  Default: no copies.", metavar="EPOCHS"
    )
