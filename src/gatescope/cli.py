"""The command line: ``gatescope compare | run | devices``.

What does the work is imported inside the commands, so that ``--help`` and mistyped options answer at once.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gatescope._terminal import echo, on_terminal, print_comparison, print_devices, working
from gatescope._version import __version__
from gatescope.errors import GatescopeError, ShapeError, ValueRangeError, WeightFormatError

if TYPE_CHECKING:
    from gatescope.datatypes import Array, Params

_INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C
_DEFAULT_CELLS = "rnn,gru,lstm"
_DEFAULT_UNITS = 64
_DEFAULT_INIT = "pytorch"


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
            raise typer.Exit(_INTERRUPTED) from None
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


# Options that several commands share.
_Inputs = Annotated[
    Path | None,
    typer.Option(
        "--inputs",
        metavar="FILE",
        help="Input series: npy, npz or csv, (T,), (T, I) or (T, B, I).  Default: the Santa Fe laser series.",
    ),
]
_Layer = Annotated[int | None, typer.Option(help="Which layer of the PyTorch files.  Default: 0, the first.")]
_Prefix = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What precedes weight_ih_l0 in the PyTorch files, where they hold several networks.",
    ),
]
_Nonlinearity = Annotated[
    str | None, typer.Option(help="tanh or relu: of an RNN in a PyTorch file, which does not tell.")
]
_Hidden = Annotated[int | None, typer.Option(help=f"Units of a fresh cell.  Default: {_DEFAULT_UNITS}.")]
_Horizon = Annotated[
    int | None, typer.Option(metavar="STEPS", help="Use the first so many steps.  Default: all.")
]
_Dtype = Annotated[
    str | None,
    typer.Option(help="float32 or float64.  Default: float32 for fresh cells, that of the file for weights."),
]
_Seed = Annotated[int, typer.Option(help="Of the weights, and of the direction of the gradient.")]
_Init = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="Weights of a fresh cell: pytorch, keras, orthogonal, chrono or gaussian, as in 'chrono(500)'.  "
        f"Default: {_DEFAULT_INIT}.",
    ),
]
_Device = Annotated[
    str, typer.Option(metavar="cpu|cuda", help="What computes; gatescope devices shows what there is.")
]
_Threads = Annotated[int | None, typer.Option(help="Of the cpu, at most so many.  Default: one a core.")]


@app.command()
def compare(
    inputs: _Inputs = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Weights to compare: a PyTorch state_dict as safetensors or npz, or an npz of gatescope's.  "
            "May be given several times; fresh cells join in when --cells is given too.",
        ),
    ] = None,
    cells: Annotated[
        str | None, typer.Option(help=f"Fresh cells, separated by commas.  Default: {_DEFAULT_CELLS}.")
    ] = None,
    layer: _Layer = None,
    prefix: _Prefix = None,
    nonlinearity: _Nonlinearity = None,
    hidden_size: _Hidden = None,
    horizon: _Horizon = None,
    dtype: _Dtype = None,
    seed: _Seed = 0,
    init: _Init = None,
    units: Annotated[
        str | None, typer.Option(help="Units to draw, as in 0,5,9.  Default: three that differ most.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")] = Path("gatescope-out"),
    traces: Annotated[
        bool, typer.Option("--traces/--no-traces", help="Store every gate and state, the largest files.")
    ] = True,
    device: _Device = "cpu",
    threads: _Threads = None,
) -> None:
    """Compare cells over one series: cost, gates, and how fast the gradient decays.

    Prints a table and writes pictures, the arrays behind them, a summary and a self-contained report.html.
    """
    from gatescope.comparison import compare as measure
    from gatescope.gallery import check_folder, file_names, write_gallery
    from gatescope.validation import check_inputs

    _check_device(device, threads)
    of_weights = {"--layer": layer, "--prefix": prefix, "--nonlinearity": nonlinearity}
    of_fresh = {"--hidden-size": hidden_size, "--init": init}
    if not weights:
        _refuse(of_weights, "is for weights from files; give --weights too, or leave it out")
    fresh = cells is not None or not weights
    if not fresh:
        _refuse(
            of_fresh,
            "is for fresh cells, and with --weights there are none; give --cells too, or leave it out",
        )
    series, source = _read_inputs(inputs, horizon)
    chosen, assumed = _read_weights(weights or [], layer, prefix, nonlinearity, dtype)
    if fresh:
        hidden_size = _DEFAULT_UNITS if hidden_size is None else hidden_size
        init = init or _DEFAULT_INIT
        names = _DEFAULT_CELLS if cells is None else cells
        _add_fresh(chosen, names, series, hidden_size, dtype, seed, init)
    for params in chosen.values():
        check_inputs(series, params)
    drawn = _parse_units(units, chosen)
    check_folder(out, file_names(chosen, traces=traces))  # before the work, not after it

    _tell_assumed(assumed)
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
    inputs: _Inputs = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Weights, as for compare.")
    ] = None,
    layer: _Layer = None,
    prefix: _Prefix = None,
    nonlinearity: _Nonlinearity = None,
    cell: Annotated[
        str | None, typer.Option(help="A fresh cell, where no weights are given.  Default: lstm.")
    ] = None,
    hidden_size: _Hidden = None,
    init: _Init = None,
    seed: Annotated[int | None, typer.Option(help="Of the weights of a fresh cell.  Default: 0.")] = None,
    horizon: _Horizon = None,
    dtype: _Dtype = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The npz to write.")] = Path("trace.npz"),
    device: _Device = "cpu",
    threads: _Threads = None,
) -> None:
    """Run one cell and store every state and gate at every step: gatescope.load reads the file."""
    from gatescope.gallery import check_folder
    from gatescope.recurrence import run as run_cell
    from gatescope.report import counted

    _check_device(device, threads)
    of_weights = {"--layer": layer, "--prefix": prefix, "--nonlinearity": nonlinearity}
    of_fresh = {"--cell": cell, "--hidden-size": hidden_size, "--seed": seed, "--init": init}
    if weights is None:
        _refuse(of_weights, "is for weights from a file; give --weights too, or leave it out")
    else:
        _refuse(of_fresh, "is for a fresh cell, and --weights gives another; leave out one of the two")
    cell = "lstm" if cell is None else cell
    series, source = _read_inputs(inputs, horizon)
    chosen, assumed = _read_weights([weights] if weights else [], layer, prefix, nonlinearity, dtype)
    if not chosen:
        size = _DEFAULT_UNITS if hidden_size is None else hidden_size
        scheme = init or _DEFAULT_INIT
        _add_fresh(chosen, cell, series, size, dtype, seed or 0, scheme)
    if len(chosen) != 1:
        raise ValueRangeError(f"--cell {cell!r} names {len(chosen)} cells; run takes one, compare several")
    if out.suffix != ".npz":
        raise ValueRangeError(f"--out {str(out)!r} must end in .npz")
    check_folder(out.parent, [out.name])
    ((label, params),) = chosen.items()
    _tell_assumed(assumed)
    with working(f"running {label} over {counted(len(series), 'step')}"):
        trace = run_cell(params, series, device=device, threads=threads)
    with working(f"writing {out}"):
        trace.save(out)
    steps, batch = trace.inputs.shape[:2]
    kept = ", ".join((*trace.kept_names, *trace.state_names))
    extent = f"{counted(steps, 'step')}, {counted(batch, 'sequence')}"
    echo(f"{label} over {source}: {extent}, {kept} of each unit in {out}")


@app.command()
def devices() -> None:
    """Show what the kernels can run on, and why not on a GPU, if so."""
    print_devices()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its status: 0, 2 after an error, 130 after Ctrl-C."""
    try:
        app(arguments, prog_name="gatescope")
    except KeyboardInterrupt:  # before a command began
        typer.echo("gatescope: interrupted", err=True)
        sys.exit(_INTERRUPTED)


