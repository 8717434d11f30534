"""The layers below the one that is looked at, run on the inputs, so that it gets what it gets in its network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.network import check_lengths, check_params
from gatescope.datatypes import Array, Params
from gatescope.datatypes.stack import Bidirectional, Layer, directions
from gatescope.datatypes.trace import turned
from gatescope.kernels.device import Device, device_for, threads_for
from gatescope.recurrence.input_stream import Series, open_series, turned_series
from gatescope.recurrence.recompute import check_states

_PIECE_BYTES = 1 << 24  # of states and gates at a time


def outputs_of_layers(
    layers: Sequence[Layer], inputs: Any, *, lengths: Any = None, threads: int | None = None
) -> Array:
    """Return the outputs of the uppermost of several layers, each of which runs on the outputs of the one below.

    Parameters
    ----------
    layers : sequence of Params or Bidirectional
        From the lowest, which takes `inputs`.
    inputs : (T, B, I) or (T, I) array_like
    lengths : (B,) array_like of int, optional
        Steps of each sequence, 0..T; default: T.
    threads : int, optional
        As for `run`.

    Returns
    -------
    (T, B, H) array
        H outputs of the uppermost layer; zeros past the end of a sequence.  Gates are not stored, and states a piece
        at a time.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.recurrence.layers import outputs_of_layers
    >>> params = gs.init("gru", input_size=1, hidden_size=4)
    >>> bool((outputs_of_layers([params], np.ones((9, 1))) == gs.run(params, np.ones((9, 1))).outputs).all())
    True
    """
    workers = threads_for("cpu", threads)
    for layer in layers:
        outputs = [_outputs(params, inputs, lengths, workers) for params in directions(layer).values()]
        inputs = merged(layer, outputs)
    return np.asarray(inputs)


def merged(layer: Layer, outputs: Sequence[Array]) -> Array:
    """Return the outputs (T, B, H) of a layer of those of its directions."""
    if not isinstance(layer, Bidirectional):
        (only,) = outputs
        return only
    return np.add(*outputs) if layer.merge == "sum" else np.concatenate(outputs, axis=2)


def split(layer: Layer, adjoint: Array) -> list[Array]:
    """Return the adjoints of the outputs of each direction of a layer, of that (..., H) of its outputs."""
    if not isinstance(layer, Bidirectional):
        return [adjoint]
    if layer.merge == "sum":
        return [adjoint, adjoint]
    return np.split(adjoint, [layer.forward.hidden_size], axis=-1)


def _outputs(params: Params, inputs: Any, lengths: Any, threads: int) -> Array:
    cell = check_params(params)
    device = device_for("cpu", cell, params, threads)
    with open_series(inputs, params) as series:
        sizes = check_lengths(lengths, series.steps, series.batch)
        source = turned_series(series, sizes) if params.reverse else series
        state = np.zeros((series.batch, len(cell.states), params.hidden_size), params.dtype)
        return outputs_over(source, params, device, state, sizes)


def outputs_over(source: Series, params: Params, device: Device, state: Array, lengths: Array) -> Array:
    """Return the outputs (T, B, H) of one direction over an open series, whose steps are in the cell's order.

    They are in the order of the inputs, with zeros past the end of a sequence.  `device` has the weights on it.
    """
    cell = get(params.cell)
    outputs = np.empty((source.steps, source.batch, params.hidden_size), params.dtype)
    step_bytes = outputs[0].nbytes * (len(cell.states) + len(cell.saved))
    piece = min(source.steps, max(1, _PIECE_BYTES // step_bytes))
    all_states, all_gates = device.buffers(piece, source.batch)
    for begin in range(0, source.steps, piece):
        end = min(begin + piece, source.steps)
        states, gates = all_states[: end - begin + 1], all_gates[: end - begin]
        device.forward(source.read(begin, end), state, states, gates)
        state = device.last(states)
        check_states(states, begin)
        outputs[begin:end] = states[1:, :, 0]
    outputs[np.arange(len(outputs))[:, None] >= lengths] = 0
    return turned(outputs, lengths) if params.reverse else outputs
