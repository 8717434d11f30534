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


@dataclass(frozen=True, kw_only=True)
class MemoryGate:
    """What holds a cell's memory: the state that keeps a fraction of itself, and the gate that sets this fraction.

    Attributes
    ----------
    name : str
        The saved value that is the fraction: f of an LSTM, z of a GRU.  ``""`` if no saved value is (1 - u, say).
    state : int or None
        Index in ``cell.states`` of the state that keeps a fraction of itself; None if none does, as in an RNN.
    saved : int or None
        Index in ``cell.saved`` of `name`.
    opened_by : str
        The gate whose bias sets the fraction: `name`, or u where the fraction is 1 - u; ``""`` if there is none.
    sign : int
        1 if a greater bias of `opened_by` keeps more, -1 if less, 0 without such a gate.
    input_gate : str
        A gate that, shut together with the memory gate, leaves nothing in the state: i of an LSTM.  ``""`` if none is.
    coupled : bool
        Whether nothing enters the state while the memory gate is open, as in a GRU.
    """

    name: str = ""
    state: int | None = None
    saved: int | None = None
    opened_by: str = ""
    sign: int = 0
    input_gate: str = ""
    coupled: bool = False


@cache
def memory_gate(cell: Cell) -> MemoryGate:
    """Return which gate holds a cell's memory, by its equations: f for an LSTM, z for a GRU.

    Of several states that keep a fraction of themselves it is the last: what is remembered comes after what is put out.
    """
    # At random values, two things that are equal at every sample are the same.
    rng = np.random.default_rng(0)
    saved = rng.uniform(0.05, 0.95, (len(cell.saved), _SAMPLES))
    old, new = rng.uniform(-0.95, 0.95, (2, len(cell.states), _SAMPLES))
    fraction = direct_factors(cell, saved, old, new)
    state = next((s for s in reversed(range(len(cell.states))) if fraction[s].any()), None)
    if state is None:
        return MemoryGate()
    for k, name in enumerate(cell.saved):
        for sign, value in ((1, saved[k]), (-1, 1 - saved[k])):
            if np.array_equal(fraction[state], value):
                opened_by = name if name in cell.gates and gate_ranges(cell)[k] == (0.0, 1.0) else ""
                input_gate, coupled = _inflow(cell, state, opened_by, sign, old) if opened_by else ("", False)
                return MemoryGate(
                    name=name if sign == 1 else "",
                    state=state,
                    saved=k if sign == 1 else None,
                    opened_by=opened_by,
                    sign=sign if opened_by else 0,
                    input_gate=input_gate,
                    coupled=coupled,
                )
    return MemoryGate(state=state)


def _inflow(cell: Cell, state: int, opened_by: str, sign: int, old: Array) -> tuple[str, bool]:
    """Return which gate lets into a state, and whether the open memory gate lets nothing in."""

    def after(**pre_activations: float) -> Array:
        rng = np.random.default_rng(1)
        wx, rh = rng.uniform(-0.95, 0.95, (2, len(cell.gates), _SAMPLES))
        for name, value in pre_activations.items():
            wx[cell.gates.index(name)] = value
        return np.asarray(evaluate(cell, tuple(wx), tuple(rh), tuple(old))[0][state])

    shut = {opened_by: sign * _SHUT}
    sigmoids = {
        name for name, limits in zip(cell.saved, gate_ranges(cell), strict=True) if limits == (0.0, 1.0)
    }
    others = [name for name in cell.gates if name in sigmoids and name != opened_by]
    input_gate = next((name for name in others if not after(**shut, **{name: _SHUT}).any()), "")
    return input_gate, bool(np.array_equal(after(**{opened_by: -sign * _SHUT}), old[state]))
