"""``gatescope experiment long-series``: the published experiment, done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from gatescope.cli.errors import naming
from gatescope.cli.groups import COMPUTATION, command, option
from gatescope.cli.options import (
    INTERRUPTED,
    FolderOption,
    FormatOption,
    PartOption,
    SchedulerOption,
    ThreadsOption,
)
from gatescope.cli.outputs import check_writable
from gatescope.cli.parsing import cell_names
from gatescope.cli.plots import check_plotting
from gatescope.errors import ValueRangeError
from gatescope.reporting.terminal import echo, file_sizes, on_terminal, print_table, report, working

# Those of `gatescope.datatypes.long_series.PUBLISHED_SIZE`, whose import would make --help slow.
FULL: dict[str, int] = {"steps": 20_000, "epochs": 1000, "seeds": 10, "sequences": 40}
FAST: dict[str, int] = {"steps": 2000, "epochs": 200, "seeds": 3, "sequences": 40}

_PANEL = "Experiment"

experiments = typer.Typer(no_args_is_help=True)


@experiments.callback()
def _experiments() -> None:
    """Repeat published experiments."""


def _default(name: str) -> str:
    return f"Default: {FULL[name]:,}; with --fast {FAST[name]:,}."


@experiments.command("long-series")
@command
def long_series(
    out: FolderOption = Path("long-series"),
    cells: str = option("lstm,gru", "Cells to train, with commas between them.", panel=_PANEL),
    seeds: int | None = option(None, f"Initial weights for each cell.  {_default('seeds')}", panel=_PANEL),
    epochs: int | None = option(None, f"Epochs, one update each.  {_default('epochs')}", panel=_PANEL),
    steps: int | None = option(None, f"Steps of each series.  {_default('steps')}", panel=_PANEL),
    sequences: int | None = option(None, f"Number of series.  {_default('sequences')}", panel=_PANEL),
    lookback: int = option(8, "Number of past price changes that are the input.", panel=_PANEL),
    hidden_size: int = option(16, "Units of each cell.", panel=_PANEL),
    data_seed: int = option(0, "Seed for the series, which are the same for all runs.", panel=COMPUTATION),
    dtype: str = option("float32", "Precision: float32 or float64.", panel=COMPUTATION),
    fast: bool = option(
        False, "Run a smaller experiment, whose numbers are preliminary.", "--fast", panel=_PANEL
    ),
    threads: ThreadsOption = None,
    workers: int | None = option(
        None,
        "Processes that make runs at once, each on one thread.  Default: one run after another, on all cores.",
        panel=COMPUTATION,
    ),
    scheduler: SchedulerOption = None,
    part: PartOption = None,
    form: FormatOption = "table",
) -> None:
    """Train LSTM and GRU on 40 series of 20,000 steps for 1,000 epochs, and compare with the published curves.

    This takes about half an hour on two cores, in runs of minutes that are saved in FOLDER/runs: after an interruption
    of any kind the same command continues, and with more --seeds, --epochs or --cells it adds to what there is.  Runs
    of other settings stay beside them.
    """
    from gatescope.checks.numbers import check_threads
    from gatescope.experiments.long_series.report import FILES, sentences, table, write_report
    from gatescope.experiments.long_series.run import run_long_series

    default = FAST if fast else FULL
    asked: dict[str, Any] = {"seeds": seeds, "epochs": epochs, "steps": steps, "sequences": sequences}
    sizes: dict[str, Any] = {name: default[name] if value is None else value for name, value in asked.items()}
    names = cell_names("cells", cells, "lstm,gru")
    if len(set(names)) < len(names):
        raise ValueRangeError("names a cell twice", argument="cells", seen=cells, advice="give each once")
    check_plotting()
    check_writable("out", out, out, FILES)
    runs = out / "runs"
    try:
        check_threads(threads)  # before the first run is reported
        with naming(folder="--out", cell="--cells", executor="--scheduler"):
            result = run_long_series(
                runs.absolute(),  # workers of a scheduler may be in another folder
                cells=names,
                lookback=lookback,
                hidden_size=hidden_size,
                data_seed=data_seed,
                dtype=dtype,
                threads=threads,
                executor=scheduler,
                workers=workers,
                part=part,
                progress=on_terminal(),
                log=report,
                **sizes,
            )
    except KeyboardInterrupt:
        saved = f"what has been trained is in {runs}; the same command continues from there"
        report(f"gatescope: interrupted; {saved}")
        raise typer.Exit(INTERRUPTED) from None
    with working(f"writing into {out}"):
        files = write_report(result, out)
    print_table(table(result), sentences(result))
    echo(f"written: {file_sizes(files)}")
