"""What the measured rows have in common: means over seeds with their errors, and the networks that are measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gatescope.datatypes import Array, Effect, Params, PublishedNumber
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED, UNDECIDED
from gatescope.errors import noting_accuracy
from gatescope.experiments.claims.statement import Finding, Scale
from gatescope.experiments.seeds.judge import Judgement
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
from gatescope.recurrence.initialization import init

SIGMAS = 3.0  # standard errors that a number has to be from a bound to be on one side of it
QUIET = 0.1  # inputs of this deviation let a network's own weights decide; of 1 they saturate its units


class Mean(NamedTuple):
    """A mean over seeds and its standard error."""

    value: float
    error: float

    def above(self, bound: float = 0.0) -> bool:
        """Return whether the mean is above a bound by more than three standard errors."""
        return self.value - bound > SIGMAS * self.error

    def below(self, bound: float = 0.0) -> bool:
        """Return whether the mean is below a bound by more than three standard errors."""
        return bound - self.value > SIGMAS * self.error


def mean(values: Any) -> Mean:
    """Return the mean of one number a seed; its error is not known of a single one, nor where one is not finite.

    Numbers that are infinite in every seed agree: that is their mean, without an error.

    Examples
    --------
    >>> from gatescope.experiments.claims.measured import mean
    >>> mean([1.0, 3.0])
    Mean(value=2.0, error=1.0)
    """
    numbers = np.asarray(values, np.float64)
    if numbers.size > 1 and np.isinf(numbers).all() and len({*numbers.tolist()}) == 1:
        return Mean(float(numbers[0]), 0.0)
    if numbers.size < 2 or not np.isfinite(numbers).all():
        with np.errstate(invalid="ignore"):  # of both infinities
            return Mean(float(numbers.mean()), float("nan"))
    return Mean(float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(numbers.size)))


def draws(cell: str, scale: Scale, scheme: str, *, inputs: int = 1) -> Iterator[tuple[int, Params]]:
    """Yield seeds 0, 1, ... and a network of each."""
    for seed in range(scale.seeds):
        sizes = {"input_size": inputs, "hidden_size": scale.many_units}
        yield seed, init(cell, **sizes, seed=seed, scheme=scheme, dtype="float64")


def noise_of(seed: int, steps: int, deviation: float = 1.0) -> Array:
    """Return normal inputs (T, 1, 1), the same for all cells of a seed."""
    return deviation * np.random.default_rng([seed, 1]).standard_normal((steps, 1, 1))


def exponents_of(params: Params, inputs: Array, seed: int) -> Array:
    """Return the leading exponent of each sequence (B,); a run begins at a small random state."""
    with noting_accuracy():  # of saturated units, which large gains bring
        spectrum = lyapunov_spectrum(params, inputs, k=1, checks=False, initial_state="random", seed=seed)
    return spectrum.exponents[:, 0]


def beside(effect: Effect, ratio: float, *, source: str, why: str) -> PublishedNumber:
    """Return a ratio that somebody published beside those of an effect.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.measured import beside
    >>> from gatescope.experiments.seeds.statistics import paired
    >>> effect = paired(np.log([0.9, 1.0, 0.95]), margin=0.05, name="loss")
    >>> beside(effect, 0.87, source="a paper", why="another head").row()[:4]
    ('loss', '0.87', '0.95 ± 0.029', 'yes')
    """
    ours = mean(np.exp(effect.differences))
    return PublishedNumber(
        what=effect.name,
        published=ratio,
        source=source,
        measured=ours.value,
        error=ours.error,
        seeds=effect.pairs,
        why=why,
    )


def word_of(*, supported: bool, contradicted: bool) -> str:
    """Return the word of what is shown, one way or the other, or neither."""
    return SUPPORTED if supported else CONTRADICTED if contradicted else UNDECIDED


def finding(
    word: str, reason: str, measured: Mapping[str, Mean], seeds: int, *, small: bool = False, **more: Any
) -> Finding:
    """Return the finding of a measured row."""
    judgement = Judgement(word=word, reason=reason, small=small)
    return Finding(judgement=judgement, measured=measured, seeds=seeds, **more)


def names(items: Iterable[str]) -> str:
    """Return names with commas between them, or that there is none."""
    return ", ".join(items) or "none"
