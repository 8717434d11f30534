"""The sentences of a diagnosis: what its numbers mean, and what to do.  Every number in them is one of its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gatescope.cells.bias_places import bias_places
from gatescope.cells.registry import get
from gatescope.datatypes.gradient_paths import CANCELS, DIRECT
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.saturation import saturating_text
from gatescope.reporting.text import listing, number, percent, steps

if TYPE_CHECKING:
    from gatescope.datatypes.diagnosis import Diagnosis


OPENING = {
    "vanishing": "Vanishing gradients",
    "near-critical": "Near-critical, gradients neither vanish nor explode",
    "undecided": "Undecided, the exponent is not told from 0",
    "chaotic": "Chaotic, small changes grow and gradients explode",
    "exploding": "Exploding, states and gradients grow without bound",
}
CLAMPED = {"open": "open (at 1)", "mean": "at its mean"}
_CLOSE = 0.8  # of the wanted half-life: estimates agree within 20 %
_ROUNDING = 1e-12  # nats per step: what is left of an exponent that is 0
_ERRORS = 2  # on both sides of an exponent: about 95 %
_LEAST_PART = 0.01  # of the gradient: smaller ones are not named


def sentences_of(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the verdict, what it stands on, which gate is responsible, and what to change."""
    yield from _verdict(diagnosis)
    yield from _memory(diagnosis)
    yield from _gate(diagnosis)
    yield from _paths(diagnosis)
    yield from suggestion_of(diagnosis)
    yield _extent(diagnosis)


