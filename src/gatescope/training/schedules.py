"""How the learning rate changes while a model is trained: a factor on it for every update.

A schedule is called with the number of an update, from 0, and how many are planned, and returns the factor.  Those here
are small values whose repr is their description; any function of these two numbers is a schedule, too.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from gatescope.checks.numbers import (
    check_above_zero,
    check_call,
    check_count,
    check_fields,
    check_number,
    set_checked,
)
from gatescope.checks.parsing import parse_call
from gatescope.errors import GatescopeError, ShapeError, UnknownNameError, ValueRangeError

Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is: factor 1.

    Examples
    --------
    >>> from gatescope.training.schedules import Constant
    >>> [Constant()(update, 3) for update in range(3)]
    [1.0, 1.0, 1.0]
    """

    def __call__(self, update: int, updates: int) -> float:
        _checked(update, updates)
        return 1.0


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
    >>> [Step(2, 0.5)(update, 6) for update in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    every: int
    rate: float

    def __post_init__(self) -> None:
        check_fields(self, every=check_count, rate=check_above_zero)

    def __call__(self, update: int, updates: int) -> float:
        return _power(self.rate, _checked(update, updates) // self.every)


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
    >>> Exponential(0.5)(3, 10)
    0.125
    """

    rate: float

    def __post_init__(self) -> None:
        check_fields(self, rate=check_above_zero)

    def __call__(self, update: int, updates: int) -> float:
        return _power(self.rate, _checked(update, updates))


@dataclass(frozen=True)
class Cosine:
    """Half a cosine [1]_, from 1 to `floor`: ``floor + (1 - floor) (1 + cos(pi update / updates)) / 2``.

    Parameters
    ----------
    floor : float
        From 0 to 1; the factor when all planned updates are done, and after.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, equation 5.

    Examples
    --------
    >>> from gatescope.training.schedules import Cosine
    >>> [round(Cosine(0.2)(update, 4), 3) for update in range(5)]
    [1.0, 0.883, 0.6, 0.317, 0.2]
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, floor=partial(check_number, least=0, most=1))

    def __call__(self, update: int, updates: int) -> float:
        _checked(update, updates)
        done = min(update / updates, 1.0) if updates > 0 else 1.0
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class WarmUp:
    """A line up to 1 over the first updates, ``(update + 1) / updates``, and another schedule after.

    Parameters
    ----------
    updates : int
        How many updates it takes, at least 1.
    then : str or callable
        The schedule of the updates after, which count from 0 again, and of which fewer are planned; as in `by_name`.

    Examples
    --------
    >>> from gatescope.training.schedules import Cosine, WarmUp
    >>> [round(WarmUp(2, then=Cosine())(update, 6), 3) for update in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """

    updates: int
    then: Schedule = Constant()

    def __post_init__(self) -> None:
        check_fields(self, updates=check_count, then=lambda name, schedule: by_name(schedule, name))

    def __call__(self, update: int, updates: int) -> float:
        if _checked(update, updates) < self.updates:
            return (update + 1) / self.updates
        return self.then(update - self.updates, max(updates - self.updates, 0))


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
    >>> [Piecewise([2, 3], [1, 0.5, 0.1])(update, 5) for update in range(5)]
    [1.0, 1.0, 0.5, 0.1, 0.1]
    """

    boundaries: Sequence[int]
    factors: Sequence[float]

    def __post_init__(self) -> None:
        for name, check, least in (("boundaries", check_count, 1), ("factors", check_number, 0)):
            values = getattr(self, name)
            if isinstance(values, str) or not hasattr(values, "__iter__"):
                raise ShapeError("must be a sequence of numbers", argument=name, seen=values)
            checked = tuple(check(f"{name}[{k}]", value, least=least) for k, value in enumerate(values))
            set_checked(self, **{name: checked})
        if len(self.factors) != len(self.boundaries) + 1:
            count = len(self.boundaries)
            problem = f"has {len(self.factors)} numbers, but {count} `boundaries` need {count + 1}"
            raise ShapeError(problem, argument="factors")
        if any(first >= second for first, second in pairwise(self.boundaries)):
            raise ValueRangeError("must rise", argument="boundaries", seen=self.boundaries)

    def __call__(self, update: int, updates: int) -> float:
        return self.factors[bisect_right(self.boundaries, _checked(update, updates))]


# What a text can name, and the types of its constants.
_BY_NAME: dict[str, tuple[Callable[..., Schedule], tuple[type, ...]]] = {
    "constant": (Constant, ()),
    "step": (Step, (int, float)),
    "exponential": (Exponential, (float,)),
    "cosine": (Cosine, (float,)),
    "warmup": (WarmUp, (int, str)),
}
_ADVICE = (
    "give one like constant, step(1000, 0.5), exponential(0.999), cosine, cosine(0.1), warmup(100), "
    "warmup(100, cosine)"
)


def by_name(schedule: str | Schedule | None, argument: str = "schedule") -> Schedule:
    """Return the schedule of a name; a schedule or a function is handed back as it is.

    Parameters
    ----------
    schedule : str, callable or None
        A name, with its constants in parentheses: ``"constant"``, ``"step(1000, 0.5)"``, ``"exponential(0.999)"``,
        ``"cosine"``, ``"cosine(0.1)"``, ``"warmup(100)"``, ``"warmup(100, cosine)"``; a function of (update, updates)
        that returns a factor; None is ``"constant"``.
    argument : str
        What errors call it.

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
    """
    if schedule is None:
        return Constant()
    if isinstance(schedule, str):
        return _from_text(schedule, argument)
    if not callable(schedule) or isinstance(schedule, type):
        raise UnknownNameError("is not known", argument=argument, seen=schedule, advice=_ADVICE)
    check_call(argument, schedule, "(update, updates)", 0, 1)
    return schedule


def factor(schedule: Schedule, update: int, updates: int) -> float:
    """Return a schedule's factor at an update; a function may return anything, so it is checked."""
    value = schedule(update, updates)
    return check_number(f"schedule({update}, {updates})", value, least=0)


def _from_text(text: str, argument: str) -> Schedule:
    name, parts = parse_call(text)
    if name not in _BY_NAME:
        raise UnknownNameError("is not known", argument=argument, seen=text, advice=_ADVICE)
    kind, types = _BY_NAME[name]
    try:
        return kind(*(constant(part) for constant, part in zip(types[: len(parts)], parts, strict=True)))
    except GatescopeError as error:  # a constant that is out of range
        if error.argument == "then":
            raise type(error)(
                error.problem, argument=argument, seen=error.seen, advice=error.advice
            ) from None
        problem = f"has {error.argument} = {error.seen}, which {error.problem}"
        raise type(error)(problem, argument=argument, seen=text) from None
    except (TypeError, ValueError):
        problem = f"does not have the constants that {name} takes"
        raise ValueRangeError(problem, argument=argument, seen=text, advice=_ADVICE) from None


def _checked(update: int, updates: int) -> int:
    """Return the number of an update, from 0, if it and the number of all updates are whole numbers."""
    check_count("updates", updates, least=0)
    return check_count("update", update, least=0)


def _power(rate: float, exponent: int) -> float:
    try:
        return rate**exponent
    except OverflowError:
        problem = f"has a factor of {rate}^{exponent}, which is beyond the floats"
        advice = "give a rate of at most 1"
        raise ValueRangeError(problem, argument="schedule", advice=advice) from None
