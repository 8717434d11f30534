"""Several layers on the CPU, one on top of another, run and differentiated piece by piece as one network."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.blocks import blocks_for
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.kernels.cpu.stack_adjoints import StackAdjoints
from gatescope.kernels.cpu.threads import ahead, open_pool
from gatescope.kernels.device import Derivatives


class Layered:
    """States or gates of a piece of a run, an array a layer from the lowest, which are cut along time together."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = tuple(arrays)

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and sequences."""
        return self.arrays[0].shape[:2]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, steps: slice) -> Layered:
        return Layered([array[steps] for array in self.arrays])


class LayeredDerivatives:
    """What derives the saturated steps of each layer of a stack.

    Attributes
    ----------
    parts : tuple
        The derivatives of each layer, from the lowest.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = tuple(parts)

    def bytes(self, steps: int, batch: int, slots: int = 1) -> int:
        """Return what coefficients of pieces of so many steps take in memory, with the weights they are made of."""
        return sum(part.bytes(steps, batch, slots) for part in self.parts)


class StackDevice:
    """Layers on the CPU; what its methods do `kernels.device.PieceDevice` says.

    The joint state (B, N) has all states of all layers, from the lowest.

    Parameters
    ----------
    layers : sequence of Params
        From the lowest; checked, forward, with the clamps applied.
    threads : int
        At most so many are used; no result depends on it.
    """

    name = "cpu"

    def __init__(self, layers: Sequence[Params], threads: int) -> None:
        self._layers, self._threads = tuple(layers), threads
        self._devices = [CpuDevice(get(params.cell), params, threads) for params in layers]
        self._shapes = [(len(get(params.cell).states), params.hidden_size) for params in layers]
        self.carries = self._devices[0].carries

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        return self._devices[0].piece(steps, step_bytes, state_bytes)

    def gate_bytes(self, batch: int) -> int:
        return sum(device.gate_bytes(batch) for device in self._devices)

    def overlaps(self, batch: int, directions: int) -> bool:
        return all(device.overlaps(batch, directions) for device in self._devices)

    def buffers(self, steps: int, batch: int) -> tuple[Layered, Layered]:
        states, gates = zip(*(device.buffers(steps, batch) for device in self._devices), strict=True)
        return Layered(states), Layered(gates)

    def forward(self, inputs: Array, first_state: Array, states: Layered, gates: Layered) -> None:
        first = self.split(first_state)
        for device, state, of_layer, saved in zip(
            self._devices, first, states.arrays, gates.arrays, strict=True
        ):
            device.forward(inputs, state, of_layer, saved)
            inputs = outputs_of(of_layer)

    def ends(
        self, pieces: Iterator[Array], first_state: Array, states: Layered, gates: Layered
    ) -> Generator[Array, None, None]:
        """Yield the last states of pieces as `PieceDevice.ends` says.

        Where threads are idle, the layer below is at the next piece already.
        """
        blocks = max(len(blocks_for(first_state.shape[0], units)) for _, units in self._shapes)
        stream: Iterator[tuple[Array, list[Array]]] = ((inputs, []) for inputs in pieces)
        parts = zip(self._devices, self.split(first_state), states.arrays, gates.arrays, strict=True)
        with open_pool(len(self._layers)) as pool:
            for number, part in enumerate(parts, 1):
                stream = _through(stream, *part)
                if number < min(len(self._layers), self._threads // blocks):
                    stream = ahead(stream, pool)
            for _, last in stream:
                yield join(last)

    def derive(
        self, exact: LayeredDerivatives, inputs: Array, states: Layered, gates: Layered, slot: int
    ) -> Layered:
        derived = []
        for device, part, of_layer, saved in zip(
            self._devices, exact.parts, states.arrays, gates.arrays, strict=True
        ):
            derived.append(_derived(device, part, inputs, of_layer, saved, slot))
            inputs = of_layer[1:, :, 0]
        return Layered(derived)

    def last(self, states: Layered) -> Array:
        return join([array[-1] for array in states.arrays])

    def adjoints(
        self, directions: Array, asked: Collection[int] | None = None, *, inputs: bool = False
    ) -> StackAdjoints:
        """Return adjoints that carry `directions` (B, M, N) back to the layers `asked` for, by default all.

        With `inputs` they are carried on to the gradients of the inputs.
        """
        asked = range(len(self._layers)) if asked is None else asked
        plans = [
            sweeps.plan_for(get(params.cell), params.hidden_size, params.dtype) for params in self._layers
        ]
        return StackAdjoints(plans, self._layers, self.split(directions), self._threads, asked, inputs=inputs)

    def split(self, joint: Array) -> list[Array]:
        """Return the states (..., S, H) of each layer of joint ones (..., N)."""
        edges = np.cumsum([0, *(states * units for states, units in self._shapes)])
        return [
            np.ascontiguousarray(joint[..., begin:end]).reshape(*joint.shape[:-1], *shape)
            for begin, end, shape in zip(edges, edges[1:], self._shapes, strict=False)
        ]


def _through(
    below: Iterator[tuple[Array, list[Array]]], device: CpuDevice, state: Array, states: Array, gates: Array
) -> Iterator[tuple[Array, list[Array]]]:
    """Run a layer over pieces, which come with the last states of the layers below; yield what the next one takes."""
    for inputs, last in below:
        device.forward(inputs, state, states, gates)
        state = device.last(states)
        yield outputs_of(states), [*last, state]


def outputs_of(states: Array) -> Array:
    """Return a copy of the outputs (T, B, H) of a layer's states (T+1, B, S, H), as the next one takes them."""
    return states[1:, :, 0].copy()


def join(states: Sequence[Array]) -> Array:
    """Return joint states (..., N) of the states (..., S, H) of each layer."""
    return np.concatenate([state.reshape(*state.shape[:-2], -1) for state in states], axis=-1)


def _derived(
    device: CpuDevice, exact: Derivatives, inputs: Array, states: Array, gates: Array, slot: int
) -> Array:
    if not exact.saturated(states, gates):
        return gates
    return exact.derive(np.ascontiguousarray(inputs), states, gates, slot)
