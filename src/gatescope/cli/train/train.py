"""``gatescope train TASK``: a model, its data, the training, and what is left of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from gatescope.cli.options import INTERRUPTED, ThreadsOption, check_file, check_kept
from gatescope.cli.train.data import LOSSES, NAMES, Material, material
from gatescope.cli.train.parsing import dropout as parse_dropout
from gatescope.cli.train.parsing import layers as parse_layers
from gatescope.cli.train.table import course, tested
from gatescope.cli.train.wording import check_folder, in_options, options_of
from gatescope.errors import ValueRangeError
from gatescope.reporting.terminal import echo, on_terminal, print_measurement, working
from gatescope.storage.atomic import atomic_write

if TYPE_CHECKING:
    from gatescope.datatypes import Array
    from gatescope.datatypes.training_run import TrainingRun

_NO_CLIP = 0.0
_DIVERGED = 1  # exit status


def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help=f"One of {', '.join(NAMES)}.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What piano-roll (a .mat archive), characters (a text) and own read.  own takes an npz with the "
            "arrays inputs (T, B, I) and targets (T, B, C), (T, B), or (B,) for one a sequence, and if need be mask "
            "(T, B) and lengths (B,); or a csv or npy, of which the next row is predicted.",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help=f"Of own from an npz: {', '.join(LOSSES[:-1])} or {LOSSES[-1]}.  Default: mse."),
    ] = None,
    cell: Annotated[
        str, typer.Option(help="lstm, gru, ...; several, from the lowest layer, as in gru,lstm.")
    ] = "lstm",
    hidden_size: Annotated[
        str, typer.Option(help="Units of a layer; one number for all, or one each.")
    ] = "64",
    layers: Annotated[int | None, typer.Option(help="How many.  Default: as many as cells or sizes.")] = None,
    init: Annotated[
        str,
        typer.Option(
            metavar="SCHEME",
            help="Initial weights: pytorch, keras, orthogonal, chrono or gaussian, as in 'chrono(100)'.",
        ),
    ] = "pytorch",
    steps: Annotated[int | None, typer.Option(help="T, of tasks that can be of any length.")] = None,
    sequences: Annotated[
        int | None, typer.Option(help="B; of tasks with fresh data, of each update.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Another argument of the task.  May be given several times."
        ),
    ] = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="One batch for all updates, not fresh data.")
    ] = False,
    epochs: Annotated[
        int, typer.Option(help="Passes over the data, or so many times --updates-per-epoch.")
    ] = 100,
    updates_per_epoch: Annotated[
        int | None, typer.Option(help="Of tasks with fresh data.  Default: 10.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Sequences an update, of data that stay the same.  Default: all.")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="adam, adamw, rmsprop or sgd.")] = "adam",
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    schedule: Annotated[
        str | None,
        typer.Option(help="Of the learning rate, as in cosine, 'step(1000, 0.5)' or 'warmup(100, cosine)'."),
    ] = None,
    clip_norm: Annotated[float, typer.Option(help="Largest global norm of a gradient; 0: as it is.")] = 1.0,
    clip_tensor_norm: Annotated[
        float | None,
        typer.Option(help="Largest norm of the gradient of each weight array; before --clip-norm."),
    ] = None,
    clip_value: Annotated[
        float | None,
        typer.Option(help="Largest absolute value of an element of the gradient; before the other two."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Where the loss counts: last or every.  Default: where the task says.")
    ] = None,
    bptt_steps: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="Truncated back-propagation: an update every so many steps."),
    ] = None,
    stateful: Annotated[
        bool, typer.Option("--stateful", help="Carry the state from window to window.")
    ] = False,
    dropout: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="As in inputs=0.1,recurrent=0.2; the places are inputs, between, outputs and recurrent.  "
            "A bare number is for between and outputs, so for the outputs of every layer.",
        ),
    ] = None,
    weight_noise: Annotated[float, typer.Option(help="Standard deviation of noise on the weights.")] = 0.0,
    validation: Annotated[
        bool | None,
        typer.Option(
            "--validation/--no-validation",
            help="Judge by data that are not trained on.  Default: where the task has a split.",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(metavar="EPOCHS", help="Stop when the loss has not become lower for so many."),
    ] = None,
    target_loss: Annotated[float | None, typer.Option(help="Stop when the loss is below.")] = None,
    probe_every: Annotated[
        int | None, typer.Option(metavar="EPOCHS", help="Measure half-life and saturation every so many.")
    ] = None,
    snapshot_every: Annotated[
        int | None, typer.Option(metavar="EPOCHS", help="Keep the weights every so many.")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Of weights, fresh data, order, dropout and noise.  What is held back of digits and chorales is the "
            "same for all seeds."
        ),
    ] = 0,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    out: Annotated[Path, typer.Option(metavar="FILE", help="The npz to write.")] = Path("run.npz"),
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An npz to go on from, kept after the end, so that more --epochs go on too.  "
            "Default: one beside --out, removed at the end.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the loss against the epoch: a png or an svg.")
    ] = None,
    threads: ThreadsOption = None,
) -> None:
    """Train a model on a task and store it with the course of its training: gatescope.load reads the file.

    Ctrl-C, or a crash, loses a minute at most: the same command goes on from there.

    Exit status: 0, 1 if training diverged (the run is stored all the same),
    2 after an error, 130 after Ctrl-C.
    """
    from gatescope.recurrence.initialization import init_stack
    from gatescope.training.schedules import by_name as schedule_by_name
    from gatescope.training.train import train as fit

    cells, sizes = parse_layers(cell, hidden_size, layers)
    left_out = parse_dropout(dropout)
    kept = checkpoint or out.with_name(f"{out.stem}.checkpoint.npz")
    _check_files(out, kept, plot, data)
    given = material(
        task,
        data=data,
        loss=loss,
        steps=steps,
        sequences=sequences,
        settings=setting or [],
        fixed=fixed,
        validation=validation,
        seed=seed,
        dtype=dtype,
    )
    if not given.fresh and updates_per_epoch is not None:
        raise ValueRangeError(
            f"--updates-per-epoch {updates_per_epoch} is for fresh data; here an epoch is a pass over the data, so "
            "give --batch-size instead"
        )
    if given.fresh and batch_size is not None:
        raise ValueRangeError(
            f"--batch-size {batch_size} is for data that stay the same; of fresh data give --sequences, or --fixed too"
        )
    said = options_of(init_stack, fit) | {
        "cell": "--cell ",
        "scheme": "--init ",
        **dict.fromkeys(("gain", "t_max"), f"--init {init!r}: "),
        "rate": f"--schedule {schedule!r}: rate = ",
    }
    with in_options(said, checkpoint=kept, given=checkpoint is not None):
        stack = init_stack(cells, hidden_size=sizes, heads=given.example, seed=seed, scheme=init, dtype=dtype)
        run = fit(
            stack,
            given.task,
            optimizer=optimizer,
            lr=lr,
            schedule=None if schedule is None else schedule_by_name(schedule),
            clip_norm=None if clip_norm == _NO_CLIP else clip_norm,
            clip_tensor_norm=clip_tensor_norm,
            clip_value=clip_value,
            epochs=epochs,
            batch_size=batch_size,
            updates_per_epoch=(10 if updates_per_epoch is None else updates_per_epoch) if given.fresh else 1,
            at=at,
            bptt_steps=bptt_steps,
            stateful=stateful,
            dropout=left_out,
            weight_noise=weight_noise,
            validation=given.validation,
            patience=patience,
            target_loss=target_loss,
            probe_every=probe_every,
            snapshot_every=snapshot_every,
            checkpoint=kept,
            seed=seed,
            threads=threads,
            progress=on_terminal(),
        )
    _stop_if_interrupted(run, kept)
    _finish(run, given, out, plot, at, threads)
    _stop_if_diverged(run, out, kept)
    if checkpoint is None:
        kept.unlink(missing_ok=True)


def _check_files(out: Path, kept: Path, plot: Path | None, data: Path | None) -> None:
    """That everything can be written, before the work and not after it."""
    check_file("--out", out, ".npz")
    check_file("--checkpoint", kept, ".npz")
    if plot is not None:
        check_file("--plot", plot, ".png", ".svg")
    check_kept("--out", _beside(out), data=data)
    if kept == out:
        raise ValueRangeError(f"--checkpoint {str(kept)!r} is --out too; give it another name")
    # A checkpoint that was not named is beside --out, so it is --out that is told of.
    for option_name, path in (("--out", out), ("--checkpoint", kept), ("--plot", plot)):
        if path is not None:
            check_kept(option_name, path, data=data)
            check_folder(option_name, path, path.parent, [path.name])


def _stop_if_interrupted(run: TrainingRun, kept: Path) -> None:
    from gatescope.datatypes.training_run import Status
    from gatescope.reporting.text import counted

    if run.status is not Status.INTERRUPTED:
        return
    done = counted(len(run.history.epoch), "epoch")
    there = f"what has been trained ({done}) is in {kept}; the same command goes on from there"
    if not kept.exists():  # its folder has gone, or the disk is full
        there = run.message
    typer.echo(f"gatescope: interrupted; {there}", err=True)
    raise typer.Exit(INTERRUPTED)


def _stop_if_diverged(run: TrainingRun, out: Path, kept: Path) -> None:
    """What was written before it diverged is left where it is: a script must see that this is no trained model."""
    from gatescope.datatypes.training_run import Status

    if run.status is not Status.DIVERGED:
        return
    before = f", the checkpoint before it in {kept}" if kept.exists() else ""
    typer.echo(f"gatescope: {run.message}; the run is in {out}{before}", err=True)
    raise typer.Exit(_DIVERGED)


def _finish(
    run: TrainingRun, given: Material, out: Path, plot: Path | None, at: str | None, threads: int | None
) -> None:
    rows = course(run, given, at)
    if given.test is not None:
        with working("testing"):
            rows += tested(run.best, given, at, threads)
    elif given.untested:
        rows.append(("test loss", f"none: {given.untested}"))
    with working(f"writing {out}"):
        files = [out]
        if given.series is not None:
            files.append(_write_series(given.series, _beside(out)))
            scale = {key: given.example.provenance[key] for key in ("mean", "standard_deviation")}
            run = dataclasses.replace(run, provenance={**run.provenance, "inputs_scale": scale})
            rows.append(("the series as the model takes it, standardized", str(files[-1])))
        run.save(out)
        if plot is not None and run.history.epoch.size:
            files.append(_draw(run, given, plot))
    model = " + ".join(f"{layer.cell} {layer.hidden_size}" for layer in run.model.layers)
    print_measurement(f"{model} on {given.source}", ("", ""), rows)
    if plot is not None and not run.history.epoch.size:
        echo(f"not written: {plot}, as there is no epoch to draw")
    echo(f"written: {', '.join(map(str, files))}")


def _beside(out: Path) -> Path:
    """Where the series goes that the model takes."""
    return out.with_name(f"{out.stem}.inputs.npy")


def _write_series(series: Array, path: Path) -> Path:
    with atomic_write(path) as stream:
        np.save(stream, series, allow_pickle=False)
    return path


def _draw(run: TrainingRun, given: Material, plot: Path) -> Path:
    from gatescope import plotting
    from gatescope.plotting.loss_curves import plot_loss_curves

    with plotting.style():
        figure = plotting.new_figure()
        plot_loss_curves(
            {"+".join(run.model.cells): run},
            baseline=given.example.baseline,
            baseline_label=given.example.baseline_of or "baseline",
            ax=figure.add_subplot(),
        )
    (file,) = plotting.save_figure(figure, plot.with_suffix(""), (plot.suffix[1:],))
    return file
