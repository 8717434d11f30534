"""Where the bias of a gate lies in the arrays of other libraries."""

from __future__ import annotations

from gatescope.cells.registry import Cell

# The cells that PyTorch has, with row blocks in the order of the gates here.
_IN_TORCH = ("rnn", "rnn_relu", "lstm", "gru")
# The gates in the order of Keras's column blocks, and what comes before the columns where its bias has two rows.
_IN_KERAS = {
    "lstm": ("ifgo", ""),
    "gru": ("zrn", "0, "),
    "gru_reset_before": ("zrn", ""),
}


def bias_places(
    cell: Cell, gate: str, units: int, *, layer: int = 0, reverse: bool = False
) -> tuple[str, ...]:
    """Return where the bias of a gate lies, for each library that has the cell; in PyTorch that of a layer of several.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.cells.bias_places import bias_places
    >>> bias_places(gs.cells.get("gru"), "z", 64)
    ('in PyTorch bias_ih_l0[64:128] (add it there, not to bias_hh_l0 too)', 'in Keras bias[0, 0:64]')
    """
    places: list[str] = []
    if gate not in cell.gates:
        return ()
    if cell.name in _IN_TORCH:
        row = cell.gates.index(gate) * units
        name = f"l{layer}{'_reverse' if reverse else ''}"
        there = f"bias_ih_{name}[{row}:{row + units}]"
        places.append(f"in PyTorch {there} (add it there, not to bias_hh_{name} too)")
    if cell.name in _IN_KERAS:
        order, first_row = _IN_KERAS[cell.name]
        column = order.index(gate) * units
        places.append(f"in Keras bias[{first_row}{column}:{column + units}]")
    return tuple(places)
