"""The help of ``gatescope train TASK``: the options of that task, and not of all others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand

from gatescope.cli.train.names import FRESH, FROM_FILE, NAMES

_TASK = "gatescope.cli.train.task"  # in click's metadata
_HELPING = "gatescope.cli.train.helping"
_OF_OWN = ("loss", "columns", "skip_columns", "header", "batch_first")


class TrainCommand(TyperCommand):
    """The command, whose help leaves out the options that the task named beside ``--help`` does not have."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remember the task, which is not read yet when the help is shown."""
        ctx.meta[_TASK] = next((argument for argument in args if argument in NAMES), None)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, in which `get_params` gives the task's options."""
        ctx.meta[_HELPING] = True
        super().format_help(ctx, formatter)
        ctx.meta[_HELPING] = False

    def get_params(self, ctx: Any) -> Any:
        """Return all parameters, or those that the help shows."""
        parameters, task = super().get_params(ctx), ctx.meta.get(_TASK)
        if task is None or not ctx.meta.get(_HELPING):
            return parameters
        arguments, settings = arguments_of(task)
        shown = {
            "data": task in FROM_FILE,
            "steps": "steps" in arguments,
            "sequences": "sequences" in arguments,
            "fixed": task in FRESH,
            "updates_per_epoch": task in FRESH,
            "batch_size": task not in FRESH,
            **dict.fromkeys(_OF_OWN, task == "own"),
        }
        return [_with_settings(one, settings) for one in parameters if shown.get(one.name, True)]


def arguments_of(task: str) -> tuple[set[str], list[str]]:
    """Return the arguments of a task, and what of these ``--set`` sets."""
    import inspect

    from gatescope import tasks
    from gatescope.cli.train.data import OPTIONS

    names = ["own", "next_step"] if task == "own" else [task.replace("-", "_")]
    makers: list[Callable[..., Any]] = [getattr(tasks, name) for name in names]
    keywords = [
        parameter
        for maker in makers
        for parameter in inspect.signature(maker).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    settings = dict.fromkeys(one.name for one in keywords if one.name not in OPTIONS)
    return {one.name for one in keywords}, list(settings)


def _with_settings(parameter: Any, settings: list[str]) -> Any:
    """Return the option ``--set`` with the names that it can set, and any other as it is."""
    if parameter.name != "setting":
        return parameter
    named = copy.copy(parameter)
    names = settings[0] if len(settings) == 1 else f"{', '.join(settings[:-1])} or {settings[-1]}"
    named.help = f"Set {names}.  May be given several times.  Default: the task's values."
    return named
