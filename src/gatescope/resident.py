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

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Gradients, Params, Trace
from gatescope.errors import DeviceError, DtypeError, ShapeError, ValueRangeError
from gatescope.kernels.device import check_device
from gatescope.provenance import provenance
from gatescope.validation import (
    check_array,
    check_finite,
    check_initial_state,
    check_inputs,
    check_lengths,
    check_params,
    check_shape,
    check_trace,
)

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceParams:
    """Weights of one layer on the GPU: `Params` whose arrays are device arrays of the same names and shapes.

    Make them with `to_device`; ``to_host()`` makes `Params` again.
    """

    cell: str
    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any
    gates: tuple[str, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

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
            gates=self.gates,
            provenance=self.provenance,
            **{name: _backend().to_host(getattr(self, name)) for name in WEIGHTS},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceTrace:
    """A run on the GPU: `Trace` whose inputs, states, gates and lengths are device arrays of the same shapes.

    A cell that keeps no gates has one row of gates here that nothing reads.
    """

    cell: str
    inputs: Any
    states: Any
    gates: Any
    lengths: Any
    state_names: tuple[str, ...]
    kept_names: tuple[str, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_host(self) -> Trace:
        """A NumPy copy; waits for the run to end."""
        machine = _backend()
        steps, batch, units = self.inputs.shape[0], self.inputs.shape[1], self.states.shape[3]
        nothing = np.empty((steps, batch, 0, units), self.states.dtype)
        return Trace(
            cell=self.cell,
            inputs=machine.to_host(self.inputs),
            states=machine.to_host(self.states),
            gates=machine.to_host(self.gates) if self.kept_names else nothing,
            lengths=machine.to_host(self.lengths),
            state_names=self.state_names,
            kept_names=self.kept_names,
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
        gates=params.gates,
        provenance=params.provenance,
        **{name: machine.to_device(getattr(params, name)) for name in WEIGHTS},
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


def check_fast(fast_activations: bool, device: str, params: Any) -> bool:
    """Whether to use the GPU's approximate tanh and sigmoid, which exist there and in float32 only."""
    dtype = getattr(params, "dtype", None)
    if fast_activations and (device != "cuda" or dtype != np.float32):
        raise ValueRangeError(
            f"fast_activations=True needs device='cuda' and float32 weights, but these are {device!r} and {dtype}; "
            "leave it out"
        )
    return bool(fast_activations)


def run_cuda(
    params: Params | DeviceParams, inputs: Any, initial_state: Any, lengths: Any, fast: bool
) -> DeviceTrace:
    """`run` on the GPU."""
    from gatescope.kernels import cuda
    from gatescope.kernels.gpu import memory_plan

    weights = to_device(params)
    cell, dtype, units = get(weights.cell), weights.dtype, weights.hidden_size
    machine = _backend()
    x = _on_device(inputs)
    if x is None:
        x = check_inputs(inputs, weights)  # type: ignore[arg-type]  # asks for input_size and dtype only
    else:
        x = _check_device_array("inputs", x if x.ndim == 3 else x.reshape(x.shape[0], 1, -1), dtype)
        check_shape("inputs", x, (*x.shape[:2], weights.input_size), "(T, B, I) of these params")
    steps, batch, width = x.shape
    start = check_initial_state(initial_state, cell, weights, batch)  # type: ignore[arg-type]
    sizes = check_lengths(lengths, steps, batch)
    needed = memory_plan.bytes_of_run(cell, units, steps, batch, width, dtype)
    memory_plan.check_fits(f"run of {steps} steps, {batch} sequences", needed, machine.memory(), batch)
    x = machine.to_device(x) if isinstance(x, np.ndarray) else x
    states = machine.empty((steps + 1, batch, len(cell.states), units), dtype)
    first = np.zeros((batch, len(cell.states), units), dtype) if start is None else start
    machine.copy(machine.to_device(first.reshape(-1)), states[0].reshape(-1))
    gates = machine.empty((steps, batch, max(1, len(cell.kept)), units), dtype)
    on_device = machine.to_device(sizes)
    plan = cuda.plan_for(cell, units, dtype)
    cuda.forward(plan, _weights(weights), x, states, gates, on_device, fast_activations=fast)
    return DeviceTrace(
        cell=cell.name,
        inputs=x,
        states=states,
        gates=gates,
        lengths=on_device,
        state_names=cell.states,
        kept_names=cell.kept,
        provenance=_facts(weights, machine, fast),
    )


def backprop_cuda(
    params: Params | DeviceParams,
    trace: Trace | DeviceTrace,
    output_adjoint: Any,
    final_adjoint: Any,
    fast: bool,
) -> DeviceGradients:
    """`backprop` on the GPU."""
    from gatescope.kernels import cuda
    from gatescope.kernels.gpu import memory_plan

    if isinstance(params, DeviceParams) != isinstance(trace, DeviceTrace):
        raise DeviceError(
            f"params are {type(params).__name__}, but the trace is a {type(trace).__name__}; "
            "make both with to_device(params) and run, or bring both to the host with to_host()"
        )
    weights = to_device(params)
    cell, dtype, units = get(weights.cell), weights.dtype, weights.hidden_size
    machine = _backend()
    if isinstance(trace, Trace):
        check_trace(trace, params, cell)  # type: ignore[arg-type]
    elif trace.cell != weights.cell or tuple(trace.states.shape[2:]) != (len(cell.states), units):
        raise ShapeError("trace was made by other weights than these params; run these params first")
    steps, batch, width = trace.inputs.shape
    seeds = _seeds(output_adjoint, (steps, batch, units), dtype)
    last = np.zeros((batch, len(cell.states), units), dtype)
    if final_adjoint is not None:
        last = check_array("final_adjoint", final_adjoint, dtype)
        check_shape("final_adjoint", last, (batch, len(cell.states), units), "(B, S, H)")
    needed = memory_plan.bytes_of_backprop(
        cell, units, steps, batch, width, dtype, isinstance(seeds, np.ndarray)
    )
    if isinstance(trace, Trace):
        needed += memory_plan.bytes_of_run(cell, units, steps, batch, width, dtype)
    memory_plan.check_fits(f"backprop of {steps} steps, {batch} sequences", needed, machine.memory(), batch)
    arrays = (trace.inputs, trace.states, trace.gates)
    lengths = trace.lengths
    if isinstance(trace, Trace):
        arrays = tuple(machine.to_device(_some(array)) for array in arrays)
        lengths = machine.to_device(np.ascontiguousarray(lengths, np.int64))
    seeds = machine.to_device(seeds) if isinstance(seeds, np.ndarray) else seeds
    adjoint = machine.empty((steps + 1, batch, len(cell.states), units), dtype)
    machine.copy(machine.to_device(last.reshape(-1)), adjoint[steps].reshape(-1))
    d_inputs = machine.empty((steps, batch, width), dtype)
    found = cuda.backward(
        cuda.plan_for(cell, units, dtype), _weights(weights), arrays, lengths, seeds, adjoint, d_inputs,
        fast_activations=fast,
    )  # fmt: skip
    facts = _facts(weights, machine, fast)
    first = machine.empty(adjoint.shape[1:], dtype)
    machine.copy(adjoint[0].reshape(-1), first.reshape(-1))
    return DeviceGradients(
        params=dataclasses.replace(weights, provenance=facts, **found._asdict()),
        inputs=d_inputs,
        initial_state=first,
        adjoint=adjoint,
        provenance=facts,
    )


def host_gradients(gradients: DeviceGradients, output_adjoint: Any) -> Gradients:
    """Gradients brought to the host; a NaN or an infinity in the seeds is told, as on the CPU."""
    found = gradients.to_host()
    if output_adjoint is not None and not all(np.isfinite(v).all() for v in found.params.arrays().values()):
        check_finite("output_adjoint", np.asarray(output_adjoint))
    return found


def _seeds(output_adjoint: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Adjoints of the outputs: None, a NumPy array, or a device array."""
    if output_adjoint is None:
        return None
    seeds = _on_device(output_adjoint)
    if seeds is None:
        seeds = check_array("output_adjoint", output_adjoint, dtype, finite=False)
    else:
        seeds = _check_device_array("output_adjoint", seeds, dtype)
    if seeds.ndim == 2 and shape[1] == 1:
        seeds = seeds.reshape(seeds.shape[0], 1, -1)
    check_shape("output_adjoint", seeds, shape, "(T, B, H)")
    return seeds


def _on_device(value: Any) -> Any | None:
    """`value` as a device array if it is on the GPU already (of any library), else None."""
    if isinstance(value, np.ndarray) or not getattr(value, "is_cuda", True):
        return None
    if not hasattr(value, "__cuda_array_interface__"):
        return None
    from gatescope.kernels.gpu.api import cuda

    return cuda.as_cuda_array(value)


def _check_device_array(name: str, array: Any, dtype: np.dtype[Any]) -> Any:
    if np.dtype(array.dtype) != dtype:
        raise DtypeError(
            f"{name} on the GPU has dtype {array.dtype}, but params have {dtype}; convert it there"
        )
    if not array.is_c_contiguous():
        raise ShapeError(f"{name} on the GPU is not C-contiguous; make a contiguous copy there")
    return array


def _some(array: Array) -> Array:
    """A C-contiguous array with at least one element, because a GPU holds no empty ones."""
    return np.ascontiguousarray(array) if array.size else np.zeros(1, array.dtype)


def _weights(params: DeviceParams) -> Any:
    from gatescope.kernels import cuda

    return cuda.Weights(*(getattr(params, name) for name in WEIGHTS))


def _facts(params: DeviceParams, machine: Any, fast: bool) -> dict[str, Any]:
    more = {"fast_activations": True} if fast else {}
    return provenance(
        device="cuda",
        dtype=params.dtype.name,
        seed=params.provenance.get("seed"),
        backend=machine.name,
        **more,
    )


def _backend() -> Any:
    from gatescope.kernels.gpu import backend

    return backend.current()
