"""The plan of a launch: how a sweep over a cell of some size is spread over a GPU's blocks, threads and memories.

A sweep is a chain of matrix-vector products, one a step, that nothing but the chain's own order forbids to overlap.
So the weights stay where they are for the whole sweep and only the vector moves:

- A *group* of blocks carries `sequences` sequences.  One block is enough while the weights fit one multiprocessor;
  beyond that each of `blocks` blocks owns `units` of the hidden units, and the blocks pass the vector on at every step.
- In a block, `parts` neighbouring threads share a product: each multiplies its slice of the vector by its weights for
  `outputs` results, and shuffles add the parts up.  Afterwards each thread holds one unit of one sequence.
- Of a thread's weights, as many as fit are in registers, the next in shared memory, the rest is streamed from the
  level-2 cache at every step.

`choose` counts what each plan would cost and takes the cheapest.  The counts are a model: throughputs are the
hardware's, the latencies (constants below) are estimates until benchmarks/gpu.py has measured them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.errors import DeviceError
from gatescope.kernels.device import USE_CPU

WARP = 32
# A multiprocessor has four schedulers, each with registers of its own for the warps it is given.
_SCHEDULERS, _REGISTERS, _MOST_REGISTERS = 4, 16384, 255
# Registers a thread needs beside weights and sums: addresses, gates, states, what is loaded ahead.
_OVERHEAD = {4: 78, 8: 110}
# Cycles; a float64 chain is longer because its division and polynomials are.
_ELEMENTWISE = {4: 220, 8: 600}
_BARRIER, _SHUFFLE, _EXCHANGE = 40, 26, 1100
_STREAM_BYTES = 32  # bytes a cycle that a multiprocessor gets from the level-2 cache


@dataclass(frozen=True)
class DeviceProperties:
    """What a launch plan depends on: multiprocessors, bytes of shared memory a block may have."""

    multiprocessors: int
    shared_limit: int


@dataclass(frozen=True)
class Tile:
    """One thread's part of a product, and where its weights are.

    Attributes
    ----------
    length : int
        Of the vector.
    outputs : int
        Results a thread has a part of: `width` values for each of the threads' units.
    slice : int
        Elements of the vector a thread multiplies; `stride` apart in shared memory.
    registers, shared, streamed : int
        How many of the slice's elements have their weights there.
    """

    length: int
    outputs: int
    sequences: int
    parts: int
    slice: int
    stride: int
    registers: int
    shared: int
    streamed: int
    threads: int
    quantum: int

    @property
    def row(self) -> int:
        """Elements of shared memory that one sequence's vector takes."""
        return self.parts * self.stride

    @property
    def buffer(self) -> int:
        """Elements of shared memory that all vectors take."""
        return self.sequences * self.row

    @property
    def shared_weights(self) -> int:
        """Elements of shared memory that a block's weights take."""
        return self.shared * self.outputs * self.threads

    @property
    def packed(self) -> int:
        """Weights of one block, padding included."""
        return self.slice * self.outputs * self.threads


