"""What is looked at while a model learns: how far back its gradients reach, how often gates are shut or open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array
from gatescope.datatypes.stack import Stack
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.measurements.saturation import count_saturated
from gatescope.recurrence.run import run
from gatescope.training.arrays import Data

SEQUENCES = 4  # the longest ones

Probe = Callable[[Stack], tuple[Array, Array, Array]]


def kept_gates(stack: Stack) -> tuple[tuple[str, ...], ...]:
    """A layer's kept gates, in the order of the saturation's columns."""
    return tuple(get(layer.cell).saved for layer in stack.layers)


def probe_on(data: Data, threads: int) -> Probe:
    """Measure a model on a few sequences, always the same: the longest, cut to the shortest of them.

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
        most = max(map(len, kept_gates(stack)))
        rates, lives = np.full((2, len(stack.layers)), np.nan)
        saturation = np.full((len(stack.layers), most, 2), np.nan)
        if not inputs.size:
            return rates, lives, saturation
        below = inputs
        for k, layer in enumerate(stack.layers):
            rates[k] = gradient_flow(layer, below, threads=threads).decay_rate().value.mean()
            with np.errstate(divide="ignore"):
                lives[k] = np.log(2) / rates[k] if not rates[k] <= 0 else np.inf
            trace = run(layer, below, threads=threads)
            for name, fractions in count_saturated(trace).means().items():
                saturation[k, trace.gate_names.index(name)] = fractions
            below = np.ascontiguousarray(trace.outputs)
        return rates, lives, saturation

    return probe
