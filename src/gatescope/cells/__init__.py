"""The equations of the cells: one file a cell, and a registry.  A new cell is a file and a line here."""

from gatescope.cells import (
    gru,
    gru_reset_before,
    leaky_constant,
    lstm,
    lstm_bridge_from_c,
    lstm_peephole,
    mgu,
    min_gru,
    rnn,
    rnn_relu,
)
from gatescope.cells.registry import Cell, get, names, register

for _module in (
    rnn,
    rnn_relu,
    lstm,
    gru,
    gru_reset_before,
    leaky_constant,
    min_gru,
    lstm_peephole,
    mgu,
    lstm_bridge_from_c,
):
    register(_module)

__all__ = ["Cell", "get", "names", "register"]
