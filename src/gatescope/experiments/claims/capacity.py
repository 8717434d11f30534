"""How much of the past a state holds: statement 44."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from gatescope.datatypes import Array, Effect, SeedRun, Stack
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.complexity import COPYING_5
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Cell, Study, StudyCell
from gatescope.experiments.claims.trained import data_of, settings, trained
from gatescope.experiments.claims.win_table import COPYING, LOSS, with_arguments
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import paired
from gatescope.experiments.seeds.training import initial_model
from gatescope.recurrence.run import run
from gatescope.tasks._synthetic import one_hot

COPYING_20 = with_arguments(COPYING, "copying of 20, T = 50", memory=20)
TASKS = (COPYING_5, COPYING_20)
LAGS, STEPS = 300, 6000  # K, and the steps that a state is read on: half to fit, half to test
QUICK_LAGS, QUICK_STEPS = 60, 1500
_RIDGE = 1e-9  # of the mean variance of a state: states that others give are no reason to divide by 0
LEAST = 0.1  # of a symbol: what is read below that is chance, and no ratio is taken of it
WHENS = ("PyTorch's weights", "after training")
STATES = ("h", "all states")


def memory_capacity(states: Array, signal: Array, lags: int) -> float:
    """Return the linear memory capacity: how much of a signal so many steps ago ridge regression reads from states.

    It is the sum over the lags 1 to K of the fraction of the signal's variance that is read from the state, in the half
    of the steps that nothing was fitted to; a state of D numbers cannot hold more than D numbers of an independent past
    ([1]_).

    Parameters
    ----------
    states : (T, D)
    signal : (T, C)
        Independent from step to step; its columns are read together.
    lags : int
        K.

    References
    ----------
    .. [1] H. Jaeger, "Short term memory in echo state networks", GMD report 152 (2001).

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.experiments.claims.capacity import memory_capacity
    >>> signal = np.random.default_rng(0).standard_normal((500, 1))
    >>> delays = np.concatenate([np.roll(signal, lag, axis=0) for lag in (1, 2, 3)], axis=1)
    >>> round(memory_capacity(delays, signal, 20), 1)
    3.0
    """
    from scipy.linalg import cho_factor, cho_solve

    known = states[lags:]
    half = len(known) // 2
    known = known - known[:half].mean(axis=0)
    fitted, tested = known[:half], known[half:]
    gram = fitted.T @ fitted
    size = len(gram)
    factor = cho_factor(gram + (_RIDGE * np.trace(gram) / size + np.finfo(np.float64).tiny) * np.eye(size))
    total = 0.0
    for lag in range(1, lags + 1):
        past = signal[lags - lag : len(signal) - lag]
        past = past - past[:half].mean(axis=0)
        read = tested @ cho_solve(factor, fitted.T @ past[:half])
        rest, all_of_it = (np.square(part).sum() for part in (past[half:] - read, past[half:]))
        total += max(0.0, float(1 - rest / all_of_it))
    return total


def judge_sacrifice(
    capacities: Mapping[str, tuple[Array, Array]], copying: Sequence[Effect], margin: float = LOSS
) -> Finding:
    """Return what capacities (seeds,) of LSTM and GRU by measurement, and losses of copying, say of statement 44.

    Each of both is a claim of its own, and they have to agree.
    """
    effects = []
    measured: dict[str, Mean] = {}
    for name, (lstm, gru) in capacities.items():
        d = np.log(np.maximum(gru, LEAST) / np.maximum(lstm, LEAST))
        # Two that hold nothing are alike in that alone.
        some = np.maximum(gru, lstm) > LEAST
        compared = paired(d, margin=margin, name=f"capacity, {name}", in_margins=d[some])
        effects.append(dataclasses.replace(compared, arms=("lstm", "gru")))
        measured |= {
            f"capacity of {cell}, {name}": mean(values) for cell, values in (("lstm", lstm), ("gru", gru))
        }
    parts = {"capacity": judge(effects, claim="lower"), "copying": judge(copying, claim="higher")}
    words = {part.word for part in parts.values()}
    either = MIXED if MIXED in words or {SUPPORTED, CONTRADICTED} <= words else UNDECIDED
    reason = "; ".join(f"{name} {part.word}: {part.reason}" for name, part in parts.items())
    judgement = Judgement(
        word=words.pop() if len(words) == 1 else either,
        reason=reason,
        small=all(part.small for part in parts.values()),
    )
    return Finding(
        judgement=judgement, effects=(*effects, *copying), measured=measured, seeds=effects[0].pairs
    )


@statement(
    "44",
    "a GRU sacrifices part of its memory",
    sources="P",
    kind="statistical",
    criterion="Linear memory capacity: how much of 300 past symbols ridge regression reads from h and from all states, "
    "with PyTorch's weights and after training on copying 20 symbols; and the loss of copying 5 and 20; each at equal "
    "width and at equal parameters.  Supported if on most of both a GRU holds less, and loses more, than an LSTM, "
    "and on none the other way; contradicted the other way round.",
)
def sacrifices_memory(study: Study) -> Finding:
    units = study.sizes(COPYING_20, ("lstm", "gru"))["lstm"]
    rivals: dict[str, Cell] = {"equal width": "lstm"}
    rivals["equal parameters"] = StudyCell("lstm, equal parameters", "lstm", units=units)
    cells = ("gru", *rivals.values())
    study.make(product(TASKS, cells))
    lags, steps = (QUICK_LAGS, QUICK_STEPS) if study.quick else (LAGS, STEPS)
    held = {
        cell: np.array([capacities_of(one, lags, steps) for one in study.arm(COPYING_20, cell).runs])
        for cell in cells
    }
    capacities = {
        f"{arm}, {when}, {of}": (held[rival][:, w, k], held["gru"][:, w, k])
        for arm, rival in rivals.items()
        for w, when in enumerate(WHENS)
        for k, of in enumerate(STATES)
    }
    copying = []
    for (arm, rival), task in product(rivals.items(), TASKS):
        compared = study.effect(task, rival, "gru")
        copying.append(dataclasses.replace(compared, name=f"{compared.name}, {arm}"))
    chosen = settings(study, *product(TASKS, cells, [None]))
    return dataclasses.replace(judge_sacrifice(capacities, copying), tuned=chosen)


def capacities_of(of: SeedRun, lags: int, steps: int) -> Array:
    """Return the capacities (before and after training, of h and of all states) of a run of copying."""
    spec = RunSpec(**of.spec)
    before = initial_model(spec.with_(scheme="pytorch", biases={}), data_of(of, sequences=1)).astype(
        "float64"
    )
    symbols = np.random.default_rng([of.seed, 1]).integers(0, spec.arguments["symbols"], (steps + lags, 1))
    x = one_hot(symbols, before.input_size, np.float64)
    signal = x[:, 0, : spec.arguments["symbols"]]
    return np.array([_capacities(stack, x, signal, lags) for stack in (before, trained(of))])


def _capacities(stack: Stack, x: Array, signal: Array, lags: int) -> list[float]:
    (layer,) = stack.directions().values()
    states = run(layer, x).states[1:, 0]
    return [memory_capacity(part, signal, lags) for part in (states[:, 0], states.reshape(len(x), -1))]
