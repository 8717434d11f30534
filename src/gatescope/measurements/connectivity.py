"""Connectivity: how strongly each output depends on each input, in the log domain."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell, get
from gatescope.checks.arrays import check_ascending
from gatescope.checks.network import as_stack
from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Array, Bidirectional, Params, Stack
from gatescope.datatypes.connectivity import Connectivity
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.errors import ValueRangeError
from gatescope.measurements.connectivity_sweep import Sweeps
from gatescope.measurements.frame import Frame
from gatescope.measurements.problem import Problem, by_length, prepare
from gatescope.measurements.selection import combinations, directions_of
from gatescope.measurements.stack_problem import StackProblem, check_causal, prepare_stack
from gatescope.reporting.text import counted

NORMS = ("frobenius", "random", "unit")
SPACINGS = ("even", "log")
_TARGETS, _SOURCES = 200, 2000


def connectivity(
    params: Params | Stack | Bidirectional,
    inputs: Any,
    *,
    target_steps: Any = None,
    source_steps: Any = None,
    norm: str = "frobenius",
    unit: int = 0,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> Connectivity:
    r"""Measure the log-norm of the derivative of each output by each input.

    .. math::
        \ln \left\| \frac{\partial\, \mathrm{outputs}[t]}{\partial\, \mathrm{inputs}[t']} \right\|, \qquad t' \le t

    One sweep back through the run carries the adjoints of all outputs at once: each joins when the sweep reaches its
    step, and W_ih^T times the adjoint of the pre-activations is the derivative by that step's input.  Every adjoint is
    scaled by exact powers of two, so that a row is right at lag 10,000,000.

    A row costs as much as one `gradient_flow` with ``norm="random"`` or ``"unit"``, and H times as much with
    ``"frobenius"``.  What is carried is bounded by 256 MiB: where H rows of so many targets need more, they are taken
    in batches, with a sweep for each.  The run is recomputed from checkpoints; only the sources asked for are saved.

    Of a stack the outputs are those of its read-out, or of its uppermost layer where it has none, and the way back goes
    through all layers; a row costs the sum of theirs.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
        Not of a backward direction, whose steps go the other way, nor of both: these are refused.
    inputs
        As for `gradient_flow`: a file or a generator is read piece by piece.
    target_steps : (R,) array_like of int, optional
        The steps t of the outputs, counted from 0, ascending.  Default: all, or 200 spaced evenly to the last.
    source_steps : (C,) array_like of int, ``"even"`` or ``"log"``, optional
        The steps t' of the inputs, counted from 0, ascending.  Default ``"even"``: all to the last target, or 2,000
        spaced evenly; ``"log"``: about 2,000 whose distances from the last target are spaced evenly in the logarithm.
    norm : str
        ``"frobenius"``: of the whole Jacobian, (H, I).  ``"random"``, ``"unit"``: of v J, for one unit vector v drawn
        with `seed`, or for the output of unit `unit` alone; a sweep of these is H times as fast.
    unit : int
    lengths, initial_state, clamp, seed, threads, progress, resume
        As for `gradient_flow`; even one sequence's adjoints are shared out among the threads.  With `resume`, what is
        carried takes three times the memory.

    Returns
    -------
    Connectivity

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 3.1.
    .. [2] A. Graves, "Supervised sequence labelling with recurrent neural networks" (Springer 2012), section 4.2: the
       sensitivity to an input as it fades over time.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=8, seed=0)
    >>> conn = gs.connectivity(params, np.zeros((50, 1)), target_steps=[9, 49])
    >>> conn.log_norm.shape, bool(np.isnan(conn.row(9)[10:]).all()), bool(np.isfinite(conn.row(49)).all())
    ((2, 50, 1), True, True)
    """
    sequences = {"lengths": lengths, "initial_state": initial_state, "clamp": clamp}
    common: dict[str, Any] = {"seed": seed, "threads": threads, "progress": progress, "resume": resume}
    chosen: dict[str, Any] = {"target_steps": target_steps, "source_steps": source_steps}
    chosen |= {"norm": norm, "unit": unit}
    if isinstance(params, Stack | Bidirectional):
        stack = as_stack(params)
        check_causal(stack)
        for name, weights in stack.directions().items():
            _check_forward(weights, f"params, {name}")
        with prepare_stack(stack, inputs, **sequences, **common) as stacked:
            return measure(stacked, **chosen)

    def check(cell: Cell, weights: Params) -> None:
        directions_of(cell, weights, cell.states[0], NORMS, norm, unit, seed)
        _check_forward(weights, "params.reverse")

    with prepare(params, inputs, **sequences, **common, check=check) as problem:
        return measure(problem, **chosen)


def _check_forward(weights: Params, argument: str) -> None:
    """Refuse a backward direction."""
    if weights.reverse:
        raise ValueRangeError(
            "is a backward direction, and the steps of this measurement are those of a forward one",
            argument=argument,
            seen=True,
            advice="give inputs[::-1] and dataclasses.replace(params, reverse=False), and count steps from the end",
        )


def measure(
    problem: Problem | StackProblem,
    *,
    target_steps: Any = None,
    source_steps: Any = None,
    norm: str = "frobenius",
    unit: int = 0,
) -> Connectivity:
    """Do the work of `connectivity`, whose arguments these are."""

    def measure_group(part: Problem | StackProblem) -> Connectivity:
        cotangents = _cotangents(part, norm, unit)
        targets, sources = _steps(part, target_steps, source_steps)
        log_norm = np.full((targets.size, sources.size, part.batch), np.nan)
        work = Sweeps(part, cotangents, targets, sources, log_norm)
        if part.progress:
            work.estimate().announce()
        arguments = {"target_steps": targets, "source_steps": sources, "norm": norm, "direction": cotangents}
        with part.resumable("connectivity", **arguments) as resumable:
            work.run(resumable)
        return Connectivity(
            cell=part.name,
            target_step=targets,
            source_step=sources,
            log_norm=log_norm,
            norm=norm,
            provenance=part.provenance(direction_seed=part.seed),
        )

    return by_length(problem, measure_group, _join)


def estimate(
    problem: Problem | StackProblem,
    *,
    target_steps: Any = None,
    source_steps: Any = None,
    norm: str = "frobenius",
    unit: int = 0,
) -> MemoryEstimate:
    """Estimate what a call of `connectivity` with these arguments takes."""
    cotangents = _cotangents(problem, norm, unit)
    targets, sources = _steps(problem, target_steps, source_steps)
    log_norm = np.empty((targets.size, sources.size, problem.batch))
    return Sweeps(problem, cotangents, targets, sources, log_norm).estimate()


def _cotangents(problem: Problem | StackProblem, norm: str, unit: Any) -> Array:
    """Return the directions (M, S, H) of the state that gives the outputs, of a stack that of its uppermost layer."""
    if isinstance(problem, Problem):
        top, readout = problem.params, None
    else:
        top, readout = problem.layers[-1], problem.params.readout_weight
    cell = get(top.cell)
    if readout is None:
        return directions_of(cell, top, cell.states[0], NORMS, norm, unit, problem.seed)
    rows = combinations(len(readout), NORMS, norm, unit, problem.seed, "outputs")
    cotangents = np.zeros((len(rows), len(cell.states), top.hidden_size))
    cotangents[:, 0] = rows @ readout
    return cotangents.astype(top.dtype)


def _join(groups: list[Array], parts: list[Connectivity]) -> Connectivity:
    """Return the connectivity of groups of sequences over all their steps, NaN where a sequence has no such pair."""
    targets = np.unique(np.concatenate([part.target_step for part in parts]))
    sources = np.unique(np.concatenate([part.source_step for part in parts]))
    log_norm = np.full((targets.size, sources.size, sum(map(len, groups))), np.nan)
    for rows, part in zip(groups, parts, strict=True):
        index = np.searchsorted(targets, part.target_step), np.searchsorted(sources, part.source_step), rows
        log_norm[np.ix_(*index)] = part.log_norm
    return dataclasses.replace(parts[-1], target_step=targets, source_step=sources, log_norm=log_norm)


def _steps(problem: Frame, target_steps: Any, source_steps: Any) -> tuple[Array, Array]:
    """Return the targets and sources of sequences of one length; steps that others in the batch have are left out."""
    last, longest = problem.steps - 1, problem.longest
    if target_steps is None:
        targets = _even(last, _TARGETS)
    else:
        targets = check_ascending("target_steps", target_steps, whole=True, least=0, most=longest - 1)
        targets = _within("target_steps", targets, last)
    last_target = int(targets[-1])
    if not isinstance(source_steps, str | None):
        sources = check_ascending("source_steps", source_steps, whole=True, least=0, most=longest - 1)
        return targets, _within("source_steps", sources, last)
    if check_choice("source_steps", source_steps or "even", SPACINGS) == "even":
        return targets, _even(last_target, _SOURCES)
    count = min(last_target + 1, _SOURCES)
    distances = np.geomspace(1, last_target + 1, count).round().astype(np.int64) - 1
    return targets, last_target - np.unique(distances)[::-1]


def _within(name: str, steps: Array, last: int) -> Array:
    within = steps[steps <= last]
    if not within.size:
        raise ValueRangeError(
            f"are all past the end of a sequence of {counted(last + 1, 'step')}",
            argument=name,
            advice="leave that sequence out, or add earlier steps",
        )
    return within


def _even(last: int, most: int) -> Array:
    """Return the steps 0..last, or `most` of them spaced evenly up to the last."""
    if last < most:
        return np.arange(last + 1)
    return np.linspace(0, last, most + 1)[1:].round().astype(np.int64)
