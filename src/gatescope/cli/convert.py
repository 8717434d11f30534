"""``gatescope convert``: weights of one framework into a file of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatescope.cli.errors import naming
from gatescope.cli.groups import WEIGHTS, command, option
from gatescope.cli.options import NONLINEARITY, RESET_AFTER, FormatOption, OverwriteOption
from gatescope.reporting.terminal import echo, file_sizes, print_table


@command
def convert(
    source: Annotated[Path, typer.Argument(help="File of weights, of any framework.", metavar="IN")],
    target: Annotated[
        Path, typer.Argument(help="File to write: .safetensors, .onnx or .npz.", metavar="OUT")
    ],
    prefix: str | None = option(
        None,
        "Name of the network in files that hold several; gatescope weights FILE lists them.  Default: the only one.",
        metavar="NAME",
        panel=WEIGHTS,
    ),
    nonlinearity: str | None = NONLINEARITY,
    reset_after: bool | None = RESET_AFTER,
    dtype: str | None = option(
        None, "Precision: float32 or float64.  Default: that of the file.", panel=WEIGHTS
    ),
    overwrite: OverwriteOption = False,
    form: FormatOption = "table",
) -> None:
    """Read the recurrent layers of a file, of any framework, and write them for PyTorch, ONNX or gatescope."""
    from gatescope.cli.outputs import check_file, check_new, check_not_read
    from gatescope.integrations.weights import load_weights
    from gatescope.io.saving import save_weights
    from gatescope.io.weights import list_weights
    from gatescope.storage.atomic import check_folder

    with naming(source="IN", model="IN", target="OUT", path="OUT"):
        check_file("target", target, ".safetensors", ".onnx", ".npz")
        check_not_read("target", target, source=source)
        check_new("target", target, overwrite)
        check_folder(target.parent, [target.name])
        model = load_weights(
            source, prefix=prefix, nonlinearity=nonlinearity, reset_after=reset_after, dtype=dtype
        )
        save_weights(target, model)
        left_out = list_weights(source).summary().splitlines()[1:]
    print_table(model.table(), left_out)
    echo(f"wrote {file_sizes([target])}")
