"""Names of what lies inside a stack: ``"layers.1"``, ``"layers.-1.h"``, ``"layers.0.backward.f"``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gatescope.checks.numbers import check_type
from gatescope.datatypes.params import Params
from gatescope.datatypes.stack import Stack
from gatescope.errors import UnknownNameError, ValueRangeError

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
    return select_among([stack.prefixes(number) for number in range(len(stack.layers))], argument, text)


def select_among(layers: Sequence[Mapping[str, str]], argument: str, text: object) -> Selection:
    """Return the same for layers whose names are given by direction, as `Stack.prefixes` returns them."""
    names = [name for layer in layers for name in layer.values()]
    what = {"of": "a state", "wrt": "a state", "clamp": "a gate"}.get(argument, "a state or a gate")
    advice = f"choose of {', '.join(map(repr, names))}, with a dot and the name of {what} behind it"
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UnknownNameError("names no layer of a stack", argument=argument, seen=text, advice=advice)
    number, way, name = int(match[1]), match[2], match[3] or ""
    count = len(layers)
    if not -count <= number < count:
        raise UnknownNameError(
            f"names a layer that is not among the {count} of this stack",
            argument=argument,
            seen=text,
            advice=advice,
        )
    number %= count
    chosen = layers[number]
    if way is not None and way not in chosen:
        raise UnknownNameError(
            f"names a direction, and layers.{number} goes {' and '.join(chosen)} alone",
            argument=argument,
            seen=text,
            advice=advice,
        )
    return Selection(number, tuple(chosen[each] for each in ([way] if way else chosen)), name)


def params_of(stack: Stack, selection: Selection) -> tuple[Params, ...]:
    """Return the weights of the directions that are meant."""
    weights = stack.directions()
    return tuple(weights[prefix] for prefix in selection.prefixes)


def by_direction(stack: Stack, argument: str, values: Any) -> dict[str, dict[str, Any]]:
    """Return values that are given by name, such as ``"layers.1.f"``, for each direction by what follows its own name.

    A name of a bidirectional layer gives both directions the value.  Directions of which nothing is said are left out.

    Raises
    ------
    DtypeError
        If `values` is no mapping; `argument` is what it was given as.
    UnknownNameError
        If a name has another form, or there is no such layer or direction.
    ValueRangeError
        If two names mean the same.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.datatypes.stack_names import by_direction
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=2, hidden_size=8, heads=[gs.Head("y", 1)], seed=0)
    >>> by_direction(stack, "clamp", {"layers.0.f": 1.0, "layers.0.i": 0.5, "layers.-1.z": 0.0})
    {'layers.0': {'f': 1.0, 'i': 0.5}, 'layers.1': {'z': 0.0}}
    """
    first = next(iter(stack.directions()))
    check_type(argument, values, Mapping, advice=f"give values by name, as in {{'{first}': ...}}")
    chosen: dict[str, dict[str, Any]] = {}
    for text, value in values.items():
        selection = select(stack, argument, text)
        for prefix in selection.prefixes:
            if selection.name in chosen.setdefault(prefix, {}):
                raise ValueRangeError(
                    "names twice what another name means",
                    argument=argument,
                    seen=text,
                    advice="leave out one",
                )
            chosen[prefix][selection.name] = value
    return chosen
