"""Options, parsers and texts that several of the measurements share."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from gatescope.cli.measure.command import Job
from gatescope.errors import ValueRangeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gatescope.datatypes import Array

LN10 = math.log(10)
_SHOWN_LAGS = 8  # rows of a table over lags
_SHOWN_SEQUENCES = 6  # columns of a table over sequences
_MOST_LAGS = 100_000  # of a flow that is stored: more lags are not to be seen


TargetOption = Annotated[
    str, typer.Option(help="What is differentiated: a state of the cell, or joint for all.")
]
StateOption = Annotated[
    str, typer.Option(help="With respect to what: a state of the cell, or joint for all.")
]
SourceStepOption = Annotated[
    int,
    typer.Option(
        metavar="STEP", help="t, the state that is differentiated: 1 is after the first step, -1 the last."
    ),
]
NormOption = Annotated[
    str, typer.Option(help="The direction of the target: random, drawn with --seed, or unit, one unit alone.")
]
LagsOption = Annotated[
    str | None,
    typer.Option(metavar="STEPS", help="Which lags, as in 1,10,100.  Default: spread over the series."),
]
LongestLagOption = Annotated[
    int | None, typer.Option(metavar="STEPS", help="The longest lag.  Default: all.")
]
UnitOption = Annotated[int, typer.Option(help="Which unit, with --norm unit.")]
TransientOption = Annotated[
    int | None,
    typer.Option(metavar="STEPS", help="Steps at the beginning that do not count.  Default: some hundred."),
]


def about(job: Job) -> str:
    """The cell, what is held, the series and its length."""
    held = "" if not job.clamp else f" with {', '.join(job.clamp)} held"
    return f"{job.label}{held} over {job.source}, {in_steps(len(job.series))}"


def in_steps(count: int) -> str:
    """``"1 step"``, ``"2,000 steps"``."""
    return f"{count:,} step{'' if count == 1 else 's'}"


def sequences(batch: int) -> tuple[str, ...]:
    """Headings of a table whose columns are sequences."""
    return ("", *([""] if batch == 1 else [f"sequence {b}" for b in range(min(batch, _SHOWN_SEQUENCES))]))


def cut(rows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows with as many columns as `sequences` has headings."""
    return [tuple(row[: _SHOWN_SEQUENCES + 1]) for row in rows]


def number(value: Any) -> str:
    """Four digits, and all before the point."""
    return f"{float(value):,.0f}" if 1000 <= abs(value) < math.inf else f"{float(value):.4g}"


def percent(share: Any) -> str:
    """A share with its sign; nothing where it is not known."""
    return f"{share:.1%}" if math.isfinite(share) else "-"


def with_error(value: Any, error: Any) -> str:
    """A value and its error, if that is known."""
    return f"{value:.4g} ± {error:.2g}" if math.isfinite(error) else number(value)


def vanishing(rate: float) -> str:
    """What a decay rate in nats per step means."""
    if math.isnan(rate):
        return "no rate: fewer than two norms above 0"
    if rate == 0:
        return "the gradient neither vanishes nor grows"
    steps = number(math.log(2) / abs(rate))
    what = "vanishing: the gradient halves" if rate > 0 else "growing: the gradient doubles"
    return f"{what} every {steps} steps"


def some(count: int) -> list[int]:
    """A few indices over a list, close together at its beginning."""
    picks = np.geomspace(1, count, min(count, _SHOWN_LAGS)).round().astype(int) - 1
    return [int(index) for index in np.unique(picks)]


def whole(option: str, text: str | None) -> list[int] | None:
    """Whole numbers, separated by commas."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueRangeError(
            f"{option} {text!r} must be whole numbers, separated by commas, as in 1,10,100"
        ) from None


def numbers(option: str, text: str) -> list[float]:
    """Numbers, separated by commas, or so many from one to another, as in ``0:2:9``."""
    try:
        if ":" in text:
            first, last, count = text.split(":")
            found = [float(value) for value in np.linspace(float(first), float(last), int(count))]
        else:
            found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise ValueRangeError(
            f"{option} {text!r} must be numbers, separated by commas, or from:to:count, as in 0:2:9"
        )
    return found


def split_schemes(text: str) -> list[str]:
    """Names separated by commas, but for those in parentheses."""
    return [name.strip() for name in re.split(r",(?![^()]*\))", text)]


def reach(source_step: int, steps: int) -> int:
    """The longest lag there is: how many steps lie before the state."""
    return max(1, source_step if source_step >= 0 else steps + 1 + source_step)


def spaced(longest: int, count: int) -> Array:
    """Lags from 1 to the longest, evenly in the logarithm."""
    return np.unique(np.geomspace(1, longest, count).round().astype(np.int64))


def flow_lags(text: str | None, steps: int, source_step: int, longest: int | None, norm: str) -> Any:
    """The lags of a flow: all, as long as they can be told apart in a picture."""
    if text is not None or norm == "spectral":
        return whole("--lags", text)
    last = reach(source_step, steps) if longest is None else longest
    if last <= _MOST_LAGS:
        return None
    even = np.linspace(0, last, _MOST_LAGS).round().astype(np.int64)
    return np.unique(np.concatenate([even, spaced(last, 2000)]))


def figure_of(drawn: Any) -> Figure:
    """The figure that axes are part of, or that a function of several panels returned with them."""
    if isinstance(drawn, tuple):
        drawn = drawn[0]
    figure: Figure = getattr(drawn, "figure", drawn)
    return figure
