"""Measurements while a model learns: how far back its gradients reach, how often gates are shut or open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Stack
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.stack import directions
from gatescope.measurements.layer_probe import longest_sequences, probe_layer
from gatescope.measurements.problem import prepare
from gatescope.recurrence.layers import merged
from gatescope.training.arrays import Data

Probe = Callable[[Stack], tuple[Array, Array, Array, tuple[str, ...]]]


def saved_gates(stack: Stack) -> tuple[tuple[str, ...], ...]:
    """Return the gates that each layer and direction saves, in the order of the saturation's columns."""
    return tuple(get(params.cell).saved for params in stack.directions().values())


def probe_on(data: Data, threads: int) -> Probe:
    """Return a function that measures a model on a few sequences: the longest, cut to the shortest of them.

    Sequences without a step are none of them; where there is no other, all is NaN.

    Returns
    -------
    callable
        ``probe(stack) -> (decay_rate (layers,), half_life (layers,), saturation (layers, K, 2), doubts)``, see
        `History`; a layer that goes both ways counts as two.
    """
    chosen, steps = longest_sequences(data.lengths)
    inputs = np.ascontiguousarray(data.inputs[:steps, chosen])

    def probe(stack: Stack) -> tuple[Array, Array, Array, tuple[str, ...]]:
        gates = saved_gates(stack)
        rates = np.full(len(gates), np.nan)
        saturation = np.full((len(gates), max(map(len, gates)), 2), np.nan)
        doubts = ["" if inputs.size else "no sequence has a step"] * len(gates)
        below, number = inputs, 0
        for layer in stack.layers if inputs.size else ():
            outputs = []
            for params in directions(layer).values():
                with prepare(params, below, threads=threads) as problem:
                    layer_probe = probe_layer(problem)
                rates[number], doubts[number] = layer_probe.decay_rate, layer_probe.doubt
                for name, fractions in layer_probe.saturation.items():
                    saturation[number, layer_probe.gates.index(name)] = fractions
                outputs.append(layer_probe.outputs)
                number += 1
            below = np.ascontiguousarray(merged(layer, outputs))
        return rates, half_life_of(rates), saturation, tuple(doubts)

    return probe
