"""How the learning rate changes in the course of training: factors on it, update by update.

Every schedule has ``factor(update, updates)``, which the learning rate is multiplied by at that update (they count from
0; `updates` is how many are planned), and ``describe()``, its name and constants for the configuration of a run.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

from gatescope.checks.numbers import check_above_zero, check_call, check_count, check_number, set_checked
from gatescope.errors import ShapeError, UnknownNameError, ValueRangeError


@runtime_checkable
class Schedule(Protocol):
    """What training asks of a schedule.

    Examples
    --------
    One of your own, whose constants the configuration of a run tells:

    >>> import gatescope as gs
    >>> class Root:
    ...     def factor(self, update, updates):
    ...         return (1 + update) ** -0.5
    ...     def describe(self):
    ...         return {"name": "root"}
    >>> isinstance(Root(), gs.training.Schedule)
    True
    >>> gs.training.WarmUp(2, then=Root()).factor(5, 10)
    0.5
    """

    def factor(self, update: int, updates: int) -> float:
        """What the learning rate is multiplied by at this update."""

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is: factor 1.

    Examples
    --------
    >>> from gatescope.training.schedules import Constant
    >>> [Constant().factor(update, 3) for update in range(3)]
    [1.0, 1.0, 1.0]
    """

    def factor(self, update: int, updates: int) -> float:
        """1."""
        return 1.0

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return {"name": "constant"}


@dataclass(frozen=True)
class Step:
    """Times `rate` after every `every` updates: ``rate^floor(update / every)``.

    Parameters
    ----------
    every : int
        Updates, at least 1.
    rate : float
        Above 0.

    Examples
    --------
    >>> from gatescope.training.schedules import Step
    >>> [Step(2, 0.5).factor(update, 6) for update in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    every: int
    rate: float

    def __post_init__(self) -> None:
        set_checked(self, every=check_count("every", self.every), rate=check_above_zero("rate", self.rate))

    def factor(self, update: int, updates: int) -> float:
        """``rate^floor(update / every)``."""
        return _power(self.rate, update // self.every)

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return {"name": "step", "every": self.every, "rate": self.rate}


@dataclass(frozen=True)
class Exponential:
    """Times `rate` after every update: ``rate^update``.

    Parameters
    ----------
    rate : float
        Above 0; 0.999 halves the learning rate about every 700 updates.

    Examples
    --------
    >>> from gatescope.training.schedules import Exponential
    >>> Exponential(0.5).factor(3, 10)
    0.125
    """

    rate: float

    def __post_init__(self) -> None:
        set_checked(self, rate=check_above_zero("rate", self.rate))

    def factor(self, update: int, updates: int) -> float:
        """``rate^update``."""
        return _power(self.rate, update)

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return {"name": "exponential", "rate": self.rate}


@dataclass(frozen=True)
class Cosine:
    """Half a cosine [1]_, from 1 to `floor`: ``floor + (1 - floor) (1 + cos(pi update / updates)) / 2``.

    Parameters
    ----------
    floor : float
        In 0..1; what is left when all planned updates are done, and after.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, equation 5.

    Examples
    --------
    >>> from gatescope.training.schedules import Cosine
    >>> [round(Cosine(0.2).factor(update, 4), 3) for update in range(5)]
    [1.0, 0.883, 0.6, 0.317, 0.2]
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        floor = check_number("floor", self.floor, least=0)
        if floor > 1:
            raise ValueRangeError(f"floor={self.floor!r} must lie in 0..1")
        set_checked(self, floor=floor)

    def factor(self, update: int, updates: int) -> float:
        """``floor + (1 - floor) (1 + cos(pi update / updates)) / 2``."""
        done = min(update / updates, 1.0) if updates > 0 else 1.0
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return {"name": "cosine", "floor": self.floor}


@dataclass(frozen=True)
class WarmUp:
    """A line up to 1 over the first updates, and another schedule after: ``(update + 1) / updates``.

    Parameters
    ----------
    updates : int
        How many updates it takes, at least 1.
    then : Schedule, callable or str
        For the updates after, which count from 0 again, and for which fewer are planned; as in `by_name`.

    Examples
    --------
    >>> from gatescope.training.schedules import Cosine, WarmUp
    >>> [round(WarmUp(2, then=Cosine()).factor(update, 6), 3) for update in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """

    updates: int
    then: Schedule = field(default_factory=Constant)

    def __post_init__(self) -> None:
        set_checked(self, updates=check_count("updates", self.updates), then=_schedule("then", self.then))

    def factor(self, update: int, updates: int) -> float:
        """``(update + 1) / self.updates``, and then the other schedule's."""
        if update < self.updates:
            return (update + 1) / self.updates
        return self.then.factor(update - self.updates, max(updates - self.updates, 0))

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return {"name": "warmup", "updates": self.updates, "then": self.then.describe()}


@dataclass(frozen=True)
class Piecewise:
    """A factor of its own between any two boundaries.

    Parameters
    ----------
    boundaries : sequence of int
        K updates, rising; from each on, the next factor holds.
    factors : sequence of float
        K + 1 of them, at least 0.

    Examples
    --------
    >>> from gatescope.training.schedules import Piecewise
    >>> [Piecewise([2, 3], [1, 0.5, 0.1]).factor(update, 5) for update in range(5)]
    [1.0, 1.0, 0.5, 0.1, 0.1]
    """

    boundaries: Sequence[int]
    factors: Sequence[float]

    def __post_init__(self) -> None:
        boundaries = tuple(
            check_count(f"boundaries[{k}]", value) for k, value in enumerate(_several(self, "boundaries"))
        )
        factors = tuple(
            check_number(f"factors[{k}]", value, least=0) for k, value in enumerate(_several(self, "factors"))
        )
        if len(factors) != len(boundaries) + 1:
            raise ShapeError(
                f"factors has {len(factors)} numbers, but {len(boundaries)} boundaries need {len(boundaries) + 1}"
            )
        if any(first >= second for first, second in pairwise(boundaries)):
            raise ValueRangeError(f"boundaries={self.boundaries!r} must rise")
        set_checked(self, boundaries=boundaries, factors=factors)

    def factor(self, update: int, updates: int) -> float:
        """The factor of the piece that `update` lies in."""
        return self.factors[bisect_right(self.boundaries, update)]

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return {"name": "piecewise", "boundaries": list(self.boundaries), "factors": list(self.factors)}


