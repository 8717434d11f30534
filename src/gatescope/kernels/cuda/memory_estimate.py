"""What takes how much memory of the GPU in a call of run or backprop, and what to do where it does not fit.

`estimate` counts.  `check_fits` is asked before anything is computed.  `gradient_flow` needs neither: it works in
segments that are cut to what is free.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.errors import DeviceError
from gatescope.kernels.cuda import backend as backends
from gatescope.kernels.cuda import driver
from gatescope.kernels.cuda.gemm import plan_sum
from gatescope.kernels.cuda.launch_plan import DeviceProperties, LaunchPlan, choose
from gatescope.kernels.device import USE_CPU
from gatescope.reporting.text import byte_count, listing

CALLS = ("run", "backprop")
ON_DEVICE = frozenset({"weights", "inputs", "trace", "output adjoint"})  # what may be there before a call
# The rest is for blocks that the pool makes up to an eighth larger, and for what the driver keeps.
USABLE = 0.88
_SCRATCH_FRACTION = 0.5  # of what is free, for what a backward sweep saves between its products
_H200 = DeviceProperties(132, 231_424)
_UNLIMITED = 1 << 60


def _properties_in_use() -> DeviceProperties:
    if not backends.substituted() and driver.why_unavailable() is not None:
        return _H200
    return backends.properties()


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of `run` or `backprop`, as far as its bytes depend on it; nothing is checked.

    Attributes
    ----------
    name : str
        One of `CALLS`; ``"backprop"`` is with the trace, which is there already after a run of weights on the GPU.
    hidden_size, steps, batch, input_size : int
        H, T, B, I.
    on_device : frozenset of str
        Parts that are on the GPU before the call, out of `ON_DEVICE`.
    output_adjoint : bool
        Whether there are adjoints of the outputs.
    properties : DeviceProperties
        Of the GPU in use, or of an H200 where there is none.
    """

    name: str
    cell: Cell
    hidden_size: int
    steps: int
    batch: int
    input_size: int
    dtype: np.dtype
    on_device: frozenset[str] = frozenset()
    output_adjoint: bool = True
    properties: DeviceProperties = field(default_factory=_properties_in_use)

    def __str__(self) -> str:
        return (
            f"{self.name} of {self.cell.name} with {self.hidden_size} units in {self.dtype.name}, "
            f"{self.steps:,} steps, {self.batch:,} sequences"
        )


@dataclass(frozen=True)
class DeviceMemory:
    """What a call takes.

    Attributes
    ----------
    call : Call
    parts : mapping of str to int
        Bytes by what they hold.
    segments : int
        In how many parts a backward sweep adds up the gradients of the weights, the fewer the more it takes; 1 for a
        run.
    """

    call: Call
    parts: Mapping[str, int]
    segments: int

    @property
    def total(self) -> int:
        """Bytes at most, all parts together."""
        return sum(self.parts.values())

    @property
    def least(self) -> int:
        """Bytes that have to be free, to a thousandth."""
        high = int(sum(_parts(self.call, _UNLIMITED)[0].values()) / USABLE) + 1
        low = 0
        while high - low > high >> 10:
            middle = (low + high) // 2
            low, high = (low, middle) if _fits(self.call, middle) else (middle, high)
        return high


def scratch_per_step(cell: Cell, hidden: int, batch: int, dtype: np.dtype) -> int:
    """Return the bytes a step of what a backward sweep saves for the gradients of the weights."""
    shared = cell.shared and not cell.prepared
    rows = len(cell.gates) * (1 if shared else 2) + (1 if cell.prepared else 0)
    return int(dtype.itemsize * batch * rows * hidden)


