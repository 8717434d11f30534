"""The options of ``gatescope train`` beyond those of its files: the data, the model, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gatescope.cli.train.names import LOSSES


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The options that say what data a task gives."""

    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File that piano-roll (a .mat archive), characters (a text) and own read.  own takes an npz with the "
            "arrays inputs (T, B, I) and targets (T, B, C), (T, B), or (B,) for one a sequence, and if need be mask "
            "(T, B) and lengths (B,); or a csv or npy, of which the next row is predicted.  Default: none.",
        ),
    ] = None
    loss: Annotated[
        str | None,
        typer.Option(
            help=f"Loss of the task own from an npz: {', '.join(LOSSES[:-1])} or {LOSSES[-1]}.  Default: mse."
        ),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of a sequence, where the task has a choice.  Default: the task's."),
    ] = None
    sequences: Annotated[
        int | None,
        typer.Option(
            help="Number of sequences; where the task makes fresh data, those of each update.  Default: the task's."
        ),
    ] = None
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Set another argument of the task.  May be given several times.  Default: the task's values.",
        ),
    ] = None
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Train on one batch at all updates, not on fresh data.")
    ] = False
    validation: Annotated[
        bool | None,
        typer.Option(
            "--validation/--no-validation",
            help="Judge by data that are not trained on.  Default: where the task has a split for it.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The options that say what model is trained."""

    cell: Annotated[
        str,
        typer.Option(help="Cell of each layer: one for all, or one each from the lowest, as in gru,lstm."),
    ] = "lstm"
    hidden_size: Annotated[
        str, typer.Option(help="Units of a layer: one number for all layers, or one each.")
    ] = "64"
    layers: Annotated[
        int | None, typer.Option(help="Number of layers.  Default: as many as cells or sizes.")
    ] = None
    init: Annotated[
        str,
        typer.Option(
            metavar="SCHEME",
            help="Initialization of the weights: pytorch, keras, orthogonal, chrono or gaussian, as in 'chrono(100)'.",
        ),
    ] = "pytorch"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options that are arguments of `gatescope.train`, by their names."""

    epochs: Annotated[
        int, typer.Option(help="Number of epochs: passes over the data, or of --updates-per-epoch.")
    ] = 100
    updates_per_epoch: Annotated[
        int | None, typer.Option(help="Updates in an epoch of a task with fresh data.  Default: 10.")
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(help="Sequences in an update, where the data stay the same.  Default: all.")
    ] = None
    optimizer: Annotated[str, typer.Option(help="Optimizer: adam, adamw, rmsprop or sgd.")] = "adam"
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Schedule of the learning rate, as in cosine, 'step(1000, 0.5)' or 'warmup(100, cosine)'.  "
            "Default: constant."
        ),
    ] = None
    clip_norm: Annotated[
        float, typer.Option(help="Largest global norm of a gradient; 0 does not clip it.")
    ] = 1.0
    clip_tensor_norm: Annotated[
        float | None,
        typer.Option(
            help="Largest norm of the gradient of each weight array; applied before --clip-norm.  Default: none."
        ),
    ] = None
    clip_value: Annotated[
        float | None,
        typer.Option(
            help="Largest absolute value of an element of the gradient; applied before the other two.  Default: none."
        ),
    ] = None
    at: Annotated[
        str | None,
        typer.Option(help="Steps at which the loss counts: last or every.  Default: those of the task."),
    ] = None
    bptt_steps: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            help="Steps between two updates in truncated back-propagation.  Default: whole sequences.",
        ),
    ] = None
    stateful: Annotated[
        bool, typer.Option("--stateful", help="Carry the state from one truncated part to the next.")
    ] = False
    dropout: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="Probability of dropout, as in inputs=0.1,recurrent=0.2; the names are inputs, between, outputs and "
            "recurrent.  A bare number is for between and outputs, so for the outputs of every layer.  Default: none.",
        ),
    ] = None
    weight_noise: Annotated[
        float, typer.Option(help="Standard deviation of noise that is added to the weights.")
    ] = 0.0
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCHS", help="Stop after so many epochs without a lower loss.  Default: never."
        ),
    ] = None
    target_loss: Annotated[
        float | None, typer.Option(help="Stop when the loss is below this.  Default: never.")
    ] = None
    probe_every: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCHS", help="Epochs between measurements of half-life and saturation.  Default: none."
        ),
    ] = None
    snapshot_every: Annotated[
        int | None,
        typer.Option(metavar="EPOCHS", help="Epochs between two copies of the weights.  Default: no copies."),
    ] = None
