"""The command line: ``gatescope compare | run | measure | train | experiment | devices``.

What does the work is imported inside the commands, so that ``--help`` and mistyped options answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gatescope._version import __version__
from gatescope.cli.compare import print_comparison
from gatescope.cli.devices import print_devices
from gatescope.cli.measure import app as measuring_app
from gatescope.cli.options import (
    DEFAULT_CELLS,
    DEFAULT_INIT,
    DEFAULT_UNITS,
    INTERRUPTED,
    CellOption,
    ClampOption,
    DeviceOption,
    DtypeOption,
    HiddenSizeOption,
    HorizonOption,
    InitOption,
    InputsOption,
    LayerOption,
    NonlinearityOption,
    PrefixOption,
    SeedOption,
    ThreadsOption,
    WeightsOption,
    add_fresh,
    check_device,
    check_file,
    check_kept,
    check_width,
    one_cell,
    read_inputs,
    read_weights,
    refuse,
    tell,
)
from gatescope.cli.train import experiment_app, train
from gatescope.errors import GatescopeError, ShapeError, ValueRangeError
from gatescope.reporting.terminal import echo, on_terminal, working

if TYPE_CHECKING:
    from gatescope.datatypes import Params


class _Group(TyperGroup):
    """Prints an error that gatescope raised on purpose in one line and leaves with status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except GatescopeError as error:
            message = " ".join(str(error).split())
        except MemoryError:
            message = "there is not enough memory; use a shorter --horizon or a smaller --hidden-size"
        except KeyboardInterrupt:
            typer.echo("gatescope: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        typer.echo(f"gatescope: error: {message}", err=True)
        raise typer.Exit(2)


app = typer.Typer(
    cls=_Group,
    name="gatescope",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="What the gates of an LSTM and a GRU do to memory and to gradients, over very long horizons.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatescope {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def compare(
    inputs: InputsOption = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Weights to compare: a PyTorch state_dict as safetensors or npz, or an npz of gatescope's, "
            "such as train writes (its best model).  "
            "May be given several times; fresh cells join in when --cells is given too.",
        ),
    ] = None,
    cells: Annotated[
        str | None, typer.Option(help=f"Fresh cells, separated by commas.  Default: {DEFAULT_CELLS}.")
    ] = None,
    layer: LayerOption = None,
    prefix: PrefixOption = None,
    nonlinearity: NonlinearityOption = None,
    hidden_size: HiddenSizeOption = None,
    horizon: HorizonOption = None,
    dtype: DtypeOption = None,
    seed: SeedOption = 0,
    init: InitOption = None,
    units: Annotated[
        str | None, typer.Option(help="Units to draw, as in 0,5,9.  Default: three that differ most.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")] = Path("gatescope-out"),
    traces: Annotated[
        bool, typer.Option("--traces/--no-traces", help="Store every gate and state, the largest files.")
    ] = True,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Compare cells over one series: cost, gates, and how fast the gradient decays.

    Prints a table and writes pictures, the arrays behind them, a summary and a self-contained report.html.
    """
    from gatescope.checks.network import check_inputs
    from gatescope.comparison.compare import compare as measure
    from gatescope.comparison.folder import file_names, write_gallery
    from gatescope.storage.atomic import check_folder

    check_device(device, threads)
    of_weights = {"--layer": layer, "--prefix": prefix, "--nonlinearity": nonlinearity}
    of_fresh = {"--hidden-size": hidden_size, "--init": init}
    if not weights:
        refuse(of_weights, "is for weights from files; give --weights too, or leave it out")
    fresh = cells is not None or not weights
    if not fresh:
        refuse(
            of_fresh,
            "is for fresh cells, and with --weights there are none; give --cells too, or leave it out",
        )
    series, source = read_inputs(inputs, horizon)
    chosen, notes = read_weights(weights or [], layer, prefix, nonlinearity, dtype)
    if fresh:
        hidden_size = DEFAULT_UNITS if hidden_size is None else hidden_size
        init = init or DEFAULT_INIT
        names = DEFAULT_CELLS if cells is None else cells
        add_fresh(chosen, names, series.shape[2], hidden_size, dtype, seed, init)
    for label, params in chosen.items():
        check_width(series, source, inputs, label, params)
        check_inputs(series, params)
    drawn = _parse_units(units, chosen)
    check_folder(out, file_names(chosen, traces=traces))  # before the work, not after it

    tell(notes)
    found = measure(chosen, series, seed=seed, device=device, threads=threads, progress=on_terminal())
    arguments = {
        "inputs": None if inputs is None else str(inputs),
        "weights": [str(file) for file in weights or []],
        "cells": list(chosen),
        "hidden_size": hidden_size,
        "horizon": horizon,
        "dtype": dtype,
        "seed": seed,
        "init": init,
        "layer": (layer or 0) if weights else None,
        "prefix": prefix,
        "nonlinearity": nonlinearity,
        "units": None if drawn is None else list(drawn),
        "traces": traces,
        "device": device,
        "threads": threads,
    }
    files = write_gallery(
        found, out, source=source, arguments=arguments, units=drawn, traces=traces, progress=on_terminal()
    )
    print_comparison(found, source)
    echo(f"{len(files)} files in {out}; start with {files[-1]}")


@app.command()
def run(
    inputs: InputsOption = None,
    weights: WeightsOption = None,
    layer: LayerOption = None,
    prefix: PrefixOption = None,
    nonlinearity: NonlinearityOption = None,
    cell: CellOption = None,
    hidden_size: HiddenSizeOption = None,
    init: InitOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the weights of a fresh cell.  Default: 0.")] = None,
    horizon: HorizonOption = None,
    dtype: DtypeOption = None,
    clamp: ClampOption = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The npz to write.")] = Path("trace.npz"),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Run one cell and store every state and gate at every step: gatescope.load reads the file."""
    from gatescope.recurrence.clamping import parse_clamp
    from gatescope.recurrence.run import run as run_cell
    from gatescope.reporting.text import counted
    from gatescope.storage.atomic import check_folder

    check_device(device, threads)
    if weights is not None:
        refuse({"--seed": seed}, "is for a fresh cell, and --weights gives another; leave out one of the two")
    series, source = read_inputs(inputs, horizon)
    label, params, notes = one_cell(
        "run",
        series.shape[2],
        weights=weights,
        cell=cell,
        hidden_size=hidden_size,
        init=init,
        seed=seed or 0,
        layer=layer,
        prefix=prefix,
        nonlinearity=nonlinearity,
        dtype=dtype,
    )
    check_width(series, source, inputs, label, params)
    check_file("--out", out, ".npz")
    check_kept("--out", out, inputs=inputs, weights=weights)
    check_folder(out.parent, [out.name])
    gates = parse_clamp(clamp)
    tell(notes)
    with working(f"running {label} over {counted(len(series), 'step')}"):
        trace = run_cell(params, series, device=device, threads=threads, clamp=gates)
    with working(f"writing {out}"):
        trace.save(out)
    steps, batch = trace.inputs.shape[:2]
    kept = ", ".join((*trace.gate_names, *trace.state_names))
    extent = f"{counted(steps, 'step')}, {counted(batch, 'sequence')}"
    echo(f"{label} over {source}: {extent}, {kept} of each unit in {out}")


app.add_typer(measuring_app, name="measure", help="Measure how gradients propagate, one thing at a time.")
app.command()(train)
app.add_typer(experiment_app, name="experiment", help="Published experiments, done again.")


@app.command()
def devices() -> None:
    """Show what the kernels can run on, and why not on a GPU, if so."""
    print_devices()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its status.

    0, 1 after training that diverged, 2 after an error, 130 after Ctrl-C.
    """
    try:
        app(arguments, prog_name="gatescope")
    except KeyboardInterrupt:  # before a command began
        typer.echo("gatescope: interrupted", err=True)
        sys.exit(INTERRUPTED)


def _parse_units(text: str | None, chosen: dict[str, Params]) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        units = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueRangeError(f"--units {text!r} must be whole numbers, separated by commas") from None
    least = min(params.hidden_size for params in chosen.values())
    if any(not 0 <= unit < least for unit in units):
        raise ShapeError(f"--units {text!r} must lie in 0..{least - 1}, the units of the smallest cell")
    return units


if __name__ == "__main__":
    main()
