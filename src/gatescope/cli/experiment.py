"""``gatescope experiment long-series``: the published experiment, done again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gatescope.cli.options import INTERRUPTED, ThreadsOption
from gatescope.cli.train.wording import check_folder, in_options, options_of
from gatescope.datatypes.long_series import PUBLISHED_SIZE
from gatescope.errors import ValueRangeError
from gatescope.reporting.terminal import echo, on_terminal, print_measurement, working

FAST: dict[str, int] = {"steps": 2000, "epochs": 200, "seeds": 3, "sequences": 40}

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _experiments() -> None:
    """Published experiments, done again."""


def _default(name: str) -> str:
    return f"  Default: {PUBLISHED_SIZE[name]:,}; with --fast {FAST[name]:,}."


@app.command("long-series")
def long_series(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")] = Path("long-series"),
    cells: Annotated[str, typer.Option(help="Separated by commas.")] = "lstm,gru",
    seeds: Annotated[int | None, typer.Option(help=f"Initial weights a cell.{_default('seeds')}")] = None,
    epochs: Annotated[int | None, typer.Option(help=f"One update each.{_default('epochs')}")] = None,
    steps: Annotated[int | None, typer.Option(help=f"T.{_default('steps')}")] = None,
    sequences: Annotated[int | None, typer.Option(help=f"B.{_default('sequences')}")] = None,
    lookback: Annotated[int, typer.Option(help="How many of the last price changes are the input.")] = 8,
    hidden_size: Annotated[int, typer.Option(help="Units.")] = 16,
    data_seed: Annotated[int, typer.Option(help="Of the series, which are the same for all runs.")] = 0,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    fast: Annotated[
        bool, typer.Option("--fast", help="A smaller one, whose numbers are preliminary.")
    ] = False,
    threads: ThreadsOption = None,
) -> None:
    """LSTM and GRU on 40 series of 20,000 steps, 1,000 epochs, beside the published curves.

    About half an hour on two cores, in runs of minutes that are kept in FOLDER/runs: stopped whenever and however, the
    same command goes on, and with more --seeds, --epochs or --cells adds to what there is.
    """
    from gatescope.checks.numbers import check_threads
    from gatescope.experiments.long_series.report import FILES, sentences, table, write_report
    from gatescope.experiments.long_series.run import run_long_series as experiment

    sizes = FAST if fast else PUBLISHED_SIZE
    given: dict[str, Any] = {"seeds": seeds, "epochs": epochs, "steps": steps, "sequences": sequences}
    chosen = {name: sizes[name] if value is None else value for name, value in given.items()}
    names = [name.strip() for name in cells.split(",") if name.strip()]
    if not names:
        raise ValueRangeError(f"--cells {cells!r} names no cell; give for example lstm,gru")
    if len(set(names)) < len(names):
        raise ValueRangeError(f"--cells {cells!r} names a cell twice; give each once")
    check_folder("--out", out, out, list(FILES))
    runs = out / "runs"
    said = options_of(experiment) | {"cell": f"--cells {cells!r}: "}
    try:
        with in_options(said):
            check_threads(threads)  # before the first run is told of
            result = experiment(
                runs,
                cells=names,
                lookback=lookback,
                hidden_size=hidden_size,
                data_seed=data_seed,
                dtype=dtype,
                threads=threads,
                progress=on_terminal(),
                log=_log,
                **chosen,
            )
    except KeyboardInterrupt:
        kept = f"what has been trained is in {runs}; the same command goes on from there"
        typer.echo(f"gatescope: interrupted; {kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    with working(f"writing into {out}"):
        files = write_report(result, out)
    compared = table(result)
    print_measurement(compared.title, compared.header, compared.rows)
    for sentence in sentences(result):
        echo(sentence)
    echo(f"written: {', '.join(map(str, files))}")


def _log(line: str) -> None:
    """Which run is under way: for whoever watches, on a terminal or in a log."""
    typer.echo(line, err=True)
