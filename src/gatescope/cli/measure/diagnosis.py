"""The option of ``gatescope measure diagnose`` that writes the weights changed as suggested."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from gatescope.cli.groups import OUTPUT
from gatescope.cli.measure.command import Job
from gatescope.cli.outputs import check_file, check_outputs
from gatescope.datatypes import Diagnosis
from gatescope.reporting.terminal import echo

OPTIONS = {
    "apply": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help="Npz file to write the weights into, changed as suggested.  Default: they are not written.",
                rich_help_panel=OUTPUT,
            ),
        ],
        None,
    )
}


def check(job: Job) -> None:
    """Refuse a file that cannot be written, before the work."""
    path = job.shared["apply"]
    if path is not None:
        check_file("apply", path, ".npz")
        inputs = None if job.series is None else job.series.path
        check_outputs("apply", path.parent, [path.name], inputs=inputs, weights=job.weights)


def finish(job: Job, result: Any) -> None:
    """Write the changed weights, or say that nothing is suggested."""
    path = job.shared["apply"]
    if path is None:
        return
    assert isinstance(result, Diagnosis)
    assert job.params is not None
    if not result.suggestion:
        echo(f"nothing is suggested, so {path} is not written")
        return
    changed = result.apply(job.params)
    if job.network is not None and not job.network.below:
        kept = {**changed.provenance, **job.network.inputs_like}
        changed = dataclasses.replace(changed, provenance=kept)
    changed.save(path)
    echo(f"weights changed as suggested: {path}")
