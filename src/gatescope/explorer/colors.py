"""The colors of the page's maps, which stay apart for color-blind readers and in grey."""

from __future__ import annotations

import numpy as np

# Cividis for what goes one way; for what has a sign blue to vermilion, in the middle the paper of either theme.
_STOPS = {
    "one": "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838",
    "light": "004a77 0072b2 7fb8dc f7f7f7 f0a878 d55e00 8a3c00",
    "dark": "9fd4f5 3f9fd8 0f5a8a 161616 8a4410 e07a2a ffc79a",
}
_UNKNOWN = 0xFF808080  # of what is no number
_PLACES = np.linspace(0, 1, 256)


def tables() -> dict[str, list[int]]:
    """Return 256 colors from least to greatest and one for what is no number, by kind, as pixels of a canvas: ABGR."""
    return {name: [*_between(stops.split()), _UNKNOWN] for name, stops in _STOPS.items()}


def _between(stops: list[str]) -> list[int]:
    at = np.linspace(0, 1, len(stops))
    red, green, blue = (
        np.rint(np.interp(_PLACES, at, [int(stop[k : k + 2], 16) for stop in stops])).astype(int)
        for k in (0, 2, 4)
    )
    return [int(color) for color in (0xFF << 24) | (blue << 16) | (green << 8) | red]
