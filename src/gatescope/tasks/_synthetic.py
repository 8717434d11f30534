"""What the makers of synthetic tasks share: checks of their arguments, one-hot symbols, and their record."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope._version import __version__
from gatescope.datatypes import Array
from gatescope.errors import DtypeError, ValueRangeError

_LARGEST_BYTES = 4 * 2**30  # of a batch's inputs and targets; more than that is taken for a mistake
_COUNTABLE = 2**70  # bytes; beyond these no number of GiB tells more

# gatescope.checks.network has the like, but tasks do not see the cells that it stands on.


def whole(name: str, value: Any, *, least: int = 1, most: int | None = None) -> int:
    """A whole number of at least `least` and, if `most` is given, at most that; True and False are none."""
    fits = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not fits or value < least or (most is not None and value > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueRangeError(f"{name}={value!r} must be a whole number {allowed}")
    return int(value)


def real(name: str, value: Any, *, least: float, most: float = math.inf) -> float:
    """A finite real number from `least` to `most`; True and False are none."""
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # a whole number beyond the greatest float
        number = math.inf
    if not (math.isfinite(number) and least <= number <= most):
        allowed = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ValueRangeError(f"{name}={value!r} must be a finite number {allowed}")
    return number


def flag(name: str, value: Any) -> bool:
    """True or False; a word such as "no", which is neither, would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise ValueRangeError(f"{name}={value!r} must be True or False")
    return bool(value)


def check_size(
    numbers: int,
    dtype: np.dtype[Any],
    advice: str = "give fewer steps or sequences",
    what: str = "inputs and targets",
) -> None:
    """Refuse, before anything is allocated, a batch that would hold an absurd number of numbers."""
    size = numbers * dtype.itemsize
    if size > _LARGEST_BYTES:
        taken = f"{size / 2**30:.1f}" if size < _COUNTABLE else f"more than {_COUNTABLE / 2**30:.0e}"
        raise ValueRangeError(
            f"{what} would take {taken} GiB in {dtype.name}, more than the {_LARGEST_BYTES / 2**30:.0f} GiB that are "
            f"allowed; {advice}"
        )


def numbers_of(name: str, value: Any) -> Array:
    """An array of real numbers, of whatever dtype it has."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:  # ragged lists; arrays of a GPU
        raise DtypeError(
            f"{name} is not an array of numbers ({error}); give a list or a NumPy array"
        ) from error
    if array.dtype.kind not in "fiu":
        raise DtypeError(f"{name} has dtype {array.dtype}; give real numbers")
    return array


def generator(seed: Any) -> np.random.Generator:
    """The stream of random numbers of a seed, which is a whole number of at least 0."""
    return np.random.default_rng(whole("seed", seed, least=0))


def one_hot(symbols: Array, count: int, dtype: np.dtype[Any]) -> Array:
    """(T, B) symbols 0..count-1 as (T, B, count), 1 at the symbol and 0 elsewhere."""
    coded = np.zeros((*symbols.shape, count), dtype)
    np.put_along_axis(coded, symbols[..., None], 1, axis=2)
    return coded


def at_the_last_step(answers: Array, steps: int, dtype: np.dtype[Any]) -> tuple[Array, NDArray[np.bool_]]:
    """Targets (T, B, 1) that are `answers` (B,) at the last step and 0 before it, and the mask of that step."""
    sequences = len(answers)
    targets = np.zeros((steps, sequences, 1), dtype)
    targets[-1, :, 0] = answers
    mask = np.zeros((steps, sequences), np.bool_)
    mask[-1] = True
    return targets, mask


def whole_length(steps: int, sequences: int) -> Array:
    """Lengths (B,) of sequences that all take every step."""
    return np.full(sequences, steps, np.int64)


def record(task: str, dtype: np.dtype[Any], **arguments: Any) -> dict[str, Any]:
    """Provenance: the task, all arguments that made it, and what the random numbers depend on."""
    return {
        "task": task,
        **arguments,
        "dtype": dtype.name,
        "gatescope": __version__,
        "numpy": np.__version__,
    }
