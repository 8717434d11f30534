"""The CPU device: `forward` and `backward` on NumPy arrays that are already checked; adjoints are in `adjoints`.

The results are the same bits for any number of threads: `blocks` says how sequences are dealt out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.datatypes import Array, Params
from gatescope.kernels.cache_line import CACHE_LINE
from gatescope.kernels.cpu import layout
from gatescope.kernels.cpu.aligned import aligned_parts, aligned_zeros
from gatescope.kernels.cpu.blocks import blocks_for, groups_for, longest
from gatescope.kernels.cpu.packing import SumLayout, add_up
from gatescope.kernels.cpu.threads import each
from gatescope.kernels.cpu.unit_shares import Team, sweep, team_of_one, team_size

Panels = tuple[Array, ...]

# A segment's scratch should stay in the first-level cache where it can.
_SEGMENT_BYTES = 1 << 15
_SEGMENT_ROWS = 128
# Below this many multiply-adds, starting a second thread takes longer than it saves.
_THREAD_WORK = 1 << 24
# Results larger than this do not stay in the caches, so they are written past them, by non-temporal stores.
_NONTEMPORAL_BYTES = 1 << 24


@dataclass(frozen=True)
class CellPlan:
    """Counts that follow from a cell and its sizes: what kernels are compiled for and how scratch is laid out."""

    cell: Cell
    hidden_size: int
    dtype: np.dtype
    lanes: int
    vectors: int
    first: int  # gates of the first recurrent product
    second: int  # gates of the second recurrent product; 0 if there is none

    @property
    def padded(self) -> int:
        """Hidden units rounded up to whole vectors."""
        return self.vectors * self.lanes

    def tiles(self, rows: int) -> tuple[layout.Tiles, layout.Tiles]:
        """Return the register tiles of the first and the second recurrent product of `rows` sequences."""
        # Without a second phase always the same second tiles: other ones would be another kernel of the same code.
        return (
            layout.tiles_for(self.first, self.hidden_size, self.lanes, rows),
            layout.tiles_for(self.second, self.hidden_size, self.lanes, rows) if self.second else layout.NONE,
        )

    @property
    def panel_widths(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Vectors of a forward and of an adjoint panel, of the first and of the second recurrent product."""
        # Of any number of rows: weights are laid out before it is known how many there are.
        return tuple((tiles.forward.width, tiles.adjoint.width) for tiles in self.tiles(1))  # type: ignore[return-value]

    def threads(self, threads: int, steps: int, rows: int) -> int:
        """Return how many of the threads are worth starting for a sweep."""
        work = steps * rows * len(self.cell.gates) * self.padded**2
        return threads if work > _THREAD_WORK else 1

    def nontemporal(self, *results: Array) -> bool:
        """Return whether to write results by non-temporal stores: they are large, in rows of whole cache lines."""
        whole = self.hidden_size * self.dtype.itemsize % CACHE_LINE == 0
        aligned = all(array.ctypes.data % CACHE_LINE == 0 for array in results)
        return whole and aligned and sum(array.nbytes for array in results) > _NONTEMPORAL_BYTES

    def segment(self, sequences: int, steps: int) -> int:
        """Return the steps whose scratch fits the cache, but enough rows to load and store a gradient tile seldom."""
        row = self.padded * len(self.cell.gates) * self.dtype.itemsize
        rows = max(_SEGMENT_ROWS, _SEGMENT_BYTES // row)
        return min(steps, max(8, rows // sequences // 8 * 8))


@lru_cache(maxsize=256)
def plan_for(cell: Cell, hidden_size: int, dtype: np.dtype) -> CellPlan:
    """Return the plan for a cell of that size in that precision on this machine."""
    lanes = layout.lanes_for(dtype)
    gates = len(cell.gates)
    first = cell.prepared or gates
    second = gates - first
    return CellPlan(
        cell=cell,
        hidden_size=hidden_size,
        dtype=dtype,
        lanes=lanes,
        vectors=layout.vectors_for(hidden_size, lanes),
        first=first,
        second=second,
    )


def by_phase(plan: CellPlan, weight: Array) -> tuple[Array, Array]:
    """Return the rows of a recurrent weight or bias that belong to the first and to the second phase."""
    edge = plan.first * plan.hidden_size
    return weight[:edge], weight[edge:]


def forward_panels(plan: CellPlan, params: Params) -> Panels:
    """Return all weights as the forward kernel reads them."""
    gates, lanes = len(plan.cell.gates), plan.lanes
    (w_1, w_2), (b_1, b_2) = by_phase(plan, params.weight_hh), by_phase(plan, params.bias_hh)
    nothing, (first, second) = aligned_zeros(1, plan.dtype), plan.panel_widths
    return (
        layout.forward_panel(params.weight_ih, gates, lanes, layout.input_tile(gates)[1]),
        layout.bias_panel(params.bias_ih, gates, lanes),
        layout.forward_panel(w_1, plan.first, lanes, first[0]),
        layout.bias_panel(b_1, plan.first, lanes),
        layout.forward_panel(w_2, plan.second, lanes, second[0]) if plan.second else nothing,
        layout.bias_panel(b_2, plan.second, lanes) if plan.second else nothing,
    )


def forward_kernel(plan: CellPlan, rows: int, masked: bool = False) -> Callable[..., int]:
    """Return the forward kernel for blocks of at most `rows` sequences; `masked`: see `loops.forward`."""
    from gatescope.kernels.cpu.loops.forward import make_forward

    first, second = plan.tiles(rows)
    kernel: Callable[..., int] = make_forward(plan.cell, plan.lanes, first.forward, second.forward, masked)
    return kernel


def backward_kernel(plan: CellPlan, rows: int, masked: bool = False) -> Callable[..., int]:
    """Return the backward kernel for blocks of at most `rows` sequences; `masked`: see `loops.forward`."""
    from gatescope.kernels.cpu.loops.backward import make_backward

    tiles = ((t.adjoint, t.gradient) for t in plan.tiles(rows))
    kernel: Callable[..., int] = make_backward(plan.cell, plan.lanes, *tiles, masked)
    return kernel


def forward_work(
    plan: CellPlan, rows: int, segment: int, factors: Array | None = None, *, shared: bool = False
) -> tuple[Array | Team, ...]:
    """Return the scratch of the forward kernel for a block of `rows` sequences; `shared`: by several threads."""
    each = (
        segment * plan.padded * len(plan.cell.gates),
        plan.padded * plan.first,
        plan.padded * max(plan.second, 1),
        plan.padded * len(plan.cell.states) * (1 + shared),
        plan.padded,
        plan.padded * max(plan.cell.prepared, 1),
    )
    scratch = aligned_parts([rows * size for size in each], plan.dtype)
    return (*scratch, aligned_zeros(1, plan.dtype) if factors is None else factors, team_of_one())


def backward_work(
    plan: CellPlan, rows: int, segment: int, width: int, factors: Array | None = None
) -> tuple[Array | Team, ...]:
    """Return the scratch of the backward kernel for a block of `rows` sequences with `width` inputs."""
    lanes, padded, vectors, dtype = plan.lanes, plan.padded, plan.vectors, plan.dtype
    pair = layout.INPUT_PAIR * lanes
    wide = layout.vectors_for(width, pair) * pair

    def rows_of(count: int) -> int:
        return rows * segment * (vectors * count * lanes + lanes)

    sizes = (
        rows * len(plan.cell.states) * padded,
        rows * padded,
        rows_of(1 if plan.cell.shared and not plan.second else len(plan.cell.gates)),
        rows_of(plan.first),
        rows_of(plan.second if plan.second else 1),
        rows_of(1),
        rows_of(1) if plan.second else 1,
        rows * segment * (width + lanes),
        rows * segment * wide,
        1,
        max(padded, wide),
    )
    *scratch, ones, zeros = aligned_parts(sizes, dtype)
    ones.fill(1)
    zeros.fill(0)
    factors = aligned_zeros(1, dtype) if factors is None else factors
    return (*scratch, ones, zeros, factors, team_of_one())


def backward_panels(plan: CellPlan, params: Params) -> Panels:
    """Return the weights as the backward kernel reads them."""
    return (
        *adjoint_panels(plan, params),
        layout.input_weights(params.weight_ih, len(plan.cell.gates), plan.lanes, layout.INPUT_PAIR),
    )


def adjoint_panels(plan: CellPlan, params: Params) -> tuple[Array, Array]:
    """Return the recurrent weights of both phases as the kernels read them that carry adjoints."""
    (w_1, w_2), ((_, first), (_, second)) = by_phase(plan, params.weight_hh), plan.panel_widths
    return (
        layout.adjoint_panel(w_1, plan.first, plan.lanes, first),
        layout.adjoint_panel(w_2, plan.second, plan.lanes, second)
        if plan.second
        else aligned_zeros(1, plan.dtype),
    )


def sum_shapes(plan: CellPlan, inputs: int) -> list[tuple[int, int, int, int]]:
    """Return the shapes of the backward kernel's sums: gradient panels of w_ih, b_ih, w_hh, b_hh and the second two."""
    gates, units, vectors = len(plan.cell.gates), plan.hidden_size, plan.vectors
    first, second = (tiles.gradient.width for tiles in plan.tiles(1))
    across = gates if inputs <= layout.FEW_INPUTS else layout.input_tile(gates)[1]
    sums = [
        (inputs, gates, across),
        (1, gates, gates),
        (units, plan.first, first),
        (1, plan.first, plan.first),
    ]
    if plan.second:
        sums += [(units, plan.second, second), (1, plan.second, plan.second)]
    else:
        sums += [(1, 1, vectors), (1, 1, vectors)]
    return [(vectors * count // width, rows, width, plan.lanes) for rows, count, width in sums]


def unpack_sums(plan: CellPlan, sums: Panels) -> Panels:
    """Return the six sums as gradients of weight_ih, weight_hh, bias_ih, bias_hh."""
    counts = (*(len(plan.cell.gates),) * 2, plan.first, plan.first)
    g_w_ih, g_b_ih, g_w_hh, g_b_hh = (
        layout.unpack_gradient(s, count, plan.hidden_size) for s, count in zip(sums, counts, strict=False)
    )
    if plan.second:
        second = [layout.unpack_gradient(s, plan.second, plan.hidden_size) for s in sums[4:]]
        g_w_hh, g_b_hh = (np.concatenate(two) for two in zip((g_w_hh, g_b_hh), second, strict=True))
    elif plan.cell.shared:
        g_b_ih = g_b_hh.copy()
    return g_w_ih, g_w_hh, g_b_ih[:, 0].copy(), g_b_hh[:, 0].copy()


def forward(
    plan: CellPlan,
    panels: Panels,
    inputs: Array,
    states: Array,
    gates: Array,
    lengths: Array,
    threads: int,
    *,
    alone: bool = False,
) -> None:
    """Fill states[1:] and gates from states[0].

    Shapes: inputs (T, B, I), states (T+1, B, S, H), gates (T, B, K, H), lengths (B,) int64.  `alone`: whether no
    other thread is at work beside.  Then threads get a block each, or share the units where there is one block.
    """
    steps, batch = inputs.shape[:2]
    threads = plan.threads(threads, steps, batch)
    blocks = blocks_for(batch, plan.hidden_size, threads if alone else 1)
    kernel = forward_kernel(plan, longest(blocks))
    nontemporal = plan.nontemporal(states, gates)
    step_work = batch * len(plan.cell.gates) * plan.padded**2
    members = 1
    if alone and len(blocks) == 1:
        members = team_size(plan.hidden_size, plan.vectors, batch, threads, steps * step_work)
    if members > 1:
        *scratch, _ = forward_work(plan, batch, plan.segment(batch, steps), shared=True)
        sweep(
            lambda first, last, team: kernel(
                panels, inputs, states, gates, lengths, (0, batch, first, last, nontemporal), (*scratch, team)
            ),
            steps,
            step_work,
            members,
        )
        return

    def one(index: int) -> None:
        begin, end = blocks[index]
        work = forward_work(plan, end - begin, plan.segment(end - begin, steps))
        kernel(panels, inputs, states, gates, lengths, (begin, end, 0, steps, nontemporal), work)

    each(one, len(blocks), threads)


def backward(
    plan: CellPlan,
    params: Params,
    trace: tuple[Array, ...],
    lengths: Array,
    output_adjoint: Array,
    adjoint: Array,
    d_inputs: Array,
    threads: int,
) -> Panels:
    """Fill adjoint[:T] and d_inputs from adjoint[T]; return the gradients of the four weight arrays.

    trace: inputs, states and gates as for `forward`; output_adjoint (T, B, H) or of size 0;
    adjoint (T+1, B, S, H); d_inputs (T, B, I).
    """
    steps, batch, width = trace[0].shape
    weights = backward_panels(plan, params)
    threads = plan.threads(threads, steps, batch)
    groups = groups_for(batch, plan.hidden_size, threads)
    blocks = groups.sequences
    kernel = backward_kernel(plan, longest(blocks))
    nontemporal = plan.nontemporal(adjoint)
    of_sums = SumLayout(sum_shapes(plan, width), plan.dtype)
    sums = aligned_zeros((len(groups), of_sums.size), plan.dtype)
    step_work, members = 3 * batch * len(plan.cell.gates) * plan.padded**2, 1
    if len(blocks) == 1:
        members = team_size(plan.hidden_size, plan.vectors, batch, threads, steps * step_work)

    def one(index: int) -> None:
        begin, end = blocks[index]
        segment = plan.segment(groups.rows(index), steps)
        *scratch, _ = backward_work(plan, end - begin, segment, width)
        own = sums[slice(*groups.blocks[index])], of_sums.starts, groups.edges_of(index)

        def back(done: int, until: int, team: Team) -> int:
            """Go back from where so many steps are done until so many are; return how many are then."""
            span = (begin, end, steps - until, steps - done, nontemporal)
            results, work = (adjoint, d_inputs), (*scratch, team)
            return int(steps - kernel(weights, trace, lengths, output_adjoint, results, span, work, own))

        if members > 1:
            sweep(back, steps, step_work, members, segment)
        else:
            back(0, steps, team_of_one())

    each(one, len(blocks), threads)
    add_up(sums, lambda work, count: each(work, count, threads))
    return unpack_sums(plan, of_sums.views(sums[0]))
