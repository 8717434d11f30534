"""The result of a sweep: what a function returned at each point of a grid, and what became of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice
from gatescope.datatypes.result import Result
from gatescope.errors import DtypeError
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, show

DONE, RAISED, KILLED, MISSING = "done", "raised", "killed", "missing"
_STATUSES = (DONE, RAISED, KILLED, MISSING)
_MOST_MESSAGES = 5  # that a summary holds


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult(Result):
    """What a function returned at N points; see `sweep`.

    Attributes
    ----------
    function : str
        Its module and name.
    points : tuple of mapping
        The arguments of each point, by name.
    values : tuple of mapping
        What the function returned there, by name: ``"value"`` where it was no mapping.  Empty where nothing is known.
    status : tuple of str
        ``"done"``; ``"raised"``, the function raised an error; ``"killed"``, it killed the process it ran in, twice;
        ``"missing"``, not computed yet: points of other parts.
    messages : tuple of str
        Why a point is not done; "" where it is.
    seconds : (N,) float64
        Wall-clock time of each point, NaN where it is not known.  Does not count in comparisons.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> result = gs.SweepResult(
    ...     function="study.loss",
    ...     points=({"gain": 0.5}, {"gain": 1.0}),
    ...     values=({"loss": 0.25}, {}),
    ...     status=("done", "missing"),
    ...     messages=("", ""),
    ...     seconds=np.array([1.5, np.nan]),
    ... )
    >>> result.summary(), result.column("loss")
    ('study.loss: 2 points, 1 done, 1 missing', array([0.25,  nan]))
    """

    function: str
    points: tuple[Mapping[str, Any], ...]
    values: tuple[Mapping[str, Any], ...]
    status: tuple[str, ...]
    messages: tuple[str, ...]
    seconds: Array = field(compare=False)

    _axes: ClassVar[Mapping[str, str]] = {
        "points": "(N,)",
        "values": "(N,)",
        "status": "(N,)",
        "messages": "(N,)",
        "seconds": "(N,) float64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"N": "point"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_fields("result")
        for status in self.status:
            check_choice("status", status, _STATUSES)

    def column(self, name: str) -> Array:
        """Return an argument or a value of all points, (N,) or more axes where each value is a list; NaN without one.

        Raises
        ------
        UnknownNameError
            If no point has such a name.
        DtypeError
            If they are no numbers, or lists of different lengths.
        """
        check_choice("name", name, self._names_of(self.points) + self._names_of(self.values))
        rows = [{**point, **value}.get(name) for point, value in zip(self.points, self.values, strict=True)]
        known = [row for row in rows if row is not None]
        try:
            shape = np.shape(known[0]) if known else ()
            return np.array([np.full(shape, np.nan) if row is None else row for row in rows], np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DtypeError(
                f"has values that make no array of numbers ({error})",
                argument="name",
                seen=name,
                advice="read them from `points` and `values`",
            ) from error

    def table(self) -> Table:
        """Return a row a point: its arguments, what was returned, and its status where some are not done."""
        arguments, names = self._names_of(self.points), self._names_of(self.values)
        whole = set(self.status) <= {DONE}
        rows = [
            (
                *(point.get(name) for name in arguments),
                *(value.get(name) for name in names),
                *(() if whole else (f"{status}: {message}" if message else status,)),
            )
            for point, value, status, message in zip(
                self.points, self.values, self.status, self.messages, strict=True
            )
        ]
        return Table((*arguments, *names, *(() if whole else ("status",))), rows, self._title())

    def summary(self) -> str:
        """Return how many points are done, and what became of the first of those that failed."""
        failed = [
            f"{', '.join(f'{name} {show(value)}' for name, value in point.items())}: {message}"
            for point, message in zip(self.points, self.messages, strict=True)
            if message
        ]
        more = [f"and {counted(len(failed) - _MOST_MESSAGES, 'point')} more"] * (len(failed) > _MOST_MESSAGES)
        return "\n".join([self._title(), *failed[:_MOST_MESSAGES], *more])

    def _title(self) -> str:
        counts = Counter(self.status)
        parts = [f"{counts[status]:,} {status}" for status in _STATUSES if counts[status]]
        return ", ".join([f"{self.function}: {counted(len(self.points), 'point')}", *parts])

    @staticmethod
    def _names_of(rows: tuple[Mapping[str, Any], ...]) -> tuple[str, ...]:
        """Return all names in the order in which they first appear."""
        return tuple(dict.fromkeys(name for row in rows for name in row))
