"""Characters as classes: a vocabulary, and a text by it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import ValueRangeError

LEAST_KINDS = 2  # of characters: with one there is nothing to tell apart
_SHOWN = 8  # characters in a message


def code_points(text: str) -> NDArray[np.int64]:
    """Return the characters' code points, (N,)."""
    # Some encodings give half a surrogate pair alone, which no strict encoding takes.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4")).astype(np.int64)


def check_vocabulary(vocabulary: Any) -> NDArray[np.int64]:
    """Return the code points of a vocabulary, (V,), each once."""
    if not isinstance(vocabulary, str) or len(vocabulary) < LEAST_KINDS:
        raise ValueRangeError(
            "must be text with at least two characters", argument="vocabulary", seen=vocabulary
        )
    known = code_points(vocabulary)
    kinds, counts = np.unique(known, return_counts=True)
    if len(kinds) < len(known):
        raise ValueRangeError(
            f"has {chr(kinds[counts > 1][0])!r} more than once",
            argument="vocabulary",
            advice="give each character once",
        )
    return known


def classes_of(points: NDArray[np.int64], known: NDArray[np.int64], begin: int = 0) -> NDArray[np.int64]:
    """Return the place of every character in the vocabulary; `begin` is that of the first in its file.

    Raises
    ------
    ValueRangeError
        If a character is not in it; it names those.
    """
    order = np.argsort(known)
    ranks = np.minimum(np.searchsorted(known[order], points), len(known) - 1)
    classes: NDArray[np.int64] = order[ranks]
    unknown = np.flatnonzero(known[classes] != points)
    if unknown.size:
        first = int(unknown[0])
        others = [chr(point) for point in np.unique(points[unknown]) if point != points[first]]
        more = ", ".join(map(repr, others[:_SHOWN])) + (", ..." if len(others) > _SHOWN else "")
        raise ValueRangeError(
            f"does not have {chr(points[first])!r}, character {begin + first} of the file"
            + (f", nor {more}" if others else ""),
            argument="vocabulary",
            advice="make it from both texts, or take such characters out",
        )
    return classes
