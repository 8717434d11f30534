"""The data that ``gatescope train`` trains on: a task by its name, with its options and its splits."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatescope.checks.numbers import check_choice
from gatescope.cli.errors import naming, option_name
from gatescope.cli.networks import refuse
from gatescope.cli.train.names import FRESH, FROM_FILE, LOSSES, NAMES
from gatescope.errors import GatescopeError, UnknownNameError, ValueRangeError

if TYPE_CHECKING:
    from gatescope.cli.train.options import DataOptions
    from gatescope.datatypes import Array, Batch

# Arguments of makers that have an option or a use of their own.
OPTIONS = ("steps", "sequences", "seed", "dtype", "loss", "split", "batch_first")
_NO_OPTIONS = {"split": "split"}  # an argument of makers that errors speak of, without an option


@dataclass(frozen=True, kw_only=True)
class Material:
    """What training is given, and what it is judged by.

    Attributes
    ----------
    task : Batch or callable
        As `gatescope.train` takes it.
    example : Batch
        Gives the heads and the baseline.
    source : str
        What the data are called.
    fresh : bool
        Whether every update has new data.
    validation : Batch or callable, or None
    judged_on : str
        What `validation` is, in words.
    test : Batch or None
        Seen once, at the end.
    untested : str
        Why there is no test, if the data should have one.
    series : (N, 1, I), or None
        A user's series as the model takes it, if that is not as it is in the file.
    reading : str
        How a user's series was read, in one line.
    """

    task: Batch | Callable[..., Batch]
    example: Batch
    source: str
    fresh: bool = False
    validation: Batch | Callable[..., Batch] | None = None
    judged_on: str = ""
    test: Batch | None = None
    untested: str = ""
    series: Array | None = None
    reading: str = ""


def material(name: str, options: DataOptions, *, seed: int, dtype: str) -> Material:
    """Return the data of a task."""
    data, loss, validation = options.data, options.loss, options.validation
    check_choice("task", name, NAMES)
    file_kind = FROM_FILE.get(name)
    if file_kind is None and data is not None:
        *some, last = FROM_FILE
        refuse({"data": str(data)}, f"goes with {', '.join(some)} and {last}, not with {name}")
    if file_kind is not None and data is None:
        raise ValueRangeError(f"{name} reads a file", advice=f"give it with `data` {file_kind}")
    with naming(path="--data"):
        maker, reading = _maker(name, options)
    parameters = inspect.signature(maker).parameters
    sizes = {"steps": options.steps, "sequences": options.sequences}
    keywords = _keywords(name, parameters, sizes, options.setting or [])
    keywords["dtype"] = dtype
    if "batch_first" in parameters:
        keywords["batch_first"] = options.batch_first
    if loss is not None:
        chosen_loss = _loss(loss, name, data, parameters)
        if "loss" in parameters:
            keywords["loss"] = chosen_loss
    make = functools.partial(maker, **keywords)
    source = name if data is None else f"{name} of {data.name}"
    settings = {key: f"--set {key}" for key in parameters if key not in OPTIONS}
    with naming(**settings, **_NO_OPTIONS, path="--data"):
        if name in FRESH:
            return _random(make, source, fixed=options.fixed, validation=bool(validation), seed=seed)
        if options.fixed:
            raise ValueRangeError(
                f"is for tasks that make fresh data, and {name} does not",
                argument="fixed",
                advice="leave it out",
            )
        splits = _split(make, source, validation=validation, fractions="valid_fraction" in parameters)
        own = name in FROM_FILE and "standardize" in parameters
        return dataclasses.replace(splits, series=_as_taken(make) if own else None, reading=reading)


def _random(make: Callable[..., Batch], source: str, *, fixed: bool, validation: bool, seed: int) -> Material:
    example = make(seed=seed)
    return Material(
        task=example if fixed else make,
        example=example,
        validation=make if validation else None,  # train draws it from a seed of its own
        judged_on="other data of the task",
        source=source,
        fresh=not fixed,
    )


def _split(make: Callable[..., Batch], source: str, *, validation: bool | None, fractions: bool) -> Material:
    """Return the training split, the valid split to choose by, where there is one, and the test split."""
    from gatescope.tasks._characters import ShortSplitError

    try:
        train = make(split="train")
    except ShortSplitError as error:
        raise _with_advice(error, "give fewer `sequences` or `steps`") from error
    valid = test = None
    untested = ""
    if validation is not False:
        try:
            valid = _split_or_none(make, "valid")
        except ShortSplitError as error:
            raise _with_advice(error, "give fewer `sequences`, or --no-validation") from error
        if validation and valid is None:
            more = "give a larger --set valid_fraction=..., or " if fractions else ""
            raise ValueRangeError(
                f"needs a valid split, and {source} has none",
                argument="validation",
                advice=f"{more}leave it out",
            )
    try:
        test = _split_or_none(make, "test")
    except ShortSplitError as error:  # training can do without, and the table says why
        untested = error.text(lambda name: option_name(name, _NO_OPTIONS))
    return Material(
        task=train,
        example=train,
        validation=valid,
        test=test,
        untested=untested,
        source=source,
        judged_on="valid split",
    )


def _with_advice(error: GatescopeError, advice: str) -> ValueRangeError:
    return ValueRangeError(error.problem, argument=error.argument, seen=error.seen, advice=advice)


def _as_taken(make: Callable[..., Batch]) -> Array | None:
    """Return the whole series as the model takes it, if it was standardized."""
    whole = make(split="all")
    return np.concatenate([whole.inputs, whole.targets[-1:]]) if whole.provenance["standardize"] else None


def _split_or_none(make: Callable[..., Batch], split: str) -> Batch | None:
    """Return a split, or None if the data have no such split; what is damaged is an error, not a split less."""
    from gatescope.tasks._matlab import MissingVariableError
    from gatescope.tasks._splits import NoSuchSplitError

    try:
        return make(split=split)
    except (UnknownNameError, MissingVariableError, NoSuchSplitError):
        return None  # the training split was read, so it is this one that is not known


def _maker(name: str, options: DataOptions) -> tuple[Callable[..., Batch], str]:
    """Return the task's function, with the file that it reads, and how a series was read."""
    tasks, data = importlib.import_module("gatescope.tasks"), options.data
    of_tables = {key: getattr(options, key) for key in ("columns", "skip_columns", "header")}
    if name == "own" and data is not None and data.suffix.lower() != ".npz":
        from gatescope.cli.inputs import first_axis, read_file, reading_option
        from gatescope.reporting.text import extent

        reading = read_file(data, options, "data")
        shape = reading.values.shape
        parts = [extent(shape), reading.text(reading_option), *first_axis(shape, options)]
        maker = functools.partial(tasks.next_step, reading.values)
        return maker, f"{data.name}: {'; '.join(filter(None, parts))}"
    refuse(of_tables, "is for the table of own" if name != "own" else "is for a table, and own reads an npz")
    if name != "own":
        refuse({"batch_first": options.batch_first or None}, f"goes with own, not with {name}")
    function: Callable[..., Batch] = getattr(tasks, name.replace("-", "_"))
    return function if data is None else functools.partial(function, data), ""


