"""What ``gatescope train`` trains on: tasks by name, their options, and what is held back to judge by."""

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

from gatescope.cli.train.wording import in_options, option
from gatescope.errors import UnknownNameError, ValueRangeError

if TYPE_CHECKING:
    from gatescope.datatypes import Array, Batch

# Made by random numbers, as many as wanted; each is the function of that name, with underscores, of gatescope.tasks.
FRESH = ("adding", "copying", "temporal-order", "counting", "delayed-xor", "flip-flop", "long-series")
# From files, with splits but for the laser series; some want --data.
FIXED = ("laser", "digits", "chorales", "piano-roll", "characters", "own")
NAMES = (*FRESH, *FIXED)
FROM_FILE = {"piano-roll": "FILE.mat", "characters": "FILE.txt", "own": "FILE.npz or FILE.csv"}
LOSSES = ("mse", "cross-entropy", "bernoulli")
# Of makers, with an option or a use of their own.
_OPTIONS = ("steps", "sequences", "seed", "dtype", "loss", "split")


@dataclass(frozen=True, kw_only=True)
class Material:
    """What training is given, and what it is judged by.

    Attributes
    ----------
    task : Batch or callable
        As `gatescope.train` takes it.
    example : Batch
        Tells the heads and the baseline.
    validation : Batch or callable, or None
    test : Batch or None
        Seen once, at the end.
    source : str
        What it is called.
    untested : str
        Why there is no test, if the data should have one.
    judged_on : str
        What `validation` is, in words.
    fresh : bool
        Whether every update has new data.
    series : (N, 1, I), or None
        A user's series as the model takes it, if that is not as it is in the file.
    """

    task: Batch | Callable[..., Batch]
    example: Batch
    validation: Batch | Callable[..., Batch] | None
    test: Batch | None
    source: str
    judged_on: str
    fresh: bool
    untested: str = ""
    series: Array | None = None


def material(
    name: str,
    *,
    data: Path | None,
    loss: str | None,
    steps: int | None,
    sequences: int | None,
    settings: Sequence[str],
    fixed: bool,
    validation: bool | None,
    seed: int,
    dtype: str,
) -> Material:
    """The data of a task, by the options of the command line.

    Raises
    ------
    UnknownNameError
        If there is no such task.
    ValueRangeError
        If an option does not go with it.
    """
    _check_name(name)
    wanted = FROM_FILE.get(name)
    if wanted is None and data is not None:
        *some, last = FROM_FILE
        raise ValueRangeError(
            f"--data {str(data)!r} goes with {', '.join(some)} and {last}, not with {name}; leave it out"
        )
    if wanted is not None and data is None:
        raise ValueRangeError(f"{name} reads a file; give it with --data {wanted}")
    with in_options({}, file="--data"):
        maker = _maker(name, data)
    known = inspect.signature(maker).parameters
    options = _options(name, known, {"steps": steps, "sequences": sequences}, settings)
    options["dtype"] = dtype
    judged = None if loss is None else _loss(loss, name, data, known)
    if judged is not None and "loss" in known:
        options["loss"] = judged
    make = functools.partial(maker, **options)
    source = name if data is None else f"{name} of {data.name}"
    said = {key: f"{option(key)} " if key in _OPTIONS else f"--set {key}=" for key in known}
    with in_options(said, file="--data"):
        if name in FRESH:
            return _random(make, source, fixed=fixed, validation=bool(validation), seed=seed)
        if fixed:
            raise ValueRangeError(
                f"--fixed is for tasks that make fresh data, and {name} does not; leave it out"
            )
        if "split" in known:
            found = _split(make, source, validation=validation, fractions="valid_fraction" in known)
            return dataclasses.replace(found, series=_as_taken(make) if "standardize" in known else None)
        if validation:
            raise ValueRangeError(
                f"--validation needs data that are held back, and {name} has none; leave it out"
            )
        batch = make()
        return Material(
            task=batch, example=batch, validation=None, test=None, source=source, judged_on="", fresh=False
        )


def _random(make: Callable[..., Batch], source: str, *, fixed: bool, validation: bool, seed: int) -> Material:
    example = make(seed=seed)
    return Material(
        task=example if fixed else make,
        example=example,
        validation=make if validation else None,  # train draws it from a seed of its own
        test=None,
        source=source,
        judged_on="other data of the task",
        fresh=not fixed,
    )


