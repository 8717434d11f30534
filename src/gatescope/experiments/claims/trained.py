"""Networks after training: the models of a study's runs, data to measure them on, and how many pass a test."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.datatypes import Array, Batch, SeedRun, Stack
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.study import Cell, Study, StudyTask, study_cell
from gatescope.experiments.seeds.judge import distinguishes
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import LEVEL, by_share, holm
from gatescope.experiments.seeds.training import initial_model
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


def settings(study: Study, *arms: tuple[StudyTask, Cell, str | None]) -> dict[str, Any]:
    """Return what was chosen for arms, each a task, a cell and a scheme, None for the best of them."""
    chosen = {}
    for task, cell, scheme in arms:
        best = study.tuned(task, cell, scheme)
        name = ", ".join(filter(None, (study_cell(cell).name, scheme, study.task(task).name)))
        chosen[name] = {"lr": best.lr, "scheme": best.scheme, "at_edge": best.at_edge}
    return chosen


def only_this(this: str, other: str, *passed: tuple[Array, Array]) -> str:
    """Return whether what is said of a cell is true of it alone, from the words on it and on the other.

    Where they are words on which seeds of both `passed` tests, (n,) bool each, these have to differ, too, in one of
    them, by McNemar's test and Holm's correction: 10 of 10 beside 7 of 10 are no difference.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.trained import only_this
    >>> ten, seven, two = (np.arange(10) < n for n in (10, 7, 2))
    >>> [only_this("supported", "contradicted", (ten, one)) for one in (seven, two)]
    ['', 'only this cell']
    """
    if UNDECIDED in (this, other):
        return ""
    holds = this == SUPPORTED, other == SUPPORTED
    alike = bool(passed) and not (holm(by_share(*pair).p for pair in passed) < LEVEL).any()
    return "" if holds[0] != holds[1] and alike else distinguishes(*holds)


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
