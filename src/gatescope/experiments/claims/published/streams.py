"""Two streams of inputs that differ and then agree: after how many steps do the outputs, of untrained networks?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gatescope.datatypes import Array, PublishedNumber
from gatescope.experiments.claims.published.row import row
from gatescope.experiments.claims.study import Study
from gatescope.measurements.half_life import half_life
from gatescope.recurrence.initialization import init
from gatescope.recurrence.run import run
from gatescope.reporting.text import listing, number

SIZES = (2, 8, 32, 128)
PUBLISHED: Mapping[str, tuple[float, ...]] = {
    "lstm": (20.4, 34.8, 39.8, 45.4),
    "gru": (13.6, 18.2, 15.6, 19.6),
}
SOURCE = 'the author of "LSTM vs GRU: Experimental Comparison" (2019), an earlier note'
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
DIFFERING, AGREEING = 1000, 1000  # steps
_THEORY = "-1 / ln sigmoid(b) of the memory gate's bias b, were there no recurrent weights"


def steps_until(differences: Array, tolerance: float) -> float:
    """Return after how many steps differences (T,) stay below a tolerance; infinite if not in those that there are.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.published.streams import steps_until
    >>> [steps_until(np.array([0.5, 0.05, 0.2, 0.01]), t) for t in (0.1, 1.0, 0.01)]
    [3.0, 0.0, inf]
    """
    (above,) = np.nonzero(~(differences < tolerance))
    if not above.size:
        return 0.0
    return float(above[-1] + 1) if above[-1] + 1 < len(differences) else math.inf


def differences(cell: str, units: int, seed: int) -> Array:
    """Return the largest difference of the outputs (T,) at each step from where the inputs are the same."""
    params = init(cell, input_size=1, hidden_size=units, seed=seed, scheme="keras", dtype="float64")
    x = np.random.default_rng([seed, 3]).random((DIFFERING + AGREEING, 2, 1))
    x[DIFFERING:, 1] = x[DIFFERING:, 0]
    h = run(params, x).h[1 + DIFFERING :]
    return np.asarray(np.abs(h[:, 0] - h[:, 1]).max(axis=-1))


def bias_alone(cell: str) -> float:
    """Return in how many steps a memory falls by e that Keras's bias alone holds: at rest, where weights do nothing.

    Examples
    --------
    >>> from gatescope.experiments.claims.published.streams import bias_alone
    >>> round(bias_alone("gru"), 2)
    1.44
    """
    params = init(cell, input_size=1, hidden_size=1, seed=0, scheme="keras", dtype="float64")
    return float(half_life(params, np.zeros((10, 1)), transient=0).by_gate[0, 0]) / math.log(2)


def measured(study: Study, _: Path | None = None) -> tuple[PublishedNumber, ...]:
    """Return the published steps beside ours, and the steps in which a difference falls by e beside the theory's."""
    steps = {
        (cell, units): np.array(
            [
                [steps_until(differences(cell, units, seed), tolerance) for tolerance in TOLERANCES]
                for seed in range(study.seeds)
            ]
        )
        for cell in PUBLISHED
        for units in SIZES
    }
    return beside(steps)


def beside(steps: Mapping[tuple[str, int], Array]) -> tuple[PublishedNumber, ...]:
    """Return published numbers beside steps (seeds, tolerances) by cell and units.

    The tolerance of the published is not known: it is taken to be the one that comes nearest to all eight.
    """
    rows, theory = [], []
    nearest = min(range(len(TOLERANCES)), key=lambda k: _distance(steps, k))
    for cell, published in PUBLISHED.items():
        for units, each in zip(SIZES, published, strict=True):
            ours = steps[cell, units]
            others = listing(
                f"{number(mean)} at {tolerance:g}"
                for tolerance, mean in zip(TOLERANCES, ours.mean(axis=0), strict=True)
            )
            why = (
                "tolerance, weights and inputs of the published are not known; here Keras's initial weights, inputs "
                f"from 0 to 1, and of five tolerances the nearest, {TOLERANCES[nearest]:g}: {others}"
            )
            what = f"steps until outputs agree, {cell} of {units} units"
            rows.append(row(what, each, SOURCE, ours[:, nearest], why))
        slope = (steps[cell, SIZES[-1]][:, -1] - steps[cell, SIZES[-1]][:, 0]) / math.log(
            TOLERANCES[0] / TOLERANCES[-1]
        )
        tau = bias_alone(cell)
        why = (
            "weights that feed the state back keep a difference longer, or shorter, than the bias alone does"
        )
        what = f"steps in which a difference falls by e, {cell} of {SIZES[-1]} units"
        theory.append(row(what, tau, _THEORY, slope, why))
    return (*rows, *theory)


def _distance(steps: Mapping[tuple[str, int], Array], k: int) -> float:
    """Return how far from the published, in logarithms, the means at a tolerance are."""
    apart = [
        abs(math.log(max(float(steps[cell, units][:, k].mean()), 1e-9) / each))
        for cell, published in PUBLISHED.items()
        for units, each in zip(SIZES, published, strict=True)
    ]
    return max(apart) if all(map(math.isfinite, apart)) else math.inf
