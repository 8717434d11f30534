"""Names of what lies inside a stack: ``"layers.1"``, ``"layers.-1.h"``, ``"layers.0.backward.f"``."""

from __future__ import annotations

import re
from typing import NamedTuple

from gatescope.datatypes.params import Params
from gatescope.datatypes.stack import Stack, directions
from gatescope.errors import UnknownNameError

_FORM = re.compile(r"layers\.(-?[0-9]{1,6})(?:\.(forward|backward))?(?:\.([^.]+))?")


class Selection(NamedTuple):
    """What a name stands for.

    Attributes
    ----------
    layer : int
        Counted from the lowest, from 0.
    prefixes : tuple of str
        The layer's directions that are meant, as `Stack.directions` names them: one, or both.
    name : str
        What follows: the name of a gate or a state, or nothing.
    """

    layer: int
    prefixes: tuple[str, ...]
    name: str


def select(stack: Stack, argument: str, text: object) -> Selection:
    """Return what a name means in a stack; negative numbers count layers from the uppermost.

    A bidirectional layer of which no direction is named stands for both.  Whether its cells have a state or a gate of
    that name is not looked at.

    Raises
    ------
    UnknownNameError
        If the name has another form, or there is no such layer or direction; `argument` is what it was given as.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.datatypes.stack_names import select
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=2, hidden_size=8, heads=[gs.Head("y", 1)], seed=0)
    >>> select(stack, "of", "layers.-1.h")
    Selection(layer=1, prefixes=('layers.1',), name='h')
    """
    names = tuple(stack.directions())
    advice = (
        f"choose of {', '.join(map(repr, names))}, with a dot and the name of a state or a gate behind it"
    )
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UnknownNameError("names no layer of a stack", argument=argument, seen=text, advice=advice)
    number, way, name = int(match[1]), match[2], match[3] or ""
    count = len(stack.layers)
    if not -count <= number < count:
        raise UnknownNameError(
            f"names a layer that is not among the {count} of this stack",
            argument=argument,
            seen=text,
            advice=advice,
        )
    number %= count
    ways = directions(stack.layers[number])
    if way is not None and way not in ways:
        raise UnknownNameError(
            f"names a direction, and layers.{number} goes {' and '.join(ways)} alone",
            argument=argument,
            seen=text,
            advice=advice,
        )
    chosen = stack.prefixes(number)
    return Selection(number, tuple(chosen[each] for each in ([way] if way else ways)), name)


def params_of(stack: Stack, selection: Selection) -> tuple[Params, ...]:
    """Return the weights of the directions that are meant."""
    weights = stack.directions()
    return tuple(weights[prefix] for prefix in selection.prefixes)
