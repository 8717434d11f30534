"""``gatescope claims``: what people say of RNN, LSTM and GRU, and what the cells say to it."""

from __future__ import annotations

from pathlib import Path

from gatescope.cli.errors import naming
from gatescope.cli.groups import OUTPUT, command, option
from gatescope.cli.outputs import check_outputs
from gatescope.reporting.terminal import echo, file_sizes, on_terminal, print_table, report

_PANEL, _STUDY = "Statements", "Study"
_SEEDS, _UNITS = 10, 32  # those of `gatescope.experiments.claims.study`, whose import would make --help slow


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
        "Measure networks of 64 units over 2,000 steps, as the criteria ask for, or smaller ones, whose verdicts are "
        "preliminary.",
        "--full/--fast",
        panel=_PANEL,
    ),
    runs: Path | None = option(
        None,
        "Folder for the training runs that decide statistical statements.  They take hours; the same command resumes "
        "from there.  Default: these statements are left out.",
        metavar="FOLDER",
        panel=_STUDY,
    ),
    seeds: int | None = option(None, f"Runs of each cell and task.  Default: {_SEEDS}.", panel=_STUDY),
    units: int | None = option(None, f"Units of each cell.  Default: {_UNITS}.", panel=_STUDY),
    workers: int | None = option(
        None, "Processes that make runs at once.  Default: one per core.", panel=_STUDY
    ),
    out: Path | None = option(
        None,
        "Folder for claims.html, a page to read in a browser, claims.md and claims.json, with all that was measured.  "
        "Default: no files.",
        metavar="FOLDER",
        panel=OUTPUT,
    ),
) -> None:
    """Put what people say of RNN, LSTM and GRU to the test.

    Some statements hold exactly, or do not: by equalities to 16 roundings, beside controls that must fail.  Others are
    measured over ten initial weights; these two kinds take a minute or two, with --full some more.  Which cell does
    better at which task is decided by training runs, with --runs.
    """
    from gatescope.checks.numbers import check_unused
    from gatescope.experiments.claims.pairs import TEXTS
    from gatescope.experiments.claims.report import FILES, verdicts_table, write_claims
    from gatescope.experiments.claims.run import run_claims
    from gatescope.experiments.claims.statement import FAST, FULL
    from gatescope.experiments.claims.study import Study
    from gatescope.experiments.executors import opened

    numbers = None if only is None else [number.strip() for number in only.split(",")]
    if out is not None:
        check_outputs("out", out, FILES)
    log, scale = report if on_terminal() else None, FULL if full else FAST
    with naming(study="--runs", folder="--runs"):
        if runs is None:
            check_unused("without `runs`", seeds=seeds, units=units, workers=workers)
            verdicts = run_claims(numbers, scale=scale, log=log)
        else:
            with opened(None, workers) as executor:
                study = Study(
                    folder=runs,
                    seeds=_SEEDS if seeds is None else seeds,
                    units=_UNITS if units is None else units,
                    executor=executor,
                    progress=on_terminal(),
                )
                verdicts = run_claims(numbers, scale=scale, study=study, log=log)
    print_table(verdicts_table(verdicts))
    for letter, text in TEXTS.items():
        echo(f"{letter}: {text}")
    for verdict in verdicts:
        echo(f"{verdict.number} {verdict.text}: {verdict.reason}")
    if out is not None:
        echo(f"written: {file_sizes(write_claims(verdicts, out))}")
