"""What a call takes in memory, before it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.network import check_params
from gatescope.checks.numbers import (
    check_choice,
    check_choices,
    check_count,
    check_flag,
    check_threads,
    check_unused,
)
from gatescope.datatypes import Params, Stack
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.errors import ValueRangeError
from gatescope.measurements import connectivity, gradient_flow, lyapunov_spectrum
from gatescope.measurements.problem import Problem
from gatescope.measurements.stack_problem import planned_stack
from gatescope.recurrence.initialization import check_weights_fit
from gatescope.recurrence.input_stream import MAPPED_BYTES, Series

_MEASUREMENTS: dict[str, Callable[..., MemoryEstimate]] = {
    "gradient_flow": gradient_flow.estimate,
    "lyapunov_spectrum": lyapunov_spectrum.estimate,
    "connectivity": connectivity.estimate,
}
_ON_GPU = ("run", "backprop")


def estimate_memory(
    call: str,
    params: Params | Stack | str,
    *,
    steps: int,
    batch: int = 1,
    hidden_size: int | None = None,
    input_size: int | None = None,
    dtype: Any = None,
    threads: int | None = None,
    **options: Any,
) -> MemoryEstimate:
    """Estimate what a call takes in memory, part by part, before it is made.

    The measurements are counted on the CPU.  There memory grows with the square root of T, but for the result; inputs
    are counted as those of a memory-mapped file: arrays are in memory already.  What derivatives of saturated units add
    depends on the inputs and stands apart, in `MemoryEstimate.if_saturated`.  `run` and `backprop` are counted on
    the GPU, which need not be there.

    Parameters
    ----------
    call : str
        ``"gradient_flow"``, ``"lyapunov_spectrum"`` or ``"connectivity"``; ``"run"`` or ``"backprop"``, with its trace.
    params : Params, Stack or str
        The weights, or the name of a cell whose sizes are given.  A `Stack` is for ``"gradient_flow"``.
    steps, batch : int
        T and B.
    hidden_size, input_size : int, optional
        H and I of a cell that is named; default: 64 and 1.
    dtype : dtype, optional
        float32, the default, or float64, of a cell that is named.
    threads : int, optional
        As for the measurement (not on the GPU); a second thread for few sequences needs a second segment.
    **options
        Arguments of the measurement, such as ``norm="spectral"``, ``lags=[1, 10]``, ``k=5`` or ``target_steps=[99]``.
        Of `run` and `backprop`: ``on_device``, names of what is on the GPU before the call, of ``"weights"``,
        ``"inputs"``, ``"trace"`` and ``"output adjoint"``; ``output_adjoint=False`` where there is none; ``free``, the
        bytes that are free, on which the segments of `backprop` depend.

    Returns
    -------
    MemoryEstimate

    Examples
    --------
    >>> import gatescope as gs
    >>> print(gs.estimate_memory("gradient_flow", "lstm", steps=10_000_000, threads=2))
    gradient flow of lstm with 64 units in float32, 10,000,000 steps, 1 sequence: 3,163 segments of 3,162 steps
      log-norms and lags       152.59 MiB
      inputs as they are read   16.00 MiB
      2 segments at a time       9.26 MiB
      checkpoints                1.54 MiB
      weights and adjoints     212.00 KiB
      log-norms of a segment   148.22 KiB
      inputs of 2 segments      24.70 KiB
      179.77 MiB together; 14.20 MiB more where units are saturated
    """
    check_choice("call", call, (*_MEASUREMENTS, *_ON_GPU))
    steps, batch = check_count("steps", steps), check_count("batch", batch)
    if isinstance(params, str):
        params = _weights(
            params,
            check_count("hidden_size", 64 if hidden_size is None else hidden_size),
            check_count("input_size", 1 if input_size is None else input_size),
            "float32" if dtype is None else dtype,
        )
    else:
        check_unused(
            "with Params, which have their own", hidden_size=hidden_size, input_size=input_size, dtype=dtype
        )
    if isinstance(params, Stack):
        if call != "gradient_flow":
            problem_text = "is counted for one layer at a time"
            raise ValueRangeError(
                problem_text, argument="call", seen=call, advice="give a layer, stack.layers[0]"
            )
        planned = planned_stack(params, _Planned(steps, batch, params), check_threads(threads))
        return gradient_flow.estimate(planned, **options)
    cell = check_params(params)
    if call in _ON_GPU:
        check_unused("on the GPU", threads=threads)
        return _on_gpu(call, params, steps, batch, **options)
    problem = Problem(
        params=params,
        cell=cell,
        series=_Planned(steps, batch, params),
        initial_state=np.zeros((batch, len(cell.states), params.hidden_size), params.dtype),
        lengths=np.full(batch, steps),
        longest=steps,
        threads=check_threads(threads),
    )
    return _MEASUREMENTS[call](problem, **options)


class _Planned(Series):
    """A series of which nothing but its size is known; it is taken to be a memory-mapped file."""

    def __init__(self, steps: int, batch: int, params: Params | Stack) -> None:
        self.steps, self.batch, self.input_size, self.dtype = steps, batch, params.input_size, params.dtype
        self.memory_bytes = min(steps * batch * params.input_size * params.dtype.itemsize, MAPPED_BYTES)


def _weights(cell: str, hidden_size: int, input_size: int, dtype: Any) -> Params:
    """Return zeros in the place of weights."""
    kind = float_dtype(dtype)
    check_weights_fit(len(get(cell).gates), input_size, hidden_size, kind.itemsize)
    rows = len(get(cell).gates) * hidden_size
    return Params(
        cell=cell,
        weight_ih=np.zeros((rows, input_size), kind),
        weight_hh=np.zeros((rows, hidden_size), kind),
        bias_ih=np.zeros(rows, kind),
        bias_hh=np.zeros(rows, kind),
    )


def _on_gpu(
    call: str,
    params: Params,
    steps: int,
    batch: int,
    *,
    on_device: Any = (),
    output_adjoint: bool = True,
    free: int | None = None,
) -> MemoryEstimate:
    from gatescope.kernels.cuda.memory_estimate import ON_DEVICE, Call, estimate

    present = check_choices("on_device", on_device, sorted(ON_DEVICE)) if on_device else ()
    whole = Call(
        name=call,
        cell=get(params.cell),
        hidden_size=params.hidden_size,
        steps=steps,
        batch=batch,
        input_size=params.input_size,
        dtype=params.dtype,
        on_device=frozenset(present),
        output_adjoint=check_flag("output_adjoint", output_adjoint),
    )
    counted = estimate(whole, None if free is None else check_count("free", free))
    pieces = f", gradients added up in {counted.segments:,} segments" if counted.segments > 1 else ""
    return MemoryEstimate(
        title=f"{counted.call} on the GPU{pieces}",
        parts=counted.parts,
        least=counted.least,
        segments=counted.segments,
    )
