"""Options of a measurement, read off its function: types and defaults from the signature, help from the docstring.

An option means the same wherever its name occurs, so what the signature does not say (how a text becomes a list, a
shorter help) stands here by the name of the argument.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer

from gatescope.cli.parsing import names, numbers, steps_or_spacing, whole_number, whole_numbers


class _Parsed(NamedTuple):
    """How the text of an option becomes an argument."""

    parse: Callable[[str, str], Any]
    metavar: str


# Arguments that are no plain number, name or flag.
_PARSED: dict[str, _Parsed] = {
    "lags": _Parsed(whole_numbers, "STEPS"),
    "target_steps": _Parsed(whole_numbers, "STEPS"),
    "source_steps": _Parsed(steps_or_spacing, "STEPS"),
    "gain": _Parsed(numbers, "NUMBERS"),
    "bias": _Parsed(numbers, "NUMBERS"),
    "scheme": _Parsed(names, "SCHEMES"),
    "starts": _Parsed(whole_number, "NUMBER"),
}
_PANEL = "Measurement"
_PLAIN = {"int": int, "float": float, "str": str, "bool": bool}

# Where a docstring would say too much, or speaks of Python.
_HELP = {
    "of": "What is differentiated: a state of the cell, or joint for all of them together.",
    "wrt": "What to differentiate with respect to: a state of the cell, or joint for all of them together.",
    "norm": "What the norm is of: random, one direction drawn with --seed; unit, one unit alone; and where the "
    "measurement has them, spectral or frobenius, the whole Jacobian, which takes longer.",
    "unit": "Unit to measure with --norm unit.",
    "source_step": "State to differentiate, counted from 1, the state after the first step; -1 is the last one.",
    "lags": "Lags to measure, as in 1,10,100.  Default: all, or spread over the series.",
    "max_lag": "Longest lag.  Default: all.",
    "target_steps": "Steps of the outputs, counted from 0, as in 99,199.  Default: up to 200, evenly spaced.",
    "source_steps": "Steps of the inputs, counted from 0, as in 0,50,99, or even or log.  Default: even.",
    "cell": "Cell to draw, as in gru.",
    "scheme": "Schemes of the weights, with commas between them, as in gaussian,orthogonal.",
    "gain": "Factors on weight_hh: 0.5,1,2, or from:to:count.",
    "bias": "Numbers added to the bias of the memory gate, written as --gain.  Default: -2:6:9, or 0 without such a "
    "gate.",
    "hidden_size": "Units of each cell.",
    "dtype": "Precision: float32 or float64.",
    "starts": "Number of random states to start from.",
    "left": "Value below which a gate is shut.",
    "right": "Value above which a gate is open.",
}

# Of a measurement that goes through all layers of a model.
_THROUGH_LAYERS = {
    "of": "What is differentiated: a state of the cell; of a model one of a layer, as in layers.-1.h, or a number of "
    "the read-out, as in readout.0; or joint for all states.  Default: h, of a model that of the uppermost layer.",
    "wrt": "What to differentiate with respect to: a state of the cell; of a model one of a layer, as in layers.0.c; "
    "or joint for all states.  Default: h, of a model that of the lowest layer.",
}
_TEXTS = {"of"}  # arguments that may be more than a text, which is what the command line gives


class Option(NamedTuple):
    """An option of one measurement: what Typer reads, and how the argument is made of it."""

    parameter: inspect.Parameter
    parse: Callable[[str, str], Any] | None


def own_options(
    function: Callable[..., Any], shared: set[str], defaults: dict[str, Any]
) -> dict[str, Option]:
    """Return the options of a measurement but for those in `shared`, by argument.

    Parameters
    ----------
    function : callable
        The measurement; an argument that no text can give is left out.
    shared : set of str
        Arguments that the command line gives in its own way.
    defaults : dict
        Defaults that are others on the command line, as text.
    """
    texts = parameter_texts(function)
    options = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind, optional, _ = str(parameter.annotation).partition(" | None")
        kind = "str" if name in _TEXTS else kind
        parsed = _PARSED.get(name)
        if name in shared or (parsed is None and kind not in _PLAIN):
            continue
        plain: Any = str if parsed is not None else _PLAIN[kind]
        default = defaults.get(name, None if parsed is not None else parameter.default)
        text = _help(name, texts.get(name, ""), default)
        in_steps = plain is int and ("steps" in text or name.endswith("lag"))
        information = typer.Option(
            *([] if plain is bool else [f"--{name.replace('_', '-')}"]),
            metavar=parsed.metavar if parsed is not None else "STEPS" if in_steps else None,
            help=text,
            rich_help_panel=_PANEL,
        )
        kind_of: Any = plain | None if optional or default is None else plain
        annotation = Annotated[kind_of, information]
        options[name] = Option(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation),
            None if parsed is None else parsed.parse,
        )
    return options


def _help(name: str, docstring: str, default: Any) -> str:
    """Return the help of an option; a default that is None has to be described."""
    text = _HELP.get(name, "")
    if default is None and "Default: " not in docstring:
        text = _THROUGH_LAYERS.get(name, text)
    if not text or (default is None and "Default: " not in text):
        text = docstring or text
    return re.sub(r"; default: ", ".  Default: ", text)


def parameter_texts(function: Callable[..., Any]) -> dict[str, str]:
    """Return what a numpydoc docstring says of each parameter, as plain text."""
    _, _, section = (inspect.getdoc(function) or "").partition("Parameters\n----------\n")
    section = re.split(r"\n\n\w[\w ]*\n-+\n", section)[0]
    texts: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", section):
        head, _, body = entry.partition("\n")
        text = " ".join(re.sub(r"``[\"']?(.*?)[\"']?``|`(.*?)`", r"\1\2", body).split())
        texts |= dict.fromkeys(head.partition(" : ")[0].split(", "), text)
    return texts
