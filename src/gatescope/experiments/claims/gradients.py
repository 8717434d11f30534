"""How gradients vanish and explode, over gains of fresh weights: statements 1 and 15."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from gatescope.datatypes import Array, Params
from gatescope.datatypes.verdict import ALIKE, CONTRADICTED, ONLY, OTHER, SUPPORTED, UNDECIDED
from gatescope.errors import noting_accuracy
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.seeds.judge import Judgement
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
from gatescope.recurrence.initialization import init
from gatescope.reporting.text import listing, number, with_error

SIGMAS = 3.0  # standard errors that a number must be from 0, or two from each other
RNN_SCHEMES = (*(f"gaussian({gain})" for gain in (0.5, 0.8, 1.0, 1.2, 1.5, 2.0)), "pytorch", "keras")
GAINS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
REASONABLE = 4.0  # the largest gain that anybody would begin with
_INPUT_SCALE = 0.1  # of weight_ih: else inputs saturate the units, and the gain says little
_FIRST_LAG = 0.1  # of the steps, from which on a line is fitted


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Exponents and slopes of ln G over seeds (n,), and by how much the line is better than a power law (n,)."""

    exponents: Array
    slopes: Array
    better: Array

    @property
    def decided(self) -> bool:
        """Return whether the mean exponent is not 0, by three standard errors."""
        return bool(abs(self.exponents.mean()) > SIGMAS * _error(self.exponents))

    @property
    def explodes(self) -> bool:
        """Return whether it is above 0, by three standard errors."""
        return self.decided and bool(self.exponents.mean() > 0)

    @property
    def agrees(self) -> bool:
        """Return whether ln G follows a line with the slope of the exponent."""
        apart = self.slopes - self.exponents
        alike = np.sign(self.slopes.mean()) == np.sign(self.exponents.mean())
        return bool(alike and abs(apart.mean()) < SIGMAS * _error(apart) and self.better.mean() > 0)


@cache
def rates(cell: str, scheme: str, scale: Scale) -> Rate:
    """Measure a cell's leading exponent, and the slope of ln G against the lag, with fresh weights of several seeds."""
    rows = [_rate(cell, scheme, scale, seed) for seed in range(scale.seeds)]
    exponents, slopes, better = np.array(rows).T
    return Rate(exponents=exponents, slopes=slopes, better=better)


def _rate(cell: str, scheme: str, scale: Scale, seed: int) -> tuple[float, float, float]:
    params = _fresh(cell, scheme, scale, seed)
    x = np.random.default_rng([seed, 1]).standard_normal((scale.long_steps, 1, 1))
    with noting_accuracy():  # of saturated units, which are what is looked for
        spectrum = lyapunov_spectrum(params, x, k=1, checks=False)
        flow = gradient_flow(params, x)
    lags = flow.lag[flow.lag >= _FIRST_LAG * scale.long_steps].astype(np.float64)
    values = flow.log_norm[-len(lags) :, 0]
    finite = np.isfinite(values)
    if finite.sum() < 3:
        return float(spectrum.exponents[0, 0]), np.nan, np.nan
    lags, values = lags[finite], values[finite]
    line, power = (np.polyfit(each, values, 1, full=True) for each in (lags, np.log(lags)))
    return float(spectrum.exponents[0, 0]), float(line[0][0]), float(power[1][0] - line[1][0])


def _fresh(cell: str, scheme: str, scale: Scale, seed: int) -> Params:
    params = init(cell, input_size=1, hidden_size=scale.many_units, seed=seed, scheme=scheme, dtype="float64")
    factor = _INPUT_SCALE if scheme.startswith("gaussian") else 1.0
    return dataclasses.replace(params, weight_ih=factor * params.weight_ih)


