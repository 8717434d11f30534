"""Names with constants as texts: "cosine", "step(1000, 0.5)", "warmup(100, cosine(0.1))"."""

from __future__ import annotations

import re


def parse_call(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the name that a text calls and its arguments, as texts.

    Parameters
    ----------
    text : str
        A name, or a name with arguments in parentheses.

    Returns
    -------
    name : str
        All of the text where it is no call, so that whoever looks the name up does not find it.
    arguments : tuple of str
        Empty without parentheses, or with nothing in them.

    Examples
    --------
    >>> from gatescope.checks.parsing import parse_call
    >>> parse_call("cosine"), parse_call("warmup(100, step(50, 0.5))"), parse_call("step(1")
    (('cosine', ()), ('warmup', ('100', 'step(50, 0.5)')), ('step(1', ()))
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
    if match is None:
        return text.strip(), ()
    return match[1], split_outside(match[2] or "")


def split_outside(text: str) -> tuple[str, ...]:
    """Return the parts of a text between commas, but for commas in parentheses; empty for a text without words.

    Examples
    --------
    >>> from gatescope.checks.parsing import split_outside
    >>> split_outside("pytorch, chrono(100), step(1, 2)"), split_outside(" ")
    (('pytorch', 'chrono(100)', 'step(1, 2)'), ())
    """
    if not text.strip():
        return ()
    parts, depth, begin = [], 0, 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[begin:index].strip())
            begin = index + 1
    return (*parts, text[begin:].strip())
