"""Measurements while a model learns: how far back its gradients reach, how often gates are shut or open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Stack
from gatescope.datatypes.half_life import half_life_of
from gatescope.measurements import gradient_flow
from gatescope.measurements.problem import prepare
from gatescope.measurements.saturation import count_saturated
from gatescope.training.arrays import Data

SEQUENCES = 4  # the longest ones

Probe = Callable[[Stack], tuple[Array, Array, Array]]


def saved_gates(stack: Stack) -> tuple[tuple[str, ...], ...]:
    """Return the gates that each layer saves, in the order of the saturation's columns."""
    return tuple(get(layer.cell).saved for layer in stack.forward_layers)


def probe_on(data: Data, threads: int) -> Probe:
    """Return a function that measures a model on a few sequences: the longest, cut to the shortest of them.

    Sequences without a step are none of them; where there is no other, all is NaN.

    Returns
    -------
    callable
        ``probe(stack) -> (decay_rate (layers,), half_life (layers,), saturation (layers, K, 2))``, see `History`.
    """
    longest = np.argsort(-data.lengths, kind="stable")[:SEQUENCES]
    chosen = np.sort(longest[data.lengths[longest] > 0])
    steps = int(data.lengths[chosen].min(initial=data.lengths.max()))
    inputs = np.ascontiguousarray(data.inputs[:steps, chosen])

    def probe(stack: Stack) -> tuple[Array, Array, Array]:
        rates = np.full(len(stack.forward_layers), np.nan)
        saturation = np.full((len(stack.forward_layers), max(map(len, saved_gates(stack))), 2), np.nan)
        below = inputs
        for k, layer in enumerate(stack.forward_layers if inputs.size else ()):
            with prepare(layer, below, threads=threads) as problem:
                rates[k] = gradient_flow.measure(problem).decay_rate().value.mean()
                trace = problem.trace()
            for name, fractions in count_saturated(trace).means().items():
                saturation[k, trace.gate_names.index(name)] = fractions
            below = np.ascontiguousarray(trace.outputs)
        return rates, half_life_of(rates), saturation

    return probe
