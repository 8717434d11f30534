"""Measure several cells over the same inputs alike: cost, time, gradient flow, gates."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from gatescope.cells.operation_counts import count_operations
from gatescope.checks.memory import check_memory
from gatescope.checks.network import check_inputs, check_params
from gatescope.checks.numbers import check_count, check_flag, check_type
from gatescope.datatypes import Params
from gatescope.datatypes.comparison import CellMeasurements, Comparison
from gatescope.datatypes.saturation import OPEN, SHUT
from gatescope.errors import NOTHING, DtypeError, GatescopeError, ShapeError, ValueRangeError
from gatescope.kernels.device import check_device, threads_for
from gatescope.measurements.gradient_flow import measure as measure_flow
from gatescope.measurements.problem import Problem, prepare
from gatescope.measurements.saturation import check_thresholds, count_saturated
from gatescope.recurrence.cell_run import trace_bytes
from gatescope.recurrence.input_stream import Series, in_memory
from gatescope.storage.provenance import provenance

_STAGES = ("timing", "run", "gradient", "gradient to h", "gradient to c", "gates")
_LONG = 1_000_000  # state updates from which the gradient flow gets a progress bar of its own


def compare(
    params_by_label: Mapping[str, Params],
    inputs: Any,
    *,
    lengths: Any = None,
    left: float = SHUT,
    right: float = OPEN,
    timing_runs: int = 5,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    progress: bool = False,
) -> Comparison:
    """Run cells over the same inputs and measure their cost, their gradient flow and their gates.

    Parameters
    ----------
    params_by_label : mapping of str to Params
        Any number of cells, of any size and dtype, that take inputs of this width.
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
        ``"cpu"`` or ``"cuda"``; the time of a step on a GPU includes the copy of its inputs to it.
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
    check_device(device)
    repeats = check_count("timing_runs", timing_runs)
    workers = threads_for(device, threads)
    thresholds = check_thresholds(left, right)
    series = _check_cells(params_by_label, inputs)
    seed = check_count("seed", seed, least=0)
    _check_fits(params_by_label, series)
    cells: list[CellMeasurements] = []
    total = len(params_by_label) * len(_STAGES)
    with tqdm(total=total, unit="stage", disable=None if check_flag("progress", progress) else True) as bar:
        for label, params in params_by_label.items():
            with prepare(
                params,
                series[label],
                lengths=lengths,
                seed=seed,
                device=device,
                threads=threads,
                scale=False,
            ) as problem:
                cells.append(_measure(label, problem, thresholds, repeats, _Stages(bar, label)))
        bar.set_description("measured")
    dtypes = sorted({params.dtype.name for params in params_by_label.values()})
    ran = cells[0].trace.provenance  # names the GPU or what stands in for it
    used = {"threads": workers} if device == "cpu" else {"backend": ran.get("backend", device)}
    metadata = provenance(device=device, dtype=", ".join(dtypes), seed=seed, **used)
    return Comparison(cells=tuple(cells), provenance=metadata)


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
    label: str, problem: Problem, thresholds: tuple[float, float], repeats: int, stages: _Stages
) -> CellMeasurements:
    params, cell, on_cpu = problem.params, problem.cell, problem.device == "cpu"
    with stages("timing"):
        seconds = _seconds(problem, repeats)
    with stages("run"):
        trace = problem.trace()
    long = problem.steps * problem.batch >= _LONG
    problem = dataclasses.replace(problem, progress=stages.shown and long)
    with stages("gradient"):
        flow = measure_flow(problem, of="joint", wrt="joint")
    with stages("gradient to h"):
        flow_h = measure_flow(problem, wrt="h")
    with stages("gradient to c"):
        flow_c = measure_flow(problem, wrt="c") if "c" in cell.states else None
    with stages("gates"):
        saturation = count_saturated(trace, None, *thresholds)
    cost = count_operations(cell, params.input_size, params.hidden_size)
    return CellMeasurements(
        label=label,
        params=params,
        trace=trace,
        flow=flow,
        flow_h=flow_h,
        flow_c=flow_c,
        multiply_adds=cost.multiply_adds,
        activations=cost.activations,
        elementwise=cost.elementwise,
        nanoseconds=statistics.median(seconds) * 1e9 / problem.steps,
        timing_runs=repeats,
        threads=problem.threads if on_cpu else None,
        saturation=saturation,
        provenance=trace.provenance,
    )


def _seconds(problem: Problem, repeats: int) -> list[float]:
    """Return the seconds of sweeps over all steps, each with weights, inputs and memory ready."""
    device = problem.open_device()
    inputs = problem.series.read(0, problem.steps)
    states, gates = device.buffers(problem.steps, problem.batch)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        device.forward(inputs, problem.initial_state, states, gates)
        device.last(states)  # waits for a GPU to be done
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first sweep may compile, and is the first to touch the memory


def _check_fits(params_by_label: Mapping[str, Params], series: Mapping[str, Series]) -> None:
    """Refuse a comparison whose traces the free memory does not hold: all of them, and one more that is timed."""
    steps, batch = (getattr(next(iter(series.values())), name) for name in ("steps", "batch"))
    each = [trace_bytes(params, batch) for params in params_by_label.values()]
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
    advice = "give a mapping from labels to gatescope.Params, for one cell {'lstm': params}"
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
            check_params(params)
            values = inputs[label] if own else inputs
            key = id(values), params.dtype, params.input_size, params.batch_first
            if key not in shared:
                shared[key] = in_memory(check_inputs(values, params))
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
