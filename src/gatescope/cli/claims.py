"""``gatescope claims``: what people say of RNN, LSTM and GRU, and what the cells say to it."""

from __future__ import annotations

from pathlib import Path

from gatescope.cli.groups import OUTPUT, command, option
from gatescope.cli.outputs import check_outputs
from gatescope.reporting.terminal import echo, file_sizes, on_terminal, print_table, report

_PANEL = "Statements"


@command
def claims(
    only: str | None = option(
        None,
        "Numbers of statements, with commas between them, as in 9a,40: 40 means 40a, 40b and 40c.  Default: all.",
        metavar="NUMBER,..",
        panel=_PANEL,
    ),
    out: Path | None = option(
        None,
        "Folder for claims.md and claims.json, with all that was measured.  Default: no files.",
        metavar="FOLDER",
        panel=OUTPUT,
    ),
) -> None:
    """Put what people say of RNN, LSTM and GRU to the test: statements for which nothing has to be trained.

    Some hold exactly, or do not: by equalities to 16 roundings, beside controls that must fail.  Others are measured
    over several initial weights.  All together take one or two minutes the first time.
    """
    from gatescope.experiments.claims.report import FILES, verdicts_table, write_claims
    from gatescope.experiments.claims.run import run_claims

    numbers = None if only is None else [number.strip() for number in only.split(",")]
    if out is not None:
        check_outputs("out", out, FILES)
    verdicts = run_claims(numbers, log=report if on_terminal() else None)
    print_table(verdicts_table(verdicts))
    for verdict in verdicts:
        echo(f"{verdict.number} {verdict.text}: {verdict.reason}")
    if out is not None:
        echo(f"written: {file_sizes(write_claims(verdicts, out))}")