def _read_inputs(path: Path | None, horizon: int | None) -> tuple[Array, str]:
    """(T, B, I) float64 inputs and what they are called; a cell's dtype is applied when it runs."""
    if path is None:
        from gatescope.tasks import laser

        inputs, source = laser(dtype="float64").inputs, "the Santa Fe laser series"
    else:
        from gatescope.io import read_series

        inputs, source = read_series(path, dtype="float64"), path.name
    if horizon is not None and horizon < 1:
        raise ValueRangeError(f"--horizon {horizon} must be a whole number of at least 1")
    if horizon is not None and horizon > len(inputs):
        raise ValueRangeError(f"--horizon {horizon} is longer than {source}, which has {len(inputs)} steps")
    return inputs[:horizon], source


def _check_device(device: str, threads: int | None) -> None:
    from gatescope.kernels.device import check_device

    if check_device(device) != "cpu":
        _refuse({"--threads": threads}, f"is for the cpu; leave it out with --device {device}")


def _refuse(options: Mapping[str, Any], why: str) -> None:
    """An option that would be ignored is an error, so that nobody takes the numbers for something else."""
    for name, value in options.items():
        if value is not None:
            raise ValueRangeError(f"{name} {value!r} {why}")


def _read_weights(
    files: Sequence[Path], layer: int | None, prefix: str | None, nonlinearity: str | None, dtype: str | None
) -> tuple[dict[str, Params], list[str]]:
    """The weights by label, and the labels of those whose nonlinearity was assumed."""
    from gatescope.io import load_torch
    from gatescope.storage import read_npz

    chosen: dict[str, Params] = {}
    vanilla: list[str] = []
    foreign = False
    for file in files:
        label = _free_label(file.stem, chosen)
        if file.suffix == ".npz" and "gatescope_meta" in read_npz(file):
            chosen[label] = _read_own(file, dtype)
            continue
        foreign = True
        params = load_torch(file, layer or 0, nonlinearity=nonlinearity, prefix=prefix, dtype=dtype)
        chosen[label] = params
        if len(params.gates) == 1:
            vanilla.append(label)
    if files and not foreign:
        options = {"--layer": layer, "--prefix": prefix, "--nonlinearity": nonlinearity}
        _refuse(options, "is for PyTorch files, and --weights names none; leave it out")
    if files and not vanilla:
        why = "is for an RNN of one gate in a PyTorch file, and --weights names none; leave it out"
        _refuse({"--nonlinearity": nonlinearity}, why)
    return chosen, vanilla if nonlinearity is None else []


