"""``gatescope weights``: which recurrent layers a file of another framework holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatescope.cli.errors import naming
from gatescope.cli.groups import COMPUTATION
from gatescope.reporting.terminal import echo, print_table


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
) -> None:
    """List the recurrent layers in files of PyTorch, Keras, ONNX, Flax or Equinox, without loading them."""
    from gatescope.io.stored import StoredWeights
    from gatescope.io.weights import list_weights, open_weights

    for file in files:
        with naming(source="FILE"):
            stored = list_weights(file)
        print_table(stored.table()._replace(title=f"{file.name}: {stored.table().title}"))
        for line in stored.summary().splitlines()[1:]:
            echo(line)
        if not verify:
            continue
        from gatescope.integrations.verify import verify_weights

        if not isinstance(stored, StoredWeights):
            echo("nothing to verify: it is a file of gatescope")
            continue
        for network in stored.networks:
            with naming(source="FILE", verify="--verify"):
                verification = verify_weights(file, open_weights(file, prefix=network.prefix))
            echo(f"{network.prefix or file.name}: {verification}")
