"""A run: every state and every gate at every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gatescope.checks.arrays import Array, dtype_of
from gatescope.datatypes.result import Result, index_of
from gatescope.errors import UnknownNameError
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted


@dataclass(frozen=True, kw_only=True, repr=False)
class Trace(Result):
    """Everything a cell did over a run: every state and every gate at every step.

    Arrays of NumPy or, if `run` got weights that are there, of the GPU.  Those there have the
    ``__cuda_array_interface__``, so other libraries read them where they are; all work is in CUDA's default stream, so
    a library that works in another has to wait for it.

    Past the end of a sequence that is shorter than T (see `lengths`) its states keep their last value,
    so that ``final_state`` is right for all of them, and its gates are 0.

    Attributes
    ----------
    cell : str
    inputs : (T, B, I)
    states : (T+1, B, S, H)
        Index 0 is the initial state, index t + 1 the state after the step that read ``inputs[t]``.
    gates : (T, B, K, H)
        The saved values, in the order of `gate_names`: activations, not pre-activations.
    lengths : (B,) int64
        Number of steps of each sequence.
    state_names, gate_names : tuple of str
    clamp : (G, H) float64, or None
        The values at which `run` clamped gates, in the order of the weights' row blocks, NaN where a unit was free;
        None if all were.  `backprop` clamps them at the same values.  In NumPy, wherever the other arrays are.
    gate_ranges : tuple of ((float, float) or None), or None
        What each of `gate_names` can be by the cell's equations: ``(0.0, 1.0)`` for a sigmoid, ``(-1.0, 1.0)`` for a
        tanh, None for anything else.  None as a whole: not said.
    reverse : bool
        Whether the cell took the steps of each sequence from the last to the first.  Inputs, states and gates are in
        the order of the inputs all the same; past the end of a sequence, where this run has not begun yet, the states
        are the initial one.
    """

    cell: str
    inputs: Array
    states: Array
    gates: Array
    lengths: Array
    state_names: tuple[str, ...]
    gate_names: tuple[str, ...]
    clamp: Array | None = None
    gate_ranges: tuple[tuple[float, float] | None, ...] | None = None
    reverse: bool = False

    _axes: ClassVar[Mapping[str, str]] = {
        "inputs": "(T, B, I)",
        "states": "(T+1, B, S, H)",
        "gates": "(T, B, K, H)",
        "lengths": "(B,) int64",
        "state_names": "(S,)",
        "gate_names": "(K,)",
        "clamp": "(G, H) float64",
        "gate_ranges": "(K,)",
    }
    _by_name: ClassVar[Mapping[str, tuple[str, str]]] = {
        "states": ("S", "state_names"),
        "gates": ("K", "gate_names"),
    }
    _also: ClassVar[Mapping[str, str]] = {"mask": "(T, B) bool"}
    _rows: ClassVar[str] = "gates"

    def to_host(self) -> Trace:
        """Return the trace in NumPy arrays, itself if it is; waits for the run to end."""
        if self.gate_names or not self.on_device:
            return super().to_host()
        # A GPU holds no empty arrays, so there is a row there that nothing reads.
        steps, batch, units = self.inputs.shape[0], self.inputs.shape[1], self.states.shape[3]
        empty = np.empty((steps, batch, 0, units), dtype_of(self.states))
        return Result.to_host(dataclasses.replace(self, gates=empty))

    @property
    def outputs(self) -> Array:
        """(T, B, H) view: h after each step."""
        if not self.state_names:
            raise UnknownNameError("there are no outputs: the trace has gates alone", advice="use `gates`")
        return self.states[1:, :, 0]

    @property
    def h(self) -> Array:
        """(T+1, B, H) view of the hidden state; index 0 is the initial one."""
        return self.state("h")

    @property
    def c(self) -> Array:
        """(T+1, B, H) view of the cell state, for cells that have one."""
        return self.state("c")

    @property
    def final_state(self) -> Array:
        """(B, S, H) view: the state after the last step of each sequence."""
        last = 1 if self.reverse else self.states.shape[0] - 1
        final: Array = self.states[last]
        return final

    def as_taken(self) -> Trace:
        """Return the trace with the steps in the order in which the cell took them; itself unless `reverse`."""
        if not self.reverse:
            return self
        return dataclasses.replace(
            self,
            inputs=turned(self.inputs, self.lengths),
            states=states_as_taken(self.states, self.lengths),
            gates=turned(self.gates, self.lengths),
            reverse=False,
        )

    def as_given(self) -> Trace:
        """Return a trace whose steps are as the cell took them, last input first, in the order of the inputs."""
        return dataclasses.replace(
            self,
            inputs=turned(self.inputs, self.lengths),
            states=states_as_given(self.states, self.lengths),
            gates=turned(self.gates, self.lengths),
            reverse=True,
        )

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(T, B): True where the step belongs to the sequence."""
        return np.asarray(np.arange(self.inputs.shape[0])[:, None] < self.lengths[None, :], dtype=np.bool_)

    def state(self, name: str) -> Array:
        """Return a (T+1, B, H) view of one state by name."""
        return self.states[:, :, index_of(self.state_names, name, f"{self.cell} has the states")]

    def gate(self, name: str) -> Array:
        """Return a (T, B, H) view of one gate, or another saved value, by name."""
        return self.gates[:, :, index_of(self.gate_names, name, f"{self.cell} has the gates")]

    def bounds(self, name: str) -> tuple[float, float] | None:
        """Return the range of a gate, as in `gate_ranges`; None too for a state, or where none is known."""
        if not isinstance(name, str) or name not in self.gate_names:
            return None
        return dict(zip(self.gate_names, self.gate_ranges or (), strict=False)).get(name)

    def table(self) -> Table:
        """Return mean and extremes of every gate and state over the steps of the sequences."""
        host = self.to_host()
        values = {name: host.gate(name)[host.mask] for name in host.gate_names}
        values |= {name: host.state(name)[1:][host.mask] for name in host.state_names}
        rows = [
            (name, float(value.mean(dtype=np.float64)), float(value.min()), float(value.max()))
            for name, value in values.items()
            if value.size
        ]
        steps, batch = self.inputs.shape[:2]
        sizes = (
            f"{counted(steps, 'step')}, {counted(batch, 'sequence')}, {counted(self.states.shape[3], 'unit')}"
        )
        return Table(("", "mean", "least", "greatest"), rows, f"run of {self.cell}: {sizes}")

    @property
    def sigmoid_names(self) -> tuple[str, ...]:
        """Names of the gates that go from 0 (shut) to 1 (open)."""
        return tuple(name for name in self.gate_names if self.bounds(name) == (0, 1))


