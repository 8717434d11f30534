"""The gate that holds a cell's memory and the one that lets into it, found by running the cell's equations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from gatescope.cells.linearization import direct_factors
from gatescope.cells.ranges import evaluate, gate_ranges
from gatescope.cells.registry import Cell
from gatescope.checks.arrays import Array

_SAMPLES = 64
_SHUT = -1000.0  # a pre-activation at which a sigmoid is 0 in float64, and 1 at its negative
_ROUNDING = 1e-14  # of a sigmoid that is computed in another way, such as 1 - sigmoid(-x)


@dataclass(frozen=True, kw_only=True)
class MemoryGate:
    """What holds a cell's memory: the state that keeps a fraction of itself, and the gate that is this fraction.

    Attributes
    ----------
    name : str
        The gate: f of an LSTM, z of a GRU.  ``""`` if there is none.
    state : int or None
        Index in ``cell.states`` of the state that keeps a fraction of itself; None if none does, as in an RNN.
    saved : int or None
        Index in ``cell.saved`` of the gate.
    sign : int
        1 if the fraction is the gate's value, -1 if it is one minus that, so that a greater bias keeps less; 0 where
        there is no gate.
    sigmoid : bool
        Whether the gate is the sigmoid of its bias where all else is 0: for these the biases of schemes are made.
    input_gate : str
        A gate that, shut together with the memory gate, leaves nothing in the state: i of an LSTM.  ``""`` if none is.
    coupled : bool
        Whether nothing enters the state while the memory gate is open, as in a GRU.
    """

    name: str = ""
    state: int | None = None
    saved: int | None = None
    sign: int = 0
    sigmoid: bool = False
    input_gate: str = ""
    coupled: bool = False

    def fraction(self, value: Array) -> Array:
        """Return the fraction that the state keeps of itself, of the gate's value."""
        return value if self.sign > 0 else 1 - value


@cache
def memory_gate(cell: Cell) -> MemoryGate:
    """Return which gate holds a cell's memory, by its equations: f for an LSTM, z for a GRU, and no name counts.

    Of several states that keep a fraction of themselves it is the last that does so by a gate: what is remembered comes
    after what is put out.  What a state keeps of itself by way of a peephole counts as little as what comes back
    through recurrent weights.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.cells.memory_gate import memory_gate
    >>> leak = memory_gate(gs.cells.get("leaky_constant"))
    >>> leak.name, leak.sign
    ('a', -1)
    """
    # At random values, two things that are equal at every sample are the same.
    rng = np.random.default_rng(0)
    saved = rng.uniform(0.05, 0.95, (len(cell.saved), _SAMPLES))
    old, new = rng.uniform(-0.95, 0.95, (2, len(cell.states), _SAMPLES))
    for k, (name, limits) in enumerate(zip(cell.saved, gate_ranges(cell), strict=True)):
        if name not in cell.gates and limits is None:
            saved[k] = 0  # the weight of a peephole, or what a derivative needs beside the gates
    fraction = direct_factors(cell, saved, old, new)
    states = [s for s in reversed(range(len(cell.states))) if fraction[s].any()]
    for state in states:
        for k, name in enumerate(cell.saved):
            for sign, value in ((1, saved[k]), (-1, 1 - saved[k])):
                if name in cell.gates and np.array_equal(fraction[state], value):
                    input_gate, coupled = _inflow(cell, state, name, sign, old)
                    return MemoryGate(
                        name=name,
                        state=state,
                        saved=k,
                        sign=sign,
                        sigmoid=_is_sigmoid(cell, k),
                        input_gate=input_gate,
                        coupled=coupled,
                    )
    return MemoryGate(state=states[0] if states else None)


def _is_sigmoid(cell: Cell, k: int) -> bool:
    """Return whether a saved gate is the sigmoid of its input part where all else is 0."""
    points = np.linspace(-20, 20, _SAMPLES)
    nothing = np.zeros(_SAMPLES)
    wx = tuple(points if gate == cell.saved[k] else nothing for gate in cell.gates)
    _, saved = evaluate(cell, wx, (nothing,) * len(cell.gates), (nothing,) * len(cell.states))
    return bool(np.all(np.abs(saved[k] - 1 / (1 + np.exp(-points))) <= _ROUNDING))


def _inflow(cell: Cell, state: int, memory: str, sign: int, old: Array) -> tuple[str, bool]:
    """Return which gate lets into a state, and whether the open memory gate lets nothing in."""

    def after(**pre_activations: float) -> Array:
        rng = np.random.default_rng(1)
        wx, rh = rng.uniform(-0.95, 0.95, (2, len(cell.gates), _SAMPLES))
        for name, value in pre_activations.items():
            wx[cell.gates.index(name)] = value
        return np.asarray(evaluate(cell, tuple(wx), tuple(rh), tuple(old))[0][state])

    sigmoids = {
        name for name, limits in zip(cell.saved, gate_ranges(cell), strict=True) if limits == (0.0, 1.0)
    }
    if memory not in sigmoids:
        return "", False
    shut = {memory: sign * _SHUT}
    others = [name for name in cell.gates if name in sigmoids and name != memory]
    input_gate = next((name for name in others if not after(**shut, **{name: _SHUT}).any()), "")
    return input_gate, bool(np.array_equal(after(**{memory: -sign * _SHUT}), old[state]))
