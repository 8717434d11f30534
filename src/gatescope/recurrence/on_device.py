"""Weights, traces and gradients that stay on the GPU, so that a loop does not copy them at every call.

`to_device` puts weights there; `run` and `backprop` given such weights return what is here, and ``to_host()`` of each
makes the NumPy result.  The functions `run_cuda` and `backprop_cuda` are `run` and `backprop` for the device "cuda".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gatescope.cells.ranges import gate_ranges
from gatescope.cells.registry import Cell, get
from gatescope.checks.dtypes import FLOATS
from gatescope.checks.network import check_lengths, check_params, check_trace
from gatescope.datatypes import Array, Gradients, Params, Trace
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.errors import DeviceError, DtypeError, ShapeError, ValueRangeError
from gatescope.kernels.device import check_device
from gatescope.recurrence.clamping import apply_clamp, clamp_facts, clamp_values, clear_clamped
from gatescope.storage.provenance import provenance


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceParams:
    """Weights of one layer on the GPU: `Params` whose arrays are device arrays of the same names and shapes.

    Make them with `to_device`; ``to_host()`` makes `Params` again.

    Raises
    ------
    DeviceError, ShapeError, DtypeError, UnknownNameError
        If arrays that are put in by hand (with `dataclasses.replace`) do not fit each other or the cell.
    """

    cell: str
    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A kernel that gets arrays of other sizes reads what is beside them."""
        _check_weights(self)

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Names of the G row blocks, as the cell gives them."""
        return get(self.cell).gates

    @property
    def input_size(self) -> int:
        """I, the number of inputs."""
        return int(self.weight_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        """H, the number of units."""
        return int(self.weight_hh.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64; the kernels compute in it."""
        return np.dtype(str(self.weight_hh.dtype))

    def to_host(self) -> Params:
        """A NumPy copy; waits for what computes the weights."""
        return Params(
            cell=self.cell,
            provenance=self.provenance,
            **{name: _backend().to_host(getattr(self, name)) for name in WEIGHT_NAMES},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceTrace:
    """A run on the GPU: `Trace` whose inputs, states, gates and lengths are device arrays of the same shapes.

    Each has ``__cuda_array_interface__``, so other libraries read it where it is.  All work is in CUDA's default
    stream: a library that works in a stream of its own has to wait for it, and be waited for.
    A cell that keeps no gates has one row of gates here that nothing reads.  `clamp` is in NumPy, on the host.
    """

    cell: str
    inputs: Any
    states: Any
    gates: Any
    lengths: Any
    state_names: tuple[str, ...]
    gate_names: tuple[str, ...]
    clamp: Array | None = None
    gate_ranges: tuple[tuple[float, float] | None, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def final_state(self) -> Any:
        """(B, S, H) view on the GPU; `run` takes it as the initial state of the steps that follow."""
        return self.states[self.states.shape[0] - 1]

    def to_host(self) -> Trace:
        """A NumPy copy; waits for the run to end."""
        machine = _backend()
        steps, batch, units = self.inputs.shape[0], self.inputs.shape[1], self.states.shape[3]
        nothing = np.empty((steps, batch, 0, units), self.states.dtype)
        return Trace(
            cell=self.cell,
            inputs=machine.to_host(self.inputs),
            states=machine.to_host(self.states),
            gates=machine.to_host(self.gates) if self.gate_names else nothing,
            lengths=machine.to_host(self.lengths),
            state_names=self.state_names,
            gate_names=self.gate_names,
            clamp=self.clamp,
            gate_ranges=self.gate_ranges,
            provenance=self.provenance,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceGradients:
    """Exact gradients on the GPU: `Gradients` whose arrays are device arrays of the same names and shapes."""

    params: DeviceParams
    inputs: Any
    initial_state: Any
    adjoint: Any
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_host(self) -> Gradients:
        """A NumPy copy; waits for the sweep to end."""
        machine = _backend()
        return Gradients(
            params=self.params.to_host(),
            inputs=machine.to_host(self.inputs),
            initial_state=machine.to_host(self.initial_state),
            adjoint=machine.to_host(self.adjoint),
            provenance=self.provenance,
        )


def to_device(params: Params | DeviceParams) -> DeviceParams:
    """Copy weights to the GPU, once for many calls of `run` and `backprop`.

    Parameters
    ----------
    params : Params

    Returns
    -------
    DeviceParams
        `run` with these returns a `DeviceTrace`, `backprop` with these and it a `DeviceGradients`; nothing is copied
        to the host until ``to_host()`` is called.

    Raises
    ------
    DeviceError
        If no GPU can be used; the message says what is missing.
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If the weights do not fit each other or their cell.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.to_device(gs.init("gru", input_size=1, hidden_size=64))  # doctest: +SKIP
    >>> trace = gs.run(params, np.zeros((1000, 40, 1)))  # doctest: +SKIP
    >>> trace.to_host().outputs.shape  # doctest: +SKIP
    (1000, 40, 64)
    """
    if isinstance(params, DeviceParams):
        return params
    check_device("cuda")
    check_params(params)
    machine = _backend()
    return DeviceParams(
        cell=params.cell,
        provenance=params.provenance,
        **{name: machine.to_device(getattr(params, name)) for name in WEIGHT_NAMES},
    )


def placed(device: str | None, params: Any) -> str:
    """The device that `run`, `backprop` and `gradient_flow` use: the one named, or the one the weights are on."""
    if device is None:
        device = "cuda" if isinstance(params, DeviceParams) else "cpu"
    if check_device(device) == "cpu" and isinstance(params, DeviceParams):
        raise DeviceError(
            "params are on the GPU, but device='cpu'; pass params.to_host(), or leave device out"
        )
    return device


def check_no_threads(threads: Any) -> None:
    """Threads are the CPU's: to name a number of them for the GPU is a mistake."""
    if threads is not None:
        raise ValueRangeError(f"threads={threads!r} is for device='cpu'; leave it out for 'cuda'")


def check_fast(fast_activations: Any, device: str, params: Any) -> bool:
    """Whether to use the GPU's approximate tanh and sigmoid, which exist there and in float32 only."""
    if not isinstance(fast_activations, bool | np.bool_):
        raise ValueRangeError(f"fast_activations={fast_activations!r} must be True or False")
    dtype = getattr(params, "dtype", np.float32)  # what has none is refused for what it is
    if fast_activations and (device != "cuda" or dtype != np.float32):
        raise ValueRangeError(
            f"fast_activations=True needs device='cuda' and float32 weights, but these are {device!r} and {dtype}; "
            "leave it out"
        )
    return bool(fast_activations)


def device_facts(device: str) -> dict[str, str]:
    """What provenance says of a device: its name, and what stands for the GPU (a GPU, a simulator)."""
    if device == "cpu":
        return {"device": device}
    machine = _backend()
    return {"device": device, "backend": machine.name} | ({"gpu": machine.gpu} if machine.gpu else {})


def run_cuda(
    params: Params | DeviceParams, inputs: Any, initial_state: Any, lengths: Any, fast: bool, clamp: Any
) -> DeviceTrace:
    """`run` on the GPU."""
    from gatescope.kernels.cuda import memory_estimate, sweeps
    from gatescope.kernels.cuda.arrays import on_host, take_inputs, take_state

    cell = _checked(params)
    dtype, units = params.dtype, params.hidden_size
    machine = _backend()
    x = take_inputs(inputs, params)
    steps, batch, width = x.shape
    shape = (batch, len(cell.states), units)
    axes = f"(B, S, H) with the states {', '.join(cell.states)}"
    first = take_state("initial_state", initial_state, shape, axes, dtype)
    sizes = check_lengths(on_host("lengths", lengths), steps, batch)
    values = clamp_values(params, clamp)
    params = apply_clamp(params, values)
    already = _there(weights=params, inputs=x)
    plan = memory_estimate.plan(
        "run", cell, hidden_size=units, steps=steps, batch=batch, input_size=width, dtype=dtype, already=already,
        free=machine.memory()[0],
    )  # fmt: skip
    memory_estimate.check_fits(plan, machine)
    with memory_estimate.explained(plan, machine):
        weights = to_device(params)
        x = machine.to_device(x) if isinstance(x, np.ndarray) else x
        states = machine.empty((steps + 1, *shape), dtype)
        _put(machine, first, states[0])
        gates = machine.empty((steps, batch, max(1, len(cell.saved)), units), dtype)
        on_device = machine.to_device(sizes)
        sweeps.forward(
            sweeps.plan_for(cell, units, dtype), _weights(weights), x, states, gates, on_device,
            fast_activations=fast,
        )  # fmt: skip
    return DeviceTrace(
        cell=cell.name,
        inputs=x,
        states=states,
        gates=gates,
        lengths=on_device,
        state_names=cell.states,
        gate_names=cell.saved,
        clamp=values,
        gate_ranges=gate_ranges(cell),
        provenance=_facts(weights, fast, values),
    )


def backprop_cuda(
    params: Params | DeviceParams,
    trace: Trace | DeviceTrace,
    output_adjoint: Any,
    final_adjoint: Any,
    fast: bool,
) -> DeviceGradients:
    """`backprop` on the GPU."""
    from gatescope.kernels.cuda import memory_estimate, sweeps
    from gatescope.kernels.cuda.arrays import take_seeds, take_state

    cell = _checked(params)
    _check_same_place(params, trace)
    if isinstance(trace, Trace):
        check_trace(trace, params, cell)  # type: ignore[arg-type]  # both are on the host
    else:
        _check_device_trace(trace, params, cell)
    values = clamp_values(params, trace.clamp, "trace.clamp")
    params = apply_clamp(params, values)
    dtype, units = params.dtype, params.hidden_size
    machine = _backend()
    steps, batch, width = trace.inputs.shape
    seeds = take_seeds(output_adjoint, (steps, batch, units), trace.lengths, dtype)
    shape = (batch, len(cell.states), units)
    last = take_state("final_adjoint", final_adjoint, shape, "(B, S, H)", dtype)
    already = _there(**{"weights": params, "trace": trace, "output adjoint": seeds})
    plan = memory_estimate.plan(
        "backprop", cell, hidden_size=units, steps=steps, batch=batch, input_size=width, dtype=dtype,
        already=already, seeded=seeds is not None, free=machine.memory()[0],
    )  # fmt: skip
    memory_estimate.check_fits(plan, machine)
    with memory_estimate.explained(plan, machine):
        weights = to_device(params)
        arrays = (trace.inputs, trace.states, trace.gates)
        lengths = trace.lengths
        if isinstance(trace, Trace):
            arrays = tuple(machine.to_device(_some(array)) for array in arrays)
            lengths = machine.to_device(np.ascontiguousarray(lengths, np.int64))
        seeds = machine.to_device(seeds) if isinstance(seeds, np.ndarray) else seeds
        adjoint = machine.empty((steps + 1, *shape), dtype)
        _put(machine, last, adjoint[steps])
        d_inputs = machine.empty((steps, batch, width), dtype)
        found = sweeps.backward(
            sweeps.plan_for(cell, units, dtype), _weights(weights), arrays, lengths, seeds, adjoint, d_inputs,
            fast_activations=fast,
        )  # fmt: skip
        clear_clamped(found, values, machine)
        first = machine.empty(shape, dtype)
        _put(machine, adjoint[0], first)
    facts = _facts(weights, fast, values)
    return DeviceGradients(
        params=dataclasses.replace(weights, provenance=facts, **found._asdict()),
        inputs=d_inputs,
        initial_state=first,
        adjoint=adjoint,
        provenance=facts,
    )


def _checked(params: Any) -> Cell:
    return get(params.cell) if isinstance(params, DeviceParams) else check_params(params)


def _check_weights(params: DeviceParams) -> None:
    """Arrays of the GPU that fit each other and the cell, in one dtype."""
    from gatescope.kernels.cuda import backend

    cell = get(params.cell)
    arrays = {name: getattr(params, name) for name in WEIGHT_NAMES}
    for name, array in arrays.items():
        # What stands in for the GPU has arrays of its own kind.
        if not backend.in_place() and not hasattr(array, "copy_to_host"):
            raise DeviceError(
                f"{name} of DeviceParams is a {type(array).__name__}, not an array that to_device made; "
                "pass Params with it to gatescope.to_device"
            )
    dtype, shapes = arrays["weight_hh"].dtype, {name: tuple(array.shape) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype != dtype or array.dtype not in FLOATS:
            raise DtypeError(
                f"{name} of DeviceParams has dtype {array.dtype}, and weight_hh has {dtype}; "
                "give all of them in float32, or all in float64"
            )
    units, width = shapes["weight_hh"][-1], shapes["weight_ih"][-1]
    rows = len(cell.gates) * units
    wanted = {"weight_ih": (rows, width), "weight_hh": (rows, units), "bias_ih": (rows,), "bias_hh": (rows,)}
    if shapes != wanted:
        name = next(name for name in WEIGHT_NAMES if shapes[name] != wanted[name])
        raise ShapeError(
            f"{name} of DeviceParams has shape {shapes[name]}, but the cell {cell.name!r} needs {wanted[name]} "
            f"beside a weight_hh of {units} columns; pass Params of one cell to gatescope.to_device"
        )


def _check_same_place(params: Any, trace: Any) -> None:
    if isinstance(trace, Trace | DeviceTrace) and isinstance(params, DeviceParams) == isinstance(
        trace, DeviceTrace
    ):
        return
    raise DeviceError(
        f"params are {type(params).__name__}, but the trace is a {type(trace).__name__}; "
        "make both with to_device(params) and run, or bring both to the host with to_host()"
    )


def _check_device_trace(trace: DeviceTrace, params: Any, cell: Cell) -> None:
    """A trace that these weights can have made."""
    if trace.cell != cell.name:
        raise ShapeError(
            f"trace was made by a {trace.cell!r} cell, but params are of a {cell.name!r}; run these params first"
        )
    steps, batch, width = trace.inputs.shape
    here = (np.dtype(str(trace.states.dtype)), width, tuple(trace.states.shape))
    wanted = (
        params.dtype,
        params.input_size,
        (steps + 1, batch, len(cell.states), params.hidden_size),
    )
    if here != wanted:
        raise ShapeError(
            f"trace has {here[0]}, {here[1]} inputs and states {here[2]}, but these params make {wanted[0]}, "
            f"{wanted[1]} inputs and states {wanted[2]}; run these params first"
        )


def _there(**parts: Any) -> list[str]:
    """The parts that are on the GPU already."""
    return [name for name, value in parts.items() if not isinstance(value, np.ndarray | Params | Trace)]


def _put(machine: Any, source: Any, target: Any) -> None:
    """Copy into a device array what is on the host or on the device."""
    if isinstance(source, np.ndarray):
        source = machine.to_device(source)
    machine.copy(source.reshape(-1), target.reshape(-1))


def _some(array: Array) -> Array:
    """A C-contiguous array with at least one element, because a GPU holds no empty ones."""
    return np.ascontiguousarray(array) if array.size else np.zeros(1, array.dtype)


def _weights(params: DeviceParams) -> Any:
    from gatescope.kernels.cuda import sweeps

    return sweeps.Weights(*(getattr(params, name) for name in WEIGHT_NAMES))


def _facts(params: DeviceParams, fast: bool, values: Array | None) -> dict[str, Any]:
    more = ({"fast_activations": True} if fast else {}) | clamp_facts(params, values)
    seed = params.provenance.get("seed")
    return provenance(**device_facts("cuda"), dtype=params.dtype.name, seed=seed, **more)


def _backend() -> Any:
    from gatescope.kernels.cuda import backend

    return backend.current()
