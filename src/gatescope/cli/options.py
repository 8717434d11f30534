"""Options that several commands share, with their help and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from gatescope.cli.groups import COMPUTATION, INPUTS, OUTPUT, WEIGHTS, option
from gatescope.reporting.terminal import FORMATS, print_as

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C
DEFAULT_CELLS = "rnn,gru,lstm"
DEFAULT_UNITS = 64
DEFAULT_INIT = "pytorch"

DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="cpu|cuda",
        help="Device to compute on; gatescope devices lists what there is.",
        rich_help_panel=COMPUTATION,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(help="Maximum number of CPU threads.  Default: one per core.", rich_help_panel=COMPUTATION),
]
ClampOption = Annotated[
    list[str] | None,
    typer.Option(
        "--clamp",
        metavar="GATE=VALUE",
        help="Clamp a gate to a value, as in f=1.0 or, of one layer of a model, layers.1.f=1.0, or some units of it, "
        "as in 'f[0,3]=1.0'.  May be given several times.  Default: no gate is clamped.",
        rich_help_panel=COMPUTATION,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        help="Seed for fresh weights and for random directions or starts.  Default: 0.",
        rich_help_panel=COMPUTATION,
    ),
]
FeedbackOption = Annotated[
    int | None,
    typer.Option(
        metavar="STEPS",
        help="Steps to go on for after the inputs, each with the model's outputs as its inputs.  Default: none.",
        rich_help_panel=COMPUTATION,
    ),
]
InitialStateOption = Annotated[
    str | None,
    typer.Option(
        metavar="random",
        help="State to begin with: random, small and drawn with --seed, so that a run leaves an unstable fixed point "
        "at 0.  Default: zeros (diagnose: random).",
        rich_help_panel=COMPUTATION,
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler whose workers make the runs, such as tcp://host:8786; they need the same FOLDER.  A "
        "scheduler runs any code that is sent to it: connect to your own only.  Default: this machine.",
        rich_help_panel=COMPUTATION,
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Part of the runs to begin with: 3/8 is the third of eight, for as many commands that share FOLDER, such "
        "as the jobs of an array; each makes what is missing then.  Default: all of them.",
        rich_help_panel=COMPUTATION,
    ),
]
FolderOption = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Folder to write the files into.", rich_help_panel=OUTPUT)
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="|".join(FORMATS),
        help="How to print the numbers: a table to read; json, an object a line, with all digits and null for what is "
        "not finite; or csv.  With these two all else goes to stderr.",
        rich_help_panel=OUTPUT,
        callback=print_as,
        expose_value=False,
    ),
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace files of an earlier run that are there.", rich_help_panel=OUTPUT
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="File to leave the state of an interrupted measurement (Ctrl-C) in; the same command with the same file "
        "continues from there.  Default: an interrupted measurement is lost.",
        rich_help_panel=OUTPUT,
    ),
]


@dataclass(frozen=True, kw_only=True)
class _InputFile:
    inputs: Path | None = option(
        None,
        "Input series: npy or npz of shape (T,), (T, I) or (T, B, I), or a table whose rows are steps, as csv, other "
        "text or parquet; an npz may hold lengths (B,) beside its inputs.  With weights of train characters: a text.  "
        "Default: the Santa Fe laser series.",
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """The options that say how a file of a series is read."""

    PANEL: ClassVar[str] = INPUTS

    columns: str | None = option(
        None,
        "Columns of a table that are the inputs, by their names or numbers from 1, with commas between them.  "
        "Default: all but dates, times and an index.",
        metavar="NAME,..",
    )
    skip_columns: str | None = option(
        None,
        "Columns of a table to leave out, as well as dates, times and an index.  Default: no others.",
        metavar="NAME,..",
    )
    header: bool | None = option(
        None,
        "Whether the first line of a text has names of columns.  Default: found, or asked where it is not clear.",
        "--header/--no-header",
    )
    batch_first: bool = option(False, "Read the file as (B, T, I).", "--batch-first")


@dataclass(frozen=True, kw_only=True)
class InputOptions(ReadingOptions, _InputFile):
    """The options that say which series is meant."""

    standardize: bool = option(
        False,
        "Subtract each input's mean and divide by its standard deviation, those that the weights were trained with or "
        "else the series' own; they are kept with the result.",
        "--standardize",
    )
    steps: int | None = option(
        None, "Use only the first steps of the series.  Default: all.", metavar="STEPS"
    )


# What files may leave open.
NONLINEARITY: Any = option(
    None, "Activation of an RNN whose file does not say it: tanh or relu.  Default: tanh.", panel=WEIGHTS
)
RESET_AFTER: Any = option(
    None,
    "Whether a GRU of Keras, whose file does not say it, resets after the recurrent product or before.  "
    "Default: after.",
    "--reset-after/--reset-before",
    panel=WEIGHTS,
)


@dataclass(frozen=True, kw_only=True)
class WeightOptions:
    """The options that say how weights are read or drawn; those of files and of fresh cells exclude each other."""

    PANEL: ClassVar[str] = WEIGHTS

    layer: int | None = option(
        None,
        "Layer of a file to take; those below it are run on the inputs.  Default: all layers of a "
        "model; 0, the first, where a command takes one cell alone.",
    )
    prefix: str | None = option(
        None,
        "Name of the network in files that hold several; gatescope weights FILE lists them.  Default: the only one.",
        metavar="NAME",
    )
    nonlinearity: str | None = NONLINEARITY
    reset_after: bool | None = RESET_AFTER
    reverse: bool = option(False, "Take the backward direction of a bidirectional layer.", "--reverse")
    hidden_size: int | None = option(None, f"Units of a fresh cell.  Default: {DEFAULT_UNITS}.")
    init: str | None = option(
        None,
        "Initialization of a fresh cell: pytorch, keras, orthogonal, chrono, gaussian or identity, as in "
        f"'chrono(500)'.  Default: {DEFAULT_INIT}.",
        metavar="SCHEME",
    )
    dtype: str | None = option(
        None,
        "Precision: float32 or float64.  Default: float32 for fresh cells, that of the file for weights.",
    )

    def of_files(self) -> dict[str, Any]:
        """Return the options that are for weights from files alone."""
        return {
            "layer": self.layer,
            "prefix": self.prefix,
            "nonlinearity": self.nonlinearity,
            "reset_after": self.reset_after,
            "reverse": self.reverse or None,
        }

    def of_fresh(self) -> dict[str, Any]:
        """Return the options that are for fresh cells alone."""
        return {"hidden_size": self.hidden_size, "init": self.init}


@dataclass(frozen=True, kw_only=True)
class CellOptions(WeightOptions):
    """The options that say which one cell is meant."""

    weights: Path | None = option(
        None,
        "Weights: a file of PyTorch, Keras, ONNX, Flax or Equinox, or an npz of gatescope's, such as train writes (its "
        "best model).  Default: a fresh cell.",
        metavar="FILE",
    )
    cell: str | None = option(None, "Cell to make where no weights are given, as in gru.  Default: lstm.")
