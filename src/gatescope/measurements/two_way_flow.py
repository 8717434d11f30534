"""Gradient flow of a stack whose layers go both ways: from the outputs of a step into the past, and into the future.

Every state is made of the whole series, so the run and what each layer gives to the next are in memory whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.memory import check_memory
from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Array, GradientFlow, Params
from gatescope.datatypes.trace import turned
from gatescope.errors import NOTHING, ValueRangeError
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.kernels.cpu.stack_adjoints import add_scaled
from gatescope.kernels.cpu.stack_device import outputs_of
from gatescope.kernels.cpu.whole_run import Link, WholeRun
from gatescope.measurements.flow_record import log_of, log_singular
from gatescope.measurements.flow_sweep import default_lags
from gatescope.measurements.problem import by_length
from gatescope.measurements.selection import lags_within, source_step_of
from gatescope.measurements.stack_ends import End
from gatescope.measurements.stack_flow import Ends, called, ends_of, join_groups, through_readout
from gatescope.measurements.stack_problem import StackProblem
from gatescope.measurements.total_derivative import add_followers
from gatescope.recurrence.exact_steps import ExactSteps, warn_lost
from gatescope.recurrence.layers import merged, split
from gatescope.recurrence.recompute import check_states
from gatescope.recurrence.stack_run import read_out

SIDES = ("past", "future")


class _Run(NamedTuple):
    """One direction of a layer, over a series in memory; steps and states as it takes them."""

    name: str
    params: Params
    states: Array
    gates: Array
    exact: ExactSteps

    def state_at(self, step: int, steps: int) -> int:
        """Return which state belongs to the output at a step of the inputs: the one after it took that step."""
        return steps - step if self.params.reverse else step + 1


def measure(
    problem: StackProblem,
    *,
    source_step: int,
    of: Any,
    wrt: str | None,
    max_lag: int | None,
    lags: Any,
    norm: str,
    unit: int,
    total: bool,
    side: str,
    loss: Callable[[Array], Any] | None,
) -> GradientFlow:
    """Do the work of `gradient_flow` for a stack that goes both ways, whose arguments these are."""
    check_choice("side", side, SIDES)
    if loss is not None and side != "past":
        raise ValueRangeError(
            "has no meaning for the gradient of a loss, whose lags count from the last step",
            argument="side",
            seen=side,
            advice="leave it out",
        )
    _check_fits(problem, norm)
    if loss is not None:
        problem = problem.with_d_outputs(called(loss, _outputs(problem)))
    ends = ends_of(problem, of, wrt, norm, unit, source_step)
    # Only a forward direction has a state before the first step, and only a backward one has one after the last.
    backward = _ways(problem, ends.wrt)
    edge = int(True in backward) if side == "future" else -int(backward == {True})

    def measure_group(part: StackProblem) -> GradientFlow:
        source = source_step_of(source_step, part.steps)
        if side == "past":
            reach, longest = source + edge, source_step_of(source_step, part.longest) + edge
        else:
            reach = part.steps - source + edge
            longest = part.longest - source_step_of(source_step, part.longest) + edge
        if side == "future" and source == part.steps:
            raise ValueRangeError(
                "is the last, after which there is no other",
                argument="source_step",
                seen=source_step,
                advice="give an earlier step, or `side` 'past'",
            )
        chosen = lags_within(
            reach, longest, part.steps, max_lag, lags, partial(default_lags, ends.source.norm)
        )
        log_norm, moved = _measure(part, ends, source, chosen if side == "past" else -chosen, total)
        return GradientFlow(
            cell=part.name,
            lag=chosen,
            log_norm=log_norm,
            of=ends.source.name,
            wrt=ends.wrt.name,
            source_step=source,
            norm=ends.source.norm,
            total=bool(total),
            side=side,
            moved=moved,
            provenance=part.provenance(direction_seed=part.seed),
        )

    return by_length(problem, measure_group, join_groups)


def _ways(problem: StackProblem, wrt: End) -> set[bool]:
    """Return whether the states that are asked for are of forward directions, of backward ones, or of both."""
    numbered, layers = _numbered(problem), problem.layers
    return {layers[numbered[state][0]].reverse for state in wrt.states}


def _measure(
    problem: StackProblem, ends: Ends, source: int, lags: Array, total: bool
) -> tuple[Array, Array | None]:
    """Return log-norms (L, B), and which sequences moved, of sequences of one length; lags ahead are negative."""
    runs = _runs(problem)
    joint = np.zeros((problem.batch, 1, problem.initial_state.shape[1]), problem.params.dtype)
    directions = problem.open_device().split(
        joint if problem.d_outputs is not None else ends.directions(problem)
    )
    numbered = _numbered(problem)
    asked: dict[int, list[int]] = {number: [] for number in range(len(runs))}
    for state in ends.wrt.states:
        asked[numbered[state][0]].append(numbered[state][1])
    lowest = min(k for k in range(len(problem.params.layers)) for n in _numbers(problem, k) if asked[n])
    spectral = ends.source.norm == "spectral" or total
    parts: list[list[Any]] = []
    link: Link | None = None if problem.d_outputs is None else _from_loss(problem)
    counted = link is not None
    for k in reversed(range(lowest, len(problem.params.layers))):
        numbers = _numbers(problem, k)
        pieces: list[Link | None] = [None] * len(numbers)
        if link is not None:
            pieces = [Link(values, link.powers) for values in split(problem.params.layers[k], link.values)]
        onward = []
        for number, piece in zip(numbers, pieces, strict=True):
            run = runs[number]
            sweep = WholeRun(
                sweeps.plan_for(get(run.params.cell), run.params.hidden_size, run.params.dtype),
                run.params,
                run.states,
                run.gates,
                start=directions[number],
                source=len(run.gates) if counted else run.state_at(source - 1, len(run.gates)),
                taken=piece.turned() if piece is not None and run.params.reverse else piece,
                counted=counted,
                gives=k > lowest,
                threads=problem.threads,
            )
            if asked[number]:
                steps = source - 1 - lags
                states = np.array([run.state_at(int(step), len(run.gates)) for step in steps])
                parts.append(_look(sweep, run, states, asked[number], spectral=spectral, total=total))
            sweep.back(0)
            if sweep.onward is not None:
                onward.append(sweep.onward.turned() if run.params.reverse else sweep.onward)
        link, counted = _sum(onward), False
    warn_lost([run.exact for run in runs])
    return _together(parts, spectral, len(lags), problem.batch), _moved(problem, runs)


def _look(
    sweep: WholeRun, run: _Run, states: Array, wrt: list[int], *, spectral: bool, total: bool
) -> list[Any]:
    """Return what there is of a direction at some states, each (L,): log-norms (B,), or rows and their powers."""
    seen: list[Any] = [None] * len(states)
    cell = get(run.params.cell)
    for at in np.unique(states[(states >= 0) & (states < len(run.states))])[::-1].tolist():
        if at > sweep.at:  # nothing comes back to what is after the source
            continue
        sweep.back(at)
        rows, powers = sweep.followed() if total else sweep.rows()
        if total and at > 0:
            rows = add_followers(cell, rows, run.states[at - 1], run.states[at], run.gates[at - 1])
        rows = rows[:, :, wrt].astype(np.float64)
        for row in np.flatnonzero(states == at):
            seen[row] = rows.reshape(*rows.shape[:2], -1), powers
    return seen


def _together(parts: list[list[Any]], spectral: bool, count: int, batch: int) -> Array:
    """Return the log-norms (L, B) of what all directions have at each lag."""
    log_norm = np.full((count, batch), -np.inf)
    for row in range(count):
        terms = [part[row] for part in parts if part[row] is not None]
        if not terms:
            continue
        widths = [rows.shape[2] for rows, _ in terms]
        edges, size = np.cumsum([0, *widths]), sum(widths)
        spread = []
        for (rows, powers), begin in zip(terms, edges, strict=False):
            whole = np.zeros((*rows.shape[:2], size))
            whole[:, :, begin : begin + rows.shape[2]] = rows
            spread.append((whole, powers))
        rows, powers = add_scaled(*spread)
        alive = np.asarray(rows.any(axis=2))
        top = np.where(alive, powers, np.iinfo(np.int32).min).max(axis=1)
        top = np.where(alive.any(axis=1), top, 0)
        rows = np.ldexp(rows, (powers - top[:, None]).clip(-5000, 0).astype(np.int32)[:, :, None])
        if spectral:
            log_norm[row] = log_singular(rows, top)
        else:
            log_norm[row] = log_of(np.linalg.norm(rows[:, 0], axis=1)) + top * np.log(2.0)
    return log_norm


def _runs(problem: StackProblem) -> list[_Run]:
    """Run all directions of all layers over the whole series."""
    steps, batch = problem.steps, problem.batch
    inputs, first = problem.series.read(0, steps), problem.open_device().split(problem.initial_state)
    runs: list[_Run] = []
    for layer, number in zip(problem.params.layers, range(len(problem.params.layers)), strict=True):
        outputs = []
        for name in problem.params.prefixes(number).values():
            params = problem.params.directions()[name]
            device = CpuDevice(get(params.cell), params, problem.threads)
            taken = np.ascontiguousarray(inputs[::-1]) if params.reverse else inputs
            states, gates = device.buffers(steps, batch)
            device.forward(taken, first[len(runs)], states, gates)
            check_states(states, 0)
            exact = problem.derivatives(problem.carried(device.carries)).parts[len(runs)]
            runs.append(_Run(name, params, states, exact.steps(taken, states, gates), exact))
            of_direction = outputs_of(states)
            outputs.append(of_direction[::-1] if params.reverse else of_direction)
        inputs = np.ascontiguousarray(merged(layer, outputs))
    return runs


def _outputs(problem: StackProblem) -> Array:
    """Return the outputs (T, B, O) of all sequences, whatever their lengths, 0 past their ends."""
    outputs = np.zeros((problem.steps, problem.batch, problem.params.output_size), problem.params.dtype)
    for rows, part in problem.groups():
        of_layer = []
        for run in _runs(part)[-len(_numbers(part, len(part.params.layers) - 1)) :]:
            h = outputs_of(run.states)
            of_layer.append(turned(h, part.lengths) if run.params.reverse else h)
        h = merged(part.params.layers[-1], of_layer)
        outputs[: part.steps, rows] = read_out(part.params, np.array(h), part.lengths)
    return outputs


def _from_loss(problem: StackProblem) -> Link:
    """Return what a loss gives the outputs of the uppermost layer, at each step of the inputs."""
    assert problem.d_outputs is not None
    rows, powers = through_readout(problem, problem.d_outputs)
    return Link(rows[:, :, None], powers[:, :, None])


def _sum(links: list[Link]) -> Link | None:
    """Return what all directions of a layer give to the one below."""
    if not links:
        return None
    if len(links) == 1:
        return links[0]
    values, powers = add_scaled(*links)
    return Link(values.astype(links[0].values.dtype), powers)


def _numbers(problem: StackProblem, layer: int) -> list[int]:
    """Return which of all directions are those of a layer."""
    names = list(problem.params.directions())
    return [names.index(name) for name in problem.params.prefixes(layer).values()]


def _numbered(problem: StackProblem) -> list[tuple[int, int]]:
    """Return direction and number of each of all states."""
    return [(n, state) for n, (count, _) in enumerate(problem.shapes) for state in range(count)]


def _moved(problem: StackProblem, runs: list[_Run]) -> Array:
    """Return whether (B,) a state is another than the one its direction began with."""
    moved = np.zeros(problem.batch, np.bool_)
    for run in runs:
        changed: Array = run.states != run.states[0]
        moved |= changed.any(axis=(0, 2, 3))
    return moved


def _check_fits(problem: StackProblem, norm: str) -> None:
    """Refuse a run that the free memory does not hold."""
    widths = [
        units * (states + len(get(p.cell).saved))
        for p, (states, units) in zip(problem.layers, problem.shapes, strict=True)
    ]
    directions = problem.initial_state.shape[1] if norm == "spectral" else 1
    linked = 3 * directions * max(params.input_size for params in problem.layers) * 8
    step_bytes = problem.batch * (sum(widths) * problem.params.dtype.itemsize + linked)
    check_memory(
        "inputs",
        NOTHING,
        lambda steps: steps * step_bytes,
        "the states and gates of all layers, which go both ways, and what they give each other",
        size=problem.longest,
        advice="give fewer steps or sequences",
    )
