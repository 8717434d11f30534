"""A Keras model run once, with every call of its recurrent layers seen; nothing of the model is changed.

Keras is not imported here: a model that is passed in has brought it along.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.integrations import torch_calls
from gatescope.integrations.calls import Call, Recording, as_numpy, side_by_side

_LAYERS = {"RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional"}
_CELLS = {"LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells"}
_ADVICE = "give one with LSTM, GRU, SimpleRNN, RNN or Bidirectional in it, or their cells"


def record(model: Any, batch: Sequence[Any], named: Mapping[str, Any]) -> Recording:
    """Run a model once on a batch and return the calls of the recurrent layers in it.

    Layers get a call of their own in place of their class's, as long as the model runs: Keras has no hooks.
    """
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    layers = dict(_recurrent(model, ""))
    recording = Recording(kind=kind, modules=layers, refused={}, advice=_ADVICE)
    over_torch = torch_calls.is_module(model)
    with (
        torch_calls.undisturbed(sys.modules["torch"], model) if over_torch else nullcontext(),
        ExitStack() as hooks,
    ):
        for name, layer in layers.items():
            hooks.enter_context(_states_restored(layer))
            own = vars(layer)
            own["call"] = _seeing(layer, partial(_see, recording.calls.append, name, layer))
            hooks.callback(own.pop, "call")
        if layers:
            model(*batch, **{"training": False, **named})
    return recording


def _recurrent(layer: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the outermost recurrent layers and cells in a layer with their names: what lies in one is a part of it."""
    if {base.__name__ for base in type(layer).__mro__} & (_LAYERS | _CELLS):
        yield name, layer
        return
    children = layer._flatten_layers(include_self=False, recursive=False)
    used: dict[str, int] = {}
    for child in children:
        own = str(child.name)
        used[own] = used.get(own, 0) + 1
        label = own if used[own] == 1 else f"{own} ({used[own]})"
        yield from _recurrent(child, f"{name}/{label}" if name else label)


def _seeing(layer: Any, see: Callable[..., None]) -> Callable[..., Any]:
    """Return a layer's call that is seen; it has the same arguments, which Keras looks at."""
    call = layer.call
    signature = inspect.signature(call)

    def seen(*args: Any, **named: Any) -> Any:
        given = signature.bind(*args, **named).arguments
        state = given.get("initial_state", given.get("states"))
        if state is None and getattr(layer, "stateful", False):
            state = _flat(getattr(layer, "states", None)) or None
        before = None if state is None else side_by_side([as_numpy(part) for part in _flat(state)])
        outputs = call(*args, **named)
        see(next(iter(given.values())), before, given.get("mask"), outputs)
        return outputs

    return seen


def _see(
    add: Callable[[Call], None],
    name: str,
    layer: Any,
    inputs: Any,
    initial: Array | None,
    mask: Any,
    outputs: Any,
) -> None:
    """Add a call of a layer or a cell."""
    values = as_numpy(inputs)
    if {base.__name__ for base in type(layer).__mro__} & _CELLS:
        final = side_by_side([as_numpy(part) for part in _flat(outputs[1])])
        add(Call(name=name, inputs=values[None], initial=initial, final=final))
        return
    mask = mask[0] if isinstance(mask, list | tuple) else mask
    lengths = None
    if mask is not None:
        values, lengths = _without_masked(values, as_numpy(mask).astype(bool))
    add(Call(name=name, inputs=np.ascontiguousarray(values.swapaxes(0, 1)), lengths=lengths, initial=initial))


def _without_masked(values: Array, mask: Array) -> tuple[Array, Array | None]:
    """Return sequences (B, T, I) of the steps that a mask (B, T) leaves in, and their lengths.

    A layer hands its state on past a step that is left out, so that what it computes is the same without it.
    """
    if mask.all():
        return values, None
    lengths = mask.sum(axis=1).astype(np.int64)
    order = np.argsort(~mask, axis=1, kind="stable")[:, : max(1, lengths.max())]
    taken = np.take_along_axis(values, order[:, :, None], axis=1)
    taken[np.arange(order.shape[1]) >= lengths[:, None]] = 0
    return taken, None if (lengths == order.shape[1]).all() else lengths


def _flat(states: Any) -> list[Any]:
    """Return the states in lists in lists as one list."""
    if isinstance(states, list | tuple):
        return [part for each in states for part in _flat(each)]
    return [] if states is None else [states]


@contextmanager
def _states_restored(layer: Any) -> Iterator[None]:
    """Give a stateful layer the states afterwards that it has now."""
    states = _flat(getattr(layer, "states", None)) if getattr(layer, "stateful", False) else []
    before = [as_numpy(state) for state in states]
    try:
        yield
    finally:
        for state, values in zip(states, before, strict=True):
            state.assign(values)
