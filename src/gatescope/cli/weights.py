"""``gatescope weights``: which recurrent layers a file of another framework holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gatescope.cli.errors import message, naming
from gatescope.cli.groups import COMPUTATION
from gatescope.cli.options import FormatOption
from gatescope.errors import WeightFormatError
from gatescope.reporting.terminal import echo, print_table, report


def weights(
    files: Annotated[list[Path], typer.Argument(help="Files of weights.", metavar="FILE...")],
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Run each network in its framework and here, on a short random sequence, and print how far the "
            "outputs lie apart.  For files that you trust.",
            rich_help_panel=COMPUTATION,
        ),
    ] = False,
    form: FormatOption = "table",
) -> None:
    """List the recurrent layers in files of PyTorch, Keras, ONNX, Flax or Equinox, without loading them."""
    from gatescope.io.weights import list_weights

    unverified = False
    for file in files:
        with naming(source="FILE"):
            stored = list_weights(file)
        table = stored.table()._replace(title=f"{file.name}: {stored.table().title}")
        print_table(table, stored.summary().splitlines()[1:])
        if verify:
            unverified |= not _verified(file, stored)
    if unverified:
        raise typer.Exit(2)


def _verified(file: Path, stored: Any) -> bool:
    """Print how far each network of a file lies from its framework's, or why that cannot be told; return if it can."""
    from gatescope.integrations.verify import verify_weights
    from gatescope.io.stored import StoredWeights
    from gatescope.io.weights import open_weights

    if not isinstance(stored, StoredWeights):
        report(f"{file.name}: there is nothing to verify in a file of gatescope")
        return False
    every = True
    for network in stored.networks:
        name = network.prefix or file.name
        try:
            with naming(source="FILE", verify="--verify"):
                verification = verify_weights(file, open_weights(file, prefix=network.prefix))
            echo(f"{name}: {verification}")
        except WeightFormatError as error:
            report(f"{name}: {message(error)}")
            every = False
    return every
