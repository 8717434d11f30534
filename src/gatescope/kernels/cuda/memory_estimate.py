"""What takes how much memory of the GPU in a call of run or backprop, and what to do where it does not fit.

`plan` counts; ``print(plan(...))`` shows a table.  `check_fits` is asked before anything is computed.  `gradient_flow`
has no plan: it works in segments that are cut to what is free.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell, get
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_count
from gatescope.errors import DeviceError, UnknownNameError
from gatescope.kernels.cuda import backend as backends
from gatescope.kernels.cuda import driver
from gatescope.kernels.cuda.gemm import plan_sum
from gatescope.kernels.cuda.launch_plan import Design, Facts, choose

CALLS = ("run", "backprop")
ALREADY = frozenset({"weights", "inputs", "trace", "output adjoint"})
# The rest is for blocks that the pool makes up to an eighth larger, and for what the driver keeps.
USABLE = 0.88
_SCRATCH_SHARE = 0.5  # of what is free, for what a backward sweep keeps between its products
_H200 = Facts(132, 231_424)
_MANY = 1 << 60


@dataclass(frozen=True)
class Sizes:
    """What the bytes of a call depend on.

    Attributes
    ----------
    already : collection of str
        Parts that are on the GPU before the call: weights, inputs, trace, output adjoint.
    seeded : bool
        Whether there are output adjoints.
    """

    call: str
    cell: Cell
    hidden: int
    steps: int
    batch: int
    width: int
    dtype: np.dtype
    facts: Facts
    already: frozenset[str] = frozenset()
    seeded: bool = True

    def __str__(self) -> str:
        """Call and sizes in words."""
        return (
            f"{self.call} of {self.cell.name} with {self.hidden} units in {self.dtype.name}, "
            f"{self.steps:,} steps, {self.batch:,} sequences"
        )


@dataclass(frozen=True)
class MemoryPlan:
    """What a call takes; ``print`` it.

    Attributes
    ----------
    sizes : Sizes
    parts : mapping of str to int
        Bytes by what they hold.
    segments : int
        In how many parts a backward sweep adds up the gradients of the weights; 1 for a run.
    """

    sizes: Sizes
    parts: Mapping[str, int]
    segments: int

    @property
    def total(self) -> int:
        """Bytes at most, all parts together."""
        return sum(self.parts.values())

    @property
    def least(self) -> int:
        """Bytes that have to be free."""
        return _least(self.sizes)

    def __str__(self) -> str:
        """A table of the parts, largest first, and their sum."""
        rows = [*sorted(self.parts.items(), key=lambda part: -part[1]), ("together", self.total)]
        wide = max(len(name) for name, _ in rows)
        lines = [f"  {name:<{wide}}  {human(size):>10}  {size / self.total:4.0%}" for name, size in rows]
        pieces = ""
        if self.sizes.call == "backprop":  # the fewer segments, the more it takes
            count = f"{self.segments} segments" if self.segments > 1 else "one segment"
            pieces = f"; with gradients added up in {count}:"
        return "\n".join([f"{self.sizes}: needs at least {human(self.least)} free{pieces}", *lines])


def human(size: float) -> str:
    """Bytes in a unit that suits them."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def step_of_scratch(cell: Cell, hidden: int, batch: int, dtype: np.dtype) -> int:
    """Bytes a step of what a backward sweep keeps for the gradients of the weights."""
    shared = cell.shared and not cell.prepared
    rows = len(cell.gates) * (1 if shared else 2) + (1 if cell.prepared else 0)
    return int(dtype.itemsize * batch * rows * hidden)


