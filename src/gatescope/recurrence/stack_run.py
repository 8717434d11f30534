"""A model of several layers over inputs, layer by layer, and its gradients from the read-out down to the inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from gatescope.checks.arrays import check_array, check_host, check_shape
from gatescope.checks.network import check_directions, check_lengths, warn_if_batch_first
from gatescope.checks.numbers import check_type
from gatescope.datatypes import Array, Gradients
from gatescope.datatypes.stack import Layer, Stack, output_size_of, replaced
from gatescope.datatypes.stack_gradients import StackGradients
from gatescope.datatypes.stack_names import by_direction
from gatescope.datatypes.stack_trace import StackTrace
from gatescope.errors import DeviceError, ShapeError, UnknownNameError
from gatescope.kernels.device import (
    check_device,
    check_fast_activations,
    device_for,
    device_metadata,
    threads_for,
)
from gatescope.recurrence.cell_run import (
    backprop_cell,
    check_fits,
    fast_metadata,
    run_provenance,
    trace_bytes,
    traced,
)
from gatescope.recurrence.clamping import apply_clamp, clamps_metadata, stack_clamps
from gatescope.recurrence.finiteness import warn_outputs
from gatescope.recurrence.layers import merged, split
from gatescope.storage.provenance import provenance


def run_stack(
    stack: Stack,
    inputs: Any,
    *,
    initial_state: Any,
    lengths: Any,
    clamp: Any,
    device: str | None,
    threads: int | None,
    fast_activations: bool,
) -> StackTrace:
    """Run a model over inputs, as `run` says."""
    device = host_device(device, stack)
    threads = threads_for(device, threads)
    clamps = stack_clamps(stack, clamp)
    weights = stack.directions()
    cells, computers = check_directions(stack), {}
    for name, params in weights.items():
        fast = check_fast_activations(fast_activations, device, params)
        clamped = apply_clamp(params, clamps[name])
        computers[name] = device_for(device, cells[name], clamped, threads, fast_activations=fast)
    x = next(iter(computers.values())).take_inputs(inputs)
    steps, batch = x.shape[:2]
    if device == "cpu":
        check_stack_fits(stack, batch, steps, "inputs")
    states = by_name(stack, "initial_state", initial_state)
    first = {
        name: computers[name].take_state(f"initial_state[{name!r}]", states.get(name), batch)
        for name in weights
    }
    sizes = check_lengths(check_host("lengths", lengths), steps, batch)
    if not next(iter(weights.values())).batch_first:
        warn_if_batch_first("inputs", steps, batch, lengths)
    traces = {}
    for number, layer in enumerate(stack.layers):
        for name in stack.prefixes(number).values():
            params, values = weights[name], clamps[name]
            sources = run_provenance(device, params, values, **fast_metadata(fast_activations))
            traces[name] = traced(
                computers[name], params, x, first[name], sizes, values, sources, f"{name}: "
            )
        x = _outputs(layer, [traces[name].outputs for name in stack.prefixes(number).values()], sizes)
    outputs = read_out(stack, x, sizes)
    if all(np.isfinite(trace.states[-1]).all() for trace in traces.values()):  # else it was said
        warn_outputs(outputs)
    return StackTrace(
        names=tuple(weights),
        results=tuple(traces.values()),
        outputs=outputs,
        provenance=stack_provenance(device, stack, clamps, **fast_metadata(fast_activations)),
    )


def backprop_stack(
    stack: Stack,
    trace: Any,
    *,
    output_adjoint: Any,
    final_adjoint: Any,
    device: str | None,
    threads: int | None,
    fast_activations: bool,
) -> StackGradients:
    """Back-propagate through a run of a model, as `backprop` says."""
    device = host_device(device, stack)
    check_type("trace", trace, StackTrace, advice="give what run(stack, inputs) returned")
    trace.check_fields("trace")
    if trace.names != tuple(stack.directions()):
        raise ShapeError(
            f"is of {', '.join(trace.names)}, but `params` have {', '.join(stack.directions())}",
            argument="trace",
            advice="run these params first",
        )
    if output_adjoint is None and final_adjoint is None:
        raise ShapeError(
            "`output_adjoint` and `final_adjoint` are both left out",
            advice="give at least one, (T, B, O) or a mapping of layers to (B, S, H)",
        )
    d_outputs = _output_adjoint(stack, trace, output_adjoint)
    finals = by_name(stack, "final_adjoint", final_adjoint)
    results: dict[str, Gradients] = {}
    gradients: list[Layer] = []
    d_outputs, readout = _through_readout(stack, trace, d_outputs)
    for number in reversed(range(len(stack.layers))):
        layer, names = stack.layers[number], stack.prefixes(number)
        parts = split(layer, d_outputs)
        for name, part in zip(names.values(), parts, strict=True):
            results[name] = backprop_cell(
                stack.directions()[name],
                trace[name],
                output_adjoint=part,
                final_adjoint=finals.get(name),
                device=device,
                threads=threads,
                fast_activations=fast_activations,
                where=f"{name}: ",
            )
        gradients.append(replaced(layer, {way: results[name].params for way, name in names.items()}))
        d_outputs = np.sum([results[name].inputs for name in names.values()], axis=0)
    sources = stack_provenance(device, stack, {}, **fast_metadata(fast_activations))
    return StackGradients(
        names=trace.names,
        results=tuple(results[name] for name in trace.names),
        params=dataclasses.replace(stack, layers=tuple(reversed(gradients)), **readout, provenance=sources),
        inputs=d_outputs,
        provenance=sources,
    )


def check_stack_fits(stack: Stack, batch: int, steps: int, name: str) -> None:
    """Refuse a run whose trace does not fit into the memory that is free."""
    outputs = stack.output_size + sum(map(output_size_of, stack.layers))
    step_bytes = batch * outputs * stack.dtype.itemsize
    step_bytes += sum(trace_bytes(params, batch) for params in stack.directions().values())
    check_fits(name, "every state and gate of these steps, in all layers,", step_bytes, steps)


def by_name(stack: Stack, argument: str, values: Any) -> dict[str, Any]:
    """Return values that were given by the names of layers, by the name of each direction that is meant."""
    by_rest = {} if values is None else by_direction(stack, argument, values)
    for name, rest in by_rest.items():
        for more in rest:
            if more:
                raise UnknownNameError(
                    "names more than a layer",
                    argument=argument,
                    seen=f"{name}.{more}",
                    advice=f"give {name!r} alone, with (B, S, H)",
                )
    return {name: rest[""] for name, rest in by_rest.items()}


def read_out(stack: Stack, features: Array, lengths: Array) -> Array:
    """Return the model's outputs (T, B, O) of those of its uppermost layer; 0 past the end of a sequence."""
    if stack.readout_weight is None:
        return features
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = features @ stack.readout_weight.T + stack.readout_bias
    outputs[_past(len(outputs), lengths)] = 0
    return np.asarray(outputs)


