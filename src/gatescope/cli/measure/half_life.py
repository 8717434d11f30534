"""The option of ``gatescope measure half-life`` that prints the half-lives of each sequence of a batch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gatescope.cli.groups import OUTPUT
from gatescope.cli.measure.command import Job
from gatescope.datatypes import HalfLifeByLayer
from gatescope.reporting.terminal import echo

OPTIONS = {
    "per_sequence": (
        Annotated[
            bool,
            typer.Option(
                "--per-sequence",
                help="Print the half-lives of each sequence of a batch below the summary.",
                rich_help_panel=OUTPUT,
            ),
        ],
        False,
    )
}


def finish(job: Job, result: Any) -> None:
    """Print each sequence's half-lives, if they are asked for; of one sequence the summary has said them."""
    lives = dict(result.items()) if isinstance(result, HalfLifeByLayer) else {"": result}
    if not job.shared["per_sequence"] or next(iter(lives.values())).disagree.size == 1:
        return
    for name, life in lives.items():
        for number in range(life.disagree.size):
            _, first, *others = life.sequence(number).summary().splitlines()
            echo(f"{f'{name}, ' if name else ''}sequence {number}: {first}")
            for line in others:
                echo(line)
