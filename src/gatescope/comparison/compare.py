"""Measure several cells over the same inputs alike: cost, time, gradient flow, gates."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from tqdm.auto import tqdm

from gatescope.cells.operation_counts import count_operations
from gatescope.cells.registry import get
from gatescope.checks.memory import check_memory
from gatescope.checks.network import check_directions, check_inputs, check_params
from gatescope.checks.numbers import check_count, check_flag, check_type
from gatescope.datatypes import ByLayer, GradientFlow, Params, Saturation, Stack, StackTrace, Trace
from gatescope.datatypes.comparison import CellMeasurements, Comparison, part_labels
from gatescope.datatypes.saturation import OPEN, SHUT
from gatescope.datatypes.stack import time_major
from gatescope.errors import NOTHING, DtypeError, GatescopeError, ShapeError, ValueRangeError
from gatescope.kernels.device import check_device, threads_for
from gatescope.measurements.each_layer import one_way
from gatescope.measurements.gradient_flow import measure as measure_flow
from gatescope.measurements.problem import Problem, prepare
from gatescope.measurements.saturation import check_thresholds, count_saturated
from gatescope.measurements.stack_flow import measure as measure_stack
from gatescope.measurements.stack_problem import StackProblem, prepare_stack
from gatescope.recurrence.cell_run import trace_bytes
from gatescope.recurrence.input_stream import Series, in_memory
from gatescope.recurrence.layers import outputs_of_layers
from gatescope.recurrence.run import run
from gatescope.storage.provenance import provenance

_STAGES = ("run", "gradient", "gradient to h", "gradient to c", "gates", "timing")
_TIMING_RUNS = 5
_LONG = 1_000_000  # state updates from which the gradient flow gets a progress bar of its own


def compare(
    params_by_label: Mapping[str, Params | Stack],
    inputs: Any,
    *,
    lengths: Any = None,
    left: float = SHUT,
    right: float = OPEN,
    timing_runs: int = _TIMING_RUNS,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    progress: bool = False,
) -> Comparison:
    """Run cells and models of several layers over the same inputs; measure cost, gradient flow and gates.

    Of a model the gradient goes through all layers, the cost is the sum of theirs and of the read-out, and gates are
    those of each layer.  One that goes both ways has no state of earlier steps alone: each of its directions is
    compared by itself, on what it gets in the model, under labels such as ``"model, layers.0.backward"``.

    Parameters
    ----------
    params_by_label : mapping of str to Params or Stack
        Any number of cells and models, of any size and dtype, that take inputs of this width.
    inputs : (T, B, I) or (T, I) array_like, or a mapping of str to these
        A mapping has the inputs of each label, all of the same T and B: of cells on top of different layers.
    lengths : (B,) array_like of int, optional
        Steps of each sequence, 1..T; default: T.  Only the time of a step is that of all T steps of all sequences.
    left, right : float
        A gate is shut below `left` and open above `right`; 0 <= left < right <= 1.
    timing_runs : int
        Number of sweeps that are timed, of which the median is taken.
    seed : int
        Seed for the random direction of the gradient flow.
    device : str
        ``"cpu"`` or ``"cuda"``; the time of a step on a GPU includes the copy of its inputs to it.  Models of several
        layers are compared on the CPU.
    threads : int, optional
        On the CPU: at most this many threads; default: the cores this process may use.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Comparison

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError, DeviceError
        If an argument does not fit; all are checked before the first run.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> cells = {name: gs.init(name, input_size=1, hidden_size=8) for name in ("rnn", "gru")}
    >>> comparison = gs.compare(cells, np.ones((200, 1)))
    >>> comparison["gru"].numbers()["parameters"], comparison["rnn"].saturation.saturated()
    (264, None)
    """
    computing = {"seed": seed, "device": device, "threads": threads}
    return compare_and_time(
        lambda: None,
        params_by_label,
        inputs,
        lengths,
        (left, right),
        timing_runs,
        progress=progress,
        **computing,
    )


def compare_and_time(
    before_timing: Callable[[], object],
    params_by_label: Mapping[str, Params | Stack],
    inputs: Any,
    lengths: Any,
    thresholds: tuple[float, float] = (SHUT, OPEN),
    timing_runs: int = _TIMING_RUNS,
    *,
    progress: bool,
    seed: Any,
    device: Any,
    threads: Any,
) -> Comparison:
    """Do what `compare` does; `before_timing` is called when all but the times is measured, and may wait for others."""
    check_device(device)
    repeats = check_count("timing_runs", timing_runs)
    workers = threads_for(device, threads)
    thresholds = check_thresholds(*thresholds)
    series = _check_cells(params_by_label, inputs)
    seed = check_count("seed", seed, least=0)
    _check_fits(params_by_label, series)
    models, params_by_label = params_by_label, parts_compared(params_by_label)
    series = _inputs_of_parts(models, series, lengths, workers)
    cells: list[CellMeasurements] = []
    total = len(params_by_label) * len(_STAGES)
    options: dict[str, Any] = {"seed": seed, "device": device, "threads": threads, "scale": False}
    with (
        tqdm(total=total, unit="stage", disable=None if check_flag("progress", progress) else True) as bar,
        ExitStack() as opened,
    ):
        problems: dict[str, Problem | StackProblem] = {}
        for label, params in params_by_label.items():
            problem: AbstractContextManager[Problem | StackProblem] = (
                prepare_stack(params, series[label], lengths, **options)
                if isinstance(params, Stack)
                else prepare(params, series[label], lengths=lengths, **options)
            )
            problems[label] = opened.enter_context(problem)
            stages = _Stages(bar, label)
            cells.append(_measure(label, params, problems[label], series[label], thresholds, stages))
        before_timing()
        cells = [_timed(cell, problems[cell.label], repeats, _Stages(bar, cell.label)) for cell in cells]
        bar.set_description("measured")
    dtypes = sorted({params.dtype.name for params in params_by_label.values()})
    ran = cells[0].trace.provenance  # names the GPU or what stands in for it
    used: dict[str, Any] = (
        {"threads": workers} if device == "cpu" else {"backend": ran.get("backend", device)}
    )
    if apart := [label for label in models if label not in params_by_label]:
        used["taken_apart"] = apart
    metadata = provenance(device=device, dtype=", ".join(dtypes), seed=seed, **used)
    return Comparison(cells=tuple(cells), provenance=metadata)


def parts_compared(models: Mapping[str, Params | Stack]) -> dict[str, Params | Stack]:
    """Return what `compare` measures by itself, by label: models, and each direction of those that go both ways.

    Raises
    ------
    ValueRangeError
        If a model has the label of a direction of another.
    """
    parts: dict[str, Params | Stack] = {}
    for label, model in models.items():
        own: dict[str, Params | Stack] = {label: model}
        if not (isinstance(model, Params) or one_way(model)):
            labels = part_labels(label, model)
            own = {labels[name]: params for name, params in model.directions().items()}
        for twice in parts.keys() & own.keys():
            problem = f"has a model {twice!r}, which is the label of a direction of another, too"
            raise ValueRangeError(problem, argument="params_by_label", advice="give it another label")
        parts |= own
    return parts


class _Stages:
    """Names what is being done on the progress bar and moves it on when it is done."""

    def __init__(self, bar: Any, label: str) -> None:
        self._bar, self._label = bar, label
        self.shown = not bar.disable

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._bar.set_description(f"{self._label}: {name}")
        yield
        self._bar.update()


def _measure(
    label: str,
    model: Params | Stack,
    problem: Problem | StackProblem,
    series: Series,
    thresholds: tuple[float, float],
    stages: _Stages,
) -> CellMeasurements:
    """Return all measurements but the time of a step, which is NaN."""
    with stages("run"):
        trace = _trace(problem, series)
    long = problem.steps * problem.batch >= _LONG
    problem = dataclasses.replace(problem, progress=stages.shown and long)
    lowest = "" if isinstance(problem, Problem) else "layers.0."
    states = get(next(iter(_layers(model))).cell).states
    with stages("gradient"):
        flow = _flow(problem, of="joint", wrt="joint")
    with stages("gradient to h"):
        flow_h = _flow(problem, wrt=f"{lowest}h")
    with stages("gradient to c"):
        flow_c = _flow(problem, wrt=f"{lowest}c") if "c" in states else None
    with stages("gates"):
        saturation = _saturation(trace, thresholds)
    costs = [count_operations(get(one.cell), one.input_size, one.hidden_size) for one in _layers(model)]
    readout = model.readout_weight if isinstance(model, Stack) else None
    return CellMeasurements(
        label=label,
        params=problem.params,
        trace=trace,
        flow=flow,
        flow_h=flow_h,
        flow_c=flow_c,
        multiply_adds=sum(cost.multiply_adds for cost in costs) + (0 if readout is None else readout.size),
        activations=sum(cost.activations for cost in costs),
        elementwise=sum(cost.elementwise for cost in costs),
        nanoseconds=math.nan,
        timing_runs=0,
        threads=problem.threads if problem.device == "cpu" else None,
        saturation=saturation,
        provenance=trace.provenance,
    )


def _timed(
    cell: CellMeasurements, problem: Problem | StackProblem, repeats: int, stages: _Stages
) -> CellMeasurements:
    """Return measurements with the time of a step."""
    with stages("timing"):
        nanoseconds = statistics.median(_seconds(problem, repeats)) * 1e9 / problem.steps
    return dataclasses.replace(cell, nanoseconds=nanoseconds, timing_runs=repeats)


def _layers(model: Params | Stack) -> tuple[Params, ...]:
    """Return the weights of each layer and direction."""
    return tuple(model.directions().values()) if isinstance(model, Stack) else (model,)


def _flow(problem: Problem | StackProblem, *, wrt: str, of: str | None = None) -> GradientFlow:
    if isinstance(problem, StackProblem):
        return measure_stack(problem, of=of, wrt=wrt)
    return measure_flow(problem, of=of or "h", wrt=wrt)


def _trace(problem: Problem | StackProblem, series: Series) -> Trace | StackTrace:
    if isinstance(problem, Problem):
        return problem.trace()
    lowest, *others = problem.params.layers
    # A series has the steps first, whatever the model takes.
    model = dataclasses.replace(problem.params, layers=(time_major(lowest), *others))
    inputs = series.read(0, series.steps)
    return run(model, inputs, lengths=problem.lengths, threads=problem.threads)


def _saturation(
    trace: Trace | StackTrace, thresholds: tuple[float, float]
) -> Saturation | ByLayer[Saturation]:
    if isinstance(trace, Trace):
        return count_saturated(trace, None, *thresholds)
    counts = tuple(count_saturated(one, None, *thresholds) for one in trace.results)
    return ByLayer(names=trace.names, results=counts, provenance=trace.provenance)


def _seconds(problem: Problem | StackProblem, repeats: int) -> list[float]:
    """Return the seconds of sweeps over all steps, each with weights, inputs and memory ready."""
    device: Any = problem.open_device()
    inputs = problem.series.read(0, problem.steps)
    states, gates = device.buffers(problem.steps, problem.batch)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        device.forward(inputs, problem.initial_state, states, gates)
        device.last(states)  # waits for a GPU to be done
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first sweep may compile, and is the first to touch the memory


def _inputs_of_parts(
    models: Mapping[str, Params | Stack], inputs: Mapping[str, Series], lengths: Any, threads: int
) -> dict[str, Series]:
    """Return the inputs of `parts_compared`, by label: of a direction what the layers below it give."""
    series: dict[str, Series] = {}
    for label, model in models.items():
        if isinstance(model, Params) or one_way(model):
            series[label] = inputs[label]
            continue
        labels = part_labels(label, model)
        below = inputs[label].read(0, inputs[label].steps)
        for number, layer in enumerate(model.layers):
            series |= dict.fromkeys(
                (labels[name] for name in model.prefixes(number).values()), in_memory(below)
            )
            if number + 1 < len(model.layers):
                below = outputs_of_layers([time_major(layer)], below, lengths=lengths, threads=threads)
    return series


def _check_fits(params_by_label: Mapping[str, Params | Stack], series: Mapping[str, Series]) -> None:
    """Refuse a comparison whose traces the free memory does not hold: all of them, and one more that is timed."""
    steps, batch = (getattr(next(iter(series.values())), name) for name in ("steps", "batch"))
    each = [
        sum(trace_bytes(params, batch) for params in _layers(model)) for model in params_by_label.values()
    ]
    check_memory(
        "inputs",
        NOTHING,
        lambda count: count * (sum(each) + max(each)),
        "every state and gate of all cells",
        size=steps,
        advice="give fewer steps, sequences or cells",
    )


def _check_cells(params_by_label: Any, inputs: Any) -> dict[str, Series]:
    """Check all cells, and return the inputs of each, those that are shared converted and scanned once for a dtype."""
    advice = "give a mapping from labels to Params or Stack, for one cell {'lstm': params}"
    check_type("params_by_label", params_by_label, Mapping, advice=advice)
    if not params_by_label:
        raise ValueRangeError("is empty", argument="params_by_label", advice="give at least one cell")
    own = isinstance(inputs, Mapping)
    if own and {*inputs} != {*params_by_label}:
        raise ValueRangeError(
            f"are those of {', '.join(map(repr, inputs)) or 'no cell'}",
            argument="inputs",
            advice=f"give those of {', '.join(map(repr, params_by_label))}, or one array for all",
        )
    series: dict[str, Series] = {}
    shared: dict[Any, Series] = {}
    for label, params in params_by_label.items():
        if not isinstance(label, str) or not label:
            raise DtypeError(f"has the label {label!r}", argument="params_by_label", advice="use a text")
        try:
            if isinstance(params, Stack):
                check_directions(params)
            else:
                check_params(params)
            lowest = _layers(params)[0]
            values = inputs[label] if own else inputs
            key = id(values), lowest.dtype, lowest.input_size, lowest.batch_first
            if key not in shared:
                shared[key] = in_memory(check_inputs(values, lowest))
            series[label] = shared[key]
        except GatescopeError as error:
            raise error.restated(f"{label}: {error.text()}") from error
    first = next(iter(series.values()))
    for label, other in series.items():
        if (other.steps, other.batch) != (first.steps, first.batch):
            raise ShapeError(
                f"should have T = {first.steps} and B = {first.batch}, as those of the other cells",
                argument=f"inputs[{label!r}]",
                seen=(other.steps, other.batch, other.input_size),
            )
    return series
