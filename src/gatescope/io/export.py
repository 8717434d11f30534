"""Weights in the names and orders of other frameworks: PyTorch's state_dict, Keras's list, Flax's tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_type
from gatescope.datatypes import Bidirectional, Params, Stack
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.datatypes.stack import directions, time_major
from gatescope.errors import WeightFormatError

_TORCH = ("rnn", "rnn_relu", "lstm", "gru")
# Which of this package's row blocks stands where: i f c o of Keras are i f g o here, z r h are r z n.
_KERAS = {
    "rnn": (0,),
    "rnn_relu": (0,),
    "lstm": (0, 1, 2, 3),
    "gru": (1, 0, 2),
    "gru_reset_before": (1, 0, 2),
}
_FLAX = {"rnn": "", "rnn_relu": "", "lstm": "ifgo", "gru": "rzn"}


def to_torch(model: Params | Bidirectional | Stack) -> dict[str, Array]:
    """Return the weights of a model as the ``state_dict`` of PyTorch modules has them.

    Parameters
    ----------
    model : Params, Bidirectional or Stack

    Returns
    -------
    dict of str to array
        NumPy arrays, which ``load_state_dict`` takes as ``{name: torch.from_numpy(array) for ...}``:
        ``"weight_ih_l0"`` and so on, as of one ``torch.nn.LSTM``, GRU or RNN, if all layers have one cell, size and
        number of directions; otherwise a module a layer, ``"layers.0.weight_ih_l0"``.  With a read-out the recurrent
        module is ``"rnn"`` (or ``"layers"``), and ``"readout.weight"`` and ``"readout.bias"`` follow.

    Raises
    ------
    WeightFormatError
        If a cell, a direction or a merge is one that PyTorch's modules do not have.

    Examples
    --------
    >>> import gatescope as gs
    >>> list(gs.to_torch(gs.init("lstm", input_size=3, hidden_size=5)))
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    """
    stack = as_stack(model)
    for k, layer in enumerate(stack.layers):
        for params in directions(layer).values():
            if params.cell not in _TORCH:
                raise _refused("PyTorch", k, f"is of {params.cell!r}")
        if isinstance(layer, Params) and layer.reverse:
            raise _refused("PyTorch", k, "goes backward alone")
        if isinstance(layer, Bidirectional):
            if layer.merge != "concatenate":
                raise _refused("PyTorch", k, "adds its directions up")
            if _kind(layer.forward) != _kind(layer.backward):
                raise _refused("PyTorch", k, "has directions of different cells or sizes")
    kinds = {tuple(map(_kind, directions(layer).values())) for layer in stack.layers}
    head = stack.readout_weight is not None
    state: dict[str, Array] = {}
    for k, layer in enumerate(stack.layers):
        prefix, number = (f"{'rnn.' if head else ''}", k) if len(kinds) == 1 else (f"layers.{k}.", 0)
        for way, params in directions(layer).items():
            suffix = f"_l{number}{'_reverse' if way == 'backward' else ''}"
            state |= {f"{prefix}{name}{suffix}": getattr(params, name) for name in WEIGHT_NAMES}
    if stack.readout_weight is not None and stack.readout_bias is not None:
        state |= {"readout.weight": stack.readout_weight, "readout.bias": stack.readout_bias}
    return state


def to_keras(model: Params | Bidirectional | Stack) -> list[Array]:
    """Return the weights of a model as ``get_weights`` and ``set_weights`` of a Keras 3 model have them.

    Parameters
    ----------
    model : Params, Bidirectional or Stack

    Returns
    -------
    list of array
        Of each layer, and of Bidirectional the forward and then the backward direction: kernel (I, G*H), recurrent
        kernel (H, G*H), bias: (2, 3*H) of a GRU with ``reset_after=True``, otherwise (G*H,), the sum of both biases.
        Then kernel (H, O) and bias of a Dense read-out.

    Raises
    ------
    WeightFormatError
        If a cell is one that Keras does not have.

    Examples
    --------
    >>> import gatescope as gs
    >>> [array.shape for array in gs.to_keras(gs.init("gru", input_size=3, hidden_size=5))]
    [(3, 15), (5, 15), (2, 15)]
    """
    stack = as_stack(model)
    weights: list[Array] = []
    for k, layer in enumerate(stack.layers):
        for params in directions(layer).values():
            if params.cell not in _KERAS:
                raise _refused("Keras", k, f"is of {params.cell!r}")
            order = _KERAS[params.cell]
            ih, hh, bias_ih, bias_hh = (blocks(getattr(params, name), order) for name in WEIGHT_NAMES)
            bias = np.stack([bias_ih, bias_hh]) if params.cell == "gru" else bias_ih + bias_hh
            weights += [np.ascontiguousarray(ih.T), np.ascontiguousarray(hh.T), bias]
    if stack.readout_weight is not None and stack.readout_bias is not None:
        weights += [np.ascontiguousarray(stack.readout_weight.T), stack.readout_bias]
    return weights


def to_flax(model: Params | Bidirectional | Stack) -> dict[str, Any]:
    """Return the weights of a model as a tree of parameters of Flax linen.

    Parameters
    ----------
    model : Params, Bidirectional or Stack

    Returns
    -------
    dict
        Of Params the tree of ``LSTMCell``, ``GRUCell`` or ``SimpleCell`` (whose ``activation_fn`` is not in it); of
        others ``"layers_0"`` and so on, each such a tree, or ``"forward"`` and ``"backward"``; and ``"readout"``, that
        of a Dense.

    Raises
    ------
    WeightFormatError
        If a cell is one that Flax linen does not have.

    Examples
    --------
    >>> import gatescope as gs
    >>> sorted(gs.to_flax(gs.init("gru", input_size=3, hidden_size=5)))
    ['hn', 'hr', 'hz', 'in', 'ir', 'iz']
    """
    if isinstance(model, Params):
        return _flax_cell(0, model)
    stack = as_stack(model)
    tree: dict[str, Any] = {}
    for k, layer in enumerate(stack.layers):
        cells = {way: _flax_cell(k, params) for way, params in directions(layer).items()}
        tree[f"layers_{k}"] = cells if isinstance(layer, Bidirectional) else next(iter(cells.values()))
    if stack.readout_weight is not None and stack.readout_bias is not None:
        tree["readout"] = {"kernel": np.ascontiguousarray(stack.readout_weight.T), "bias": stack.readout_bias}
    return tree


def _flax_cell(number: int, params: Params) -> dict[str, Any]:
    """Return the tree of one cell.  Biases add up on one side, but for what a GRU's reset gate multiplies."""
    if params.cell not in _FLAX:
        raise _refused("Flax linen", number, f"is of {params.cell!r}")
    gates = _FLAX[params.cell] or " "
    tree: dict[str, Any] = {}
    for gate, *rows in zip(
        gates, *(np.split(getattr(params, name), len(gates)) for name in WEIGHT_NAMES), strict=True
    ):
        kernels = {side: {"kernel": np.ascontiguousarray(rows[k].T)} for k, side in enumerate("ih")}
        apart = params.cell == "gru" and gate == gates[-1]
        if apart:
            kernels["i"]["bias"], kernels["h"]["bias"] = rows[2], rows[3]
        else:
            kernels["h" if params.cell == "lstm" else "i"]["bias"] = rows[2] + rows[3]
        tree |= {f"{side}{gate}".strip(): value for side, value in kernels.items()}
    return tree


def as_stack(model: Any) -> Stack:
    """Return a model on the host as a stack of layers that take (T, B, I)."""
    advice = "give Params, a Bidirectional or a Stack"
    check_type("model", model, Params, Bidirectional, Stack, advice=advice)
    host = model.to_host()
    return host if isinstance(host, Stack) else Stack(layers=(time_major(host),))


def _kind(params: Params) -> tuple[str, int]:
    return params.cell, params.hidden_size


def blocks(rows: Array, order: Iterable[int], gates: int | None = None) -> Array:
    """Return row blocks of a weight or a bias, which has so many or else one a number, in another order."""
    parts = np.split(rows, gates or len(tuple(order)))
    return np.concatenate([parts[k] for k in order])


def _refused(framework: str, number: int, what: str) -> WeightFormatError:
    return WeightFormatError(f"{what}, which no module of {framework} does", argument=f"layers[{number}]")
