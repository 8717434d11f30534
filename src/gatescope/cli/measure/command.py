"""What every ``gatescope measure`` command does around its measurement: read, check, draw, print, write."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from gatescope.cli.options import (
    INTERRUPTED,
    CellOption,
    ClampOption,
    DtypeOption,
    HiddenSizeOption,
    HorizonOption,
    InitOption,
    InputsOption,
    LayerOption,
    NonlinearityOption,
    PrefixOption,
    ThreadsOption,
    WeightsOption,
    check_width,
    one_cell,
    read_inputs,
    tell,
)
from gatescope.reporting.terminal import echo, on_terminal, print_measurement, working

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gatescope.datatypes import Params
    from gatescope.datatypes.result import Result

_FORMATS = ("png", "svg")

SeedOption = Annotated[
    int, typer.Option(help="Of the weights of a fresh cell, and of random directions or starts.")
]
OutOption = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="Where Ctrl-C leaves what has been measured; the same command with the same file goes on from there.",
    ),
]

_WEIGHTS: dict[str, tuple[Any, Any]] = {
    "weights": (WeightsOption, None),
    "layer": (LayerOption, None),
    "prefix": (PrefixOption, None),
    "nonlinearity": (NonlinearityOption, None),
    "cell": (CellOption, None),
    "hidden_size": (HiddenSizeOption, None),
    "init": (InitOption, None),
    "dtype": (DtypeOption, None),
    "clamp": (ClampOption, None),
}
_SERIES: dict[str, tuple[Any, Any]] = {"inputs": (InputsOption, None), "horizon": (HorizonOption, None)}
_ALWAYS: dict[str, tuple[Any, Any]] = {"seed": (SeedOption, 0), "out": (OutOption, Path("gatescope-out"))}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a measurement is asked for.

    Attributes
    ----------
    label : str
        What the cell is called: its name, or that of its file.
    params : Params
        Of a command that takes weights.
    series : (T, B, I) array or memmap
        Of a command that takes a series; None where it may be left out.
    source : str
        What the series is called.
    seed : int
    clamp : dict or None
    threads : int or None
    resume : Path or None
    """

    label: str
    params: Params
    series: Any
    source: str
    seed: int
    clamp: dict[str, Any] | None
    threads: int | None
    resume: Path | None

    def keywords(self, *names: str) -> dict[str, Any]:
        """What the measuring functions have in common: those of these names, the progress bar and where to resume."""
        common: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.resume is not None:
            common["resume"] = self.resume
        return {**common, "progress": on_terminal()}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a measurement found.

    Attributes
    ----------
    result : Result
        Goes to the npz.
    title : str
        Of the table.
    columns : sequence of str
        Of the table.
    rows : sequence of sequences of str
        Numbers with their units.
    verdict : sequence of str
        Sentences.
    draw : callable
        Makes the figure.
    """

    result: Result
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: Sequence[str]
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Command:
    """A command for Typer: its name, the function that Typer calls, and whether it has ``--resume``."""

    name: str
    callback: Callable[..., None]
    resumable: bool


def measurement(
    name: str,
    *,
    weights: bool = True,
    series: bool = True,
    default_series: bool = True,
    threads: bool = True,
    resumable: bool = False,
    width: Callable[[dict[str, Any]], int] | None = None,
) -> Callable[[Callable[..., Found]], Command]:
    """Make a function of a `Job` and options of its own a command, with the options that all measurements share.

    Parameters
    ----------
    name : str
        Of the command, and with underscores of the files.
    weights, series, threads, resumable : bool
        Whether it takes weights, a series, a number of threads, and can be resumed.
    default_series : bool
        Whether it runs over the laser series if none is given.
    width : callable, optional
        Input size of a fresh cell from the command's own options.  Default: that of the series.
    """
    shared = dict(_SERIES) if series else {}
    if weights:
        shared |= _WEIGHTS
    shared |= _ALWAYS
    if threads:
        shared["threads"] = (ThreadsOption, None)
    if resumable:
        shared["resume"] = (ResumeOption, None)

    def decorate(measure: Callable[..., Found]) -> Command:
        hints = get_type_hints(measure, include_extras=True)
        _, *own = inspect.signature(measure).parameters.values()

        def command(**given: Any) -> None:
            options = {parameter.name: given.pop(parameter.name) for parameter in own}
            inputs = width(options) if width is not None else None
            _execute(name, measure, options, given, weights, series and default_series, inputs)

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [p.replace(kind=keyword, annotation=hints[p.name]) for p in own]
        parameters += [
            inspect.Parameter(key, keyword, default=default, annotation=annotation)
            for key, (annotation, default) in shared.items()
        ]
        # Typer reads a command's options from its signature and its annotations.
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__doc__ = measure.__doc__
        return Command(name, command, resumable)

    return decorate


def _execute(
    name: str,
    measure: Callable[..., Found],
    options: dict[str, Any],
    given: dict[str, Any],
    weighted: bool,
    default_series: bool,
    input_size: int | None,
) -> None:
    from gatescope.storage.atomic import check_folder

    job, told = _job(name, given, weighted, default_series, input_size)
    out: Path = given["out"]
    stem = name.replace("-", "_")
    check_folder(out, [f"{stem}.{suffix}" for suffix in ("npz", *_FORMATS)])  # before the work, not after it
    if job.resume is not None:
        check_folder(job.resume.parent, [job.resume.name])
    tell(told)
    try:
        found = measure(job, **options)
    except KeyboardInterrupt as interrupt:
        notes = getattr(interrupt, "__notes__", ())
        typer.echo(f"gatescope: interrupted; {_how_to_go_on(job, 'resume' in given, notes)}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    _write(found, out, stem)


def _job(
    name: str, given: dict[str, Any], weighted: bool, default_series: bool, input_size: int | None
) -> tuple[Job, list[str]]:
    from gatescope.recurrence.clamping import parse_clamp

    path, horizon = given.pop("inputs", None), given.pop("horizon", None)
    series, source = None, ""
    if path is not None or default_series:
        series, source = read_inputs(path, horizon, mapped=True)
    label, params = "", None
    told: list[str] = []
    if weighted:
        width = input_size or (1 if series is None else series.shape[-1])
        names = [key for key in _WEIGHTS if key != "clamp"]
        seed = given["seed"]
        label, params, told = one_cell(name, width, seed=seed, **{key: given[key] for key in names})
        if series is not None:
            check_width(series, source, path, label, params)
    job = Job(
        label=label,
        params=params,  # type: ignore[arg-type]  # of a command without weights, which does not look at them
        series=series,
        source=source,
        seed=given["seed"],
        clamp=parse_clamp(given.get("clamp")),
        threads=given.get("threads"),
        resume=given.get("resume"),
    )
    return job, told


def _how_to_go_on(job: Job, resumable: bool, notes: Sequence[str]) -> str:
    if job.resume is not None and job.resume.exists():
        return f"what has been measured is in {job.resume}; the same command goes on from there"
    if job.resume is not None:  # a note says why the file could not be written
        return " ".join(notes) or "nothing had been measured yet"
    if resumable:
        return "nothing is kept; with --resume FILE the next one can be gone on with"
    return "nothing is kept"


def _write(found: Found, out: Path, stem: str) -> None:
    from gatescope import plotting

    with working(f"writing into {out}"):
        files = [out / f"{stem}.npz"]
        found.result.save(files[0])
        with plotting.style():
            figure = found.draw()
        files += plotting.save_figure(figure, out / stem, _FORMATS)
    print_measurement(found.title, found.columns, found.rows)
    for sentence in found.verdict:
        echo(sentence)
    echo(f"written: {', '.join(map(str, files))}")
