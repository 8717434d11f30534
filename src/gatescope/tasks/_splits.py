"""Helpers of the tasks that hold data back: fractions, splits, and what the best constant answer loses."""

from __future__ import annotations

from functools import partial

from gatescope.checks.numbers import check_choice, check_number, check_unused, or_none
from gatescope.errors import ValueRangeError
from gatescope.tasks._task import Check

SPLITS = ("all", "train", "valid", "test")
BEST_CONSTANT = "the best constant for the targets that count"
# The checks of arguments that the tasks of a user's own data have.
_FRACTION = partial(check_number, least=0, most=1)
HELD_BACK: dict[str, Check | None] = {
    "split": partial(check_choice, choices=SPLITS),
    "valid_fraction": _FRACTION,
    "test_fraction": _FRACTION,
}
# Those of tasks whose split "all" does not depend on the fractions.
HELD_BACK_OR_ALL = HELD_BACK | dict.fromkeys(("valid_fraction", "test_fraction"), or_none(_FRACTION))
_HELD_BACK = 0.1  # of the data, unless it is said


class NoSuchSplitError(ValueRangeError):
    """Raised when data can be read, but so little is to be held back that the split has nothing in it."""


def fractions_of(split: str, valid: float | None, test: float | None) -> dict[str, float]:
    """Return the fractions that are held back for validation and test; of all the data, nothing is."""
    if split == "all":
        check_unused("with `split` 'all', which is the whole", valid_fraction=valid, test_fraction=test)
        return {"valid": 0.0, "test": 0.0}
    fractions = {"valid": valid, "test": test}
    return {name: _HELD_BACK if fraction is None else fraction for name, fraction in fractions.items()}


def part(count: int, split: str, valid: float, test: float) -> tuple[int, int]:
    """Return where a split of `count` begins and ends: the test split is the end, the validation split before it."""
    if valid + test >= 1:
        raise ValueRangeError(
            f"and `test_fraction`={test:g} leave nothing to train on",
            argument="valid_fraction",
            seen=valid,
            advice="give less than 1 together",
        )
    second, third = count - round((valid + test) * count), count - round(test * count)
    return {"all": (0, count), "train": (0, second), "valid": (second, third), "test": (third, count)}[split]


def check_part(
    split: str, length: int, count: int, what: str, *, valid: float, test: float, least: int = 1
) -> None:
    """Refuse a split of fewer than `least` things; `what` names those that it has been taken from."""
    if length < least:
        kind = ValueRangeError if split == "train" else NoSuchSplitError
        raise kind(
            f"has {length or 'none'} of the {count} {what} with `valid_fraction`={valid:g} and "
            f"`test_fraction`={test:g}" + (f", and needs {least}" if least > 1 else ""),
            argument="split",
            seen=split,
            advice="give other fractions, or more data",
        )
