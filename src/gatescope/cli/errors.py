"""Errors as the command line writes them: options in place of arguments."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from gatescope.errors import AccuracyWarning, GatescopeError, InputWarning, spelled
from gatescope.reporting.terminal import report

_NAME = re.compile(r"\w*")

# Arguments whose option has another name; of all others it is the argument's with hyphens.
_OPTIONS = {
    "params": "--weights",
    "scheme": "--init",
    "hidden_sizes": "--hidden-size",
    "backward_directions": "--bidirectional",
    "task": "TASK",
    "t_max": "--init: t_max",
}
_OURS = (InputWarning, AccuracyWarning)
NO_MEMORY = (
    "there is not enough memory; use a shorter --steps, fewer sequences, a smaller --hidden-size, or for train a "
    "smaller --batch-size or --bptt-steps"
)


def option_name(argument: str, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the name of an argument, or of a part of one such as ``lengths[0]``, in `names`, or its option."""
    name = _NAME.match(argument)[0]  # type: ignore[index]  # it matches everything
    rest = argument[len(name) :]
    return names.get(name, _OPTIONS.get(name, f"--{name.replace('_', '-')}")) + rest


def message(error: GatescopeError) -> str:
    """Return an error's text in one line, with options in place of arguments."""
    return " ".join(error.text(option_name).split())


@contextmanager
def naming(**names: str) -> Iterator[None]:
    """Write errors that are raised inside with these names in place of arguments, and options for all others."""
    try:
        yield
    except GatescopeError as error:
        raise error.restated(error.text(lambda argument: option_name(argument, names))) from error


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print each warning of gatescope's that is issued inside once, as a line on stderr, and all others as ever."""
    with warnings.catch_warnings():
        show, texts = warnings.showwarning, set()

        def showwarning(text: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, _OURS):
                show(text, category, *where, **more)
            elif str(text) not in texts:
                texts.add(str(text))
                report(f"note: {spelled(str(text), option_name)}")

        for category in _OURS:
            warnings.simplefilter("always", category)
        warnings.showwarning = showwarning  # type: ignore[assignment]  # it takes what it passes on
        yield