def _verdict(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the exponent and the rule by which it is judged."""
    n = diagnosis.numbers
    known = "exponent_error" in n
    unknown = "" if known or np.isinf(n["exponent"]) else " (too few steps for its error)"
    yield (
        f"{OPENING[diagnosis.verdict]}: the leading Lyapunov exponent is {_rate(diagnosis, 'exponent')}{unknown} "
        "nats per step."
    )
    goal = diagnosis.target_half_life
    assumed = " (which is assumed)" if diagnosis.target_assumed else ""
    bound = f"{number(n['bound'])} = ln 2 / {number(goal)}, the rate of a half-life of {steps(goal)}{assumed}"
    rule = {
        "vanishing": f"below −{bound}",
        "near-critical": f"within ±{bound}",
        "undecided": f"outside ±{bound}",
        "chaotic": f"above {bound}",
        "exploding": f"above {bound}, where states grow too, here by {_signed(n.get('state_growth', 0))} a step",
    }[diagnosis.verdict]
    error = {
        "near-critical": "",
        "undecided": ", but within three standard errors of 0",
    }.get(diagnosis.verdict, ", if beyond three of its errors")
    yield f"It is called {diagnosis.verdict} {rule}{error if known else ''}."
    if diagnosis.verdict == "undecided":
        yield (
            f"The error {n['exponent_error']:.2g} is too large to tell the exponent from 0: give more steps."
        )
    if "cut_step" in n:
        which = (
            f"in {number(int(n['cut_sequences']))} of {number(diagnosis.sequences)} sequences, "
            if diagnosis.sequences > 1
            else ""
        )
        yield (
            f"{which}step {number(int(n['cut_step']))} cuts the memory: nothing that came before it is left; rates are "
            "those of the steps before and after it."
        ).capitalize()
    if "settling" in n and diagnosis.verdict != "undecided":
        yield (
            f"The state forgets what it began with in about {steps(round(n['settling']))}, three times 1 / |exponent|, "
            f"and {steps(n['steps_before'])} came before those that count: with more of them the exponent may differ."
        )
    if diagnosis.target_assumed:
        yield (
            "No target_half_life was given: a tenth of the series, at most 1,000 steps, is assumed, here "
            f"{steps(goal)}. Whether a half-life is too short depends on how far back your task needs to look; "
            f"give that. {_inputs_memory(n)}"
        )


def _inputs_memory(n: Mapping[str, float]) -> str:
    """Return how far back the inputs themselves remember, which is no more than a hint at what a task needs."""
    lag = n["inputs_memory_lag"]
    if not n["inputs_memory_longest"]:
        return "Of it the inputs say nothing: they are constant."
    if not lag:
        longest = steps(n["inputs_memory_longest"])
        return (
            f"Of it the inputs say nothing: at no lag up to {longest} do they correlate with themselves beyond "
            "chance."
        )
    return (
        f"The inputs' own memory is at least {steps(lag)}: at that lag they still correlate with themselves beyond "
        f"chance ({n['inputs_memory_correlation']:.2f}, where chance stays within {n['inputs_memory_chance']:.2f}); a "
        "task may need less or more."
    )


def _memory(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield how fast the gradient decays or grows, and how that compares with the series."""
    n = diagnosis.numbers
    decays = diagnosis.verdict in ("vanishing", "near-critical") or (
        diagnosis.verdict == "undecided" and n["exponent"] < 0
    )
    precision = diagnosis.provenance.get("dtype", "floating point")
    if not decays and "doubling" in n and diagnosis.verdict != "undecided":
        yield f"A small change of the state doubles every {steps(n['doubling'])}, by the leading exponent."
    elif decays:
        fit = f" (R^2 {n['r_squared']:.3f})" if "r_squared" in n else ""
        life = diagnosis.half_life
        by = f"{life.gate_text} alone" if life.gate else "what each state keeps of itself"
        median = f" (slowest unit; {steps(n.get('half_life_gate_median', np.nan))} in the median)"
        estimates = {
            "half_life_exponent": "by the leading exponent",
            "half_life_adjoint": f"by the slope of the adjoint{fit}",
            "half_life_gate": f"by {by}{median}",
        }
        texts = [f"{steps(n[name])} {how}" for name, how in estimates.items() if name in n]
        farthest = abs(n["exponent"]) + _ERRORS * n.get("exponent_error", 0.0)
        if "half_life_exponent" in n and abs(n["exponent"]) < farthest / 2 < np.inf:
            least = steps(float(half_life_of(farthest)))
            texts[0] = f"at least {least} by the leading exponent, which is not told from 0"
        disagree = diagnosis.verdict == "vanishing" and bool(diagnosis.half_life.disagree.any())
        end = "; these do not agree within 20 % and their errors" if disagree else ""
        gone = n.get("steps_to_half", np.inf)
        half = f" Half of it is gone after {steps(gone)}." if np.isfinite(gone) else ""
        yield f"The asymptotic half-life of the gradient is {listing(texts)}{end}.{half}"
    if "reach" in n:
        yield (
            f"The series has {steps(diagnosis.steps)}: what happened more than {steps(n['reach'])} ago changes the "
            f"output by less than {precision} can tell (a factor of {n['resolution']:.2g})."
        )
    elif decays:
        yield (
            f"The series has {steps(diagnosis.steps)}: over the {steps(n['longest_lag'])} looked at, the gradient "
            f"stays within what {precision} can tell."
        )


def _gate(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield which gate is responsible, and what clamping it does."""
    n = diagnosis.numbers
    if "spectral_radius" in n:
        yield (
            "There is no gate that could be clamped: the recurrent weights count, whose spectral radius is "
            f"{number(n['spectral_radius'])}."
        )
    ranked = nearest(
        diagnosis.clamped_gate, diagnosis.clamped_at, diagnosis.clamped_exponent, diagnosis.clamped_error,
        n["exponent"], n.get("exponent_error", 0.0),
    )  # fmt: skip
    if diagnosis.gate and ranked:
        (gate, at), *others = ranked
        rival = next(((name, how) for name, how in others if name != gate), None)
        other = ""
        if rival:
            after = _signed(n[key("clamped", *rival)])
            other = f"; no other gate brings it as near to 0 (next: {rival[0]} {CLAMPED[rival[1]]}, {after})"
        yield (
            f"The gate responsible is {gate}: clamping {gate} {CLAMPED[at]} would change the leading exponent "
            f"from {_signed(n['exponent'])} to {_signed(n[key('clamped', gate, at)])} nats per step{other}."
        )
    elif diagnosis.verdict not in ("near-critical", "undecided") and "spectral_radius" not in n:
        yield (
            "No single gate is responsible: clamping any one of them does not bring "
            f"{_signed(n['exponent'])} nearer to 0."
        )
    shown = diagnosis.gate or diagnosis.half_life.gate
    mean, shut, opened = (n.get(key(what, shown)) for what in ("mean", "shut", "open"))
    if mean is not None:
        extremes = ""
        if shut is not None and opened is not None:
            extremes = (
                f"; it is below 0.1 for {percent(shut)} and above 0.9 for {percent(opened)} of the time"
            )
        yield f"The mean of {shown} is {mean:.3f}{extremes}."


def _paths(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield by which paths the gradient goes back."""
    fractions = {name: diagnosis.numbers.get(key("fraction", name), 0.0) for name in diagnosis.paths.paths}
    direct = fractions.pop(DIRECT, 0.0)
    texts = [f"{percent(direct)} on the direct path from state to state"] if direct >= _LEAST_PART else []
    gates = sorted((-value, name) for name, value in fractions.items() if value >= _LEAST_PART)
    if gates:
        through = listing(f"{name} {percent(-value)}" for value, name in gates)
        texts.append(f"through the recurrent weights of {through}")
    if texts:
        lag = steps(diagnosis.numbers["fraction_lag"])
        whole = diagnosis.numbers.get("fraction_whole", 1.0)
        cancel = f"; they cancel, to {number(whole)} of the sum of their norms" if whole < 1 / CANCELS else ""
        yield f"At a lag of {lag} the gradient's parts are, by their norms: {'; '.join(texts)}{cancel}."


def suggestion_of(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield what to change, and what was measured with it."""
    n, goal = diagnosis.numbers, f"a half-life of {steps(diagnosis.target_half_life)}"
    if "inputs_saturated" in n:
        yield saturating_text(n)
        if diagnosis.verdict == "near-critical":
            return
    if diagnosis.verdict == "undecided":
        yield f"Whether anything is to be changed for {goal} cannot be told from these steps: give more of them."
        return
    if diagnosis.verdict == "near-critical":
        short = {
            how: n[name]
            for name, how in (
                ("half_life_exponent", "exponent"),
                ("half_life_adjoint", "slope of the adjoint"),
            )
            if n.get(name, np.inf) < _CLOSE * diagnosis.target_half_life
        }
        farthest = abs(n["exponent"]) + _ERRORS * n.get("exponent_error", 0.0)
        if short:
            texts = listing(f"{steps(value)} by the {how}" for how, value in short.items())
            yield (
                f"Whether anything is to be changed for {goal} is open: the half-life is {texts}; give more "
                "steps."
            )
        elif farthest > n["bound"] / _CLOSE:
            yield (
                f"Whether anything is to be changed for {goal} is open: within two of its errors the exponent may be "
                f"{number(farthest)} away from 0; give more steps."
            )
        else:
            yield f"Nothing is to be changed for {goal} or more."
        return
    if not diagnosis.suggestion:
        gain = f"weight_hh times {number(n['tried_gain'])}"
        tried = f"{gain} does not bring"
        if diagnosis.tried_gates:
            gates, most = " or ".join(diagnosis.tried_gates), number(n["tried_bias"])
            tried = f"neither a shift of the bias of {gates} by up to {most} nor {gain} brings"
        yield f"No suggestion reaches {goal}: {tried} the exponent nearer."
        return
    value = diagnosis.suggested_value
    change = (
        f"{value:+g} on the bias of {diagnosis.suggested_gate}"
        if diagnosis.suggestion == "bias"
        else f"weight_hh times {value:g}"
    )
    if "suggested_exponent" not in n:
        measured = "the states leave the range of floating point"
    elif "suggested_doubling" in n:
        near = ", near-critical" if diagnosis.reached else ""
        measured = (
            f"the leading exponent measured is {_rate(diagnosis, 'suggested_exponent')} nats per step{near}"
        )
    else:
        measured = (
            f"the asymptotic half-life measured is {steps(n['suggested_half_life_exponent'])} by the exponent "
            f"({_rate(diagnosis, 'suggested_exponent')} nats per step)"
        )
        if "suggested_half_life_adjoint" in n:
            measured += f", {steps(n['suggested_half_life_adjoint'])} by the slope of the adjoint"
    if diagnosis.reached:
        purpose = " for the half-life assumed" if diagnosis.target_assumed else ""
        yield f"Suggestion{purpose}: {change}; with it {measured}."
    else:
        yield (
            f"No suggestion reaches {goal}; the nearest of those tried is {change}, and with it {measured}."
        )
    if "earlier_exponent" in n:
        half = f", {steps(n['earlier_half_life'])} of half-life" if "earlier_half_life" in n else ""
        yield (
            f"Over the {steps(diagnosis.window)} before those, to which it was not fitted, the leading exponent with "
            f"it is {_rate(diagnosis, 'earlier_exponent')} nats per step{half}."
        )
    yield from _arrays(diagnosis)
    yield (
        "This is where to start training from: in a trained network it changes what is computed, "
        "so train again after it."
    )


def _arrays(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield where the bias that is to be changed lies in the arrays of PyTorch and of Keras."""
    if diagnosis.suggestion != "bias":
        return
    units, layer = diagnosis.half_life.by_gate.shape[1], diagnosis.layer
    cell, gate = get(diagnosis.cell), diagnosis.suggested_gate
    places = bias_places(cell, gate, units, layer=layer, reverse=diagnosis.reverse)
    if places:
        yield f"That bias is {listing(places)}."


def _extent(diagnosis: Diagnosis) -> str:
    """Return which part of the series was measured."""
    which = f"all {steps(diagnosis.steps)}"
    if diagnosis.window < diagnosis.steps:
        which = f"the last {steps(diagnosis.window)} of {number(diagnosis.steps)}"
    several = f" and the first {diagnosis.sequences} of the sequences" if diagnosis.sequences > 1 else ""
    return f"Measured over {which}{several}; the first {steps(diagnosis.transient)} of these do not count."


def _rate(diagnosis: Diagnosis, name: str) -> str:
    """Return a rate with its sign, and its error if that is known."""
    error = diagnosis.numbers.get(f"{name}_error")
    text = _signed(diagnosis.numbers[name])
    return text if error is None else f"{text} ± {error:.2g}"


def key(what: str, *names: str) -> str:
    """Return the name of a number about a gate or a path, such as ``clamped_f_open``."""
    return "_".join([what, *(re.sub(r"\W", "_", name) for name in names)])


def nearest(
    gates: Sequence[str],
    at: Sequence[str],
    exponents: Iterable[float],
    errors: Iterable[float],
    exponent: float,
    error: float,
) -> list[tuple[str, str]]:
    """Return gates and how they were clamped, the one first that brings the leading exponent nearest to 0.

    Those are left out that bring `exponent` nearer by less than three standard errors of the difference.
    """
    rows = zip(gates, at, exponents, errors, strict=True)
    better = sorted(
        (abs(value), gate, how)
        for gate, how, value, off in rows
        if abs(value) < abs(exponent) - 3 * np.hypot(np.nan_to_num(off), np.nan_to_num(error))
    )
    return [(gate, how) for _, gate, how in better]


def cleaned(rate: float) -> float:
    """Return a rate, 0 where it is what rounding leaves of 0."""
    return 0.0 if abs(rate) < _ROUNDING else rate


def _signed(rate: float) -> str:
    """Return a rate with its sign; what rounding leaves of 0 is 0."""
    return f"+{number(rate)}" if cleaned(rate) > 0 else number(cleaned(rate))
