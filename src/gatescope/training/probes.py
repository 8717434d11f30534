"""What is looked at while a model learns: how far back its gradients reach, how often gates are shut or open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gatescope.cells.registry import Cell, get
from gatescope.datatypes import Array
from gatescope.gradients.flow import gradient_flow
from gatescope.models import Stack
from gatescope.recurrence import run
from gatescope.training.data import Data

SEQUENCES = 4  # the longest ones
_SHUT, _OPEN = 0.1, 0.9
_CHUNK = 1 << 22  # gate values looked at together: bounds the memory on long runs

Probe = Callable[[Stack], tuple[Array, Array, Array]]


def kept_gates(stack: Stack) -> tuple[tuple[str, ...], ...]:
    """A layer's kept gates, in the order of the saturation's columns."""
    return tuple(get(layer.cell).kept for layer in stack.layers)


def probe_on(data: Data, threads: int) -> Probe:
    """Measure a model on a few sequences, always the same: the longest, cut to the shortest of them.

    Returns
    -------
    callable
        ``probe(stack) -> (decay_rate (layers,), half_life (layers,), saturation (layers, K, 2))``, see `History`.
    """
    chosen = np.sort(np.argsort(-data.lengths, kind="stable")[:SEQUENCES])
    steps = max(1, int(data.lengths[chosen].min()))
    inputs = np.ascontiguousarray(data.inputs[:steps, chosen])

    def probe(stack: Stack) -> tuple[Array, Array, Array]:
        most = max(map(len, kept_gates(stack)))
        rates, lives = np.full((2, len(stack.layers)), np.nan)
        saturation = np.full((len(stack.layers), most, 2), np.nan)
        below = inputs
        for k, layer in enumerate(stack.layers):
            rates[k] = gradient_flow(layer, below, threads=threads).decay_rate().value.mean()
            with np.errstate(divide="ignore"):
                lives[k] = np.log(2) / rates[k] if not rates[k] <= 0 else np.inf
            trace = run(layer, below, threads=threads)
            cell = get(layer.cell)
            for row, name in enumerate(cell.kept):
                if is_sigmoid(cell, name):
                    saturation[k, row] = _shares(trace.gate(name))
            below = np.ascontiguousarray(trace.outputs)
        return rates, lives, saturation

    return probe


def is_sigmoid(cell: Cell, gate: str) -> bool:
    """Whether a kept value of a cell goes from 0 to 1 and not beyond, as its equations have it."""
    rng = np.random.default_rng(0)
    wx, rh = (tuple(rng.normal(0, 100, (len(cell.gates), 1000))) for _ in range(2))
    states = tuple(rng.uniform(-1, 1, (len(cell.states), 1000)))
    edge = cell.prepared
    with np.errstate(all="ignore"):
        more = (cell.prepare(wx[:edge], rh[:edge], states),) if cell.prepare else ()
        _, kept = cell.step(wx[edge:], rh[edge:], states, *more)
    values = np.asarray(kept[cell.kept.index(gate)])
    return bool(0 <= values.min() < 1e-3 and 1 - 1e-3 < values.max() <= 1)


def _shares(gate: Array) -> tuple[float, float]:
    """Shares of the values of a gate (T, B, H) in [0, 0.1) and (0.9, 1]."""
    chunk = max(1, _CHUNK // gate[0].size)
    shut = opened = 0
    for begin in range(0, len(gate), chunk):
        part = gate[begin : begin + chunk]
        shut += int(np.count_nonzero(part < _SHUT))
        opened += int(np.count_nonzero(part > _OPEN))
    return shut / gate.size, opened / gate.size