def _error(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


@statement(
    "1a",
    "in a plain RNN the gradient decays exponentially with time",
    sources="Q1 P A Q2",
    kind="measured",
    criterion="Supported if for all initial weights whose leading exponent is not 0, by 3 standard errors, ln G "
    "follows a line of that slope, within 3 standard errors, and better than a power law. R^2 is no criterion: "
    "near the edge there is no slope.",
)
def exponential(scale: Scale) -> Finding:
    return judge_exponential({scheme: rates("rnn", scheme, scale) for scheme in RNN_SCHEMES})


def judge_exponential(by_scheme: Mapping[str, Rate]) -> Finding:
    """Return what rates say of statement 1a."""
    decided = {scheme: rate for scheme, rate in by_scheme.items() if rate.decided}
    others = [scheme for scheme, rate in decided.items() if not rate.agrees]
    word = CONTRADICTED if others else SUPPORTED if decided else UNDECIDED
    reason = (
        f"exponents {_listed(by_scheme)}; ln G follows them on {len(decided) - len(others)} of {len(decided)}"
    )
    if others:
        reason += f", not with {listing(others)}"
    return Finding(judgement=Judgement(word=word, reason=reason), numbers=_numbers(by_scheme))


@statement(
    "1b",
    "or it explodes",
    sources="Q2 A",
    kind="measured",
    criterion="Supported if the leading exponent is above 0, by 3 standard errors, from some gain on.",
)
def explodes(scale: Scale) -> Finding:
    gains = {scheme: rates("rnn", scheme, scale) for scheme in RNN_SCHEMES if scheme.startswith("gaussian")}
    return judge_explosion(gains)


def judge_explosion(by_gain: Mapping[str, Rate]) -> Finding:
    """Return what rates, by ascending gain, say of statement 1b."""
    above = [rate.explodes for rate in by_gain.values()]
    below = [rate.decided and not rate.explodes for rate in by_gain.values()]
    word = SUPPORTED if above[-1] else CONTRADICTED if all(below) else UNDECIDED
    return Finding(
        judgement=Judgement(word=word, reason=f"exponents {_listed(by_gain)}"), numbers=_numbers(by_gain)
    )


@statement(
    "15a",
    "the gradient of an LSTM explodes if it is badly initialized",
    sources="A",
    kind="measured",
    criterion="Supported if its leading exponent is above 0, by 3 standard errors, at some gain up to 16; it says "
    "something of the LSTM if the GRU and the RNN do so at no gain, and more of the others if at a smaller one.",
)
def badly_initialized(scale: Scale) -> Finding:
    return judge_threshold(_by_gain(scale))


def judge_threshold(by_cell: Mapping[str, Mapping[float, Rate]]) -> Finding:
    """Return what rates by cell and gain say of statement 15a."""
    first = {cell: threshold(by_gain) for cell, by_gain in by_cell.items()}
    lstm, others = first["lstm"], [gain for cell, gain in first.items() if cell != "lstm"]
    word = CONTRADICTED if lstm == np.inf else SUPPORTED
    distinguishes = ""
    if word == SUPPORTED:
        distinguishes = ONLY if min(others) == np.inf else OTHER if min(others) < lstm else ALIKE
    return Finding(
        judgement=Judgement(word=word, reason=_thresholds(by_cell)),
        numbers=_all_numbers(by_cell),
        distinguishes=distinguishes,
    )


@statement(
    "15c",
    "an LSTM deals with exploding gradients",
    sources="Q2",
    kind="measured",
    criterion="Supported if it explodes from a greater gain on than an RNN, and at none up to 4; contradicted if at "
    "one of these.",
)
def deals_with_it(scale: Scale) -> Finding:
    return judge_dealing(_by_gain(scale))


def judge_dealing(by_cell: Mapping[str, Mapping[float, Rate]]) -> Finding:
    """Return what rates by cell and gain say of statement 15c."""
    first = {cell: threshold(by_gain) for cell, by_gain in by_cell.items()}
    word = UNDECIDED
    if first["lstm"] <= REASONABLE:
        word = CONTRADICTED
    elif first["lstm"] > first["rnn"]:
        word = SUPPORTED
    return Finding(judgement=Judgement(word=word, reason=_thresholds(by_cell)), numbers=_all_numbers(by_cell))


def threshold(by_gain: Mapping[float, Rate]) -> float:
    """Return the smallest gain at which the exponent is above 0; infinite if there is none."""
    return min((gain for gain, rate in by_gain.items() if rate.explodes), default=np.inf)


def _by_gain(scale: Scale) -> dict[str, dict[float, Rate]]:
    return {
        cell: {gain: rates(cell, f"gaussian({gain})", scale) for gain in GAINS}
        for cell in ("lstm", "gru", "rnn")
    }


def _thresholds(by_cell: Mapping[str, Mapping[float, Rate]]) -> str:
    texts = []
    for cell, by_gain in by_cell.items():
        gain = threshold(by_gain)
        texts.append(
            f"{cell} at none" if gain == np.inf else f"{cell} from {gain:g} on, {_mean(by_gain[gain])}"
        )
    return f"gains with an exponent above 0: {listing(texts)}"


def _listed(by_name: Mapping[str, Rate]) -> str:
    return listing(f"{name} {_mean(rate)}" for name, rate in by_name.items())


def _mean(rate: Rate) -> str:
    return with_error(rate.exponents.mean(), _error(rate.exponents))


def _numbers(by_name: Mapping[str, Rate], of: str = "") -> dict[str, str]:
    return {
        f"{of}{name}": f"exponent {_mean(rate)}, slope of ln G {number(rate.slopes.mean())}"
        for name, rate in by_name.items()
    }


def _all_numbers(by_cell: Mapping[str, Mapping[float, Rate]]) -> dict[str, str]:
    named = ({f"gain {gain:g}": rate for gain, rate in by_gain.items()} for by_gain in by_cell.values())
    parts: Sequence[dict[str, str]] = [
        _numbers(each, f"{cell}, ") for cell, each in zip(by_cell, named, strict=True)
    ]
    return {name: text for part in parts for name, text in part.items()}
