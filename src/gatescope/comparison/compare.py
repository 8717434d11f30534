"""Several cells over the same inputs, measured alike: what each costs, how far back its gradient reaches."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.operation_counts import arithmetic
from gatescope.cells.registry import get
from gatescope.checks.network import check_inputs, check_params
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import GradientFlow, Params, Result, Trace
from gatescope.datatypes.saturation import OPEN, SHUT, Saturation
from gatescope.errors import DtypeError, GatescopeError, UnknownNameError, ValueRangeError
from gatescope.kernels.device import check_device
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.measurements.saturation import check_thresholds, count_saturated
from gatescope.recurrence.run import run
from gatescope.storage.provenance import provenance

_STAGES = ("run", "timing", "gradient to h", "gradient to c", "gates")
_FIT_POINTS = 3  # through two points any line fits, so that neither its slope nor its R^2 tells anything
_LONG = 1_000_000  # state updates from which the gradient flow gets a progress bar of its own


@dataclass(frozen=True, kw_only=True, repr=False)
class Measurement(Result):
    """One cell of a comparison.

    Attributes
    ----------
    label : str
    params : Params
    trace : Trace
        Every state and gate of the run.
    flow_h : GradientFlow
        v d h_T / d h_(T-lag), for every lag, with one random unit vector v.
    flow_c : GradientFlow or None
        v d h_T / d c_(T-lag), with the same v; None for a cell without a state c.
    multiply_adds, activations, elementwise : int
        Of one step of one sequence; see `gatescope.cells.operation_counts.Arithmetic`.
    nanoseconds : float
        One step of the whole batch, forward alone: the median of `timing_runs` calls of `run`, compilation
        excluded, everything else a call does included, divided by T.
    timing_runs : int
    threads : int
        The most threads a call may have used.
    saturation : Saturation
        Of no gates for a cell without any in (0, 1), see ``Trace.sigmoid_names``.
    """

    label: str
    params: Params
    trace: Trace
    flow_h: GradientFlow
    flow_c: GradientFlow | None
    multiply_adds: int
    activations: int
    elementwise: int
    nanoseconds: float
    timing_runs: int
    threads: int
    saturation: Saturation

    def numbers(self) -> dict[str, Any]:
        """All that is measured, as plain values: what a table or a JSON file needs.

        Of several sequences the rates, half-lives and R^2 are medians.  A rate that cannot be fitted, to three
        lags at least, is None; a half-life is None too where the gradient does not decay.
        """
        return {
            "cell": self.params.cell,
            "input_size": self.params.input_size,
            "hidden_size": self.params.hidden_size,
            "dtype": self.params.dtype.name,
            "steps": int(self.trace.inputs.shape[0]),
            "sequences": int(self.trace.inputs.shape[1]),
            "parameters": self.params.count(),
            "multiply_adds_per_step": self.multiply_adds,
            "activations_per_step": self.activations,
            "elementwise_per_step": self.elementwise,
            "nanoseconds_per_step": self.nanoseconds,
            "timing_runs": self.timing_runs,
            "threads": self.threads,
            "gradient": {
                state: _fit_numbers(flow)
                for state, flow in (("h", self.flow_h), ("c", self.flow_c))
                if flow is not None
            },
            "saturation": {
                "left": self.saturation.left,
                "right": self.saturation.right,
                "saturated_fraction": self.saturation.saturated(),
                "gates": {
                    name: {"shut": shut, "open": opened}
                    for name, (shut, opened) in self.saturation.means().items()
                },
            },
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The cells of a comparison, in the order they were given, by label."""

    measurements: tuple[Measurement, ...]
    provenance: Mapping[str, Any]

    def __getitem__(self, label: str) -> Measurement:
        for found in self.measurements:
            if found.label == label:
                return found
        raise UnknownNameError(f"there is no {label!r}; the labels are {', '.join(map(repr, self.labels))}")

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self.measurements)

    def __len__(self) -> int:
        return len(self.measurements)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in order."""
        return tuple(found.label for found in self.measurements)

    def numbers(self) -> dict[str, dict[str, Any]]:
        """`Measurement.numbers` of every cell, by label."""
        return {found.label: found.numbers() for found in self.measurements}


def compare(
    params_by_label: Mapping[str, Params],
    inputs: Any,
    *,
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
    inputs : (T, B, I) or (T, I) array_like
    left, right : float
        A gate is shut below `left` and open above `right`; 0 <= left < right <= 1.
    timing_runs : int
        How many runs are timed; the median counts.
    seed : int
        Of the random direction of the gradient flow.
    device : str
        ``"cpu"`` or ``"cuda"``; what `nanoseconds` counts on a GPU includes the copies to it and back.
    threads : int, optional
        At most this many threads; default: the cores this process may use.
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
    >>> from gatescope.comparison.compare import compare
    >>> cells = {name: gs.init(name, input_size=1, hidden_size=8) for name in ("rnn", "gru")}
    >>> found = compare(cells, np.ones((200, 1)))
    >>> found["gru"].numbers()["parameters"], found["rnn"].saturation.saturated()
    (264, None)
    """
    check_device(device)
    repeats = check_count("timing_runs", timing_runs)
    workers = check_threads(threads)
    thresholds = check_thresholds(left, right)
    chosen = _check_cells(params_by_label, inputs)
    seed = check_count("seed", seed, least=0)
    found = []
    total = len(chosen) * len(_STAGES)
    with tqdm(total=total, unit="stage", disable=None if progress else True) as bar:
        for label, params in chosen.items():
            stages = _Stages(bar, label)
            options = {"device": device, "threads": workers if device == "cpu" else None}
            found.append(_measure(label, params, inputs, thresholds, repeats, seed, options, stages))
        bar.set_description("measured")
    dtypes = sorted({params.dtype.name for params in chosen.values()})
    ran = found[0].trace.provenance  # of the GPU or what stands for it
    used = {"threads": workers} if device == "cpu" else {"backend": ran.get("backend", device)}
    facts = provenance(device=device, dtype=", ".join(dtypes), seed=seed, **used)
    return Comparison(measurements=tuple(found), provenance=facts)


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
    params: Params,
    inputs: Any,
    thresholds: tuple[float, float],
    repeats: int,
    seed: int,
    options: Mapping[str, Any],
    stages: _Stages,
) -> Measurement:
    cell = get(params.cell)
    with stages("run"):  # the first run of a cell may compile it
        trace = run(params, inputs, **options)
    steps, batch = trace.inputs.shape[:2]
    with stages("timing"):
        seconds = [_seconds(params, inputs, options) for _ in range(repeats)]
    keywords: dict[str, Any] = {"seed": seed, **options}
    keywords["progress"] = stages.shown and steps * batch >= _LONG
    with stages("gradient to h"):
        flow_h = gradient_flow(params, inputs, wrt="h", **keywords)
    with stages("gradient to c"):
        flow_c = gradient_flow(params, inputs, wrt="c", **keywords) if "c" in cell.states else None
    with stages("gates"):
        saturation = count_saturated(trace, None, *thresholds)
    cost = arithmetic(cell, params.input_size, params.hidden_size)
    return Measurement(
        label=label,
        params=params,
        trace=trace,
        flow_h=flow_h,
        flow_c=flow_c,
        multiply_adds=cost.multiply_adds,
        activations=cost.activations,
        elementwise=cost.elementwise,
        nanoseconds=statistics.median(seconds) * 1e9 / steps,
        timing_runs=repeats,
        threads=options["threads"],
        saturation=saturation,
        provenance=trace.provenance,
    )


