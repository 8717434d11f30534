"""The option of ``gatescope measure diagnose`` that writes the weights changed as suggested."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from gatescope.cli.groups import OUTPUT
from gatescope.cli.measure.command import Job
from gatescope.cli.outputs import check_file, check_new, check_outputs
from gatescope.datatypes import DiagnosisByLayer, Params, Stack
from gatescope.reporting.terminal import echo

OPTIONS = {
    "apply": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help="Npz file to write the weights into, changed as suggested: of a model of several layers all of "
                "them, of which the one that forgets first is changed.  Default: they are not written.",
                rich_help_panel=OUTPUT,
            ),
        ],
        None,
    ),
    "overwrite": (
        Annotated[
            bool,
            typer.Option(
                "--overwrite", help="Replace the file of --apply if it is there.", rich_help_panel=OUTPUT
            ),
        ],
        False,
    ),
}


def check(job: Job) -> None:
    """Refuse a file that cannot be written, before the work."""
    path = job.shared["apply"]
    if path is not None:
        check_file("apply", path, ".npz")
        inputs = None if job.series is None else job.series.path
        check_outputs("apply", path.parent, [path.name], inputs=inputs, weights=job.weights)
        check_new("apply", path, job.shared["overwrite"])


def finish(job: Job, result: Any) -> None:
    """Write the changed weights, of a model all of them, or say that nothing is suggested."""
    path = job.shared["apply"]
    if path is None:
        return
    model, network = job.model, job.network
    assert isinstance(model, Params | Stack)
    assert network is not None
    of_layers = isinstance(result, DiagnosisByLayer)
    if not (result.layer and result[result.layer].suggestion if of_layers else result.suggestion):
        echo(f"nothing is suggested, so {path} is not written")
        return
    changed = result.apply(model)
    if not network.below:
        kept = {**changed.provenance, **network.inputs_like}
        changed = dataclasses.replace(changed, provenance=kept)
    changed.save(path)
    which = f", {result.layer} changed" if of_layers else " changed"
    echo(f"weights{which} as suggested: {path}")
