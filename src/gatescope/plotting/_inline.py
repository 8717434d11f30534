"""The small figure that notebooks show of a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatescope.datatypes import Result

# What draws a result of a type on axes; each plot that says more than numbers has a row.
DRAWN: dict[type[Result], Callable[[Any], Any]] = {}


def png(result: Result) -> bytes | None:
    """Return a small PNG of a result, or None if numbers say it better."""
    draw = DRAWN.get(type(result))
    if draw is None:
        return None
    raise NotImplementedError
