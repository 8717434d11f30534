"""The command line of the measurements: ``gatescope measure flow | jacobian | lyapunov | half-life | ...``.

Each command is a function of a `Job` and its own options, made a command by `measurement`.  What does the work is
imported inside the functions, so that ``--help`` and mistyped options answer at once.
"""

import typer

from gatescope.cli.measure.diagnosis import diagnose
from gatescope.cli.measure.gradient_flow import flow, jacobian, lyapunov
from gatescope.cli.measure.half_life import connectivity, half_life, paths
from gatescope.cli.measure.networks import fixed_points, phases

COMMANDS = (flow, jacobian, lyapunov, half_life, paths, connectivity, fixed_points, phases, diagnose)

app = typer.Typer(no_args_is_help=True)
for _command in COMMANDS:
    app.command(_command.name)(_command.callback)
