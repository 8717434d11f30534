"""``gatescope train TASK``: a model, its data, the training, and what is written of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatescope.cli.errors import naming
from gatescope.cli.groups import COMPUTATION, OUTPUT, command, option
from gatescope.cli.networks import refuse
from gatescope.cli.options import INTERRUPTED, FormatOption, OverwriteOption, ThreadsOption
from gatescope.cli.outputs import check_file, check_new, check_not_read, check_writable
from gatescope.cli.plots import check_plotting
from gatescope.cli.train.names import NAMES
from gatescope.cli.train.options import DataOptions, ModelOptions, TrainingOptions
from gatescope.errors import ValueRangeError
from gatescope.reporting.terminal import echo, file_sizes, on_terminal, print_table, report, working

if TYPE_CHECKING:
    from gatescope.cli.train.data import Material
    from gatescope.datatypes import Array
    from gatescope.datatypes.training_run import TrainingRun

_NO_CLIP = 0.0
_UPDATES = 10  # in an epoch of fresh data
_DIVERGED = 3  # exit status; 1 is what Python leaves with after a traceback


@command
def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help=f"Task: one of {', '.join(NAMES)}.")],
    data: DataOptions,
    model: ModelOptions,
    training: TrainingOptions,
    seed: int = option(
        0,
        "Seed for weights, fresh data, order, dropout and noise.  Which data of digits and chorales are for "
        "validation and test is the same for all seeds.",
        panel=COMPUTATION,
    ),
    dtype: str = option("float32", "Precision: float32 or float64.", panel=COMPUTATION),
    out: Path = option(Path("run.npz"), "Npz file to write.", metavar="FILE", panel=OUTPUT),
    checkpoint: Path | None = option(
        None,
        "Npz file to continue from, which stays after the end, so that more --epochs can follow.  "
        "Default: one beside --out, removed at the end.",
        metavar="FILE",
        panel=OUTPUT,
    ),
    plot: Path | None = option(
        None,
        "Png, svg or pdf file to draw the loss against the epoch in.  Default: none.",
        metavar="FILE",
        panel=OUTPUT,
    ),
    overwrite: OverwriteOption = False,
    threads: ThreadsOption = None,
    form: FormatOption = "table",
) -> None:
    """Train a model on a task and store it with the history of its training: gatescope.load reads the file.

    Ctrl-C, or a crash, loses a minute at most: the same command continues from there.

    Exit status: 0, 3 if training diverged (the run is stored all the same),
    2 after an error, 130 after Ctrl-C.
    """
    from gatescope.cli.parsing import parse_clamp
    from gatescope.cli.train.data import material
    from gatescope.cli.train.parsing import dropout, layers
    from gatescope.recurrence.initialization import init_stack
    from gatescope.training.train import train as train_model

    cells, sizes = layers(model.cell, model.hidden_size, model.layers)
    arguments = dataclasses.asdict(training)
    arguments |= {"dropout": dropout(training.dropout), "clamp": parse_clamp(training.clamp)}
    checkpoint_file = checkpoint or out.with_name(f"{out.stem}.checkpoint.npz")
    _check_files(out, checkpoint_file, plot, data.data)
    # What an interrupted or a longer run left is replaced when it is continued.
    for argument, path in (("out", out), ("plot", plot)):
        if path is not None:
            check_new(argument, path, overwrite or checkpoint_file.exists())
    chosen = material(task, data, seed=seed, dtype=dtype)
    _check_updates(training, chosen.fresh)
    if chosen.reading:  # before what may take hours
        echo(chosen.reading)
    if training.updates_per_epoch is None:
        arguments["updates_per_epoch"] = _UPDATES if chosen.fresh else 1
    if training.clip_norm == _NO_CLIP:
        arguments["clip_norm"] = None
    names = {
        # A checkpoint that was not named is beside --out.
        "checkpoint": "--checkpoint" if checkpoint else "the checkpoint",
        "cells": "--cell",
        "inputs": "the inputs of TASK",
        "input_size": "inputs of TASK",
        "heads": "outputs of TASK",
        "data": "the data of TASK",
    }
    with naming(**names):
        stack = init_stack(
            cells,
            hidden_size=sizes,
            heads=chosen.example,
            bidirectional=model.bidirectional,
            seed=seed,
            scheme=model.init,
            dtype=dtype,
        )
        run = train_model(
            stack,
            chosen.task,
            validation=chosen.validation,
            checkpoint=checkpoint_file,
            seed=seed,
            threads=threads,
            progress=on_terminal(),
            **arguments,
        )
    at = training.at
    _stop_if_interrupted(run, checkpoint_file)
    _finish(run, chosen, out, plot, at, threads)
    _stop_if_diverged(run, out, checkpoint_file)
    if checkpoint is None:
        checkpoint_file.unlink(missing_ok=True)


def _check_updates(training: TrainingOptions, fresh: bool) -> None:
    """Refuse what says how an epoch is divided, but is for data of the other kind."""
    if not fresh:
        problem = "is for fresh data; here an epoch is a pass over the data"
        refuse({"updates_per_epoch": training.updates_per_epoch}, problem, "give `batch_size` instead")
    else:
        problem = "is for data that stay the same"
        refuse({"batch_size": training.batch_size}, problem, "give `sequences`, or `fixed` too")


def _check_files(out: Path, checkpoint: Path, plot: Path | None, data: Path | None) -> None:
    """Refuse files that cannot be written, or that are read or written twice."""
    from gatescope.storage.atomic import same_file

    check_file("out", out, ".npz")
    check_file("checkpoint", checkpoint, ".npz")
    if plot is not None:
        check_file("plot", plot, ".png", ".svg", ".pdf")
        check_plotting()
    check_not_read("out", _beside(out), data=data)
    for argument, other in (("checkpoint", out), ("plot", out), ("plot", checkpoint)):
        path = {"checkpoint": checkpoint, "plot": plot}[argument]
        if path is not None and same_file(path, other):
            name = "out" if other is out else "checkpoint"
            raise ValueRangeError(
                f"is `{name}` too", argument=argument, seen=str(path), advice="give it another name"
            )
    for argument, path in (("out", out), ("checkpoint", checkpoint), ("plot", plot)):
        if path is not None:
            check_not_read(argument, path, data=data)
            check_writable(argument, path, path.parent, [path.name])


def _stop_if_interrupted(run: TrainingRun, checkpoint: Path) -> None:
    from gatescope.datatypes.training_run import Status
    from gatescope.reporting.text import counted

    if run.status is not Status.INTERRUPTED:
        return
    done = counted(len(run.history.epoch), "epoch")
    text = f"what has been trained ({done}) is in {checkpoint}; the same command continues from there"
    if not checkpoint.exists():  # its folder has gone, or the disk is full
        text = run.message
    report(f"gatescope: interrupted; {text}")
    raise typer.Exit(INTERRUPTED)


def _stop_if_diverged(run: TrainingRun, out: Path, checkpoint: Path) -> None:
    """Leave with a status of its own if training diverged, so that a script sees that this is no trained model."""
    from gatescope.datatypes.training_run import Status

    if run.status is not Status.DIVERGED:
        return
    before = f", the checkpoint before it in {checkpoint}" if checkpoint.exists() else ""
    report(f"gatescope: {run.message}; the run is in {out}{before}")
    raise typer.Exit(_DIVERGED)


def _finish(
    run: TrainingRun, chosen: Material, out: Path, plot: Path | None, at: str | None, threads: int | None
) -> None:
    from gatescope.cli.train.table import progress_rows, test_rows
    from gatescope.datatypes.stack import layers_text
    from gatescope.reporting.table import Table
    from gatescope.reporting.text import extent

    rows = progress_rows(run, chosen, at)
    if chosen.test is not None:
        with working("testing"):
            rows += test_rows(run.best, chosen, at, threads)
    elif chosen.untested:
        rows.append(("test loss", f"none: {chosen.untested}"))
    with working(f"writing {out}"):
        files = [out]
        if chosen.series is not None:
            files.append(_write_series(chosen.series, _beside(out)))
            rows.append(("the series as the model takes it, standardized", str(files[-1])))
        run.save(out)
        if plot is not None and run.history.epoch.size:
            files.append(_draw(run, chosen, plot))
    echo(f"{chosen.source}: {extent(chosen.example.inputs.shape)}, to train on")
    print_table(Table(("", ""), rows, f"{layers_text(run.model)} on {chosen.source}"))
    if plot is not None and not run.history.epoch.size:
        echo(f"not written: {plot}, as there is no epoch to draw")
    echo(f"written: {file_sizes(files)}")


def _beside(out: Path) -> Path:
    """Return the file for the series as the model takes it."""
    return out.with_name(f"{out.stem}.inputs.npy")


def _write_series(series: Array, path: Path) -> Path:
    import numpy as np

    from gatescope.storage.atomic import atomic_write

    with atomic_write(path) as stream:
        np.save(stream, series, allow_pickle=False)
    return path


def _draw(run: TrainingRun, chosen: Material, plot: Path) -> Path:
    from gatescope import plotting
    from gatescope.plotting.loss_curves import plot_loss_curves

    with plotting.style():
        figure = plotting.new_figure()
        plot_loss_curves(
            {"+".join(run.model.cells): run},
            baseline=chosen.example.baseline,
            baseline_label=chosen.example.baseline_of or "baseline",
            ax=figure.add_subplot(),
        )
    (file,) = plotting.save_figure(figure, plot.with_suffix(""), (plot.suffix[1:],))
    return file
