"""Texts as input series: one-hot characters of a vocabulary, such as a network was trained on."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.characters import check_vocabulary, classes_of, code_points
from gatescope.checks.memory import check_memory
from gatescope.errors import NOTHING
from gatescope.storage.atomic import open_file
from gatescope.storage.text_file import read_text_file

_LOOKED_AT = 4096  # characters from which a text is told from a table
_LETTERS = 0.5  # of the visible signs of a text, at least; of a table's header and numbers fewer are


class Characters(NamedTuple):
    """A text, and its characters one-hot.

    Attributes
    ----------
    text : str
        T characters.
    values : (T, 1, V)
    whole : int
        Characters of the file.
    """

    text: str
    values: Array
    whole: int


def read_characters(
    path: str | os.PathLike[str],
    vocabulary: Any,
    *,
    dtype: np.dtype[Any],
    encoding: str = "utf-8",
    steps: int | None = None,
) -> Characters:
    """Read the first `steps` characters of a text, or all, by a vocabulary.

    Raises
    ------
    FileFormatError
        If the file cannot be read, or is no text in `encoding`.
    ValueRangeError
        If a character is not in the vocabulary, or the vocabulary is none.
    """
    known = check_vocabulary(vocabulary)
    whole = read_text_file(path, encoding)[1]
    text = whole[:steps]
    classes = classes_of(code_points(text), known)
    size = len(known) * dtype.itemsize
    check_memory("the text", NOTHING, lambda count: count * size, "its characters, one-hot,", size=len(text))
    values = np.zeros((len(text), 1, len(known)), dtype)
    values[np.arange(len(text)), 0, classes] = 1
    return Characters(text, values, len(whole))


def seems_prose(path: str | os.PathLike[str]) -> bool:
    """Return whether a file that can be read holds words rather than numbers."""
    with open_file(path) as (stream, _):
        text = stream.read(4 * _LOOKED_AT).decode(errors="replace")[:_LOOKED_AT]
    visible = sum(not sign.isspace() for sign in text)
    return sum(map(str.isalpha, text)) > _LETTERS * visible > 0
