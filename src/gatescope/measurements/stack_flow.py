"""Gradient flow of a stack: through all layers, in time and in depth; of directions and losses of one's own, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.arrays import check_array, check_shape
from gatescope.checks.numbers import check_call
from gatescope.datatypes import Array, GradientFlow
from gatescope.datatypes.trace import turned
from gatescope.errors import ValueRangeError
from gatescope.kernels.cpu.stack_adjoints import Added, StackAdjoints
from gatescope.kernels.cpu.stack_device import Layered
from gatescope.measurements.flow_record import FlowRecord
from gatescope.measurements.flow_sweep import default_lags, sweep
from gatescope.measurements.problem import by_length, in_batch_order
from gatescope.measurements.selection import join_flows, lags_back
from gatescope.measurements.stack_ends import OWN, End, Source, end_of, over_outputs, source_of
from gatescope.measurements.stack_problem import StackProblem
from gatescope.measurements.total_derivative import add_followers

NORMS = ("random", "unit", "spectral")
LOSS = "the loss"


def with_loss(problem: StackProblem, loss: Callable[[Array], Any]) -> StackProblem:
    """Return the problem with the derivatives (T, B, O) of a loss by the outputs (T, B, O), which `loss` returns."""
    outputs = problem.outputs()
    if problem.reverse:
        outputs = turned(outputs, problem.lengths)
    d_outputs = called(loss, outputs)
    return problem.with_d_outputs(turned(d_outputs, problem.lengths) if problem.reverse else d_outputs)


def called(loss: Callable[[Array], Any], outputs: Array) -> Array:
    """Return the derivatives (T, B, O) of a loss by the outputs (T, B, O), checked."""
    check_call("loss", loss, "loss(outputs)", outputs)
    d_outputs = check_array("loss", loss(outputs.copy()), outputs.dtype)
    check_shape("loss", d_outputs, outputs.shape, "(T, B, O), what the loss changes by with each output")
    return d_outputs


def measure(
    problem: StackProblem,
    *,
    source_step: int = -1,
    of: Any = None,
    wrt: str | None = None,
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
    unit: int = 0,
    total: bool = False,
) -> GradientFlow:
    """Do the work of `gradient_flow` for a stack, whose arguments these are; with a loss `of` is left out."""
    ends = ends_of(problem, of, wrt, norm, unit, source_step)
    source, end = ends.source, ends.wrt

    def measure_group(part: StackProblem) -> GradientFlow:
        step, chosen = lags_back(part, source_step, max_lag, lags, partial(default_lags, source.norm))
        directions = ends.directions(part)
        arguments = {"lags": chosen, "of": source.name, "wrt": end.name, "norm": source.norm, "total": total}
        arguments |= {"direction": directions} | ({} if part.d_outputs is None else {"loss": part.d_outputs})
        with part.resumable("gradient_flow", source_step=step, **arguments) as resumable:
            record = StackFlowRecord(part, source.norm == "spectral", total, chosen, step, end.states)
            device = part.open_device()
            carried = device.adjoints(directions, record.asked)
            log_norm = sweep(part, record, device, carried, directions.shape[1], resumable)
        return GradientFlow(
            cell=part.name,
            lag=chosen,
            log_norm=log_norm,
            of=source.name,
            wrt=end.name,
            source_step=step,
            norm=source.norm,
            total=bool(total),
            moved=record.moved if record.reach[0] > record.reach[1] else None,
            provenance=part.provenance(direction_seed=part.seed),
        )

    return by_length(problem, measure_group, join_groups)


class Ends(NamedTuple):
    """What is differentiated, and with respect to what."""

    source: Source
    wrt: End

    def directions(self, part: StackProblem) -> Array:
        """Return the cotangents (B, M, N) of some of the sequences."""
        if part.d_outputs is not None:
            return loss_at_end(part)
        if self.source.norm != OWN:
            return np.broadcast_to(self.source.directions[0], (part.batch, *self.source.directions.shape[1:]))
        return np.ascontiguousarray(self.source.directions[part.rows])


def ends_of(problem: StackProblem, of: Any, wrt: Any, norm: Any, unit: Any, source_step: Any) -> Ends:
    """Return the ends of a flow, which are checked; of a loss, `of` and what belongs to it are left out."""
    end = end_of(problem, "wrt", default_wrt(problem) if wrt is None else wrt)
    if problem.d_outputs is None:
        return Ends(source_of(problem, default_of(problem) if of is None else of, norm, unit, NORMS), end)
    _check_of_loss(of, source_step, norm, unit)
    return Ends(Source(LOSS, OWN, np.empty((0, 1, 0))), end)


def default_of(problem: StackProblem) -> str:
    """Return what is differentiated where nothing is said: the outputs of the uppermost layer."""
    return (
        get(problem.layers[-1].cell).states[0]
        if problem.alone
        else f"layers.{len(problem.params.layers) - 1}.h"
    )


def default_wrt(problem: StackProblem) -> str:
    """Return with respect to what where nothing is said: the outputs of the lowest layer."""
    return get(problem.layers[0].cell).states[0] if problem.alone else "layers.0.h"


def _check_of_loss(of: Any, source_step: Any, norm: Any, unit: Any) -> None:
    """Refuse what has no meaning for the gradient of a loss, which begins at the last step."""
    said = {"of": (of, None), "source_step": (source_step, -1), "norm": (norm, "random"), "unit": (unit, 0)}
    for argument, (value, default) in said.items():
        if not (type(value) is type(default) and value == default):
            raise ValueRangeError(
                "has no effect on the gradient of a loss, which counts at every step",
                argument=argument,
                seen=value,
                advice="leave it out",
            )


def join_groups(groups: list[Array], parts: list[GradientFlow]) -> GradientFlow:
    """Return the flows of sequences of each length as one."""
    joined = join_flows(groups, parts, {"log_norm": 1})
    moved = [part.moved for part in parts if part.moved is not None]
    return dataclasses.replace(joined, moved=in_batch_order(groups, moved)) if moved else joined


class StackFlowRecord(FlowRecord):
    """The log-norms of a gradient flow of a stack; see `FlowRecord`."""

    def __init__(
        self, problem: StackProblem, spectral: bool, total: bool, lags: Array, source: int, states: list[int]
    ) -> None:
        first = problem.open_device().split(problem.initial_state)
        super().__init__(
            get(problem.layers[0].cell), spectral, total, lags, source, states, problem.initial_state
        )
        self._problem, self._firsts = problem, first
        self._states = [(k, state) for k, (count, _) in enumerate(problem.shapes) for state in range(count)]

    @property
    def asked(self) -> set[int]:
        """The layers whose adjoints are asked for."""
        return {self._states[state][0] for state in self._wrt}

    def look(self, states: Layered) -> None:
        """See whether any of the states of any layer is another than the first."""
        for array, first in zip(states.arrays, self._firsts, strict=True):
            self.compare(array, first)

    def back(
        self,
        carried: StackAdjoints,
        states: Any,
        gates: Any,
        span: tuple[int, int],
        begin: int,
        *,
        record: bool,
    ) -> Any:
        """Carry the adjoints back over a span of a piece that begins at a step; return their log-norms."""
        added = None
        if self._problem.d_outputs is not None:
            added = added_at(self._problem, np.arange(begin + span[1] - 1, begin + span[0] - 1, -1))
        return carried.back(states, gates, *span, record=record, added=added)

    def chosen(self, carried: StackAdjoints) -> tuple[Array, Array]:
        """Return the adjoints (B, M, n) of the states that are asked for, and powers of two (B,)."""
        return self._together(carried.rows())

    def fetched(self, states: Any, gates: Any) -> tuple[Any, Any]:
        """Return states and gates of a piece, which are on the host."""
        return states, gates

    def totals(self, carried: StackAdjoints, states: Any, gates: Any, at: int) -> tuple[Array, Array]:
        """Return what `chosen` does at state `at` of a piece, with all states that are computed from those."""
        layers = []
        for params, (rows, powers), of_layer, saved in zip(
            self._problem.layers,
            carried.following(states, gates, at),
            states.arrays,
            gates.arrays,
            strict=True,
        ):
            step = of_layer[at - 1], of_layer[at], saved[at - 1]
            layers.append((add_followers(get(params.cell), rows, *step), powers))
        return self._together(layers)

    def _together(self, layers: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        """Return the adjoints (B, M, n) that are asked for, of all layers, on one scale, and its powers (B,)."""
        parts, powers = [], []
        for state in self._wrt:
            k, number = self._states[state]
            rows, exponents = layers[k]
            parts.append(rows[:, :, number].astype(np.float64))
            peak = np.abs(parts[-1]).max(axis=2)
            least = np.iinfo(np.int64).min // 2
            powers.append(np.where(peak > 0, np.frexp(peak)[1] + exponents, least))
        top = np.max(powers, axis=(0, 2))
        top = np.where(top > np.iinfo(np.int64).min // 2, top, 0)
        scaled = []
        for state, part in zip(self._wrt, parts, strict=True):
            shift = (layers[self._states[state][0]][1] - top[:, None]).clip(-5000, 5000).astype(np.int32)
            scaled.append(np.ldexp(part, shift[:, :, None]))
        return np.concatenate(scaled, axis=2), top


def added_at(problem: StackProblem, states: Array) -> Added:
    """Return what the loss adds to the adjoint of the outputs of some states, which are counted 0..T."""
    assert problem.d_outputs is not None
    rows, powers = through_readout(problem, problem.d_outputs[np.maximum(states - 1, 0)])
    rows[states == 0] = 0  # the initial state gives no output
    return Added(rows, powers)


def through_readout(problem: StackProblem, d_outputs: Array) -> tuple[Array, Array]:
    """Return what adjoints (n, B, O) of a stack's outputs are of those of its uppermost layer.

    They are (n, B, H), times two to integer powers (n, B), so that small ones keep their digits.
    """
    weight = problem.params.readout_weight
    powers = np.frexp(np.abs(d_outputs).max(axis=2))[1].astype(np.int64)
    rows = np.ldexp(d_outputs, -powers[:, :, None].astype(np.int32))
    if weight is not None:
        rows = (rows.reshape(-1, rows.shape[2]) @ weight).reshape(*rows.shape[:2], -1)
    return np.ascontiguousarray(rows, problem.params.dtype), powers


def loss_at_end(problem: StackProblem) -> Array:
    """Return the cotangents (B, 1, N) that a loss begins with: those of the outputs of the last step."""
    rows, powers = added_at(problem, np.array([problem.steps]))
    whole = np.ldexp(rows[0].astype(np.float64), powers[0, :, None].astype(np.int32))
    return over_outputs(problem, whole.astype(problem.params.dtype))[:, None]
