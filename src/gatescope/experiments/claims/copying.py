"""What a GRU that copies its state can still learn: statement 3."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED
from gatescope.experiments.claims.measured import Mean, draws, mean, noise_of
from gatescope.experiments.claims.samples import GRUS, make, noise, roundings, run_all, some_state
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.seeds.judge import ROUNDINGS, judge_exact
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.recurrence.run import backprop
from gatescope.reporting.text import with_error


def judge_copying(
    copies: Mapping[str, float], learns: Mapping[str, float], controls: Mapping[str, float]
) -> Finding:
    """Return what is said by how far copying is from exact and gradients are from 0, in roundings."""
    judgement = judge_exact({**copies, **learns}, controls)
    word = judgement.word
    if word in (SUPPORTED, CONTRADICTED):
        whole = all(apart <= ROUNDINGS for apart in copies.values())
        word = SUPPORTED if whole and all(apart > ROUNDINGS for apart in learns.values()) else CONTRADICTED
        said = "all is copied" if whole else "not all is copied"
        silent = [name for name, apart in learns.items() if not apart > ROUNDINGS]
        parts = [said, f"no gradient reaches {len(silent)} of {len(learns)} gates that would learn"]
        judgement = dataclasses.replace(judgement, word=word, reason="; ".join([*parts, judgement.reason]))
    return Finding(judgement=judgement, equalities={**copies, **learns}, controls=controls)


@statement(
    "3",
    "a GRU can copy everything, and so removes the risk of vanishing gradients",
    sources="P",
    criterion="With z = 1 the gradient has to come back whole, and what could still learn, the reset gate and the "
    "candidate, has to get one: supported if both are so, contradicted if one is not.",
)
def copies_and_learns_nothing(scale: Scale) -> Finding:
    copies: dict[str, float] = {}
    learns: dict[str, float] = {}
    controls: dict[str, float] = {}
    for name in GRUS:
        params, adjoint = make(name, scale), some_state(name, scale, seed=3)
        for z in (1.0, 0.5):
            trace = run_all(params, noise(scale), initial_state=some_state(name, scale), clamp={"z": z})
            gradient = backprop(params, trace, final_adjoint=adjoint)
            numbers = copies if z == 1 else controls
            numbers[f"{name}: gradient after all steps, z = {z}"] = roundings(gradient.initial_state, adjoint)
            numbers = learns if z == 1 else controls
            for gate in ("r", "n"):
                rows = gradient.params.gate(gate)["weight_hh"]
                numbers[f"{name}: gradient of {gate}, z = {z}"] = roundings(rows, np.zeros_like(rows))
    judged, rates = judge_copying(copies, learns, controls), _rates(scale)
    near = "; ".join(
        f"{name} {with_error(*rate)} nats a step" for name, rate in rates.items() if "1 in" not in name
    )
    judgement = dataclasses.replace(judged.judgement, reason=f"{judged.judgement.reason}; near z = 1, {near}")
    return dataclasses.replace(judged, judgement=judgement, measured=rates, seeds=scale.seeds)


def _rates(scale: Scale) -> dict[str, Mean]:
    """Return how fast the gradient of the state decays with z clamped near 1, or at 1 in some units alone."""
    units = scale.many_units
    clamps = {f"z = {z:g} in all units": np.full(units, z) for z in (0.999, 0.99, 0.9)}
    for name, count in (("half of the units", units // 2), ("one unit", 1)):
        clamps[f"z = 1 in {name}"] = np.where(np.arange(units) < count, 1.0, np.nan)
    rates = {}
    for name, z in clamps.items():
        flows = [
            gradient_flow(
                params,
                noise_of(seed, scale.long_steps),
                of="joint",
                wrt="joint",
                clamp={"z": z},
                seed=seed,
            )
            for seed, params in draws("gru", scale, "pytorch")
        ]
        rates[f"gru, {name}: rate of the gradient"] = mean([float(flow.decay_rate()) for flow in flows])
    return rates
