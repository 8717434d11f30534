"""``gatescope claims``: what people say of RNN, LSTM and GRU, and what the cells say to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import typer

from gatescope.cli.errors import naming
from gatescope.cli.groups import COMPUTATION, OUTPUT, command, option
from gatescope.cli.options import INTERRUPTED, FormatOption, PartOption, SchedulerOption
from gatescope.cli.outputs import check_outputs
from gatescope.errors import ValueRangeError
from gatescope.reporting.terminal import echo, file_sizes, on_terminal, print_table, report

if TYPE_CHECKING:
    from gatescope.experiments.claims.statement import Statement
    from gatescope.experiments.claims.study import Study

_PANEL, _STUDY = "Statements", "Study"
_SEEDS, _UNITS, _FAST_UNITS = (
    10,
    32,
    16,
)  # of `gatescope.experiments.claims.study`, whose import makes --help slow


@command
def claims(
    only: str | None = option(
        None,
        "Numbers of statements, with commas between them, as in 9a,40: 40 means 40a, 40b and 40c.  Default: all.",
        metavar="NUMBER,..",
        panel=_PANEL,
    ),
    full: bool = option(
        False,
        "Measure and train networks as large as the criteria ask for, which takes hours, or smaller ones, in minutes, "
        "whose verdicts are preliminary.",
        "--full/--fast",
        panel=_PANEL,
    ),
    runs: Path | None = option(
        None,
        "Folder for the training runs that decide statistical statements, which --full needs: the same command resumes "
        "from there.  Default: with --fast a temporary one.",
        metavar="FOLDER",
        panel=_STUDY,
    ),
    seeds: int | None = option(None, f"Runs of each cell and task.  Default: {_SEEDS}.", panel=_STUDY),
    units: int | None = option(
        None, f"Units of each cell.  Default: {_UNITS}; with --fast {_FAST_UNITS}.", panel=_STUDY
    ),
    workers: int | None = option(
        None,
        "Processes that make runs at once; with --fast they test whole statements.  Default: one per core.",
        panel=COMPUTATION,
    ),
    scheduler: SchedulerOption = None,
    part: PartOption = None,
    archives: Path | None = option(
        None,
        "Folder with JSB_Chorales.mat and Nottingham.mat, files of yours: with --full, published numbers stand beside "
        "ours, and some are of this music.  Default: these are not measured.",
        metavar="FOLDER",
        panel=_STUDY,
    ),
    out: Path | None = option(
        None,
        "Folder for claims.html, a page to read in a browser, claims.md and claims.json, with all that was measured; "
        "they are written after every statement, beside those that an earlier command left there of other statements.  "
        "Default: no files.",
        metavar="FOLDER",
        panel=OUTPUT,
    ),
    form: FormatOption = "table",
) -> None:
    """Put what people say of RNN, LSTM and GRU to the test.

    Some statements hold exactly, or do not: by equalities to 16 roundings, beside controls that must fail.  Others are
    measured over ten initial weights, and many training runs decide which cell does better at which task.  All take
    some fifteen minutes; with --full hours, whose plan is printed first.
    """
    from gatescope.checks.numbers import check_unused
    from gatescope.experiments.claims.pairs import TEXTS
    from gatescope.experiments.claims.published.beside import beside_published
    from gatescope.experiments.claims.report import FILES, check_scale, verdicts_table, write_claims
    from gatescope.experiments.claims.run import chosen_statements, run_claims
    from gatescope.experiments.claims.statement import FAST, FULL
    from gatescope.reporting.text import duration

    began = perf_counter()
    numbers = None if only is None else [number.strip() for number in only.split(",") if number.strip()]
    if numbers == []:
        problem = "names no statement"
        raise ValueRangeError(problem, argument="only", seen=only, advice="give numbers, as in 9a,40")
    if out is not None:
        check_outputs("out", out, FILES)
    if not full:
        check_unused("without `full`", archives=archives)
    if archives is not None and not archives.is_dir():
        advice = "give the one that JSB_Chorales.mat and Nottingham.mat are in"
        raise ValueRangeError("is no folder", argument="archives", seen=str(archives), advice=advice)
    log = report if on_terminal() else None
    with naming(study="--runs", folder="--runs", executor="--scheduler"):
        chosen = chosen_statements(numbers)
        if out is not None and any(each.has_scale for each in chosen):
            check_scale(out, quick=not full)
        if runs is None:
            for name, value in (("part", part), ("scheduler", scheduler)):
                if value is not None:
                    problem = "has no effect without `runs`, which all of them share"
                    raise ValueRangeError(problem, argument=name, seen=value, advice="give `runs` a folder")
        else:
            check_outputs("runs", runs, ())
        options = {"seeds": seeds, "units": units, "part": part}
        with _study(chosen, full, runs, workers, scheduler, options) as study:
            verdicts = run_claims(
                numbers,
                scale=FULL if full else FAST,
                study=study,
                log=log,
                after=None if out is None else lambda some: write_claims(some, out),
            )
            if study is not None:
                verdicts = beside_published(verdicts, study, archives=archives, log=log)
    if out is not None:
        write_claims(verdicts, out)
    notes = [f"{letter}: {text}" for letter, text in TEXTS.items()]
    notes += [f"{verdict.number} {verdict.text}: {verdict.reason}" for verdict in verdicts]
    print_table(verdicts_table(verdicts), notes)
    if out is not None:
        echo(f"written: {file_sizes([out / name for name in FILES])}")
    echo(f"took {duration(perf_counter() - began)}")


@contextmanager
def _study(
    chosen: tuple[Statement, ...],
    full: bool,
    runs: Path | None,
    workers: int | None,
    scheduler: str | None,
    options: dict[str, Any],
) -> Iterator[Study | None]:
    """Yield the study that the statements need, after its plan; None if they need none."""
    from gatescope.checks.numbers import check_unused, default_threads
    from gatescope.experiments.claims.plan import plan
    from gatescope.experiments.claims.study import Study
    from gatescope.experiments.executors import check_executor, opened

    training = [each.number for each in chosen if each.trains or each.after_training]
    if not training:
        check_unused("with these statements, which train nothing", workers=workers, **options)
        yield None
        return
    if full and runs is None:
        problem = "is needed with `full`: hours of training runs are made there"
        raise ValueRangeError(
            problem, argument="runs", advice="give a folder, or only statements that train nothing"
        )
    check_executor(scheduler, workers)
    chosen_options = {name: value for name, value in options.items() if value is not None}
    # Workers of a scheduler may be in another folder.
    place = TemporaryDirectory(prefix="gatescope-claims-") if runs is None else nullcontext(runs.absolute())
    with place as folder:
        study = Study(folder=folder, quick=not full, progress=on_terminal(), **chosen_options)
        if full:
            print_table(
                plan(chosen, cores=workers or default_threads(), seeds=study.seeds, folder=folder), aside=True
            )
        try:
            with opened(scheduler, workers) as executor:
                yield dataclasses.replace(study, executor=executor)
        except KeyboardInterrupt:
            if runs is None:
                raise
            report(f"gatescope: interrupted; the same command resumes from the runs in {runs}")
            raise typer.Exit(INTERRUPTED) from None
