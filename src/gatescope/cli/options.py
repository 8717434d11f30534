"""What the commands share: their options, and how these become weights and inputs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatescope.errors import OutputError, ShapeError, ValueRangeError, WeightFormatError

if TYPE_CHECKING:
    from gatescope.datatypes import Array, Params
    from gatescope.datatypes.result import Result

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C
DEFAULT_CELLS = "rnn,gru,lstm"
DEFAULT_UNITS = 64
DEFAULT_INIT = "pytorch"
MAPPED_BYTES = 1 << 24  # a shorter file is read whole
_LISTED = 6  # numbers in a note

InputsOption = Annotated[
    Path | None,
    typer.Option(
        "--inputs",
        metavar="FILE",
        help="Input series: npy, npz or csv, (T,), (T, I) or (T, B, I).  Default: the Santa Fe laser series.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Weights, as for compare: what train writes, too."),
]
CellOption = Annotated[
    str | None, typer.Option("--cell", help="A fresh cell, where no weights are given.  Default: lstm.")
]
LayerOption = Annotated[
    int | None,
    typer.Option(help="Which layer of the PyTorch files and trained models.  Default: 0, the first."),
]
PrefixOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What precedes weight_ih_l0 in the PyTorch files, where they hold several networks.",
    ),
]
NonlinearityOption = Annotated[
    str | None, typer.Option(help="tanh or relu: of an RNN in a PyTorch file, which does not tell.")
]
HiddenSizeOption = Annotated[
    int | None, typer.Option(help=f"Units of a fresh cell.  Default: {DEFAULT_UNITS}.")
]
HorizonOption = Annotated[
    int | None, typer.Option(metavar="STEPS", help="Use the first so many steps.  Default: all.")
]
DtypeOption = Annotated[
    str | None,
    typer.Option(help="float32 or float64.  Default: float32 for fresh cells, that of the file for weights."),
]
SeedOption = Annotated[int, typer.Option(help="Of the weights, and of the direction of the gradient.")]
InitOption = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="Weights of a fresh cell: pytorch, keras, orthogonal, chrono or gaussian, as in 'chrono(500)'.  "
        f"Default: {DEFAULT_INIT}.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option(metavar="cpu|cuda", help="What computes; gatescope devices shows what there is.")
]
ThreadsOption = Annotated[int | None, typer.Option(help="Of the cpu, at most so many.  Default: one a core.")]
ClampOption = Annotated[
    list[str] | None,
    typer.Option(
        "--clamp",
        metavar="GATE=VALUE",
        help="Hold a gate at a value, as in f=1.0, or as in 'f[0,3]=1.0' for some units.  May be given several times.",
    ),
]


def read_inputs(path: Path | None, horizon: int | None, *, mapped: bool = False) -> tuple[Array, str]:
    """(T, B, I) inputs and what they are called; a cell's dtype is applied when it runs.

    Lengths beside them, as `train` takes them, are not: measurements go to the last step, which is told.
    They are float64, or with `mapped` and a long npy file a memory map in the file's dtype, (T, I) or (T, B, I).
    """
    if path is None:
        from gatescope.tasks import laser

        inputs, source = laser(dtype="float64").inputs, "the Santa Fe laser series"
    else:
        from gatescope.io import read_series

        whole = _map(path) if mapped else None
        inputs, source = read_series(path, dtype="float64") if whole is None else whole, path.name
    if horizon is not None and horizon < 1:
        raise ValueRangeError(f"--horizon {horizon} must be a whole number of at least 1")
    if horizon is not None and horizon > len(inputs):
        raise ValueRangeError(f"--horizon {horizon} is longer than {source}, which has {len(inputs)} steps")
    if path is not None:
        _tell_of_lengths(path, len(inputs[:horizon]))
    return inputs[:horizon], source


def _tell_of_lengths(path: Path, steps: int) -> None:
    """Of an npz that was read, and so checked, as a whole."""
    import numpy as np

    if path.suffix.lower() != ".npz":
        return
    with np.load(path, allow_pickle=False) as file:
        lengths = file.get("lengths", np.zeros(0))
    if lengths.dtype.kind in "iuf" and (lengths < steps).any():
        tell(
            [
                f"{path.name}: its lengths are not used; every sequence is taken to step {steps}, padding included"
            ]
        )


def _map(path: Path) -> Array | None:
    """A long npy file as a memory map; None for another one, or one that cannot be mapped: reading it tells why."""
    import numpy as np

    try:
        if path.suffix.lower() != ".npy" or path.stat().st_size < MAPPED_BYTES:
            return None
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2, 3) or array.size == 0:
        return None
    return array[:, None] if array.ndim == 1 else array


def check_width(series: Array, source: str, given: Path | None, label: str, params: Params) -> None:
    """That the inputs have as many numbers a step as the weights take, before anything is made."""
    found, wanted = series.shape[-1], params.input_size
    if found == wanted:
        return
    if given is None:
        raise ShapeError(
            f"{label} takes {wanted} numbers a step; give them with --inputs, without which {source} is taken, of "
            f"{found}"
        )
    raise ShapeError(
        f"--inputs {str(given)!r} has {found} numbers a step, but {label} takes {wanted}; give such"
    )


def check_kept(option: str, path: Path, **read: Path | None) -> None:
    """That a file that will be written is none of those that are read."""
    for name, file in read.items():
        if file is not None and os.path.realpath(file) == os.path.realpath(path):
            raise ValueRangeError(
                f"{option} {str(path)!r} is the file of --{name} too, and would be lost; give another name to {option}"
            )


def check_file(option: str, path: Path, *suffixes: str) -> None:
    """That a file that will be written is none that is a folder, and has one of the suffixes."""
    if path.is_dir():
        name = str(path / f"{option.removeprefix('--')}{suffixes[0]}")
        raise OutputError(f"{option} {str(path)!r}: it is a folder; name a file in it, as in {name}")
    if path.suffix not in suffixes:
        raise ValueRangeError(f"{option} {str(path)!r} must end in {' or '.join(suffixes)}")


def check_device(device: str, threads: int | None) -> None:
    from gatescope.kernels.device import check_device

    if check_device(device) != "cpu":
        refuse({"--threads": threads}, f"is for the cpu; leave it out with --device {device}")


def refuse(options: Mapping[str, Any], why: str) -> None:
    """An option that would be ignored is an error, so that nobody takes the numbers for something else."""
    for name, value in options.items():
        if value is not None:
            raise ValueRangeError(f"{name} {value!r} {why}")


def read_weights(
    files: Sequence[Path], layer: int | None, prefix: str | None, nonlinearity: str | None, dtype: str | None
) -> tuple[dict[str, Params], list[str]]:
    """The weights by label, and what has to be told: a nonlinearity that was assumed, a layer that was taken."""
    from gatescope.io import load_torch
    from gatescope.storage.npz import read_npz

    chosen: dict[str, Params] = {}
    vanilla: list[str] = []
    notes: list[str] = []
    foreign = layered = False
    for file in files:
        label = free_label(file.stem, chosen)
        if file.suffix == ".npz" and "gatescope_meta" in read_npz(file):
            chosen[label], note = _read_own(file, layer, dtype)
            notes += [note] if note else []
            layered |= bool(note)
            continue
        foreign = True
        params = load_torch(file, layer or 0, nonlinearity=nonlinearity, prefix=prefix, dtype=dtype)
        chosen[label] = params
        if len(params.gate_names) == 1:
            vanilla.append(label)
    if files and not foreign:
        options = {"--prefix": prefix, "--nonlinearity": nonlinearity}
        refuse(options, "is for PyTorch files, and --weights names none; leave it out")
    if files and not foreign and not layered:
        why = "is for PyTorch files and trained models, and --weights names none; leave it out"
        refuse({"--layer": layer}, why)
    if files and not vanilla:
        why = "is for an RNN of one gate in a PyTorch file, and --weights names none; leave it out"
        refuse({"--nonlinearity": nonlinearity}, why)
    if vanilla and nonlinearity is None:
        notes.append(f"{', '.join(vanilla)}: taken as tanh; --nonlinearity relu for the other")
    return chosen, notes


def tell(notes: Sequence[str]) -> None:
    """What was taken for granted, a line each: on stderr, beside the numbers."""
    for note in notes:
        typer.echo(note, err=True)


def _read_own(file: Path, layer: int | None, dtype: str | None) -> tuple[Params, str]:
    """Weights that gatescope saved; of a model, one layer, and which one in words."""
    from gatescope.checks.dtypes import float_dtype
    from gatescope.checks.network import check_params
    from gatescope.datatypes import Params, load

    found, note = load(file), ""
    params = found if isinstance(found, Params) else None
    if params is None:
        params, note = _layer_of(found, file, layer or 0)
    check_params(params)
    if dtype is not None:
        kind = float_dtype(dtype)
        converted = {name: value.astype(kind) for name, value in params.arrays().items()}
        params = dataclasses.replace(params, **converted)  # type: ignore[arg-type]
    return params, note


def _layer_of(found: Result, file: Path, layer: int) -> tuple[Params, str]:
    """A layer of a model, or of the best model of a training, and what it is called."""
    from gatescope.datatypes.stack import Stack
    from gatescope.datatypes.training_run import TrainingRun

    model, stack = "the model", found
    if isinstance(found, TrainingRun):
        model, stack = f"the best model, that after epoch {found.best_epoch}", found.best
    if not isinstance(stack, Stack):
        raise WeightFormatError(
            f"{str(file)!r} holds a {type(found).__name__}, not weights; "
            "give a file of gatescope.Params, of a Stack, or what train wrote"
        )
    if not 0 <= layer < len(stack.layers):
        there = (f"{k} ({each.cell} of {each.hidden_size} units)" for k, each in enumerate(stack.layers))
        raise ValueRangeError(f"--layer {layer}: {str(file)!r} has no such layer; it has {', '.join(there)}")
    params = stack.layers[layer]
    note = f"{file.name}: layer {layer} of {len(stack.layers)}, {params.cell} of {params.hidden_size} units, of {model}"
    scale = found.provenance.get("inputs_scale")
    if scale and not layer:
        note += (
            "; trained on standardized inputs, so give such, as train has written them beside it: (x - mean) / sd "
            f"with mean {_listed(scale['mean'])} and sd {_listed(scale['standard_deviation'])}"
        )
    if layer:
        below = stack.layers[layer - 1].hidden_size
        note += f"; its inputs have to be what layer {layer - 1} gives, {below} numbers a step"
    return params, note


def _listed(values: Sequence[float]) -> str:
    """Numbers, a few of them if there are many."""
    few = ", ".join(f"{value:.4g}" for value in values[:_LISTED])
    return f"{few}, ..." if len(values) > _LISTED else few


def add_fresh(
    chosen: dict[str, Params],
    cells: str,
    input_size: int,
    hidden_size: int,
    dtype: str | None,
    seed: int,
    scheme: str,
) -> None:
    from gatescope.recurrence.initialization import init

    names = [name.strip() for name in cells.split(",") if name.strip()]
    if not names:
        raise ValueRangeError(f"--cells {cells!r} names no cell; give for example {DEFAULT_CELLS}")
    for name in names:
        params = init(
            name,
            input_size=input_size,
            hidden_size=hidden_size,
            seed=seed,
            scheme=scheme,
            dtype=dtype or "float32",
        )
        chosen[free_label(name, chosen)] = params


def one_cell(
    command: str,
    input_size: int,
    *,
    weights: Path | None,
    cell: str | None,
    hidden_size: int | None,
    init: str | None,
    seed: int,
    layer: int | None,
    prefix: str | None,
    nonlinearity: str | None,
    dtype: str | None,
) -> tuple[str, Params, list[str]]:
    """The one cell of a command: its label, its weights, and what has to be told of them."""
    of_weights = {"--layer": layer, "--prefix": prefix, "--nonlinearity": nonlinearity}
    if weights is None:
        refuse(of_weights, "is for weights from a file; give --weights too, or leave it out")
    else:
        of_fresh = {"--cell": cell, "--hidden-size": hidden_size, "--init": init}
        refuse(of_fresh, "is for a fresh cell, and --weights gives another; leave out one of the two")
    chosen, notes = read_weights([weights] if weights else [], layer, prefix, nonlinearity, dtype)
    if not chosen:
        size = DEFAULT_UNITS if hidden_size is None else hidden_size
        add_fresh(chosen, cell or "lstm", input_size, size, dtype, seed, init or DEFAULT_INIT)
    if len(chosen) != 1:
        raise ValueRangeError(
            f"--cell {cell!r} names {len(chosen)} cells; {command} takes one, compare several"
        )
    ((label, params),) = chosen.items()
    return label, params, notes


def free_label(wanted: str, taken: dict[str, Params]) -> str:
    label, count = wanted, 1
    while label in taken:
        count += 1
        label = f"{wanted}-{count}"
    return label
