"""The command line: ``gatescope compare | run | explore | measure | train | ...``, a file each.

What does the work is imported inside the commands, so that ``--help`` and mistyped options answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gatescope._version import __version__
from gatescope.cli.claims import claims
from gatescope.cli.compare import compare
from gatescope.cli.convert import convert
from gatescope.cli.devices import devices
from gatescope.cli.errors import NO_MEMORY, message, warnings_as_notes
from gatescope.cli.experiment import experiments
from gatescope.cli.explore import explore
from gatescope.cli.measure.group import measurements
from gatescope.cli.options import INTERRUPTED
from gatescope.cli.parsing import check_not_empty
from gatescope.cli.run import run
from gatescope.cli.show import show
from gatescope.cli.train.command import train
from gatescope.cli.train.help import TrainCommand
from gatescope.cli.weights import weights
from gatescope.errors import GatescopeError
from gatescope.reporting.terminal import format_of_a_command, report


class _Group(TyperGroup):
    """A group of commands that prints an error which gatescope raised on purpose in one line, with status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            check_not_empty([*ctx._protected_args, *ctx.args])
            with warnings_as_notes(), format_of_a_command():
                return super().invoke(ctx)
        except GatescopeError as error:
            text = message(error)
        except MemoryError:
            text = NO_MEMORY
        except KeyboardInterrupt:
            report("gatescope: interrupted")
            raise typer.Exit(INTERRUPTED) from None
        report(f"gatescope: error: {text}")
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
app.command(
    epilog=_examples(
        "explore trace.npz", "explore before.npz after.npz --out both.html", "explore --cell gru --open"
    ),
)(explore)
app.add_typer(
    measurements,
    name="measure",
    help="Measure how gradients propagate, one thing at a time.",
    epilog=_examples("measure half-life --cell gru", "measure gradient-flow --weights model.safetensors"),
)
app.command(
    cls=TrainCommand,
    epilog=_examples("train adding --steps 100 --cell gru", "train own --data series.csv --epochs 50"),
)(train)
app.command(epilog=_examples("show life.npz", "show flow.npz --values --format json"))(show)
app.command(epilog=_examples("weights model.keras", "weights encoder.pt decoder.onnx"))(weights)
app.command(epilog=_examples("convert model.keras model.onnx"))(convert)
app.add_typer(experiments, name="experiment", help="Repeat published experiments.")
app.command(epilog=_examples("claims", "claims --only 40,41 --out claims"))(claims)
app.command()(devices)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its status.

    ====== ==========================================================================
    0      done
    1      a fault of gatescope's, with Python's traceback
    2      an error that one line names: of the arguments, of a file
    3      training diverged; the run is stored all the same
    74     what was to be printed could not be; files are written all the same
    129    the terminal was closed (SIGHUP); work that is resumable was saved, as after
    130    Ctrl-C (SIGINT), and after
    143    SIGTERM
    ====== ==========================================================================
    """
    from gatescope.cli.signals import interrupted_by, saving_signals
    from gatescope.cli.streams import standard_streams

    with standard_streams(), saving_signals():
        try:
            app(arguments, prog_name="gatescope")
        except KeyboardInterrupt:  # before a command began
            report("gatescope: interrupted")
            sys.exit(interrupted_by(INTERRUPTED))
        except SystemExit as end:
            if end.code == INTERRUPTED:
                sys.exit(interrupted_by(INTERRUPTED))
            raise
