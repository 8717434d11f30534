"""The sentences of a diagnosis: templates over named numbers, so that no sentence can say what was not measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter

import numpy as np

from gatescope.measurements.counterfactuals import Suggestion

_ROUNDING = 1e-12  # nats per step: what is left of an exponent that is 0
_LEAST_SHARE = 0.01  # of a path: smaller ones are not named


def key(what: str, *names: str) -> str:
    """The name of a number about a gate, such as ``held_f_open``."""
    return "_".join([what, *(re.sub(r"\W", "_", name) for name in names)])


class Sentences:
    """Texts made from templates, and the names of the numbers in each."""

    def __init__(self, numbers: Mapping[str, float]) -> None:
        self.numbers = numbers
        self.texts: list[str] = []
        self.names: list[tuple[str, ...]] = []

    def say(self, template: str) -> None:
        """Add a sentence; ``{name}`` and ``{name:+}``, ``{name:steps}``, ``{name:.0%}`` stand for numbers."""
        shown = {name: _Shown(value) for name, value in self.numbers.items()}
        found = [name for _, name, _, _ in Formatter().parse(template) if name]
        self.texts.append(template.format_map(shown))
        self.names.append(tuple(dict.fromkeys(found)))

    def knows(self, *names: str) -> bool:
        """Whether there are numbers of all these names."""
        return all(name in self.numbers for name in names)


class _Shown(float):
    """A number as it is written in a sentence."""

    def __format__(self, spec: str) -> str:
        value = float(self)
        if spec.endswith(("%", "g", "f")):
            return format(value, spec)
        if np.isinf(value):
            return "infinite" if value > 0 else "minus infinity"
        else:
            text = f"{value:,.0f}" if abs(value) >= 999.5 or value == round(value) else f"{value:.3g}"
        if spec == "+":
            text = "0" if abs(value) < _ROUNDING else f"+{text}" if value > 0 else text
        if spec == "steps":
            text += " step" if text == "1" else " steps"
        return text


def verdict_sentences(words: Sentences, verdict: str) -> None:
    """The exponent, the rule by which it is judged, the half-lives, and how far back the gradient reaches."""
    error = " ± {exponent_error:.2g}"
    if not words.knows("exponent_error"):
        error = " (too few steps to tell its error)" if np.isfinite(words.numbers["exponent"]) else ""
    words.say(f"{_OPENING[verdict]}: the leading Lyapunov exponent is {{exponent:+}}{error} nats per step.")
    bound = "{bound} = ln 2 / {target_half_life}, the rate of a half-life of {target_half_life:steps}"
    rule = {
        "vanishing": f"It is called vanishing below -{bound}",
        "near-critical": f"It is called near-critical within ±{bound}",
        "chaotic": f"It is called chaotic above {bound}",
        "exploding": f"It is called exploding above {bound}, where states grow too, here by {{state_growth:+}} a step",
    }[verdict]
    zero = ""
    if words.knows("exponent_error"):
        zero = (
            ", or within three standard errors of 0"
            if verdict == "near-critical"
            else ", if beyond three of its errors"
        )
    words.say(f"{rule}{zero}.")
    if (
        verdict == "near-critical"
        and words.knows("exponent_error")
        and (3 * words.numbers["exponent_error"] > words.numbers["bound"] < abs(words.numbers["exponent"]))
    ):
        words.say("The error {exponent_error:.2g} is too large to tell the exponent from 0: give more steps.")


_OPENING = {
    "vanishing": "Vanishing gradients",
    "near-critical": "Near-critical, gradients neither vanish nor explode",
    "chaotic": "Chaotic, small changes grow and gradients explode",
    "exploding": "Exploding, states and gradients grow without bound",
}


def memory_sentences(words: Sentences, verdict: str, gate: str, kind: str, disagree: bool) -> None:
    """How fast the gradient decays or grows, and how that compares with the series."""
    texts = []
    if words.knows("half_life_exponent"):
        texts.append("{half_life_exponent:steps} by the leading exponent")
    if words.knows("half_life_adjoint"):
        fit = " (R^2 {r_squared:.3f})" if words.knows("r_squared") else ""
        texts.append(f"{{half_life_adjoint:steps}} by the slope of the adjoint{fit}")
    if words.knows("half_life_gate", "half_life_gate_median"):
        by = f"the gate {gate} alone" if gate else "what each state keeps of itself"
        texts.append(
            f"{{half_life_gate:steps}} by {by} (slowest unit; {{half_life_gate_median:steps}} in the median)"
        )
    if verdict in ("chaotic", "exploding"):
        words.say("A small change of the state doubles every {doubling:steps}, by the leading exponent.")
    if verdict in ("vanishing", "near-critical"):
        end = (
            "; these do not agree within 20 % and their errors" if disagree and verdict == "vanishing" else ""
        )
        words.say(f"The half-life of the gradient is {', '.join(texts)}{end}.")
    if words.knows("reach"):
        words.say(
            "The series has {steps:steps}: what happened more than {reach:steps} ago changes the output by less than "
            f"{kind} can tell (a factor of {{resolution:.2g}})."
        )
    elif verdict in ("vanishing", "near-critical"):
        words.say(
            f"The series has {{steps:steps}}: over the {{longest_lag:steps}} looked at, the gradient stays within what "
            f"{kind} can tell."
        )


def gate_sentences(
    words: Sentences, verdict: str, gate: str, at: str, shown: str, rival: tuple[str, str]
) -> None:
    """Which gate is responsible, and what holding it does; `shown` is the gate whose values are told."""
    if words.knows("spectral_radius"):
        words.say(
            "There is no gate that could be held: the recurrent weights count, whose spectral radius is "
            "{spectral_radius}."
        )
    if gate:
        other = ""
        if rival[0]:
            held = f"{{{key('held', rival[0], rival[1])}:+}}"
            other = f"; no other gate brings it as near to 0 (next: {rival[0]} {_HELD[rival[1]]}, {held})"
        words.say(
            f"The gate responsible is {gate}: holding {gate} {_HELD[at]} would change the leading exponent from "
            f"{{exponent:+}} to {{{key('held', gate, at)}:+}} nats per step{other}."
        )
    elif verdict != "near-critical" and not words.knows("spectral_radius"):
        words.say(
            "No single gate is responsible: holding any one of them does not bring {exponent:+} nearer to 0."
        )
    mean, shut, opened = (key(what, shown) for what in ("mean", "shut", "open"))
    if words.knows(mean):
        shares = ""
        if words.knows(shut, opened):
            shares = f"; it is below 0.1 for {{{shut}:.0%}} and above 0.9 for {{{opened}:.0%}} of the time"
        words.say(f"The mean of {shown} is {{{mean}:.3f}}{shares}.")


_HELD = {"open": "open (at 1)", "mean": "at its mean"}


def path_sentence(words: Sentences, paths: tuple[str, ...]) -> None:
    """Which ways the gradient goes back."""
    shares = {name: words.numbers.get(key("share", name), 0.0) for name in paths}
    texts = []
    if shares.pop("direct", 0.0) >= _LEAST_SHARE:
        texts.append("{share_direct:.0%} on the direct path (from state to state)")
    ways = sorted((name for name, share in shares.items() if share >= _LEAST_SHARE), key=lambda n: -shares[n])
    if ways:
        through = ", ".join(f"{name} {{{key('share', name)}:.0%}}" for name in ways)
        texts.append(f"through the recurrent weights of {through}")
    if texts:
        words.say(
            f"At a lag of {{share_lag:steps}} the gradient's parts are, by their norms: {'; '.join(texts)}."
        )


def suggestion_sentences(words: Sentences, found: Suggestion | None, reached: bool) -> None:
    """What to change, and what was measured with it."""
    if found is None:
        words.say("Nothing is to be changed for a half-life of {target_half_life:steps} or more.")
        return
    if not found.kind:
        biases = f"a shift of the bias of {' or '.join(found.gate.split())} by up to {{tried_bias:g}}"
        gain = "weight_hh times {tried_gain:g}"
        tried = f"neither {biases} nor {gain} brings" if found.gate else f"{gain} does not bring"
        words.say(
            f"No suggestion reaches a half-life of {{target_half_life:steps}}: {tried} the exponent nearer."
        )
        return
    what = {
        "bias": f"{{suggested_value:+g}} on the bias of {found.gate}",
        "gain": "weight_hh times {suggested_value:g}",
    }[found.kind]
    error = " ± {suggested_error:.2g}" if words.knows("suggested_error") else ""
    if not words.knows("suggested_exponent"):
        measured = "the states leave the range of floating point"
    elif words.knows("suggested_doubling"):
        near = ", near-critical" if reached else ""
        measured = "the leading exponent measured is {suggested_exponent:+}" + error + " nats per step" + near
    else:
        measured = (
            "the half-life measured is {suggested_half_life_exponent:steps} by the exponent "
            "({suggested_exponent:+}" + error + " nats per step)"
        )
        if words.knows("suggested_half_life_adjoint"):
            measured += ", {suggested_half_life_adjoint:steps} by the slope of the adjoint"
    if reached:
        words.say(f"Suggestion: {what}; with it {measured}.")
    else:
        words.say(
            f"No suggestion reaches a half-life of {{target_half_life:steps}}; the nearest of those tried is {what}, "
            f"and with it {measured}."
        )
    if words.knows("earlier_exponent"):
        error = " ± {earlier_error:.2g}" if words.knows("earlier_error") else ""
        half = ", a half-life of {earlier_half_life:steps}" if words.knows("earlier_half_life") else ""
        words.say(
            "Over the {window:steps} before those, to which it was not fitted, the leading exponent with it is "
            f"{{earlier_exponent:+}}{error} nats per step{half}."
        )
    words.say(
        "This is where to start training from: in a trained network it changes what is computed, "
        "so train again after it."
    )
