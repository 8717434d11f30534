"""A model that runs by itself: its outputs are its next inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.checks.arrays import rectangular
from gatescope.checks.network import check_directions, check_inputs
from gatescope.checks.numbers import check_count, check_unused
from gatescope.datatypes import Array, Params
from gatescope.datatypes.stack import Bidirectional, Stack
from gatescope.datatypes.stack_trace import StackTrace
from gatescope.errors import ShapeError, ValueRangeError, warn_input
from gatescope.kernels.cpu.closed_loop import close_loop
from gatescope.kernels.device import device_for, threads_for
from gatescope.recurrence.cell_run import make_trace, run_provenance
from gatescope.recurrence.clamping import apply_clamp, stack_clamps
from gatescope.recurrence.finiteness import warn_outputs, warn_states
from gatescope.recurrence.stack_run import (
    by_name,
    check_stack_fits,
    host_device,
    stack_provenance,
)
from gatescope.reporting.text import counted


def run_closed(
    stack: Stack,
    inputs: Any,
    steps: Any,
    *,
    initial_state: Any,
    lengths: Any,
    clamp: Any,
    device: str | None,
    threads: int | None,
    fast_activations: bool,
) -> StackTrace:
    """Run a model over inputs, if there are any, and then over its own outputs, as `run` says."""
    count = check_count("steps", steps, advice="say how many steps the loop goes on for")
    check_unused("in a closed loop, whose sequences all go on", lengths=lengths)
    if host_device(device, stack) != "cpu" or fast_activations:
        raise ValueRangeError(
            "is not for a closed loop, which is computed on the CPU", argument="device", advice="leave it out"
        )
    weights = closed_layers(stack)
    names = list(weights)
    clamps = stack_clamps(stack, clamp)
    workers = threads_for("cpu", threads)
    states = by_name(stack, "initial_state", initial_state)
    given = None if inputs is None else check_inputs(inputs, weights[names[0]])
    batch = given.shape[1] if given is not None else _batch_of(states)
    warm = 0 if given is None else len(given)
    check_stack_fits(stack, batch, warm + count, "steps")
    x = np.empty((warm + count, batch, stack.input_size), stack.dtype)
    if given is not None:
        x[:warm] = given
    cells = check_directions(stack)
    first = [
        device_for("cpu", cells[name], params, workers).take_state(
            f"initial_state[{name!r}]", states.get(name), batch
        )
        for name, params in weights.items()
    ]
    clamped = [apply_clamp(weights[name], clamps[name]) for name in names]
    runs, outputs = close_loop(clamped, readout_of(stack), x, warm, first, workers)
    sizes = np.full(batch, len(x), np.int64)
    traces = []
    for name, run in zip(names, runs, strict=True):
        sources = run_provenance("cpu", weights[name], clamps[name])
        traces.append(make_trace(cells[name], (*run, sizes.copy()), clamps[name], sources))
        warn_states(cells[name], run.states, f"{name}: ")
    warn_outputs(outputs)
    return StackTrace(
        names=tuple(names),
        results=tuple(traces),
        outputs=outputs,
        provenance=stack_provenance("cpu", stack, clamps, feedback_from=warm),
    )


def closed_layers(stack: Stack) -> dict[str, Params]:
    """Return the layers of a model whose outputs can be its next inputs, by name.

    Raises
    ------
    ValueRangeError
        If a layer goes backward, so that outputs would depend on inputs to come.
    ShapeError
        If there are more or fewer outputs than inputs.
    """
    for number, layer in enumerate(stack.layers):
        if isinstance(layer, Bidirectional) or layer.reverse:
            way = "goes both ways" if isinstance(layer, Bidirectional) else "goes backward"
            raise ValueRangeError(
                f"{way} in layers[{number}], so that outputs depend on inputs to come, which a closed loop has not got",
                argument="params",
                advice="give a model of forward layers",
            )
    if stack.output_size != stack.input_size:
        raise ShapeError(
            f"has {counted(stack.output_size, 'output')} and {counted(stack.input_size, 'input')}, which cannot be the "
            "same in a closed loop",
            argument="params",
            advice="give a model with as many outputs as inputs",
        )
    judged = [head.name for head in stack.heads if head.loss != "mse"]
    if judged:
        warn_input(
            f"what is fed back are the read-out's outputs as they are, also of {', '.join(judged)}: not through a "
            "softmax or a sigmoid, and nothing is drawn from them"
        )
    return stack.directions()


def readout_of(stack: Stack) -> tuple[Array, Array]:
    """Return weight (O, H) and bias (O,) of the read-out; of a model without one those that change nothing."""
    if stack.readout_weight is None or stack.readout_bias is None:
        return np.eye(stack.output_size, dtype=stack.dtype), np.zeros(stack.output_size, stack.dtype)
    return np.ascontiguousarray(stack.readout_weight), np.ascontiguousarray(stack.readout_bias)


def _batch_of(states: dict[str, Any]) -> int:
    """Return how many sequences there are: as many as states that were given, or one."""
    for name, state in states.items():
        shape = () if state is None else rectangular(f"initial_state[{name!r}]", state).shape
        if len(shape) == 3 and shape[0]:
            return int(shape[0])
    return 1