def _outputs(layer: Layer, outputs: list[Array], lengths: Array) -> Array:
    """Return a layer's outputs (T, B, H) as an array of its own, 0 past the end of a sequence."""
    together = np.array(merged(layer, outputs), order="C")
    together[_past(len(together), lengths)] = 0
    return together


def _past(steps: int, lengths: Array) -> Array:
    return np.arange(steps)[:, None] >= lengths


def _output_adjoint(stack: Stack, trace: StackTrace, value: Any) -> Array:
    """Return a checked adjoint of the model's outputs (T, B, O), 0 past the end of a sequence."""
    shape = (*trace.outputs.shape[:2], stack.output_size)
    if value is None:
        return np.zeros(shape, stack.dtype)
    array = check_array("output_adjoint", check_host("output_adjoint", value), stack.dtype)
    if array.ndim == 2 and shape[1] == 1:
        array = array[:, None, :]
    check_shape("output_adjoint", array, shape, "(T, B, O)")
    return np.where(trace.mask[:, :, None], array, stack.dtype.type(0))


def _through_readout(stack: Stack, trace: StackTrace, adjoint: Array) -> tuple[Array, dict[str, Any]]:
    """Return the adjoint of the uppermost layer's outputs (T, B, H), and the read-out's gradients by name."""
    if stack.readout_weight is None:
        return adjoint, {}
    names = stack.prefixes(len(stack.layers) - 1).values()
    features = merged(stack.layers[-1], [trace[name].outputs for name in names])
    rows = adjoint.reshape(-1, adjoint.shape[-1])
    gradients = {
        "readout_weight": rows.T @ features.reshape(len(rows), -1),
        "readout_bias": rows.sum(axis=0),
    }
    return adjoint @ stack.readout_weight, gradients


def host_device(device: Any, stack: Stack) -> str:
    """Return the name of the device to compute on: the CPU, if none is named."""
    if any(params.on_device for params in stack.directions().values()):
        raise DeviceError(
            "has layers on the GPU",
            argument="params",
            advice="give them on the host, with `device`='cuda': each goes there when its turn comes",
        )
    return check_device("cpu" if device is None else device)


def stack_provenance(
    device: str, stack: Stack, clamps: Mapping[str, Array | None], **more: Any
) -> dict[str, Any]:
    """Return where a result comes from, with all clamps by layer and gate."""
    clamped = clamps_metadata(stack, clamps)
    return provenance(
        **device_metadata(device),
        dtype=stack.dtype.name,
        seed=stack.provenance.get("seed"),
        **more,
        **({"clamp": clamped} if clamped else {}),
    )
