"""The equations of the cells: one file a cell, and a registry.  A new cell is a file and a line here.

Of the variants in Greff et al. (2015), those without an input, forget or output gate need no cell of their own:
`gatescope.clamp` keeps the gate at 1, and so it does with the GRU's reset gate at 1 or its update gate at 0.  Full gate
recurrence, whose gates read the gates of the step before, is left out: a cell here feeds back one state.
"""

from gatescope.cells import (
    gru,
    gru_reset_before,
    gru_uncoupled,
    janet,
    leaky,
    leaky_constant,
    lstm,
    lstm_as_printed,
    lstm_bridge,
    lstm_bridge_from_c,
    lstm_coupled,
    lstm_linear_input,
    lstm_linear_output,
    lstm_peephole,
    mgu,
    min_gru,
    rnn,
    rnn_relu,
    slstm,
)
from gatescope.cells.registry import Cell, get, names, register

for _module in (
    rnn,
    rnn_relu,
    lstm,
    gru,
    gru_reset_before,
    leaky,
    leaky_constant,
    janet,
    mgu,
    gru_uncoupled,
    min_gru,
    lstm_coupled,
    lstm_linear_input,
    lstm_linear_output,
    lstm_peephole,
    lstm_as_printed,
    lstm_bridge,
    lstm_bridge_from_c,
    slstm,
):
    register(_module)

__all__ = ["Cell", "get", "names", "register"]