def _split(make: Callable[..., Batch], source: str, *, validation: bool | None, fractions: bool) -> Material:
    """The training split; the valid split to choose by, where there is one; and the test split, never chosen by."""
    from gatescope.tasks._characters import ShortSplitError

    try:
        train = make(split="train")
    except ShortSplitError as error:
        raise ValueRangeError(f"{error}; give fewer --sequences or --steps") from error
    valid = test = None
    untested = ""
    if validation is not False:
        try:
            valid = _there(make, "valid")
        except ShortSplitError as error:
            raise ValueRangeError(f"{error}; give fewer --sequences, or --no-validation") from error
        if validation and valid is None:
            more = "give a larger --set valid_fraction=..., or " if fractions else ""
            raise ValueRangeError(
                f"--validation needs a valid split, and {source} has none; {more}leave it out"
            )
    try:
        test = _there(make, "test")
    except ShortSplitError as error:  # training can do without, and whoever reads the table is told
        untested = str(error)
    return Material(
        task=train,
        example=train,
        validation=valid,
        test=test,
        untested=untested,
        source=source,
        judged_on="valid split",
        fresh=False,
    )


def _as_taken(make: Callable[..., Batch]) -> Array | None:
    """The whole series as the model takes it, if it was standardized."""
    whole = make(split="all")
    return np.concatenate([whole.inputs, whole.targets[-1:]]) if whole.provenance["standardize"] else None


def _there(make: Callable[..., Batch], split: str) -> Batch | None:
    """The split, or None if the data have no such split; what is damaged is an error, not a split less."""
    from gatescope.tasks._matlab import MissingVariableError
    from gatescope.tasks._splits import NoSuchSplitError

    try:
        return make(split=split)
    except (UnknownNameError, MissingVariableError, NoSuchSplitError):
        return None  # the training split was read, so it is this one that is not known


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise UnknownNameError(f"there is no task {name!r}; choose one of {', '.join(NAMES)}")


def _maker(name: str, data: Path | None) -> Callable[..., Batch]:
    """The task's function, with the file that it reads."""
    tasks = importlib.import_module("gatescope.tasks")
    if name == "own" and data is not None and data.suffix.lower() != ".npz":
        from gatescope.io import read_series

        return functools.partial(tasks.next_step, read_series(data, dtype="float64"))
    maker: Callable[..., Batch] = getattr(tasks, name.replace("-", "_"))
    return maker if data is None else functools.partial(maker, data)


def _loss(loss: str, name: str, data: Path | None, known: Any) -> str:
    if name != "own":
        raise ValueRangeError(f"--loss {loss!r} goes with own, not with {name}; leave it out")
    if loss not in LOSSES:
        raise UnknownNameError(f"--loss {loss!r} is not known; choose one of {', '.join(LOSSES)}")
    if "loss" not in known and loss != "mse":
        raise ValueRangeError(
            f"--loss {loss!r} needs targets of that kind, from an npz; the next row of {str(data)!r} is predicted by "
            "mse: leave it out"
        )
    return loss.replace("-", "_")


def _options(name: str, known: Any, given: dict[str, int | None], settings: Sequence[str]) -> dict[str, Any]:
    """Keywords of the maker; one that it does not have is an error."""
    found: dict[str, Any] = {}
    for key, number in given.items():
        if number is None:
            continue
        if key not in known:
            raise ValueRangeError(
                f"--{key} {number} does not go with {name}, whose data are what they are; leave it out"
            )
        found[key] = number
    free = [key for key, value in known.items() if value.kind is value.KEYWORD_ONLY and key not in _OPTIONS]
    for text in settings:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or key not in free:
            raise ValueRangeError(f"--set {text!r} {_instead(name, key, known, free)}")
        found[key] = _value(text, value.strip(), known[key])
    return found


def _value(text: str, value: str, parameter: inspect.Parameter) -> int | float | bool | str:
    """What a setting is set to: text where the task takes text, and a truth value only where it takes one."""
    found = value if "str" in str(parameter.annotation) else _plain(value)
    if isinstance(parameter.default, bool) and not isinstance(found, bool):
        raise ValueRangeError(f"--set {text!r} must be true or false")
    return found


def _instead(name: str, key: str, known: Any, free: Sequence[str]) -> str:
    """What to give instead of a setting that the task does not have."""
    own = [option for option in _OPTIONS if option in known and option != "split"]
    if key in own:
        return f"has an option of its own; give --{key}"
    if key == "split" and key in known:
        return "must be left out: training takes the train split, and --validation judges by another"
    options = ", ".join(f"--{option}" for option in own)
    if free:
        return f"must be NAME=VALUE with one of {', '.join(free)} (options of their own: {options})"
    return f"must be left out: {name} has nothing else to set than {options}"


def _plain(text: str) -> int | float | bool | str:
    """A number or a truth value where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