@dataclass(frozen=True)
class LaunchPlan:
    """How one sweep runs: see the module's text.

    Attributes
    ----------
    blocks : int
        A group.
    units : int
        Hidden units a block owns; each `together` of them belong to the same threads.
    first, second : Tile
        Of the first recurrent product and of a two-phase cell's second (a copy of the first otherwise, not used).
    """

    blocks: int
    units: int
    sequences: int
    together: int
    parts: int
    threads: int
    first: Tile
    second: Tile
    two_phase: bool
    itemsize: int

    @property
    def spread(self) -> int:
        """Threads that hold the same unit of the same sequence."""
        return self.parts // (self.sequences * self.together)

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return self.threads // WARP

    @property
    def peaks(self) -> int:
        """Elements of shared memory for the largest magnitudes, one a warp and sequence."""
        return _round_up(self.sequences * self.warps * self.blocks, 4)  # what follows stays aligned

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block."""
        elements = 2 * (self.first.buffer + self.peaks) + self.first.shared_weights
        if self.two_phase:
            elements += self.second.buffer + self.second.shared_weights
        return elements * self.itemsize

    @property
    def packed(self) -> int:
        """Weights of all blocks, padding included."""
        tiles = (self.first, self.second) if self.two_phase else (self.first,)
        return self.blocks * sum(tile.packed for tile in tiles)

    def groups_at_once(self, rows: int, multiprocessors: int) -> int:
        """Return how many groups a launch for `rows` sequences has.

        Blocks that wait for each other must all be there: no more of them than multiprocessors.
        """
        groups = -(-rows // self.sequences)
        return groups if self.blocks == 1 else min(groups, multiprocessors // self.blocks)

    def exchange_words(self, groups: int) -> int:
        """Return how many words of 64 bits the groups' exchange buffers hold."""
        words = self.itemsize // 4
        if self.blocks == 1:
            return words
        numbers = self.sequences * self.first.length + self.peaks
        if self.two_phase:
            numbers += self.sequences * self.second.length
        return 2 * groups * numbers * words


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def registers_of(threads: int) -> int:
    """Return how many registers a thread can have in a block of so many threads."""
    warps = -(-threads // (WARP * _SCHEDULERS))
    return min(_MOST_REGISTERS, _REGISTERS // (warps * WARP) // 8 * 8)


def _tile(
    length: int, outputs: int, sequences: int, parts: int, threads: int, itemsize: int, budget: int
) -> Tile:
    quantum = 16 // itemsize
    piece = _round_up(-(-length // parts), quantum)
    # An odd number of 16-byte units apart: the parts' loads fall into different banks.
    stride = piece if piece // quantum % 2 else piece + quantum
    registers = max(0, min(piece, budget // outputs // quantum * quantum))
    return Tile(
        length=length, outputs=outputs, sequences=sequences, parts=parts, slice=piece, stride=stride,
        registers=registers, shared=0, streamed=piece - registers, threads=threads, quantum=quantum,
    )  # fmt: skip


def _with_shared(tile: Tile, elements: int) -> Tile:
    """Move as many streamed weights into shared memory as `elements` allow."""
    row = tile.outputs * tile.threads
    moved = min(tile.streamed, max(0, elements) // row // tile.quantum * tile.quantum)
    return Tile(**{**tile.__dict__, "shared": moved, "streamed": tile.streamed - moved})


def _candidates(
    lengths: tuple[int, int], widths: tuple[int, int], hidden: int, itemsize: int,
    properties: DeviceProperties, backward: bool,
) -> Iterator[LaunchPlan]:  # fmt: skip
    """Yield every plan that fits; lengths and widths are of the first and the second product (0: none)."""
    most = properties.multiprocessors
    all_blocks = sorted({b for p in range(12) for b in (2**p, 3 * 2**p) if b <= most})
    powers = (1, 2, 4, 8)
    for blocks, together, parts in product(all_blocks, powers if backward else (1,), (*powers, 16, 32)):
        units = _round_up(-(-hidden // blocks), together)
        threads = _round_up(units // together * parts, WARP)
        if blocks > 1 and (units < 8 or hidden <= 64 or (blocks - 1) * units >= hidden):
            continue
        if threads > 512 or (threads < 64 and parts < 32 and units * parts < 32):
            continue
        sizes = (units, blocks, together, parts, threads)
        for sequences in powers:
            if sequences * together <= parts:
                plan = _fill(lengths, widths, *sizes, sequences, itemsize, properties)
                if plan is not None:
                    yield plan


def _fill(
    lengths: tuple[int, int], widths: tuple[int, int], units: int, blocks: int, together: int, parts: int,
    threads: int, sequences: int, itemsize: int, properties: DeviceProperties,
) -> LaunchPlan | None:  # fmt: skip
    """Give registers and shared memory to the weights of one plan; None if not even the vectors fit."""
    wide = itemsize // 4
    sums = sequences * together * max(widths) * wide
    budget = (registers_of(threads) - _OVERHEAD[itemsize] - sums) // wide
    if budget < 0:
        return None
    outputs = [together * max(width, 1) for width in widths]
    first = _tile(lengths[0], outputs[0], sequences, parts, threads, itemsize, budget)
    second = first
    if lengths[1]:
        budget -= first.registers * first.outputs
        second = _tile(lengths[1], outputs[1], sequences, parts, threads, itemsize, budget)
    draft = LaunchPlan(
        blocks=blocks, units=units, sequences=sequences, together=together, parts=parts, threads=threads,
        first=first, second=second, two_phase=bool(lengths[1]), itemsize=itemsize,
    )  # fmt: skip
    free = (properties.shared_limit - draft.shared_bytes) // itemsize
    if free < 0:
        return None
    first = _with_shared(first, free)
    second = _with_shared(second, free - first.shared_weights) if lengths[1] else first
    return LaunchPlan(**{**draft.__dict__, "first": first, "second": second})


def _cycles(plan: LaunchPlan, rows: int, properties: DeviceProperties) -> float:
    """Return the estimated cycles of one step of all rows."""
    size, warps = plan.itemsize, plan.warps
    lanes = 128 if size == 4 else 64
    tiles = [plan.first, plan.second] if plan.two_phase else [plan.first]
    busy = latency = 0.0
    for tile in tiles:
        work = tile.slice * tile.outputs * tile.sequences
        # A multiprocessor has four schedulers: fewer than four warps leave some idle.
        multiply = max(warps, 4) * WARP * work / lanes
        loads = tile.slice * tile.sequences + tile.shared * tile.outputs
        shared = plan.threads * loads * size / 128
        stream = tile.streamed * tile.outputs * plan.threads * size / _STREAM_BYTES
        busy += max(multiply, shared) + stream
        rounds = max(plan.parts.bit_length() - 1, 0)
        latency += rounds * _SHUFFLE * (size // 4) + _BARRIER + 4 * work / max(tile.outputs, 4)
        if plan.blocks > 1:
            words = tile.sequences * tile.length * (size // 4) / plan.threads
            latency += _EXCHANGE + 12 * words
    busy += warps / 4 * 0.5 * _ELEMENTWISE[size]
    latency += _ELEMENTWISE[size]
    blocks = -(-rows // plan.sequences) * plan.blocks
    if plan.blocks == 1:
        resident = -(-blocks // properties.multiprocessors)
        # Blocks that share a multiprocessor hide each other's latency, not each other's work.
        fit = max(1, min(properties.shared_limit // max(plan.shared_bytes, 1), 512 // plan.threads))
        return max(1.0, resident / fit) * latency + resident * busy
    groups = properties.multiprocessors // plan.blocks
    return -(-rows // (groups * plan.sequences)) * (latency + busy)


@lru_cache(maxsize=1024)
def choose(
    cell: Cell, hidden: int, dtype: np.dtype, rows: int, backward: bool, properties: DeviceProperties
) -> LaunchPlan:
    """Return the cheapest plan for a sweep of `rows` sequences (or adjoint directions).

    Beyond twice as many rows as multiprocessors the GPU is full, and the choice no longer changes.

    Raises
    ------
    DeviceError
        If one step's vectors do not fit this GPU.
    """
    first = cell.prepared or len(cell.gates)
    second = len(cell.gates) - first
    if backward:
        lengths, widths = (first * hidden, second * hidden), (1, 1 if second else 0)
    else:
        lengths, widths = (hidden, hidden if second else 0), (first, second)
    rows = min(rows, 2 * properties.multiprocessors)
    plans = list(_candidates(lengths, widths, hidden, np.dtype(dtype).itemsize, properties, backward))
    if not plans:
        raise DeviceError(
            f"of a {cell.name} in {dtype} is too large for this GPU, which has {properties.multiprocessors} "
            f"multiprocessors with {properties.shared_limit // 1024} KiB of shared memory a block",
            argument="hidden_size",
            seen=hidden,
            advice=f"use float32 if it is float64, or {USE_CPU}",
        )
    return min(plans, key=lambda plan: (_cycles(plan, rows, properties), plan.blocks, plan.threads))