def steps_that_fit(steps: int, step: int, free: int) -> int:
    """Return the steps of a segment whose scratch takes at most its fraction of what is free; at least 1."""
    return int(max(1, min(steps, _SCRATCH_FRACTION * free // step)))


def estimate(call: Call, free: int | None = None) -> DeviceMemory:
    """Estimate what a call takes on the GPU, part by part.

    `free` are the bytes free, on which the size of a backward sweep's segments depends; default: more than enough.
    """
    return DeviceMemory(call, *_parts(call, _UNLIMITED if free is None else free))


def _fits(call: Call, free: int) -> bool:
    return sum(_parts(call, free)[0].values()) <= USABLE * free


def _parts(call: Call, free: int) -> tuple[dict[str, int], int]:
    """Return the bytes by what they hold, if `free` bytes are free, and the segments of a backward sweep."""
    parts, segments = (_of_run(call), 1) if call.name == "run" else _of_backprop(call, free)
    return {name: size for name, size in parts.items() if size and name not in call.on_device}, segments


def _of_run(call: Call) -> dict[str, int]:
    cell, one = call.cell, call.dtype.itemsize * call.hidden_size * call.batch
    saved, states, gates = len(cell.saved), len(cell.states), len(cell.gates)
    launch_plan = choose(cell, call.hidden_size, call.dtype, call.batch, False, call.properties)
    return {
        "weights": _weights(call),
        "inputs": call.dtype.itemsize * call.steps * call.batch * call.input_size,
        "states": (call.steps + 1) * states * one,
        "gates": call.steps * max(1, saved) * one,
        # They lie where gates or states will, if these are large enough.
        "input projections": 0 if max(saved, states) >= gates else call.steps * gates * one,
        "initial state": states * one,
        "lengths": 8 * call.batch,
        "packed weights": call.dtype.itemsize * launch_plan.packed,
        "exchange between blocks": _exchange(call, launch_plan),
    }


def _of_backprop(call: Call, free: int) -> tuple[dict[str, int], int]:
    cell, one = call.cell, call.dtype.itemsize * call.hidden_size * call.batch
    states = len(cell.states)
    launch_plan = choose(cell, call.hidden_size, call.dtype, call.batch, True, call.properties)
    run = _of_run(call)
    gates = run["gates"] if cell.saved else 0  # a trace of the host has none where there are none
    before = {
        "weights": run["weights"],
        "trace": run["inputs"] + run["states"] + gates + run["lengths"],
        "output adjoint": call.steps * one if call.output_adjoint else 0,
        "adjoint": run["states"],
        "gradient of inputs": run["inputs"],
        "final adjoint": states * one,
        "packed weights": call.dtype.itemsize * launch_plan.packed,
    }
    # The backward sweep asks what is free at this point, and takes its fraction.  The final adjoint has been copied.
    not_counted = {"final adjoint", *call.on_device}
    left = free - sum(size for name, size in before.items() if name not in not_counted)
    step = scratch_per_step(cell, call.hidden_size, call.batch, call.dtype)
    segment = steps_that_fit(call.steps, step, max(0, left))
    segments = -(-call.steps // segment)
    last = call.steps - (segments - 1) * segment
    after = {
        "adjoints of gates": segment * step,
        "sums of products": max(_workspace(call, segment), _workspace(call, last)),
        "gradient of weights": _weights(call),
        "gradient of initial state": 2 * states * one,
        "exchange between blocks": _exchange(call, launch_plan) + 2 * 8,
    }
    return before | after, segments


def _weights(call: Call) -> int:
    columns = call.input_size + call.hidden_size + 2
    return call.dtype.itemsize * len(call.cell.gates) * call.hidden_size * columns


def _exchange(call: Call, launch_plan: LaunchPlan) -> int:
    groups = launch_plan.groups_at_once(call.batch, call.properties.multiprocessors)
    return 8 * launch_plan.exchange_words(groups)


def _workspace(call: Call, steps: int) -> int:
    """Return the workspace of the largest sum over rows that follows a segment."""
    cell, units, rows = call.cell, call.hidden_size, steps * call.batch
    total, first = len(cell.gates) * units, (cell.prepared or len(cell.gates)) * units
    shapes = [(total, call.input_size), (first, units), (total - first, units), (total, 0)]
    sums = (plan_sum(rows, out, cols, call.dtype.name) for out, cols in shapes if out)
    return call.dtype.itemsize * max(plan.workspace for plan in sums)


def check_fits(estimate: DeviceMemory, backend: backends.Backend) -> None:
    """Refuse a call that does not fit into what is free now.

    Raises
    ------
    DeviceError
        Says how much is needed, for what, how much there is, and what would fit.
    """
    if _fits(estimate.call, backend.memory()[0]):
        return
    backend.reclaim()
    if not _fits(estimate.call, backend.memory()[0]):
        raise _refusal(estimate, backend)


@contextlib.contextmanager
def explained(estimate: DeviceMemory, backend: backends.Backend) -> Iterator[None]:
    """Say what a call needs where memory runs out in spite of the estimate: another process may have taken it."""
    try:
        yield
    except backends.OutOfMemory as error:
        backend.reclaim()
        raise _refusal(estimate, backend, f"{error}: ") from error


def _refusal(estimate: DeviceMemory, backend: backends.Backend, before: str = "") -> DeviceError:
    free, total = backend.memory()
    largest = sorted(estimate.parts.items(), key=lambda part: -part[1])[:3]
    return DeviceError(
        f"{before}{estimate.call} needs {byte_count(estimate.least)} of GPU memory (most of it for "
        f"{listing(largest, form=lambda part: f'{part[0]} {byte_count(part[1])}')}), but {byte_count(free)} of "
        f"{byte_count(total)} are free",
        advice=_advice(estimate.call, free),
    )


def _advice(call: Call, free: int) -> str:
    """Return what makes it fit; each suggestion has been counted."""
    ways = []
    batch = _most(call.batch - 1, lambda count: _fits(replace(call, batch=count), free))
    steps = 0 if batch else _most(call.steps - 1, lambda count: _fits(replace(call, steps=count), free))
    if batch:
        ways.append(f"split the batch: {batch:,} of the {call.batch:,} sequences fit at a time")
    elif steps:
        order = (
            "each from the final state of the one before"
            if call.name == "run"
            else "the last first, each with the gradient of the next one's initial state as its final_adjoint"
        )
        ways.append(f"take {steps:,} of the {call.steps:,} steps at a time, {order}")
    if call.dtype == np.float64 and _fits(replace(call, dtype=np.dtype(np.float32)), free):
        ways.append("choose `dtype` 'float32', which fits as it is")
    return f"{', or '.join([*ways, USE_CPU])}. gradient_flow works in segments, which are cut to what is free"


def _most(most: int, good: Callable[[int], bool]) -> int:
    """Return the largest number up to `most` that is good; 0 if none is."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if good(middle) else (low, middle - 1)
    # The launch plan changes with the batch, and with it a little of what is needed.
    while low and not good(low):
        low -= 1
    return low
