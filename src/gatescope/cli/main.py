"""The command line: ``gatescope compare | run | measure | train | experiment | devices``.

What does the work is imported inside the commands, so that ``--help`` and mistyped options answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gatescope._version import __version__
from gatescope.cli.compare import compare
from gatescope.cli.devices import devices
from gatescope.cli.errors import NO_MEMORY, message
from gatescope.cli.experiment import experiments
from gatescope.cli.measure.group import measurements
from gatescope.cli.options import INTERRUPTED
from gatescope.cli.run import run
from gatescope.cli.train.command import train
from gatescope.errors import GatescopeError


class _Group(TyperGroup):
    """A group of commands that prints an error which gatescope raised on purpose in one line, with status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except GatescopeError as error:
            text = message(error)
        except MemoryError:
            text = NO_MEMORY
        except KeyboardInterrupt:
            typer.echo("gatescope: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        typer.echo(f"gatescope: error: {text}", err=True)
        raise typer.Exit(2)


app = typer.Typer(
    cls=_Group,
    name="gatescope",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure what the gates of an LSTM and a GRU do to memory and to gradients, over very long horizons.",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gatescope {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _examples(*commands: str) -> str:
    """Return what stands below the help of a command; a line of its own is a paragraph there."""
    return "\n\n".join(["Examples:", *(f"gatescope {line}" for line in commands)])


app.command(
    epilog=_examples(
        "compare",
        "compare --inputs series.csv --cells gru,lstm --hidden-size 32",
        "compare --weights model.safetensors --inputs series.npy",
    )
)(compare)
app.command(
    epilog=_examples("run --cell gru --out gru.npz", "run --inputs series.csv --clamp f=1.0"),
)(run)
app.add_typer(
    measurements,
    name="measure",
    help="Measure how gradients propagate, one thing at a time.",
    epilog=_examples("measure half-life --cell gru", "measure gradient-flow --weights model.safetensors"),
)
app.command(
    epilog=_examples("train adding --steps 100 --cell gru", "train own --data series.csv --epochs 50")
)(train)
app.add_typer(experiments, name="experiment", help="Repeat published experiments.")
app.command()(devices)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its status.

    0, 1 after training that diverged, 2 after an error, 130 after Ctrl-C.
    """
    try:
        app(arguments, prog_name="gatescope")
    except KeyboardInterrupt:  # before a command began
        typer.echo("gatescope: interrupted", err=True)
        sys.exit(INTERRUPTED)
