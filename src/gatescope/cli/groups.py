"""Groups of options that several commands share: a dataclass whose fields are options.

Its ``PANEL`` is the heading below which the help shows them.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

# Headings of the help of several commands.
INPUTS, WEIGHTS, OUTPUT, COMPUTATION = "Inputs", "Weights", "Output", "Computation"


def option(default: Any, text: str, *names: str, metavar: str | None = None, panel: str | None = None) -> Any:
    """Return what makes a field of a group, or an argument of a command, an option with this help.

    `names` are those on the command line, if not the field's.
    """
    information = typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)
    return dataclasses.field(default=default, metadata={"option": information})


def options_of(group: type) -> list[inspect.Parameter]:
    """Return the options that are the fields of a dataclass."""
    hints, panel = get_type_hints(group), getattr(group, "PANEL", None)
    return [_parameter(field.name, hints[field.name], field, panel) for field in dataclasses.fields(group)]


def _parameter(
    name: str, hint: Any, field: dataclasses.Field[Any], panel: str | None = None
) -> inspect.Parameter:
    information = copy.copy(field.metadata["option"])
    information.rich_help_panel = information.rich_help_panel or panel
    annotation = Annotated[hint, information]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation
    )


def take(group: type, values: dict[str, Any]) -> Any:
    """Return a group made of its options, which are taken out of `values`."""
    return group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})


def with_signature(function: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """Give a function of keywords the signature and the annotations from which Typer reads its options."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function of options and of groups of options a command of all these options."""
    hints: dict[str, Any] = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += options_of(groups[name])
        elif isinstance(parameter.default, dataclasses.Field):
            parameters.append(_parameter(name, hints[name], parameter.default))
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(kind=kind, annotation=hints[name]))

    def called(**values: Any) -> None:
        grouped = {name: take(group, values) for name, group in groups.items()}
        function(**values, **grouped)

    called.__name__, called.__doc__ = function.__name__, function.__doc__
    return with_signature(called, parameters)
