"""Whether training, or the evaluation of a model, fits into the memory that is free: counted before it is taken."""

from __future__ import annotations

from typing import Any

from gatescope.cells.registry import get
from gatescope.checks.memory import check_memory
from gatescope.datatypes import Stack
from gatescope.datatypes.stack import first_backward, output_size_of
from gatescope.errors import NOTHING
from gatescope.kernels.cpu.blocks import blocks_for, groups_for
from gatescope.training.workspace import LayerSizes, sizes_for, ways_of

WHOLE_BYTES = 1 << 30  # up to which the states and gates of a window are stored, by default
_KEPT = 3  # copies of the weights beside the engine's: before the last update, the best, the result's
_STEP_BYTES = 16  # at least, of a step of a window
_INDEX_BYTES = 32  # a weight: its places in what the kernels read, forwards and backwards


def engine_bytes(
    stack: Stack,
    steps: int,
    sequences: int,
    *,
    learns: bool = True,
    memory: int = WHOLE_BYTES,
    dropout: bool = False,
    noise: bool = False,
) -> int:
    """Return how many bytes an engine takes for windows of `steps` steps of `sequences` sequences.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.training.memory import engine_bytes
    >>> stack = gs.init_stack("lstm", hidden_size=8, heads=gs.tasks.laser(steps=500))
    >>> engine_bytes(stack, 500, 1) < engine_bytes(stack, 500, 64) < engine_bytes(stack, 5000, 64)
    True
    """
    itemsize, layers = stack.dtype.itemsize, []
    for params in stack.directions().values():
        cell, sizes = get(params.cell), (params.input_size, params.hidden_size)
        layers.append(LayerSizes(sizes[0], len(cell.states), len(cell.saved), sizes[1], params.reverse))
    units = max(layer.units for layer in layers)
    window = sizes_for(
        layers,
        ways_of(stack),
        output_size_of(stack.layers[-1]),
        itemsize,
        blocks_for(sequences, units),
        steps,
        learn=learns,
        memory=memory,
        drops=(dropout and learns,) * 2,
    )
    # Of each weight: as they are and noisy, what the kernels read (twice with masks), the gradient, its parts.
    copies = 1 + noise + 2 * (1 + dropout) + learns * (1 + len(groups_for(sequences, units)))
    weights = stack.size * (copies * itemsize + _INDEX_BYTES * (1 + dropout))
    return weights + window.total() * itemsize


def check_engine(
    name: str,
    stack: Stack,
    steps: int,
    sequences: int,
    *,
    vectors: int = 0,
    advice: str,
    **options: Any,
) -> None:
    """Refuse windows for which the free memory does not do, and say of how many sequences it does.

    Parameters
    ----------
    name : str
        The argument that says how many sequences there are.
    stack : Stack
    steps, sequences : int
        The largest window.
    vectors : int
        More vectors of the weights' size that are needed: the optimizer's state.
    advice : str
        What to do.
    **options
        As for `engine_bytes`.
    """
    more = stack.size * stack.dtype.itemsize * vectors

    def needed(count: int) -> int:
        return more + engine_bytes(stack, steps, count, **options)

    # Where a window is long, what is known of its segments is more than they hold.
    check_memory("steps", steps, lambda count: _STEP_BYTES * count, "the segments of a window", advice=advice)
    what = f"weights, states, gates and gradients of {sequences:,} sequences of {steps:,} steps"
    check_memory(name, NOTHING, needed, what, size=sequences, advice=advice)


def check_training(stack: Stack, steps: int, sequences: int, *, vectors: int, **options: Any) -> None:
    """Refuse training, of windows of `steps` steps, that the free memory does not hold; `vectors` the optimizer's."""
    cut = "shorter sequences" if first_backward(stack) else "`bptt_steps`"
    advice = f"give a smaller `batch_size` or {cut}, or a smaller model"
    check_engine("batch_size", stack, steps, sequences, vectors=vectors + _KEPT, advice=advice, **options)


def check_snapshots(stack: Stack, epochs: int, every: int | None) -> None:
    """Refuse more copies of the weights than the free memory holds."""
    if every is not None:
        one = stack.size * stack.dtype.itemsize
        check_memory(
            "epochs",
            epochs,
            lambda count: (2 + count // every) * one,
            "the snapshots",
            advice="give a larger `snapshot_every`",
        )