def _seconds(params: Params, inputs: Any, options: Mapping[str, Any]) -> float:
    start = time.perf_counter()
    run(params, inputs, **options)
    return time.perf_counter() - start


def _check_cells(params_by_label: object, inputs: Any) -> dict[str, Params]:
    if not isinstance(params_by_label, Mapping):
        raise DtypeError(
            "params_by_label must be a mapping from labels to gatescope.Params, "
            f"not a {type(params_by_label).__name__}; for one cell give {{'lstm': params}}"
        )
    if not params_by_label:
        raise ValueRangeError("params_by_label is empty; give at least one cell")
    for label, params in params_by_label.items():
        if not isinstance(label, str) or not label:
            raise DtypeError(f"params_by_label has the label {label!r}; use a text")
        try:
            check_params(params)
            check_inputs(inputs, params)
        except GatescopeError as error:
            raise type(error)(f"{label}: {error}") from error
    return dict(params_by_label)


def _fit_numbers(flow: GradientFlow) -> dict[str, Any]:
    rate, half = flow.decay_rate(), flow.half_life()
    inside = (flow.lag >= rate.fit_range[0]) & (flow.lag <= rate.fit_range[1])
    points = int(np.isfinite(flow.log_norm[inside]).sum(axis=0).min())
    fitted = points >= _FIT_POINTS
    return {
        "decay_rate_nats_per_step": _median(rate.value) if fitted else None,
        "half_life_steps": _median(half.value) if fitted else None,
        "r_squared": _median(rate.r_squared) if fitted else None,
        "window_lags": list(rate.fit_range),
        "longest_lag": int(flow.lag[-1]),
        "log_norm_at_longest_lag": _median(flow.log_norm[-1]),
    }


def _median(values: Any) -> float | None:
    """The median over the sequences, None if it is not a finite number."""
    middle = float(np.median(values))
    return middle if math.isfinite(middle) else None