def _tell_assumed(labels: Sequence[str]) -> None:
    if labels:
        typer.echo(f"{', '.join(labels)}: taken as tanh; --nonlinearity relu for the other", err=True)


def _read_own(file: Path, dtype: str | None) -> Params:
    from gatescope._dtypes import float_dtype
    from gatescope.datatypes import Params, load
    from gatescope.validation import check_params

    params = load(file)
    if not isinstance(params, Params):
        raise WeightFormatError(
            f"{str(file)!r} holds a {type(params).__name__}, not weights; give a file of gatescope.Params"
        )
    check_params(params)
    if dtype is None:
        return params
    kind = float_dtype(dtype)
    converted = {name: value.astype(kind) for name, value in params.arrays().items()}
    return dataclasses.replace(params, **converted)  # type: ignore[arg-type]


def _add_fresh(
    chosen: dict[str, Params],
    cells: str,
    inputs: Array,
    hidden_size: int,
    dtype: str | None,
    seed: int,
    scheme: str,
) -> None:
    from gatescope.initial import init

    names = [name.strip() for name in cells.split(",") if name.strip()]
    if not names:
        raise ValueRangeError(f"--cells {cells!r} names no cell; give for example {_DEFAULT_CELLS}")
    for name in names:
        params = init(
            name,
            input_size=inputs.shape[2],
            hidden_size=hidden_size,
            seed=seed,
            scheme=scheme,
            dtype=dtype or "float32",
        )
        chosen[_free_label(name, chosen)] = params


def _free_label(wanted: str, taken: dict[str, Params]) -> str:
    label, count = wanted, 1
    while label in taken:
        count += 1
        label = f"{wanted}-{count}"
    return label


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
