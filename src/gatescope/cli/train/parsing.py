"""Options of ``gatescope train`` that stand for more than a number: layers, dropout."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from gatescope.errors import ValueRangeError

if TYPE_CHECKING:
    from gatescope.training.dropout import Dropout


def layers(cell: str, hidden_size: str, count: int | None) -> tuple[list[str], list[int]]:
    """Cells and sizes, one a layer from the lowest: one of either stands for all layers.

    Raises
    ------
    ValueRangeError
        If the numbers of cells, sizes and layers do not fit each other.
    """
    cells = [name.strip() for name in cell.split(",") if name.strip()]
    try:
        sizes = [int(part) for part in hidden_size.split(",")]
    except ValueError:
        raise ValueRangeError(
            f"--hidden-size {hidden_size!r} must be whole numbers, separated by commas, as in 64 or 64,32"
        ) from None
    if not cells:
        raise ValueRangeError(
            f"--cell {cell!r} names no cell; give for example lstm, or gru,lstm for two layers"
        )
    wanted = max(len(cells), len(sizes)) if count is None else count
    if wanted < 1:
        raise ValueRangeError(f"--layers {count} must be a whole number of at least 1")
    for option, found in (("--cell", cells), ("--hidden-size", sizes)):
        if len(found) not in (1, wanted):
            seen = f"{option} has {len(found)} values for {wanted} layers"
            if count is None:  # the other option says how many there are
                seen = f"--cell has {len(cells)} values, but --hidden-size has {len(sizes)}"
            raise ValueRangeError(f"{seen}; give one for all layers, or one each")
    return cells * (wanted if len(cells) == 1 else 1), sizes * (wanted if len(sizes) == 1 else 1)


def dropout(text: str | None) -> Dropout | None:
    """``0.2`` for the outputs of every layer, or the places by name, as in ``inputs=0.1,recurrent=0.2``.

    Raises
    ------
    ValueRangeError
        If that is no probability, or there is no such place.
    """
    if text is None:
        return None
    from gatescope.training.dropout import Dropout

    places = [field.name for field in dataclasses.fields(Dropout)]
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        chosen = [name.strip()] if equals else ["between", "outputs"]
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number < 1 or any(place not in places for place in chosen):
            raise ValueRangeError(
                f"--dropout {text!r} must be a probability of at least 0 and below 1, or several by name, as in "
                f"inputs=0.1,recurrent=0.2; the names are {', '.join(places)}"
            )
        found.update(dict.fromkeys(chosen, number))
    return Dropout(**found)
