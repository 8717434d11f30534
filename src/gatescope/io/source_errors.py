"""What the errors of all readers of weights share: who makes them, and how they list names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatescope.errors import WeightFormatError

Wrong = Callable[..., WeightFormatError]  # makes an error about a source, from a problem and an advice

_SHOWN, _CHARACTERS = 12, 240  # as many names as a message lists, and what they may take of it


def listed(names: Any) -> str:
    """Return names in quotes with commas between them, the first of many."""
    shown: list[str] = []
    for name in names:
        text = repr(name)
        if len(shown) == _SHOWN or (shown and sum(map(len, shown)) + len(text) > _CHARACTERS):
            break
        shown.append(text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}...")
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
