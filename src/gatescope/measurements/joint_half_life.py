"""The half-life of the joint state of a stack whose layers go one way."""

from __future__ import annotations

import numpy as np

from gatescope.datatypes import Array, GradientFlow
from gatescope.datatypes.half_life import HalfLife
from gatescope.measurements import stack_flow
from gatescope.measurements.adjoint_rates import AdjointRates, adjoint_lags, check_transient, rates_of
from gatescope.measurements.problem import by_length, in_batch_order
from gatescope.measurements.stack_problem import StackProblem


def joint_half_life(
    problem: StackProblem, lives: tuple[HalfLife, ...], of: str, transient: int | None
) -> HalfLife:
    """Return the half-life of the joint state, of its adjoint and of what was measured of the layers.

    Its leading exponent is the largest of the layers' (see `lyapunov_spectrum`), its units are those of all layers that
    have a memory gate.
    """
    rates = np.array([life.exponent_rate for life in lives])
    slowest = np.argmin(np.where(np.isnan(rates), np.inf, rates), axis=0)
    row = np.arange(slowest.size)
    gated = [life for life in lives if not np.isnan(life.gate_rate).all()] or lives
    gates = list({(life.gate, life.complement) for life in gated})
    adjoint = by_length(problem, lambda part: _adjoint(part, of, transient), _join)
    return HalfLife.from_rates(
        cell=problem.name,
        gate=gates[0][0] if len(gates) == 1 else "",
        complement=len(gates) == 1 and gates[0][1],
        gate_rate=np.concatenate([life.gate_rate for life in gated], axis=1),
        gate_error=np.concatenate([life.gate_error for life in gated], axis=1),
        **adjoint._asdict(),
        exponent_rate=rates[slowest, row],
        exponent_error=np.array([life.exponent_error for life in lives])[slowest, row],
        exponent_doubt=tuple(
            _doubt([*problem.params.directions()], [life.exponent_doubt[b] for life in lives], k)
            for b, k in enumerate(slowest)
        ),
        moved=np.any([np.asarray(life.moved) for life in lives], axis=0),
        steps=lives[0].steps,
        transient=lives[0].transient,
        lengths=lives[0].lengths,
        transients=lives[0].transients,
        provenance=problem.provenance(direction_seed=problem.seed),
    )


def _doubt(names: list[str], doubts: list[str], slowest: int) -> str:
    """Return why the exponent of the slowest layer may not be that of the whole; "" if nothing speaks against it."""
    others = (f"of {name}: {doubt}" for name, doubt in zip(names, doubts, strict=True) if doubt)
    return doubts[slowest] or next(others, "")


def _adjoint(problem: StackProblem, of: str, transient: int | None) -> AdjointRates:
    """Return what the adjoint of sequences of one length says."""
    skipped = check_transient(transient, problem.steps)
    source = of if of == "joint" else f"layers.-1.{of}"

    def flow(part: StackProblem, lags: Array) -> GradientFlow:
        return stack_flow.measure(part, of=source, wrt="joint", lags=lags)

    whole = flow(problem, adjoint_lags(problem.steps - skipped))
    gone = np.isneginf(whole.log_norm[-1])
    return rates_of(problem, whole, skipped, gone, flow)


def _join(groups: list[Array], parts: list[AdjointRates]) -> AdjointRates:
    order = np.argsort(np.concatenate(groups))
    doubts = [doubt for part in parts for doubt in part.adjoint_doubt]
    arrays = {
        name: in_batch_order(groups, [getattr(part, name) for part in parts])
        for name in AdjointRates._fields
        if name != "adjoint_doubt"
    }
    return AdjointRates(**arrays, adjoint_doubt=tuple(doubts[k] for k in order))
