"""Texts of options as values: numbers, names, clamped gates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from gatescope.checks.parsing import split_outside
from gatescope.errors import ValueRangeError

_MOST_NUMBERS = 100_000  # of one option


def check_not_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty text among the arguments of a command: as a path it would be the folder one is in."""
    for before, text in pairwise(["", *arguments]):
        name, equals, value = text.partition("=")
        if not text or (equals and not value and name.startswith("--")):
            option = name or before
            advice = "leave it out, or give a value; a variable of the shell may not be set"
            if not option.startswith("--"):
                raise ValueRangeError("an argument is empty", advice=advice)
            raise ValueRangeError("is empty", argument=option[2:].replace("-", "_"), seen="", advice=advice)


def whole_numbers(argument: str, text: str, example: str = "1,10,100") -> list[int]:
    """Return whole numbers that stand with commas between them."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        problem = f"must be whole numbers with commas between them, as in {example}"
        raise ValueRangeError(problem, argument=argument, seen=text) from None


def whole_number(argument: str, text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueRangeError("must be a whole number", argument=argument, seen=text) from None


def steps_or_spacing(argument: str, text: str) -> list[int] | str:
    """Return whole numbers, or the name of a spacing of them."""
    return text if text in ("even", "log") else whole_numbers(argument, text)


def numbers(argument: str, text: str) -> list[float]:
    """Return numbers that stand with commas between them, or that are evenly spaced, as in ``0:2:9``."""
    import numpy as np

    try:
        if ":" in text:
            first, last, count = text.split(":")
            most = min(int(count), _MOST_NUMBERS + 1)
            values = [float(value) for value in np.linspace(float(first), float(last), most)]
        else:
            values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) > _MOST_NUMBERS:
        raise ValueRangeError(f"has more than {_MOST_NUMBERS:,} numbers", argument=argument, seen=text)
    if not values or not all(map(math.isfinite, values)):
        raise ValueRangeError(
            "must be numbers with commas between them, or from:to:count, as in 0:2:9",
            argument=argument,
            seen=text,
        )
    return values


def names(_argument: str, text: str) -> list[str]:
    """Return names that stand with commas between them, but for commas in parentheses."""
    return list(split_outside(text)) or [text]


def cell_names(argument: str, text: str, example: str) -> list[str]:
    """Return names of cells that stand with commas between them, at least one."""
    cells = [name.strip() for name in text.split(",") if name.strip()]
    if not cells:
        raise ValueRangeError(
            "names no cell", argument=argument, seen=text, advice=f"give for example {example}"
        )
    return cells


def parse_clamp(texts: Iterable[str] | None) -> dict[str, Any] | None:
    """Return what ``f=1.0`` and ``f[0,3]=1.0`` say, as `gatescope.clamp` takes it."""
    clamped: dict[str, Any] = {}
    for text in texts or ():
        match = re.fullmatch(r"\s*([^\s\[\]=]+)\s*(?:\[([\s\d,]*)\]\s*)?=\s*(\S+)\s*", text)
        try:
            gate, units, number = match.groups()  # type: ignore[union-attr]  # no match is handled below
            value = float(number)
            chosen = None if units is None else [int(unit) for unit in units.split(",")]
        except (AttributeError, ValueError):
            raise ValueRangeError(
                "must name a gate and a value",
                argument="clamp",
                seen=text,
                advice="write f=1.0, or f[0,3]=1.0 for some units",
            ) from None
        before = clamped.get(gate)
        if gate in clamped if chosen is None or not isinstance(before, dict) else set(chosen) & set(before):
            raise ValueRangeError(
                "clamps what another `clamp` clamps",
                argument="clamp",
                seen=text,
                advice="give one value a unit",
            )
        if chosen is None:
            clamped[gate] = value
        else:
            clamped.setdefault(gate, {}).update(dict.fromkeys(chosen, value))
    return clamped or None


def parse_marks(texts: Iterable[str] | None) -> dict[int, str] | None:
    """Return what ``12=onset`` and ``12`` say, as plots take marks."""
    marks: dict[int, str] = {}
    for text in texts or ():
        step, _, label = text.partition("=")
        marks[whole_number("mark", step)] = label
    return marks or None