@dataclass(frozen=True)
class Function:
    """A function of the caller's, ``function(update, updates) -> factor``, which depends on nothing else.

    In a run's configuration it goes by its name.  A checkpoint also has its factors at 64 of the updates that are done,
    evenly apart, so training is not gone on from with a function, or constants that it looks up, whose factors were
    others; what it gives for updates that are still to come may be changed.

    Raises
    ------
    ValueRangeError
        If what it returns is not a finite number of at least 0.
    """

    function: Callable[[int, int], float]

    def factor(self, update: int, updates: int) -> float:
        """What the function returns."""
        name = f"{self._name}({update}, {updates})"
        return check_number(f"the schedule's {name}", self.function(update, updates), least=0)

    @property
    def _name(self) -> str:
        # Not the repr, which holds an address.
        kind = type(self.function)
        name = getattr(self.function, "__qualname__", kind.__qualname__)
        return f"{getattr(self.function, '__module__', kind.__module__)}.{name}"

    def describe(self) -> dict[str, Any]:
        """Its name, as JSON holds it."""
        return {"name": "function", "function": self._name}


_WITH_NUMBERS: dict[str, tuple[Callable[..., Schedule], tuple[type[int] | type[float], ...]]] = {
    "constant": (Constant, ()),
    "step": (Step, (int, float)),
    "exponential": (Exponential, (float,)),
    "cosine": (Cosine, (float,)),
    "warmup": (WarmUp, (int,)),
}
_EXAMPLES = (
    "'constant', 'step(1000, 0.5)', 'exponential(0.999)', 'cosine', 'cosine(0.1)', 'warmup(100)', "
    "'warmup(100, cosine)'"
)


def by_name(schedule: str | Schedule | Callable[[int, int], float] | None) -> Schedule:
    """The schedule of that name, or of that function; a schedule is handed back as it is.

    Parameters
    ----------
    schedule : str, Schedule, callable or None
        A name, with the constants in brackets: ``"constant"``, ``"step(1000, 0.5)"``, ``"exponential(0.999)"``,
        ``"cosine"``, ``"cosine(0.1)"``, ``"warmup(100)"``, ``"warmup(100, cosine)"``; a function of (update, updates)
        that returns a factor; None is ``"constant"``.

    Returns
    -------
    Schedule

    Raises
    ------
    UnknownNameError
        If it is none of these.
    ValueRangeError
        If a constant is out of range, or there are too few or too many of them.
    DtypeError
        If it is a function that does not take two arguments.

    Examples
    --------
    >>> from gatescope.training.schedules import by_name
    >>> by_name("warmup(10, cosine(0.1))")
    WarmUp(updates=10, then=Cosine(floor=0.1))
    >>> by_name(lambda update, updates: 1 - update / updates).factor(1, 4)
    0.75
    """
    return _schedule("schedule", schedule)


def _schedule(argument: str, value: Any) -> Schedule:
    if value is None:
        return Constant()
    if isinstance(value, str):
        return _from_text(argument, value)
    if isinstance(value, Schedule) and not isinstance(value, type):
        return value
    if callable(value) and not isinstance(value, type):
        check_call(argument, value, "(update, updates)", 0, 1)
        return Function(value)
    raise UnknownNameError(
        f"{argument}={value!r} is not known; choose one of {_EXAMPLES}, or give a function of (update, updates)"
    )


def _from_text(argument: str, text: str) -> Schedule:
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
    if match is None or match[1] not in _WITH_NUMBERS:
        raise UnknownNameError(f"{argument}={text!r} is not known; choose one like {_EXAMPLES}")
    name, inside = match[1], match[2] or ""
    kind, numbers = _WITH_NUMBERS[name]
    if name == "warmup":  # what comes after may have commas of its own
        first, comma, rest = inside.partition(",")
        parts, then = [first] if first.strip() else [], {"then": _from_text(argument, rest)} if comma else {}
    else:
        parts, then = inside.split(",") if inside.strip() else [], {}
    try:
        if len(parts) > len(numbers):
            raise ValueError
        constants = [number(part) for number, part in zip(numbers, parts, strict=False)]
        return kind(*constants, **then)
    except (TypeError, ValueError) as error:
        if isinstance(error, ValueRangeError):
            raise ValueRangeError(f"{argument}={text!r}: {error}") from None
        raise ValueRangeError(
            f"{argument}={text!r} does not have the constants that {name!r} takes; give one like {_EXAMPLES}"
        ) from None


def _several(schedule: Piecewise, name: str) -> tuple[Any, ...]:
    value = getattr(schedule, name)
    try:
        return tuple(value)
    except TypeError:
        raise ShapeError(f"{name}={value!r} must be a sequence of numbers") from None


def _power(rate: float, exponent: int) -> float:
    try:
        return rate**exponent
    except OverflowError:
        raise ValueRangeError(
            f"rate={rate} to the power of {exponent} is beyond the floats; give a rate of at most 1"
        ) from None
