"""Networks after training: the models of a study's runs, data to measure them on, and how many pass a test."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from gatescope.datatypes import Array, Batch, SeedRun, Stack
from gatescope.datatypes.verdict import ALIKE, CONTRADICTED, ONLY, OTHER, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.study import Cell, Study, StudyTask, study_cell
from gatescope.experiments.seeds.judge import Judgement
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import LEVEL, by_share, holm
from gatescope.experiments.seeds.training import initial_model
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.training.minibatches import made_seed

DEFAULTS = ("pytorch", "keras")  # initial weights that nobody chose for the task
LEARNED = 0.5  # of an arm's runs that have to reach the target before anything is said of what they learned
_MEASURED = 15  # what a seed is for: neither training nor validation nor test


def trained(run: SeedRun) -> Stack:
    """Return the model of a run after training, in float64."""
    return run.model.astype("float64")


def untrained(run: SeedRun) -> Stack:
    """Return the model that a run began with, in float64."""
    return initial_model(RunSpec(**run.spec), data_of(run, sequences=1)).astype("float64")


def data_of(run: SeedRun, *, sequences: int, **arguments: Any) -> Batch:
    """Return data of a run's task that it has not seen, with other arguments of the maker where they are given."""
    spec = RunSpec(**run.spec)
    chosen = {**spec.arguments, "sequences": sequences, **arguments}
    return spec.maker(**chosen, seed=made_seed(run.seed, _MEASURED), dtype="float64")


def nats_lost(
    stack: Stack, data: Any, lags: Sequence[int] | None = None, *, seed: int = 0, least: float = -np.inf
) -> Array:
    """Return how much of the gradient each sequence (B,) loses from one lag to another, in nats.

    Parameters
    ----------
    stack : Stack
    data : Batch or array of (T, B, I)
        Of a batch it is the gradient of the loss, of inputs that of the last state.
    lags : (first, last), optional
        Default: 0 and all steps.
    seed : int
        Of the directions.
    least : float
        What the logarithm of a smaller norm counts as: of a gradient that is 0 it is none.
    """
    inputs = data.inputs if isinstance(data, Batch) else data
    of: dict[str, Any] = {} if isinstance(data, Batch) else {"of": "joint"}
    flow = gradient_flow(stack, data, wrt="joint", lags=lags or [0, len(inputs)], seed=seed, **of)
    first, last = np.maximum(flow.log_norm, least)
    return np.asarray(first - last)


def settings(study: Study, *arms: tuple[StudyTask, Cell, str | None]) -> dict[str, Any]:
    """Return what was chosen for arms, each a task, a cell and a scheme, None for the best of them."""
    chosen = {}
    for task, cell, scheme in arms:
        best = study.tuned(task, cell, scheme)
        name = ", ".join(filter(None, (study_cell(cell).name, scheme, study.task(task).name)))
        chosen[name] = {"lr": best.lr, "scheme": best.scheme, "at_edge": best.at_edge}
    return chosen


def distinguished(
    own: str,
    others: Collection[str],
    *,
    more: Judgement | None = None,
    passed: Collection[tuple[Array, Array]] = (),
) -> str:
    """Return whether what is said of one cell is true of it alone, from the words on it and on the others.

    What is undecided is no ground to tell cells apart, and where it is truer of the one cell, though not of it alone,
    there is no word for it.

    Parameters
    ----------
    own : str
    others : collection of str
        Words.
    more : Judgement, optional
        Of the claim that it is truer of the others.
    passed : collection of pairs of (n,) bool
        Where the words are on which seeds passed a test, those of this cell and of the other, a pair a test: in one of
        them they have to differ, too, by McNemar's test and Holm's correction; 10 of 10 beside 7 of 10 do not.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.trained import distinguished
    >>> [distinguished("supported", [other]) for other in ("supported", "equal")]
    ['all cells alike', 'only this cell']
    >>> ten, seven, two = (np.arange(10) < n for n in (10, 7, 2))
    >>> [distinguished("supported", ["contradicted"], passed=[(ten, one)]) for one in (seven, two)]
    ['', 'only this cell']
    """
    words = set(others)
    if UNDECIDED in words | {own}:
        return ""
    if words != {own} and passed and not (holm(by_share(*pair).p for pair in passed) < LEVEL).any():
        return ""
    if own != SUPPORTED:
        return OTHER if SUPPORTED in words else ""
    if SUPPORTED not in words:
        return ONLY
    if more is not None and more.word in (SUPPORTED, CONTRADICTED):
        return OTHER if more.word == SUPPORTED else ""
    return ALIKE if words == {SUPPORTED} else ""


def share_word(passed: Array, least: float) -> str:
    """Return the word of a statement about a fraction of all seeds, from those that passed (n,) bool.

    Supported if that fraction or more passed; contradicted if so few did as, were it that fraction in truth, would
    come in less than 1 of 20 studies.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.trained import share_word
    >>> [share_word(np.arange(10) < n, 0.95) for n in (10, 9, 7)]
    ['supported', 'undecided', 'contradicted']
    """
    from scipy.stats import binomtest

    count, n = int(np.count_nonzero(passed)), len(passed)
    if count >= least * n:
        return SUPPORTED
    few = binomtest(count, n, least, alternative="less").pvalue < LEVEL
    return CONTRADICTED if few else UNDECIDED