def steps_that_fit(steps: int, step: int, free: int) -> int:
    """Steps of a segment whose scratch takes at most its share of what is free; at least 1."""
    return int(max(1, min(steps, _SCRATCH_SHARE * free // step)))


def plan(
    call: str,
    cell: Cell | str,
    *,
    hidden_size: int,
    steps: int,
    batch: int,
    input_size: int,
    dtype: Any = "float32",
    already: Collection[str] = (),
    seeded: bool = True,
    free: int | None = None,
    facts: Facts | None = None,
) -> MemoryPlan:
    """What a call of `run` or `backprop` takes on the GPU, part by part.

    Parameters
    ----------
    call : str
        ``"run"`` or ``"backprop"``; the latter with the trace, which is there already after a run of `DeviceParams`.
    cell : str or Cell
    hidden_size, steps, batch, input_size : int
        H, T, B, I.
    dtype : str or dtype
        float32 or float64.
    already : collection of str
        What is on the GPU before the call: ``"weights"``, ``"inputs"``, ``"trace"``, ``"output adjoint"``.
    seeded : bool
        Whether `backprop` gets output adjoints.
    free : int, optional
        Bytes free, on which the size of a backward sweep's segments depends; default: more than enough.
    facts : Facts, optional
        Of the GPU; default: the one in use, or those of an H200 where there is none.

    Returns
    -------
    MemoryPlan

    Raises
    ------
    UnknownNameError
        If there is no such call, cell or part.
    ValueRangeError, DtypeError
        If a size is not a whole number of at least 1, or the dtype is another.

    Examples
    --------
    >>> from gatescope.kernels.cuda.memory_estimate import plan
    >>> found = plan("run", "lstm", hidden_size=64, steps=100_000, batch=40, input_size=1)
    >>> print(f"{found.parts['states'] / 2**30:.2f} GiB of states, {found.parts['gates'] / 2**30:.2f} of gates")
    1.91 GiB of states, 3.81 of gates
    """
    if call not in CALLS:
        raise UnknownNameError(f"call={call!r} has no memory plan; choose one of {', '.join(CALLS)}")
    there = frozenset((already,) if isinstance(already, str) else already)
    if not there <= ALREADY:
        raise UnknownNameError(
            f"already={sorted(there - ALREADY)} is not known; choose among {', '.join(sorted(ALREADY))}"
        )
    found = get(cell) if isinstance(cell, str) else cell
    sizes = Sizes(
        call, found, check_count("hidden_size", hidden_size), check_count("steps", steps),
        check_count("batch", batch), check_count("input_size", input_size), float_dtype(dtype),
        facts or _facts_here(), there, seeded,
    )  # fmt: skip
    return MemoryPlan(sizes, *_parts(sizes, _MANY if free is None else free))


def _facts_here() -> Facts:
    if not backends.in_place() and driver.why_unavailable() is not None:
        return _H200
    machine = backends.current()
    return Facts(machine.multiprocessors, machine.shared_limit)


def _fits(sizes: Sizes, free: int) -> bool:
    return sum(_parts(sizes, free)[0].values()) <= USABLE * free


def _least(sizes: Sizes) -> int:
    """The fewest free bytes with which a call fits, to a thousandth."""
    high = int(sum(_parts(sizes, _MANY)[0].values()) / USABLE) + 1
    low = 0
    while high - low > high >> 10:
        middle = (low + high) // 2
        low, high = (low, middle) if _fits(sizes, middle) else (middle, high)
    return high


def _parts(sizes: Sizes, free: int) -> tuple[dict[str, int], int]:
    """Bytes by what they hold if so many are free, and the segments of a backward sweep."""
    if sizes.call == "run":
        found, segments = _of_run(sizes), 1
    else:
        found, segments = _of_backprop(sizes, free)
    return {name: size for name, size in found.items() if size and name not in sizes.already}, segments


def _of_run(sizes: Sizes) -> dict[str, int]:
    cell, one = sizes.cell, sizes.dtype.itemsize * sizes.hidden * sizes.batch
    kept, states, gates = len(cell.saved), len(cell.states), len(cell.gates)
    design = choose(cell, sizes.hidden, sizes.dtype, sizes.batch, False, sizes.facts)
    return {
        "weights": _weights(sizes),
        "inputs": sizes.dtype.itemsize * sizes.steps * sizes.batch * sizes.width,
        "states": (sizes.steps + 1) * states * one,
        "gates": sizes.steps * max(1, kept) * one,
        # They stand where gates or states will, if these have room for them.
        "input projections": 0 if max(kept, states) >= gates else sizes.steps * gates * one,
        "initial state": states * one,
        "lengths": 8 * sizes.batch,
        "packed weights": _packed(sizes, design),
        "exchange between blocks": _exchange(sizes, design),
    }


def _of_backprop(sizes: Sizes, free: int) -> tuple[dict[str, int], int]:
    cell, one = sizes.cell, sizes.dtype.itemsize * sizes.hidden * sizes.batch
    states = len(cell.states)
    design = choose(cell, sizes.hidden, sizes.dtype, sizes.batch, True, sizes.facts)
    run = _of_run(sizes)
    gates = run["gates"] if cell.saved else 0  # a trace of the host has none where there are none
    before = {
        "weights": run["weights"],
        "trace": run["inputs"] + run["states"] + gates + run["lengths"],
        "output adjoint": sizes.steps * one if sizes.seeded else 0,
        "adjoint": run["states"],
        "gradient of inputs": run["inputs"],
        "final adjoint": states * one,
        "packed weights": _packed(sizes, design),
    }
    # The backward sweep asks what is free at this point, and takes its share.  The final adjoint has been copied.
    gone = {"final adjoint", *sizes.already}
    left = free - sum(size for name, size in before.items() if name not in gone)
    step = step_of_scratch(cell, sizes.hidden, sizes.batch, sizes.dtype)
    segment = steps_that_fit(sizes.steps, step, max(0, left))
    segments = -(-sizes.steps // segment)
    last = sizes.steps - (segments - 1) * segment
    after = {
        "adjoints of gates": segment * step,
        "sums of products": max(_workspace(sizes, segment), _workspace(sizes, last)),
        "gradient of weights": _weights(sizes),
        "gradient of initial state": 2 * states * one,
        "exchange between blocks": _exchange(sizes, design) + 2 * 8,
    }
    return before | after, segments


def _weights(sizes: Sizes) -> int:
    return sizes.dtype.itemsize * len(sizes.cell.gates) * sizes.hidden * (sizes.width + sizes.hidden + 2)


def _packed(sizes: Sizes, design: Design) -> int:
    tiles = (design.first, design.second) if design.two_phase else (design.first,)
    return sizes.dtype.itemsize * design.blocks * sum(tile.packed for tile in tiles)


def _exchange(sizes: Sizes, design: Design) -> int:
    groups = -(-sizes.batch // design.sequences)
    wave = groups if design.blocks == 1 else min(groups, sizes.facts.multiprocessors // design.blocks)
    return design.words(wave) * (sizes.dtype.itemsize // 4) * 8


def _workspace(sizes: Sizes, steps: int) -> int:
    """Of the largest sum over rows that follows a segment."""
    cell, units, rows = sizes.cell, sizes.hidden, steps * sizes.batch
    total, first = len(cell.gates) * units, (cell.prepared or len(cell.gates)) * units
    shapes = [(total, sizes.width), (first, units), (total - first, units), (total, 0)]
    sums = (plan_sum(rows, out, cols, sizes.dtype.name) for out, cols in shapes if out)
    return sizes.dtype.itemsize * max(found.workspace for found in sums)


def check_fits(wanted: MemoryPlan, machine: backends.Backend) -> None:
    """Whether a call fits into what is free now.

    Raises
    ------
    DeviceError
        If not: says how much is needed, for what, how much there is, and what would fit.
    """
    if _fits(wanted.sizes, machine.memory()[0]):
        return
    machine.reclaim()
    if not _fits(wanted.sizes, machine.memory()[0]):
        raise DeviceError(refusal(wanted, machine.memory()))


def refusal(wanted: MemoryPlan, memory: tuple[int, int]) -> str:
    """One sentence: what is needed, what there is, what to do.  memory: bytes free and in total."""
    free, total = memory
    largest = sorted(wanted.parts.items(), key=lambda part: -part[1])[:3]
    shares = ", ".join(f"{name} {human(size)}" for name, size in largest)
    return (
        f"{wanted.sizes} needs {human(wanted.least)} of GPU memory (most of it for {shares}), "
        f"but {human(free)} of {human(total)} are free; {_advice(wanted.sizes, free)}"
    )


def _advice(sizes: Sizes, free: int) -> str:
    """What makes it fit.  Each suggestion has been counted."""
    ways = []
    batch = _most(sizes.batch - 1, lambda count: _fits(replace(sizes, batch=count), free))
    steps = 0 if batch else _most(sizes.steps - 1, lambda count: _fits(replace(sizes, steps=count), free))
    if batch:
        ways.append(f"split the batch: {batch:,} of the {sizes.batch:,} sequences fit at a time")
    elif steps:
        order = (
            "each from the final state of the one before"
            if sizes.call == "run"
            else "the last first, each with the gradient of the next one's initial state as its final_adjoint"
        )
        ways.append(f"take {steps:,} of the {sizes.steps:,} steps at a time, {order}")
    if sizes.dtype == np.float64 and _fits(replace(sizes, dtype=np.dtype(np.float32)), free):
        ways.append("use dtype='float32', which fits as it is")
    ways.append("use device='cpu'")
    return f"{', or '.join(ways)}. gradient_flow works in segments, which are cut to what is free"


def _most(most: int, good: Callable[[int], bool]) -> int:
    """The largest number up to `most` found to be good; 0 if none is."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if good(middle) else (low, middle - 1)
    # The design changes with the batch, and with it a little of what is needed.
    while low and not good(low):
        low -= 1
    return low


@contextlib.contextmanager
def explained(wanted: MemoryPlan, machine: backends.Backend) -> Iterator[None]:
    """Says what a call needs where memory runs out in spite of the plan: another process may have taken it."""
    try:
        yield
    except backends.OutOfMemory as error:
        machine.reclaim()
        raise DeviceError(f"{error}: {refusal(wanted, machine.memory())}") from error
