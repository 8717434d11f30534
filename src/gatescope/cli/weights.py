"""``gatescope weights``: which recurrent layers a file of another framework holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatescope.cli.errors import naming
from gatescope.reporting.terminal import echo, print_table


def weights(
    files: Annotated[list[Path], typer.Argument(help="Files of weights.", metavar="FILE...")],
) -> None:
    """List the recurrent layers in files of PyTorch, Keras, ONNX, Flax or Equinox, without loading them."""
    from gatescope.io.weights import list_weights

    for file in files:
        with naming(source="FILE"):
            stored = list_weights(file)
        print_table(stored.table()._replace(title=f"{file.name}: {stored.table().title}"))
        for line in stored.summary().splitlines()[1:]:
            echo(line)
