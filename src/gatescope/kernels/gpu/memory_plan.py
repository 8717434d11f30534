"""How much memory a sweep on the GPU takes, and what to do about one that does not fit."""

from __future__ import annotations

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.errors import DeviceError

# The allocator's rounding, the exchange buffers and the products' workspaces take their part.
_USABLE = 0.9
_SCRATCH_SHARE = 0.5  # of what is free, for what a backward sweep keeps between its products


def _human(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.2f} {unit}"
        size /= 1024
    raise AssertionError


def bytes_of_run(cell: Cell, hidden: int, steps: int, batch: int, width: int, dtype: np.dtype) -> int:
    """Bytes that a run's inputs, states and gates take, and its projections where they need room of their own."""
    kept, states, gates = len(cell.kept), len(cell.states), len(cell.gates)
    extra = 0 if max(kept, states) >= gates else gates
    return int(
        dtype.itemsize * batch * (steps * (width + (kept + states + extra) * hidden) + states * hidden)
    )


def step_of_scratch(cell: Cell, hidden: int, batch: int, dtype: np.dtype) -> int:
    """Bytes a step of what a backward sweep keeps for the gradients of the weights."""
    shared = cell.shared and not cell.prepared
    rows = len(cell.gates) * (1 if shared else 2) + (1 if cell.prepared else 0)
    return int(dtype.itemsize * batch * rows * hidden)


def bytes_of_backprop(
    cell: Cell, hidden: int, steps: int, batch: int, width: int, dtype: np.dtype, seeded: bool
) -> int:
    """Bytes that the adjoints, the gradients of the inputs and the output adjoints take, and a step of scratch."""
    states = len(cell.states)
    elements = (steps + 1) * states * hidden + steps * width + (steps * hidden if seeded else 0)
    return int(dtype.itemsize * batch * elements) + step_of_scratch(cell, hidden, batch, dtype)


def steps_that_fit(steps: int, step: int, free: int) -> int:
    """Steps of a segment whose scratch takes at most its share of what is free; at least 1."""
    return int(max(1, min(steps, _SCRATCH_SHARE * free // step)))


def check_fits(what: str, needed: int, memory: tuple[int, int], batch: int) -> None:
    """Whether `needed` bytes are there; memory: bytes free and in total.

    Raises
    ------
    DeviceError
        If not: says how much is needed, how much there is, and which batch would fit.
    """
    free, total = memory
    if needed <= _USABLE * free:
        return
    each = needed / batch
    fits = int(_USABLE * free // each)
    if fits >= 1:
        advice = f"split the batch: {fits} of the {batch} sequences fit at a time"
    else:
        advice = "run fewer steps at a time, each part from the final state of the one before"
    raise DeviceError(
        f"{what} needs {_human(needed)} of GPU memory, but {_human(free)} of {_human(total)} are free; {advice}, "
        "use dtype='float32' if these are float64, or device='cpu'. gradient_flow works in segments, so it fits"
    )
