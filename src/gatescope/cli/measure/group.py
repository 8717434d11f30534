"""The group ``gatescope measure``: one command for each row of the registry, made when it is asked for."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from gatescope.measurements.registry import MEASUREMENTS

_ROWS = {row.command: row for row in MEASUREMENTS}


class _Measurements(TyperGroup):
    """Commands whose options are read off the functions, so that these are imported only when one is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_ROWS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the name and the help of a command, for the list of all."""
        row = _ROWS.get(cmd_name)
        return None if row is None else TyperCommand(row.command, help=row.answers)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command itself, with its options."""
        name, listed, rest = super().resolve_command(ctx, args)
        if name is None or listed is None:
            return name, listed, rest
        from gatescope.cli.measure.command import command_of

        return name, command_of(_ROWS[name]), rest


measurements = typer.Typer(cls=_Measurements, no_args_is_help=True)


@measurements.callback()
def _measure() -> None:
    """Measure how gradients propagate, one thing at a time."""