def _loss(loss: str, name: str, data: Path | None, parameters: Any) -> str:
    if name != "own":
        refuse({"loss": loss}, f"goes with own, not with {name}")
    check_choice("loss", loss, LOSSES)
    if "loss" not in parameters and loss != "mse":
        problem = (
            f"needs targets of that kind, from an npz; the next row of {str(data)!r} is predicted by mse"
        )
        refuse({"loss": loss}, problem)
    return loss.replace("-", "_")


def _keywords(
    name: str, parameters: Any, sizes: dict[str, int | None], settings: Sequence[str]
) -> dict[str, Any]:
    """Return keywords of the maker; one that it does not have is an error."""
    keywords: dict[str, Any] = {}
    for key, size in sizes.items():
        if key not in parameters:
            refuse({key: size}, f"does not go with {name}, whose data are what they are")
        elif size is not None:
            keywords[key] = size
    free = [
        key for key, value in parameters.items() if value.kind is value.KEYWORD_ONLY and key not in OPTIONS
    ]
    for text in settings:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or key not in free:
            raise ValueRangeError(_instead(key, parameters, free), argument="set", seen=text)
        keywords[key] = _value(text, value.strip(), parameters[key])
    return keywords


def _value(text: str, value: str, parameter: inspect.Parameter) -> int | float | bool | str:
    """Return what a setting is set to: text where the task takes text, and a flag only where it takes one."""
    converted = value if "str" in str(parameter.annotation) else _plain(value)
    if isinstance(parameter.default, bool) and not isinstance(converted, bool):
        raise ValueRangeError("must be true or false", argument="set", seen=text)
    return converted


def _instead(key: str, parameters: Any, free: Sequence[str]) -> str:
    """Return what to give instead of a setting that the task does not have."""
    own = [argument for argument in OPTIONS if argument in parameters and argument != "split"]
    if key in own:
        return f"has an option of its own; give {option_name(key)}"
    if key == "split" and key in parameters:
        return "must be left out: training takes the train split, and --validation judges by another"
    options = ", ".join(map(option_name, own))
    return f"must be NAME=VALUE with one of {', '.join(free)} (options of their own: {options})"


def _plain(text: str) -> int | float | bool | str:
    """Return a number or a flag where the text is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