def turned(array: Array, lengths: Array) -> Array:
    """Return an array (T, B, ...) with the steps of each sequence in the other order; what lies past its end stays.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.datatypes.trace import turned
    >>> turned(np.array([[1, 4], [2, 5], [3, 0]]), np.array([3, 2])).T.tolist()
    [[3, 2, 1], [5, 4, 0]]
    """
    step = np.arange(array.shape[0])[:, None]
    source = np.where(step < lengths, lengths - 1 - step, step)
    return _rows(array, source)


def states_as_given(states: Array, lengths: Array) -> Array:
    """Return the states (T+1, B, ...) of a backward direction, as the cell took the steps, in the order of the inputs.

    Past the end of a sequence, where the run has not begun yet, they are the initial state.
    """
    step = np.arange(states.shape[0])[:, None]
    return _rows(states, np.where((step > 0) & (step <= lengths), lengths + 1 - step, 0))


def states_as_taken(states: Array, lengths: Array) -> Array:
    """Return the states (T+1, B, ...) of a backward direction, in the order of the inputs, as the cell took the steps.

    Past the end of a sequence they keep their last value, as those of a forward run do.
    """
    step = np.arange(states.shape[0])[:, None]
    final = np.minimum(lengths, 1)  # of a sequence without steps that is the initial state
    return _rows(states, np.where(step == 0, 0, np.where(step <= lengths, lengths + 1 - step, final)))


def _rows(array: Array, source: Array) -> Array:
    """Return ``array[source[t, b], b]`` for every step t and sequence b."""
    return np.ascontiguousarray(array[source, np.arange(array.shape[1])])
