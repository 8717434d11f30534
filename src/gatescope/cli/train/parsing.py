"""Options of ``gatescope train`` that stand for more than a number: layers, dropout."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from gatescope.checks.numbers import check_count
from gatescope.cli.parsing import cell_names, whole_numbers
from gatescope.errors import ValueRangeError

if TYPE_CHECKING:
    from gatescope.training.dropout import Dropout

_MOST_LAYERS = 1000


def layers(cell: str, hidden_size: str, count: int | None) -> tuple[list[str], list[int]]:
    """Return cells and sizes, one for each layer from the lowest: one of either stands for all layers."""
    sizes = whole_numbers("hidden_size", hidden_size, "64 or 64,32")
    cells = cell_names("cell", cell, "lstm, or gru,lstm for two layers")
    number = max(len(cells), len(sizes)) if count is None else count
    check_count("layers", number, most=_MOST_LAYERS)
    for argument, values in (("cell", cells), ("hidden_size", sizes)):
        if len(values) not in (1, number):
            problem = f"has {len(values)} values for {number} layers"
            if count is None:  # the other option says how many layers there are
                argument, problem = "cell", f"has {len(cells)} values, but `hidden_size` has {len(sizes)}"
            raise ValueRangeError(problem, argument=argument, advice="give one for all layers, or one each")
    return cells * (number if len(cells) == 1 else 1), sizes * (number if len(sizes) == 1 else 1)


def dropout(text: str | None) -> Dropout | None:
    """Return ``0.2`` for the outputs of every layer, or probabilities by name, as in ``inputs=0.1,recurrent=0.2``."""
    if text is None:
        return None
    from gatescope.training.dropout import Dropout

    names = [field.name for field in dataclasses.fields(Dropout)]
    probabilities: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        chosen = [name.strip()] if equals else ["between", "outputs"]
        try:
            probability = float(value)
        except ValueError:
            probability = math.nan
        if not 0 <= probability < 1 or any(name not in names for name in chosen):
            raise ValueRangeError(
                "must be a probability of at least 0 and below 1, or several by name, as in "
                f"inputs=0.1,recurrent=0.2; the names are {', '.join(names)}",
                argument="dropout",
                seen=text,
            )
        probabilities.update(dict.fromkeys(chosen, probability))
    return Dropout(**probabilities)
