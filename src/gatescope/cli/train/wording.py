"""Errors of the library, told in the words of the command line: options for arguments, and no advice for Python."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatescope.errors import FileFormatError, GatescopeError, OutputError, ValueRangeError

_PYTHON = (
    (r", or give an object such as .*", ""),
    (r", or give a function of .*", ""),
    (r"; use '(\w+)' or '(\w+)'", r"; give \1 or \2"),
    (r"choose 'last', 'every', or None for the batch's own mask", "choose last or every, or leave it out"),
    (r"leave `at` out", "leave --at out"),
    (r", or None for all cores", "; left out, it is one a core"),
    (r" must be a finite number, or None", " must be a finite number"),
    (r"stateful=True (.*); give bptt_steps too", r"--stateful \1; give --bptt-steps too"),
    (r"that Python knows", "that is known here"),
    (r"(?<=': )(\w+)=", r"\1 = "),  # a constant of a schedule, whose text was told before it
    (r"sequences=(\d+) streams of (at least )?(\d+) steps need", r"\1 streams of \2\3 steps need"),
    (r"give the same settings to go on, or another folder", "give the same to go on, or another --out"),
)
_OF_A_CALL = re.compile(
    r"(?P<file>checkpoint='.*') is the state of a call of train with other (?P<other>.*); give the same arguments to "
    r"go on, or the name of another file to begin anew"
)
_CHANGED = re.compile(r"(?P<name>[\w. ]+?)(?: \((?P<old>.*?) there, (?P<new>.*?) here\))?(?:, |$)")
# What a checkpoint is compared by, where it goes by another name than its option.
_COMPARED = {
    "cells": "--cell",
    "hidden_sizes": "--hidden-size",
    "input_size": "numbers of inputs",
    "heads": "outputs",
    "task": "TASK",
    "gatescope": "versions of gatescope",
}
_OF_THE_TASK = ("input_size", "heads", "initial weights", "data", "fresh data", "steps", "sequences")
_PARTS = ("optimizer.", "schedule.")  # constants of what is compared by its name already


def options_of(*functions: Callable[..., Any]) -> dict[str, str]:
    """What is said for each keyword of the functions that has an option of its name."""
    keywords = (value for each in functions for value in inspect.signature(each).parameters.values())
    return {value.name: f"{option(value.name)} " for value in keywords if value.kind is value.KEYWORD_ONLY}


def option(argument: str) -> str:
    """The option that stands for an argument."""
    return f"--{argument.replace('_', '-')}"


@contextmanager
def in_options(
    arguments: Mapping[str, str], *, checkpoint: Path | None = None, given: bool = True, file: str = ""
) -> Iterator[None]:
    """What goes wrong inside is told in the words of the command line.

    Parameters
    ----------
    arguments : mapping
        What a message says for ``name=`` before a value.
    checkpoint : path, optional
        The file that training goes on from.
    given : bool
        Whether the user named it.
    file : str
        The option of the file that is read.
    """
    try:
        yield
    except GatescopeError as error:
        text = _about_checkpoint(str(error), checkpoint, given)
        if file and isinstance(error, FileFormatError):
            text = f"{file}: {text}"
        raise type(error)(_in_words(text, arguments)) from error
    except MemoryError as error:
        raise ValueRangeError(
            "there is not enough memory; give fewer --steps, --sequences or units (--hidden-size), a smaller "
            "--batch-size where it goes, or --bptt-steps"
        ) from error


def check_folder(name: str, path: Path, folder: Path, files: list[str]) -> None:
    """That the files can be written into the folder, before the work and not after it."""
    from gatescope.storage.atomic import check_folder as check

    if folder.exists() and not folder.is_dir():
        raise OutputError(
            f"{name} {str(path)!r}: {str(folder)!r} is a file, not a folder; choose another name"
        )
    try:
        check(folder, files)
    except OutputError as error:
        raise OutputError(f"{name} {str(path)!r}: {error}") from error


def _in_words(text: str, arguments: Mapping[str, str]) -> str:
    for python, words in _PYTHON:
        text = re.sub(python, words, text)
    if arguments:
        names = "|".join(map(re.escape, arguments))
        # Not inside of what the user gave, which is quoted, nor where an option is told already.
        found = re.compile(rf"(?<![\w'\"(.,-])(?<!--set )({names})=(?=\S)")
        text = found.sub(lambda match: arguments[match[1]], text)
        compared = re.compile(rf"(?<![\w-])({names}) \((?=[^()]* there, )")
        text = compared.sub(lambda match: f"{arguments[match[1]].rstrip()} (", text)
    return text


def _about_checkpoint(text: str, file: Path | None, given: bool) -> str:
    if file is None:
        return text
    named = f"--checkpoint {str(file)!r}" if given else f"the checkpoint {str(file)!r}"
    instead = "another --checkpoint" if given else f"another --out, or delete {str(file)!r},"
    match = _OF_A_CALL.search(text)
    if match:
        return (
            f"{named} is of a training with other {_changes(match['other'])}; give the same to go on, or {instead} "
            "to begin anew"
        )
    text = text.replace(f"checkpoint={str(file)!r}", named)
    short = instead.partition(",")[0]
    text = text.replace("the name of another file, or delete this one", f"{short}, or delete this one")
    text = text.replace("the name of another file", instead.rstrip(","))
    text = text.replace("is of a call with epochs=", "was for --epochs ")
    return text.replace("a damaged state of train", "a damaged checkpoint of gatescope train")


def _changes(text: str) -> str:
    """The options that are not those of the checkpoint."""
    changes = [match for match in _CHANGED.finditer(text) if match["name"]]
    names = [match["name"] for match in changes]
    left_out: tuple[str, ...] = _OF_THE_TASK if "task" in names else ()
    if "fresh data" in names:
        left_out += ("updates_per_epoch",)  # which only fresh data have
    told = []
    for match in changes:
        name, old, new = match["name"], match["old"], match["new"]
        if name.startswith(_PARTS) or name in left_out:
            continue
        what, _, place = name.partition(".")
        values = f" ({_plain(old)} there, {_plain(new)} here)" if old and name != "heads" else ""
        if name == "fresh data":
            what, values = "--fixed", " (only here)" if new == "False" else " (only there)"
        elif name in _COMPARED:
            what = _COMPARED[name]
        elif what not in ("initial weights", "data"):
            what = option(what)
        told.append(f"{what}{' ' if place else ''}{place}{values}")
    return ", ".join(told)


def _plain(value: str) -> str:
    """A value as the command line takes it."""
    try:
        found = ast.literal_eval(value)
    except (SyntaxError, ValueError):  # inf
        return value
    if isinstance(found, tuple | list):
        return ",".join(map(str, found))
    if found is None:
        return "none"
    return {True: "yes", False: "no"}[found] if isinstance(found, bool) else str(found)
